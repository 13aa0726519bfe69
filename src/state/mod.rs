//! The state of a layer: the machine under the only lock, and the only code that publishes.
//!
//! A *call* reads the gate's word. While the gate serves or refuses, the call needs no lock. It
//! needs the machine only near a deadline, for a probe slot, and to land its outcome. A *command*
//! always takes the lock. Both end in the same order: the machine decides, the gate is published,
//! the lock is released, and then the listeners are told.
//!
//! Listeners are told last, because a listener may be slow, may panic, and may call the layer. No
//! code of a listener runs under the lock.

mod for_calls;
mod for_operators;
pub(crate) mod gate;
pub(crate) mod journal;
pub(crate) mod root;
mod trace;
mod waiting_probes;

use std::{
    panic::{RefUnwindSafe, UnwindSafe},
    sync::{
        Arc, PoisonError, Weak,
        atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering},
    },
    time::Duration,
};

use arc_swap::ArcSwap;
use tokio::sync::{Notify, watch};

use crate::{
    base::{
        clock::Clock,
        harmless::harmless,
        loom_or_std::{Mutex, MutexGuard},
        moment::{Moment, nanos},
        published::Published,
    },
    counting::{
        lanes::{Counter, Lanes},
        pulse::Pulse,
    },
    exemptions::{CallNames, Table},
    facts::{
        event::{Event, EventKind},
        extras::Extras,
        mode::Cause,
        partner_word::Heard,
        recovery::{Bulletin, CacheBust},
        refused::Notice,
    },
    machine::{
        Birth, Machine, Traffic, by_wall_clock,
        word::{Op, Word},
    },
    state::{
        gate::Gate,
        journal::Journal,
        trace::{trace, warn_of_wall_clock},
        waiting_probes::WaitingProbes,
    },
};

/// The state of one layer, shared by all its views, services, handles and calls.
pub(crate) struct Shared {
    partner: Arc<str>,
    /// The values that wings read. Their address is the layer's identity.
    extras: Arc<Extras>,
    /// Whether the warning was traced that the layer stands twice around a call.
    told_stacked: AtomicBool,
    clock: Clock,
    gate: Gate,
    /// The policy's `hang_limit` in nanoseconds, for readers that must not wait for the lock.
    hang_limit: AtomicU64,
    machine: Mutex<Machine>,
    /// How many readings of the state are under way, or of its journal.
    readings: AtomicU32,
    /// What refusals say; written before the word.
    notice: Published<Notice>,
    /// Whether reads pass; written before the word.
    reads_pass: AtomicBool,
    exemptions: Published<Table>,
    /// Whether a view gives plain calls names; it is only ever set.
    named: AtomicBool,
    /// The partner's statement about itself. The machine does not know it.
    heard: ArcSwap<Heard>,
    /// What is counted without the lock.
    lanes: Lanes,
    /// When something last came from the partner on a call that goes on.
    pulse: Pulse,
    /// The probes whose callers wait for the partner.
    waiting_probes: WaitingProbes,
    journal: std::sync::Mutex<Journal>,
    /// Dead once the last view, service and handle are dropped.
    bulletin: Weak<watch::Sender<Bulletin>>,
    /// Wakes the callers that wait for the inner service's readiness when an era ends.
    parked: Arc<Notify>,
    tags: Arc<[String]>,
    urls: Arc<[String]>,
    /// The first generation, if the layer took it from the time of its start and was not given one.
    own_start: Option<u64>,
}

/// What listeners are told once the lock is free.
#[derive(Debug, Default)]
struct News {
    published: bool,
    events: Vec<Event>,
    recovery: Option<Arc<CacheBust>>,
    era_ended: bool,
}

/// What a layer is built from.
#[derive(Debug)]
pub(crate) struct Parts {
    pub(crate) birth: Birth,
    pub(crate) clock: Clock,
    pub(crate) extras: Extras,
    pub(crate) exemptions: Table,
    pub(crate) names: CallNames,
    pub(crate) tags: Arc<[String]>,
    pub(crate) urls: Arc<[String]>,
}

