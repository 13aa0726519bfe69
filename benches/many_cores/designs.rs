//! The designs of a layer: for each the list of cache lines that a call touches and, where it can
//! be run, its code.

use std::{
    hint::black_box,
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, Ordering},
    },
    time::Instant,
};

use tower::Layer;
use tower_maintenance::{Maintenance, MaintenanceLayer};

use crate::{
    model::{Access, Line},
    support::{self, Bare},
};

/// The largest number of lanes of a layer: one for each of 64 cores, and one more.
const MOST_LANES: usize = 65;

/// A design of a layer.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Design {
    /// Ours, for a call that is answered at the first poll.
    Ours(Ours),
    /// A call reads a gate and the clock, and counts in a counter that all threads share.
    OneCounter,
    /// A call counts in its thread's counter, and clones an `Arc` that all threads share.
    OneArc,
    /// A call takes a lock that all threads share, and counts under it.
    OneMutex,
}

/// Variants of our design.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Ours {
    /// Calls through one service per core.
    Plain,
    /// The same with a lane for each core, however many cores there are.
    LaneEach,
    /// Each request clones the service, as a server does.
    CloneEach,
    /// One call in this number fails.
    Fails(usize),
}

impl Design {
    pub(crate) fn name(self) -> String {
        match self {
            Self::Ours(Ours::Plain) => "tower-maintenance".into(),
            Self::Ours(Ours::LaneEach) => "  a lane for each core".into(),
            Self::Ours(Ours::CloneEach) => "  service cloned for each call".into(),
            Self::Ours(Ours::Fails(of)) => format!("  1 of {of} calls fails"),
            Self::OneCounter => "one shared counter".into(),
            Self::OneArc => "one Arc, cloned for each call".into(),
            Self::OneMutex => "one mutex for each call".into(),
        }
    }
}

// ---- as lists of lines -------------------------------------------------------------------------

/// The lines of one layer. All cores use the first four. Each lane has four of its own.
#[derive(Debug, Clone, Copy)]
struct Lines(Line);

impl Lines {
    const SHARED: usize = 4;
    const A_LANE: usize = 4;

    const fn each(lanes: usize) -> usize {
        Self::SHARED + Self::A_LANE * lanes
    }

    /// The service's reference count, and the pointers that every call follows.
    fn root(self) -> Line {
        self.0
    }

    /// The gate's word and deadline, and the lock's word.
    fn gate(self) -> Line {
        self.0 + 1
    }

    /// The fields that a success reads in order to count in a lane.
    fn opening(self) -> Line {
        self.0 + 2
    }

    /// The state under the lock.
    fn machine(self) -> Line {
        self.0 + 3
    }

    fn lane(self, lane: usize, line: usize) -> Line {
        self.0 + Self::SHARED + Self::A_LANE * lane + line
    }

    /// The state that a call keeps alive, and its reference count.
    fn local(self, lane: usize) -> [Line; 2] {
        [self.lane(lane, 0), self.lane(lane, 1)]
    }

    fn counters(self, lane: usize) -> Line {
        self.lane(lane, 2)
    }

    fn slots(self, lane: usize) -> Line {
        self.lane(lane, 3)
    }
}

/// The calls of one design as lists, core by core.
pub(crate) struct Lists {
    design: Design,
    partners: usize,
    lanes: usize,
    /// The work of a call on no shared line, in nanoseconds.
    work: f64,
    /// For each partner whether a failure has closed its lanes.
    closed: Vec<bool>,
    /// For each core the partner whose state its last call has kept.
    left: Vec<usize>,
}

impl Lists {
    pub(crate) fn new(design: Design, cores: usize, partners: usize, work: f64) -> Self {
        let lanes = cores + 1;
        Self {
            design,
            partners,
            lanes: match design {
                Design::Ours(Ours::LaneEach) => lanes,
                _ => lanes.min(MOST_LANES),
            },
            work,
            closed: vec![false; partners],
            left: vec![usize::MAX; cores],
        }
    }

    /// The number of lines of all layers.
    pub(crate) fn lines(&self) -> usize {
        self.partners * Lines::each(self.lanes)
    }

    pub(crate) fn partner(&self, core: usize, call: usize) -> usize {
        turn(core, call, self.partners)
    }

    /// The lines of a partner's layer.
    fn lines_of(&self, partner: usize) -> Lines {
        Lines(partner * Lines::each(self.lanes))
    }

    /// Appends the accesses of a core's `call`th call, the first access last.
    pub(crate) fn list(&mut self, core: usize, call: usize, out: &mut Vec<Access>) {
        let partner = self.partner(core, call);
        let (lines, lane) = (self.lines_of(partner), core % self.lanes);
        out.push(Access::Work(self.work));
        match self.design {
            Design::Ours(ours) => self.list_ours(ours, core, call, out),
            Design::OneCounter => {
                out.extend([Access::Read(lines.gate()), Access::Update(lines.opening())]);
            }
            Design::OneArc => {
                out.extend([Access::Update(lines.root()); 2]);
                out.extend([
                    Access::Read(lines.gate()),
                    Access::Write(lines.counters(lane)),
                ]);
            }
            Design::OneMutex => {
                // From the last to the first.
                out.extend([
                    Access::Unlock(lines.gate()),
                    Access::Write(lines.machine()),
                    Access::Lock(lines.gate()),
                ]);
            }
        }
    }

