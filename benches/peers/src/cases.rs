//! The cases: which subjects are measured beside each other.

use std::time::Duration;

use crate::{
    cold::{self, InTurn},
    http_calls,
    ours::{self, LONG, NAME, SHAPES, ours, ours_coarse},
    partner::{AtOnce, GOOD, Partner, SecondPoll},
    peers::{coarse_peers, load_shed, peers, tower_resilience_held},
    proof,
    router::Through,
    subject::{Answer, Breaker, Cost, Subject, Tower},
};

/// The number of calls in the window of every subject before it is measured.
pub(crate) const CALLS_BEFORE: u64 = 10_000;

/// The same where breakers are called in turn: 20 for each.
const COLD_CALLS_BEFORE: u64 = 20 * cold::BREAKERS as u64;

/// Requests to a server before it is measured. They are few, because a layer before routes has no
/// window.
const REQUESTS_BEFORE: u64 = 200;

/// The layer beside which ours stands before an axum router's routes.
pub(crate) const DOES_NOTHING: &str = "a layer that does nothing";

/// A case: subjects that do the same work.
pub(crate) struct Case {
    pub(crate) name: &'static str,
    pub(crate) entries: Vec<Entry>,
}

/// A subject in a case.
pub(crate) struct Entry {
    pub(crate) name: &'static str,
    pub(crate) role: Role,
    pub(crate) make: Make,
    pub(crate) passes: Passes,
    pub(crate) cost: Cost,
    /// Good calls before it is measured.
    pub(crate) calls_before: u64,
}

/// What a subject is compared as.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Role {
    /// The partner itself.
    Bare,
    /// Ours.
    Ours,
    /// Another crate's breaker.
    Peer,
    /// Another subject to compare with. It is never the best peer, however fast it is.
    Beside,
}

/// Whether good calls pass.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Passes {
    All,
    None,
}

pub(crate) enum Make {
    Plain(Box<dyn Fn() -> Box<dyn Subject>>),
    /// A breaker that admits.
    Serving(Breaker),
    /// Many breakers that admit, called in turn.
    InTurn(Breaker),
    /// A breaker that was tripped by failing calls.
    Tripped(Breaker),
}

impl Make {
    fn build(&self, wait: Duration) -> Box<dyn Subject> {
        match self {
            Self::Plain(make) => make(),
            Self::Serving(breaker) | Self::Tripped(breaker) => (breaker.build)(wait),
            Self::InTurn(breaker) => InTurn::boxed(|| (breaker.build)(wait)),
        }
    }

    /// Whether it is a breaker that admits calls when it is measured.
    fn serves(&self) -> bool {
        matches!(self, Self::Serving(_) | Self::InTurn(_))
    }
}

impl Entry {
    fn plain(
        name: &'static str,
        role: Role,
        make: impl Fn() -> Box<dyn Subject> + 'static,
    ) -> Self {
        Self::new(name, role, Make::Plain(Box::new(make)))
    }

    fn new(name: &'static str, role: Role, make: Make) -> Self {
        Self {
            name,
            role,
            make,
            passes: Passes::All,
            cost: Cost::Flat,
            calls_before: CALLS_BEFORE,
        }
    }

    fn bare<P: Partner>() -> Self {
        Self::plain("bare", Role::Bare, || (bare::<P>().build)(LONG))
    }

    /// As many bare partners as there are breakers in turn.
    fn bare_in_turn<P: Partner>() -> Self {
        Self {
            calls_before: COLD_CALLS_BEFORE,
            ..Self::plain("bare", Role::Bare, || Make::InTurn(bare::<P>()).build(LONG))
        }
    }

    fn serving(breaker: Breaker, role: Role) -> Self {
        Self {
            cost: breaker.cost,
            ..Self::new(breaker.name, role, Make::Serving(breaker))
        }
    }

    fn in_turn(breaker: Breaker, role: Role) -> Self {
        Self {
            make: Make::InTurn(breaker),
            calls_before: COLD_CALLS_BEFORE,
            ..Self::serving(breaker, role)
        }
    }