impl Shared {
    pub(crate) fn new(parts: Parts, bulletin: Weak<watch::Sender<Bulletin>>) -> Self {
        let Parts {
            birth,
            clock,
            extras,
            exemptions,
            names,
            tags,
            urls,
        } = parts;
        let partner = birth.partner.clone();
        let was_given = birth.generation.is_some();
        if !was_given && by_wall_clock(birth.wall, Moment::ORIGIN).is_none() {
            warn_of_wall_clock(&partner);
        }
        let machine = Machine::new(birth);
        let lanes = Lanes::new();
        if let Some(open) = machine.lanes() {
            lanes.open_while_locked(open);
        }
        let machine_width = machine.bucket_width();
        let extras = Arc::new(extras);
        let notice = Arc::new(notice(&partner, &extras, &machine, &clock));
        Self {
            own_start: (!was_given).then(|| machine.generation()),
            clock,
            gate: Gate::new(Word::new(machine.op(), machine.era(), machine.generation())),
            reads_pass: notice.read_only.into(),
            notice: Published::new(notice),
            partner,
            extras,
            told_stacked: AtomicBool::new(false),
            hang_limit: AtomicU64::new(nanos(machine.rules().hang_limit)),
            machine: Mutex::new(machine),
            readings: AtomicU32::new(0),
            exemptions: Published::new(Arc::new(exemptions)),
            named: (names == CallNames::Given).into(),
            heard: ArcSwap::default(),
            lanes,
            pulse: Pulse::new(machine_width),
            waiting_probes: WaitingProbes::default(),
            journal: std::sync::Mutex::default(),
            bulletin,
            parked: Arc::default(),
            tags,
            urls,
        }
    }

    pub(crate) fn partner(&self) -> &Arc<str> {
        &self.partner
    }

    /// Returns the value of this type that the layer was given for a wing.
    #[cfg(feature = "http")]
    pub(crate) fn extra<T: std::any::Any + Send + Sync>(&self) -> Option<&T> {
        self.extras.get()
    }

    /// Returns the URLs that a recovery signal carries.
    #[cfg(feature = "http")]
    pub(crate) fn urls(&self) -> &[String] {
        &self.urls
    }