    fn list_ours(&mut self, ours: Ours, core: usize, call: usize, out: &mut Vec<Access>) {
        let partner = self.partner(core, call);
        let (lines, lane) = (self.lines_of(partner), core % self.lanes);
        let left = std::mem::replace(&mut self.left[core], partner);
        if ours == Ours::CloneEach {
            // One update for the clone, one for its drop.
            out.extend([Access::Update(lines.root()); 2]);
        }
        out.extend([lines.root(), lines.gate(), lines.opening()].map(Access::Read));
        let [local, references] = lines.local(lane);
        out.push(Access::Read(local));
        if left != partner {
            // The core keeps another layer's state: it drops that one and takes this one.
            out.push(Access::Update(references));
            if left != usize::MAX {
                out.push(Access::Update(self.lines_of(left).local(lane)[1]));
            }
        }
        // The first thread of a lane owns its counters; later ones share them.
        out.push(if core < self.lanes {
            Access::Write(lines.counters(lane))
        } else {
            Access::Update(lines.counters(lane))
        });
        let nth = call.wrapping_add(core.wrapping_mul(7919));
        let fails = matches!(ours, Ours::Fails(of) if nth.is_multiple_of(of));
        if fails || std::mem::replace(&mut self.closed[partner], false) {
            self.closed[partner] = fails;
            self.locked(lines, fails, out);
        } else {
            out.push(Access::Update(lines.slots(lane)));
        }
    }

    /// A failure drains all lanes and closes them. The next success opens them again. Both sum up
    /// all counters.
    fn locked(&self, lines: Lines, fails: bool, out: &mut Vec<Access>) {
        out.push(Access::Unlock(lines.gate()));
        out.push(Access::Write(lines.opening()));
        for lane in 0..self.lanes {
            out.push(if fails {
                Access::Update(lines.slots(lane))
            } else {
                Access::Write(lines.slots(lane))
            });
        }
        out.push(Access::Write(lines.machine()));
        out.extend((0..self.lanes).map(|lane| Access::Read(lines.counters(lane))));
        out.push(Access::Lock(lines.gate()));
    }
}

/// The partner that a core calls: all in turn, and never the one that another core calls.
fn turn(core: usize, call: usize, partners: usize) -> usize {
    (call + core * partners.div_ceil(128).max(1) * 53).wrapping_mul(7919) % partners
}

// ---- as code -----------------------------------------------------------------------------------

#[repr(align(128))]
#[derive(Debug, Default)]
struct Padded<T>(T);

#[derive(Debug, Default)]
struct State {
    gate: Padded<AtomicU64>,
    counter: Padded<AtomicU64>,
    locked: Padded<Mutex<u64>>,
    lanes: [Padded<AtomicU64>; 2],
}

/// The bytes of a layer in the designs that are not ours.
pub(crate) const BYTES: usize = size_of::<State>();

/// A design that runs.
pub(crate) struct Running {
    design: Design,
    ours: Vec<Maintenance<Bare, tower_maintenance::Calls>>,
    others: Arc<Vec<Arc<State>>>,
    /// The number of the thread.
    number: usize,
}

impl Running {
    pub(crate) fn new(design: Design, partners: usize) -> Self {
        let is_ours = matches!(design, Design::Ours(_));
        let [ours, others] = if is_ours {
            [partners, 0]
        } else {
            [0, partners]
        };
        Self {
            design,
            ours: (0..ours)
                .map(|_| MaintenanceLayer::new("partner").layer(Bare))
                .collect(),
            others: Arc::new((0..others).map(|_| Arc::default()).collect()),
            number: 0,
        }
    }

    /// The same layers for another thread.
    pub(crate) fn another(&self, number: usize) -> Self {
        Self {
            design: self.design,
            ours: self.ours.clone(),
            others: self.others.clone(),
            number,
        }
    }

    pub(crate) fn run(&mut self, calls: usize) {
        let partners = self.ours.len().max(self.others.len());
        match self.design {
            Design::Ours(Ours::CloneEach) => self.each(partners, calls, |this, partner| {
                support::call(&mut this.ours[partner].clone());
            }),
            Design::Ours(_) => self.each(partners, calls, |this, partner| {
                support::call(&mut this.ours[partner]);
            }),
            Design::OneCounter => self.each(partners, calls, |this, partner| {
                let state = &this.others[partner];
                answer(state);
                state.counter.0.fetch_add(1, Ordering::Relaxed);
            }),
            Design::OneArc => self.each(partners, calls, |this, partner| {
                let state = black_box(this.others[partner].clone());
                answer(&state);
                let mine = &state.lanes[this.number % 2].0;
                mine.store(mine.load(Ordering::Relaxed) + 1, Ordering::Relaxed);
            }),
            Design::OneMutex => self.each(partners, calls, |this, partner| {
                let state = &this.others[partner];
                answer(state);
                *state.locked.0.lock().expect("no thread panics") += 1;
            }),
        }
    }

    #[inline]
    fn each(&mut self, partners: usize, calls: usize, call: impl Fn(&mut Self, usize)) {
        if partners == 1 {
            return (0..calls).for_each(|_| call(self, 0));
        }
        for n in 0..calls {
            call(self, turn(self.number, n, partners));
        }
    }
}

/// The part that the other designs share: reads the gate, calls the partner, reads the clock.
#[expect(clippy::disallowed_methods, reason = "a bench reads the clock")]
#[inline]
fn answer(state: &State) {
    black_box(state.gate.0.load(Ordering::Acquire));
    support::call(&mut Bare);
    black_box(Instant::now());
}
