//! What is measured beside what.

use crate::{
    ours::{self, LONG, NAME, OURS, OURS_COARSE, SHAPES},
    peers::{COARSE_PEERS, LOAD_SHED, PEERS, tower_resilience_held},
    proof::{trip, tripped_and_recovered},
    router::Through,
    subject::{Answer, Breaker, Cost, GOOD, Partner, Subject, Tower},
};

/// So many calls are in the window of every subject before it is measured.
pub(crate) const CALLS_BEFORE: u64 = 10_000;

/// The layer that ours before an axum router's routes stands beside.
pub(crate) const DOES_NOTHING: &str = "a layer that does nothing";

/// The same of requests to a server, which nothing depends on: the layer before its routes has no window.
const REQUESTS_BEFORE: u64 = 200;

/// Subjects that do the same work.
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
    /// A breaker of somebody else's.
    Peer,
    /// Something else that stands beside: not the best peer, however fast.
    Beside,
}

/// What becomes of good calls.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Passes {
    All,
    None,
}

pub(crate) enum Make {
    Plain(Box<dyn Fn() -> Box<dyn Subject>>),
    /// A breaker that admits.
    Serving(Breaker),
    /// A breaker that was tripped by failing calls.
    Tripped(Breaker),
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

    fn bare() -> Self {
        Self::plain("bare", Role::Bare, || Box::new(Tower(Partner)))
    }

    fn serving(breaker: Breaker, role: Role) -> Self {
        Self {
            cost: breaker.cost,
            ..Self::new(breaker.name, role, Make::Serving(breaker))
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

    /// The subject to be measured. A breaker that admits is the very one that was shown to trip and recover.
    pub(crate) fn proven(&self) -> Result<Box<dyn Subject>, String> {
        match &self.make {
            Make::Serving(breaker) => tripped_and_recovered(breaker),
            Make::Plain(_) | Make::Tripped(_) => self.subject(),
        }
    }

    /// The same without waiting for a recovery.
    pub(crate) fn subject(&self) -> Result<Box<dyn Subject>, String> {
        let mut subject = match &self.make {
            Make::Plain(make) => make(),
            Make::Serving(breaker) => (breaker.build)(LONG),
            Make::Tripped(breaker) => {
                let mut subject = (breaker.build)(LONG);
                trip(breaker.name, &mut *subject)?;
                subject
            }
        };
        let expected = match self.passes {
            Passes::All => Answer::Passed,
            Passes::None => Answer::Refused,
        };
        match subject.answer(GOOD) {
            answer if answer == expected => Ok(subject),
            answer => Err(format!(
                "{}: a good call {answer:?}, not {expected:?}",
                self.name
            )),
        }
    }
}

/// Every breaker, each in the configuration that is measured.
#[cfg(test)]
pub(crate) fn breakers() -> Vec<Breaker> {
    let mut breakers = vec![OURS, LOAD_SHED];
    breakers.extend(PEERS);
    breakers.push(OURS_COARSE);
    breakers.extend(COARSE_PEERS);
    breakers
}

/// Ours and everybody else's.
fn each(
    entry: fn(Breaker, Role) -> Entry,
    ours: Breaker,
    peers: &[Breaker],
) -> impl Iterator<Item = Entry> {
    let peers = peers.iter().map(move |peer| entry(*peer, Role::Peer));
    [entry(LOAD_SHED, Role::Beside), entry(ours, Role::Ours)]
        .into_iter()
        .chain(peers)
}

fn with_bare(name: &'static str, entries: impl Iterator<Item = Entry>) -> Case {
    Case {
        name,
        entries: std::iter::once(Entry::bare()).chain(entries).collect(),
    }
}

/// The cases whose subjects are compared call by call, on one thread.
pub(crate) fn cases() -> Vec<Case> {
    let held = [
        Entry::held(NAME, Role::Ours, ours::held),
        Entry::held(PEERS[0].name, Role::Peer, tower_resilience_held),
    ];
    let exempt = [
        // Its baseline: the matcher alone, before the same partner.
        Entry::plain("bare", Role::Bare, ours::bare_matcher),
        Entry::plain(NAME, Role::Ours, ours::exempt),
        Entry::plain(
            "tower-maintenance, under a hold",
            Role::Ours,
            ours::exempt_under_hold,
        ),
    ];
    let mut cases = vec![with_bare("admitted", each(Entry::serving, OURS, &PEERS))];
    cases.push(with_bare(
        "admitted_coarse",
        each(Entry::serving, OURS_COARSE, &COARSE_PEERS),
    ));
    cases.push(with_bare("refused", each(Entry::tripped, OURS, &PEERS)));
    cases.push(with_bare("refused_held", held.into_iter()));
    cases.push(Case {
        name: "http",
        entries: vec![
            Entry::plain("bare", Role::Bare, ours::bare_http),
            Entry::plain(NAME, Role::Ours, ours::http),
        ],
    });
    cases.push(Case {
        name: "exempt",
        entries: exempt.into(),
    });
    cases.push(through_axum("axum", Through::Oneshot, CALLS_BEFORE));
    cases.push(through_axum(
        "axum_served",
        Through::Server,
        REQUESTS_BEFORE,
    ));
    cases
}

fn through_axum(name: &'static str, through: Through, calls_before: u64) -> Case {
    let entry = |name, role, make: fn(Through) -> Box<dyn Subject>| Entry {
        calls_before,
        ..Entry::plain(name, role, move || make(through))
    };
    Case {
        name,
        entries: vec![
            // Its baseline: the same router without the layer.
            entry("bare", Role::Bare, Through::alone),
            entry("a layer that does nothing", Role::Beside, Through::identity),
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
    }
}

/// Ours with larger windows and more who listen: an admitted call should cost the same in each.
pub(crate) fn growth() -> Case {
    let mut entries: Vec<_> = (SHAPES.into_iter())
        .map(|shape| Entry {
            calls_before: shape.calls,
            ..Entry::plain(shape.name, Role::Ours, move || shape.subject())
        })
        .collect();
    entries.push(Entry::plain("10,000 subscribers", Role::Ours, || {
        ours::beside_subscribers(10_000)
    }));
    entries.push(Entry::plain("1,000 status readers", Role::Ours, || {
        ours::beside_readers(1_000)
    }));
    Case {
        name: "growth",
        entries,
    }
}