    /// Tells whether `generation` is only the time at which this process started, so that nothing
    /// has recovered since.
    #[cfg_attr(
        not(feature = "http"),
        expect(dead_code, reason = "asked by the wing that tells caches")
    )]
    pub(crate) fn is_own_start(&self, generation: u64) -> bool {
        self.own_start == Some(generation)
    }

    #[inline]
    pub(crate) fn now(&self) -> Moment {
        self.clock.now()
    }

    /// Returns the `hang_limit` in force, without the lock.
    pub(crate) fn hang_limit(&self) -> Duration {
        // Relaxed: no other value is read with it. A thread that replaces a policy and then
        // synchronises with the reader has ordered the two.
        Duration::from_nanos(self.hang_limit.load(Ordering::Relaxed))
    }

    /// Returns `moment` on tokio's clock; `None` if no task can sleep until it.
    pub(crate) fn instant(&self, moment: Moment) -> Option<tokio::time::Instant> {
        self.clock.seen_at(moment)
    }

    /// Runs `f` on the machine, at the present moment, and tells listeners the result.
    pub(crate) fn locked<T>(&self, f: impl FnOnce(&mut Machine) -> T) -> T {
        self.locked_at(self.now(), f)
    }

    fn locked_at<T>(&self, now: Moment, f: impl FnOnce(&mut Machine) -> T) -> T {
        let machine = self.machine.lock().unwrap_or_else(PoisonError::into_inner);
        self.moved(machine, now, f)
    }

    fn moved<T>(
        &self,
        mut machine: MutexGuard<'_, Machine>,
        now: Moment,
        f: impl FnOnce(&mut Machine) -> T,
    ) -> T {
        // The machine takes what has landed before it judges or shows anything.
        self.lanes
            .drain_while_locked(|landed| machine.landed(landed));
        if let Some(index) = self.pulse.take_while_locked() {
            machine.heard(index, now);
        }
        machine.tick(now, self.traffic(), &|era, slot, at| {
            self.waiting_probes.waited_at(era, slot, at)
        });
        let answer = f(&mut machine);
        let news = self.publish(&mut machine);
        if mutant!("listeners are told under the lock") {
            self.tell(news);
            return answer;
        }
        drop(machine);
        self.tell(news);
        answer
    }

    fn traffic(&self) -> Traffic {
        Traffic {
            admitted: self.lanes.total(Counter::Admitted),
            refused: self.lanes.total(Counter::Refused),
            exempt: self.lanes.total(Counter::Exempt),
            reads: self.lanes.total(Counter::Reads),
        }
    }

    fn journal(&self) -> std::sync::MutexGuard<'_, Journal> {
        self.journal.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Publishes what the machine decided, under its lock. Returns what listeners are told later.
    fn publish(&self, machine: &mut Machine) -> News {
        let deadline = machine.next_deadline();
        let word = Word::new(machine.op(), machine.era(), machine.generation());
        let before = self.gate.read();
        let events = machine.take_events();
        let lanes = machine.lanes();
        let lanes_stand = self.lanes.stand_while_locked(lanes);
        if !lanes_stand {
            // What landed since the drain counts: it landed before this era, this window or this
            // run of failures ends.
            self.lanes.close_while_locked(|landed| {
                if !mutant!("what lands while the lanes close is lost") {
                    machine.landed(landed);
                }
            });
        }
        let open = || {
            if let (false, Some(open)) = (lanes_stand, lanes) {
                self.lanes.open_while_locked(open);
            }
        };
        let stepped = machine.take_wall_stepped();
        let stays = word == before && deadline == self.gate.deadline();
        if stays && events.is_empty() && !stepped {
            open();
            return News::default();
        }
        // The notice must show the new deadline: at that deadline a refusal asks the machine.
        let other_deadline = word.op() == Op::Refuse && deadline != self.gate.deadline();
        let other_generation = word.generation() != before.generation();
        if !events.is_empty() || other_generation || other_deadline || stepped {
            // Before the word: a refusal that reads the new word must not show the old reason.
            self.publish_notice(machine);
        }
        let era_ended = before.era() != word.era();
        self.expect_calls(machine, era_ended);
        self.gate.publish_while_locked(word, deadline);
        open();
        let recovery = events.iter().rev().find_map(|event| self.recovery(event));
        self.journal().write(&events, machine.take_ended());
        News {
            published: true,
            recovery,
            era_ended,
            events,
        }
    }

    /// Publishes what refusals and looks say, and the numbers that calls read without the lock.
    fn publish_notice(&self, machine: &Machine) {
        let notice = notice(&self.partner, &self.extras, machine, &self.clock);
        self.reads_pass.store(notice.read_only, Ordering::Relaxed);
        self.notice.publish(Arc::new(notice));
        // A replaced policy is an event too.
        self.hang_limit
            .store(nanos(machine.rules().hang_limit), Ordering::Relaxed);
    }

    /// Prepares what calls write without the lock, for a new era or another window.
    fn expect_calls(&self, machine: &Machine, era_ended: bool) {
        let width = machine.bucket_width();
        if era_ended || !self.pulse.is_for(width) {
            self.pulse.restart_while_locked(width);
        }
        if era_ended && machine.op() == Op::Ask {
            self.waiting_probes.expect_some();
        }
    }

    fn recovery(&self, event: &Event) -> Option<Arc<CacheBust>> {
        let EventKind::Recovered {
            episode,
            generation,
        } = event.kind
        else {
            return None;
        };
        Some(Arc::new(CacheBust {
            generation,
            episode,
            at: event.at,
            tags: self.tags.clone(),
            urls: self.urls.clone(),
        }))
    }

    /// Tells all listeners, after the gate is published and the lock is free (R16).
    fn tell(&self, news: News) {
        if !news.published {
            return;
        }
        // Sent without a recovery too: a task that sleeps to a deadline must learn of the new one.
        if let Some(bulletin) = self.bulletin.upgrade() {
            harmless(|| bulletin.send_modify(|bulletin| bulletin.update(news.recovery)));
        }
        if news.era_ended && !mutant!("the end of an era wakes no parked caller") {
            harmless(|| self.parked.notify_waiters());
        }
        for event in &news.events {
            harmless(|| trace(&self.partner, event));
        }
    }
}

// A panic leaves no state half changed: no user code runs under the lock, and a poisoned lock is
// taken as it is. So a handle or a service may be used on either side of a `catch_unwind`.
impl UnwindSafe for Shared {}
impl RefUnwindSafe for Shared {}

impl std::fmt::Debug for Shared {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Shared")
            .field("partner", &self.partner)
            .field("gate", &self.gate.read())
            .finish_non_exhaustive()
    }
}

fn notice(partner: &Arc<str>, extras: &Arc<Extras>, machine: &Machine, clock: &Clock) -> Notice {
    let held = machine.held();
    let until = machine.known_end();
    let deadline = clock.reading(machine.next_deadline());
    Notice {
        partner: partner.clone(),
        clock: clock.hands(),
        mode: machine.mode(),
        cause: machine.first_cause().unwrap_or(Cause::Tripped),
        causes: machine.causes(),
        episode: machine.episode(),
        published: (clock.reading(machine.now()), machine.wall_now()),
        since: machine.shut_since(),
        until: clock.reading(until),
        deadline: deadline.filter(|_| !mutant!("a refusal knows no deadline")),
        until_wall: until.known().map(|until| machine.wall_at(until)),
        is_promised: machine.promised_end().known().is_some(),
        generation: machine.generation(),
        read_only: machine.is_read_only(),
        message: held.and_then(|held| held.message.clone()),
        extras: extras.clone(),
    }
}

#[cfg(all(test, maintenance_loom))]
mod loom_tests;