    fn tripped(breaker: Breaker, role: Role) -> Self {
        Self {
            passes: Passes::None,
            calls_before: 0,
            ..Self::new(breaker.name, role, Make::Tripped(breaker))
        }
    }

    fn held(name: &'static str, role: Role, make: fn() -> Box<dyn Subject>) -> Self {
        Self {
            passes: Passes::None,
            calls_before: 0,
            ..Self::plain(name, role, make)
        }
    }

    /// The subject to be measured. A breaker that admits has been tripped, and refuses until
    /// [`Self::recover`], so that all breakers of a case wait for their recoveries together.
    pub(crate) fn proven(&self) -> Result<Box<dyn Subject>, String> {
        if self.make.serves() {
            proof::tripped(self.name, |wait| self.make.build(wait))
        } else {
            self.subject()
        }
    }

    /// Waits until a subject from [`Self::proven`] is as it is measured.
    pub(crate) fn recover(&self, subject: &mut dyn Subject) -> Result<(), String> {
        if self.make.serves() {
            proof::recover(self.name, subject)
        } else {
            Ok(())
        }
    }

    /// The subject without the proof that it trips and recovers.
    pub(crate) fn subject(&self) -> Result<Box<dyn Subject>, String> {
        let mut subject = self.make.build(LONG);
        if let Make::Tripped(breaker) = &self.make {
            proof::trip(breaker.name, &mut *subject)?;
        }
        let expected = match self.passes {
            Passes::All => Answer::Passed,
            Passes::None => Answer::Refused,
        };
        match subject.answer(GOOD) {
            answer if answer == expected => Ok(subject),
            answer => Err(format!(
                "{}: a good call is {answer:?}, not {expected:?}",
                self.name
            )),
        }
    }
}

/// Every breaker in each configuration that is measured.
#[cfg(test)]
pub(crate) fn breakers() -> Vec<Breaker> {
    fn around<P: Partner>() -> impl Iterator<Item = Breaker> {
        [ours::<P>(), ours_coarse::<P>(), load_shed::<P>()]
            .into_iter()
            .chain(peers::<P>())
            .chain(coarse_peers::<P>())
    }
    around::<AtOnce>().chain(around::<SecondPoll>()).collect()
}

/// The partner alone.
pub(crate) const fn bare<P: Partner>() -> Breaker {
    Breaker::flat("bare", |_| Box::new(Tower::<_, P>::new(P::NEW)))
}

/// Ours and every peer around the partner `P`, each with its default clock.
fn exact<P: Partner>() -> Vec<(Breaker, Role)> {
    with_peers(load_shed::<P>(), ours::<P>(), peers::<P>())
}

/// The same with a coarser clock, where a crate lets the user choose one.
fn coarse<P: Partner>() -> Vec<(Breaker, Role)> {
    with_peers(load_shed::<P>(), ours_coarse::<P>(), coarse_peers::<P>())
}

fn with_peers(beside: Breaker, ours: Breaker, peers: [Breaker; 7]) -> Vec<(Breaker, Role)> {
    let mut all = vec![(beside, Role::Beside), (ours, Role::Ours)];
    all.extend(peers.map(|peer| (peer, Role::Peer)));
    all
}

impl Case {
    fn new(name: &'static str, entries: impl IntoIterator<Item = Entry>) -> Self {
        let entries = entries.into_iter().collect();
        Self { name, entries }
    }

    /// The breakers, each made into a subject by `entry`, beside `bare`.
    fn of(
        name: &'static str,
        bare: Entry,
        breakers: Vec<(Breaker, Role)>,
        entry: fn(Breaker, Role) -> Entry,
    ) -> Self {
        let breakers = breakers.into_iter();
        let entries = breakers.map(|(breaker, role)| entry(breaker, role));
        Self::new(name, std::iter::once(bare).chain(entries))
    }
}

/// The cases of one call on one thread. The calls that wait come first.
pub(crate) fn cases() -> Vec<Case> {
    let (at_once, later) = (Entry::bare::<AtOnce>, Entry::bare::<SecondPoll>);
    let in_turn = Entry::bare_in_turn::<SecondPoll>();
    vec![
        Case::of("waiting", later(), exact::<SecondPoll>(), Entry::serving),
        Case::of(
            "waiting_coarse",
            later(),
            coarse::<SecondPoll>(),
            Entry::serving,
        ),
        http(
            "waiting_http",
            http_calls::bare_waiting,
            http_calls::waiting,
        ),
        Case::of("cold", in_turn, exact::<SecondPoll>(), Entry::in_turn),
        Case::of("refused", at_once(), exact::<AtOnce>(), Entry::tripped),
        refused_held(),
        Case::of("admitted", at_once(), exact::<AtOnce>(), Entry::serving),
        Case::of(
            "admitted_coarse",
            at_once(),
            coarse::<AtOnce>(),
            Entry::serving,
        ),
        http("http", http_calls::bare, http_calls::passing),
        exempt(),
        through_axum("axum", Through::Oneshot, CALLS_BEFORE),
        through_axum("axum_served", Through::Server, REQUESTS_BEFORE),
    ]
}

/// No peer stands beside it: none follows a body.
fn http(
    name: &'static str,
    bare: fn() -> Box<dyn Subject>,
    ours: fn() -> Box<dyn Subject>,
) -> Case {
    let entries = [
        Entry::plain("bare", Role::Bare, bare),
        Entry::plain(NAME, Role::Ours, ours),
    ];
    Case::new(name, entries)
}

/// Of the peers only this one can be held open.
fn refused_held() -> Case {
    let held = Entry::held(
        peers::<AtOnce>()[0].name,
        Role::Peer,
        tower_resilience_held::<AtOnce>,
    );
    let entries = [
        Entry::bare::<AtOnce>(),
        Entry::held(NAME, Role::Ours, ours::held::<AtOnce>),
        held,
    ];
    Case::new("refused_held", entries)
}

fn exempt() -> Case {
    Case::new(
        "exempt",
        [
            // Its baseline: the matcher alone, before the same partner.
            Entry::plain("bare", Role::Bare, http_calls::bare_matcher),
            Entry::plain(NAME, Role::Ours, http_calls::exempt),
            Entry::plain(
                "tower-maintenance, under a hold",
                Role::Ours,
                http_calls::exempt_under_hold,
            ),
        ],
    )
}

fn through_axum(name: &'static str, through: Through, calls_before: u64) -> Case {
    let entry = |name, role, make: fn(Through) -> Box<dyn Subject>| Entry {
        calls_before,
        ..Entry::plain(name, role, move || make(through))
    };
    Case::new(
        name,
        [
            // Its baseline: the same router without the layer.
            entry("bare", Role::Bare, Through::alone),
            entry(DOES_NOTHING, Role::Beside, Through::identity),
            entry(NAME, Role::Ours, Through::layer),
            entry(
                "tower-maintenance, no exemption",
                Role::Ours,
                Through::plain_layer,
            ),
            entry(
                "tower-maintenance, around the router",
                Role::Ours,
                Through::around,
            ),
        ],
    )
}

/// Ours with larger windows and with more listeners. An admitted call, answered at its second poll,
/// should cost the same in each.
pub(crate) fn growth() -> Case {
    let shapes = SHAPES.into_iter().map(|shape| Entry {
        calls_before: shape.calls,
        ..Entry::plain(shape.name, Role::Ours, move || {
            shape.subject::<SecondPoll>()
        })
    });
    let listeners = [
        Entry::plain("10,000 subscribers", Role::Ours, || {
            ours::beside_subscribers::<SecondPoll>(10_000)
        }),
        Entry::plain("1,000 status readers", Role::Ours, || {
            ours::beside_readers::<SecondPoll>(1_000)
        }),
    ];
    Case::new("growth", shapes.chain(listeners))
}
