//! Where machine, gate, clock and listeners meet: the only lock, the only publish.
//!
//! Two paths go through this room. A *call* reads the gate's word and, while serving or refusing,
//! goes on without the lock; only near a deadline, for a slot, and to land its outcome does it meet
//! the machine. A *command* always takes the lock. Both leave by the same door: the machine decides,
//! the gate is published, the lock is let go, and only then is anybody told.
//!
//! In that order, because a listener may be slow, may panic, and may look back in here: nothing of
//! its kind ever runs under the lock.

pub(crate) mod gate;
pub(crate) mod journal;
pub(crate) mod root;

use std::{
    panic::{RefUnwindSafe, UnwindSafe},
    sync::{
        Arc, PoisonError, Weak,
        atomic::{AtomicBool, AtomicU64, Ordering},
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
        one_line::OneLine,
        published::Published,
        spare,
    },
    counting::lanes::{Counter, Lanes},
    error::CommandError,
    exemptions::{CallNames, Table},
    facts::{
        audit::{Action, AuditEntry},
        event::{Event, EventKind},
        mode::{Cause, Mode},
        outcome::{Outcome, Verdict},
        partner_word::{Heard, PartnerSays},
        recovery::{Bulletin, CacheBust},
        refused::{Notice, Refused},
        status::Status,
    },
    machine::{
        Asker, Birth, Command, Ending, Machine, Role, Traffic,
        word::{Op, Word, era_bits},
    },
    state::{gate::Gate, journal::Journal},
};

/// The state of one layer, shared by all its views, services, handles and calls.
pub(crate) struct Shared {
    partner: Arc<str>,
    clock: Clock,
    gate: Gate,
    /// The policy's `hang_limit` in nanoseconds, for those who must not wait for the lock.
    hang_limit: AtomicU64,
    machine: Mutex<Machine>,
    /// What refusals say; written before the word.
    notice: Published<Notice>,
    /// Whether reads pass; written before the word.
    reads_pass: AtomicBool,
    exemptions: Published<Table>,
    /// Whether a view gives plain calls names; it is only ever set.
    named: AtomicBool,
    /// What the partner says of itself: beside the machine, which never learns of it.
    heard: ArcSwap<Heard>,
    /// What is counted without the lock.
    lanes: Lanes,
    journal: std::sync::Mutex<Journal>,
    /// Gone when nobody is left to hear it.
    bulletin: Weak<watch::Sender<Bulletin>>,
    /// Callers who wait for the inner service's readiness, woken when an era ends.
    parked: Arc<Notify>,
    tags: Arc<[String]>,
    urls: Arc<[String]>,
    /// The generation it began with, if that is the time of its start, and no recovery's that was kept.
    #[cfg(feature = "http")]
    own_start: Option<u64>,
}

/// In which role and which era an admitted call lands.
pub(crate) type Admitted = (Role, u32);

/// What is to be told once the lock is free.
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
            exemptions,
            names,
            tags,
            urls,
        } = parts;
        let partner = birth.partner.clone();
        #[cfg(feature = "http")]
        let was_given = birth.generation.is_some();
        let machine = Machine::new(birth);
        let lanes = Lanes::new();
        if let Some(open) = machine.lanes() {
            lanes.open_while_locked(open);
        }
        let notice = Arc::new(notice(&partner, &machine));
        Self {
            #[cfg(feature = "http")]
            own_start: (!was_given).then(|| machine.generation()),
            clock,
            gate: Gate::new(Word::new(machine.op(), machine.era(), machine.generation())),
            reads_pass: notice.read_only.into(),
            notice: Published::new(notice),
            partner,
            hang_limit: AtomicU64::new(nanos(machine.rules().hang_limit)),
            machine: Mutex::new(machine),
            exemptions: Published::new(Arc::new(exemptions)),
            named: (names == CallNames::Given).into(),
            heard: ArcSwap::default(),
            lanes,
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

    /// What a recovery signal carries.
    #[cfg(feature = "http")]
    pub(crate) fn urls(&self) -> &[String] {
        &self.urls
    }

    /// Whether `generation` is but the time at which this process started: nothing has recovered since.
    #[cfg(feature = "http")]
    pub(crate) fn is_own_start(&self, generation: u64) -> bool {
        self.own_start == Some(generation)
    }

    #[inline]
    pub(crate) fn now(&self) -> Moment {
        self.clock.now()
    }

    /// The `hang_limit` in force, without the lock.
    pub(crate) fn hang_limit(&self) -> Duration {
        // Relaxed: a number by itself. Whoever replaces a policy and then hands on the news has ordered both.
        Duration::from_nanos(self.hang_limit.load(Ordering::Relaxed))
    }

    /// Where `moment` lies on tokio's clock, if it can be slept for.
    pub(crate) fn instant(&self, moment: Moment) -> Option<tokio::time::Instant> {
        self.clock.seen_at(moment)
    }

    // ---- calls --------------------------------------------------------------------------------

    /// What the gate says now.
    #[inline]
    pub(crate) fn word(&self) -> Word {
        self.gate.read()
    }

    /// Refuses by a word that says so, unless something has fallen due that the machine must apply first. Without
    /// a pending deadline it reads no clock, otherwise once.
    #[inline(always)]
    pub(crate) fn refuse_at_once(&self) -> Option<Refused> {
        let deadline = self.gate.deadline();
        let mut looked = None;
        if deadline != Moment::NEVER {
            let now = self.now();
            if now >= deadline {
                return None;
            }
            looked = Some(now);
        }
        Some(self.refuse(looked))
    }

    #[inline]
    pub(crate) fn count_admitted(&self, thread: usize) {
        self.lanes.count_by(thread, Counter::Admitted);
    }

    /// Asks to be let through to the partner: the role and the era to land in.
    pub(crate) fn admit(&self, asker: Asker) -> Result<Admitted, Refused> {
        let word = self.gate.read();
        let mut looked = None;
        let admitted = match word.op() {
            Op::Serve => Some((Role::Plain, word.era())),
            Op::ServeUntil => {
                let now = self.now();
                let asked = if now < self.gate.deadline() {
                    None
                } else {
                    self.ask(now, |machine| machine.admit(asker))
                };
                // Serving with a deadline refuses nobody because of a lock.
                asked.unwrap_or(Some((Role::Plain, word.era())))
            }
            Op::Refuse => self.ask_if_due(&mut looked, |machine| machine.admit(asker)),
            Op::Ask => self
                .ask(self.now(), |machine| machine.admit(asker))
                .flatten(),
        };
        match admitted {
            Some(admitted) => {
                self.lanes.count(Counter::Admitted);
                Ok(admitted)
            }
            None => Err(self.refuse(looked)),
        }
    }

    /// Asks to be let through before one's own routes: nothing is measured, no slot is taken.
    pub(crate) fn pass(&self, asker: Asker) -> Result<u32, Refused> {
        let word = self.gate.read();
        let mut looked = None;
        let lets = |machine: &mut Machine| machine.lets_through(asker).then_some(Role::Plain);
        let passed = match word.op() {
            Op::Serve => return Ok(word.era()),
            Op::ServeUntil => {
                let now = self.now();
                if now < self.gate.deadline() {
                    return Ok(word.era());
                }
                self.ask(now, lets)
                    .unwrap_or(Some((Role::Plain, word.era())))
            }
            Op::Refuse => self.ask_if_due(&mut looked, lets),
            Op::Ask => self.ask(self.now(), lets).flatten(),
        };
        passed
            .map(|(_, era)| era)
            .ok_or_else(|| self.refuse(looked))
    }

    /// The era in which a read-only hold lets a read pass now; it is counted as passed.
    pub(crate) fn read_only(&self) -> Option<u32> {
        let word = self.gate.read();
        // Written before the word, and only ever too new: then the machine has decided so.
        if word.op() != Op::Refuse || !self.reads_pass.load(Ordering::Relaxed) {
            return None;
        }
        // Time may have ended the hold; who asks in the ordinary way moves it.
        let deadline = self.gate.deadline().known();
        if deadline.is_some_and(|deadline| deadline <= self.now()) {
            return None;
        }
        self.lanes.count(Counter::Reads);
        Some(word.era())
    }

    /// Whether the era of an admission is still the present one.
    pub(crate) fn is_current(&self, era: u32) -> bool {
        self.gate.read().era() == era
    }

    /// Whether the era of an admission is the present one once what fell due is applied: a call that
    /// waits looks too (R11), or a probe whose lease is over would reach the partner.
    pub(crate) fn lasts(&self, era: u32) -> bool {
        if !self.is_current(era) {
            return false;
        }
        if let Some(deadline) = self.gate.deadline().known() {
            let now = self.now();
            // Tries the lock only (R3). A failed try is a no where the gate is not open: whoever holds
            // it may be ending this very era.
            if deadline <= now && self.ask(now, |_| None).is_none() && !self.is_serving() {
                return false;
            }
        }
        self.is_current(era)
    }

    /// Whether the gate neither refuses nor asks.
    #[inline]
    pub(crate) fn is_serving(&self) -> bool {
        matches!(self.gate.read().op(), Op::Serve | Op::ServeUntil)
    }

    pub(crate) fn generation(&self) -> u64 {
        self.gate.read().generation()
    }

    /// The generation once what fell due is applied. Without a deadline that has passed it takes no lock, and otherwise only
    /// tries (R3): whoever has it is moving the state at this moment, and which of the two comes first nobody can say.
    #[cfg(feature = "http")]
    pub(crate) fn generation_now(&self) -> u64 {
        if let Some(deadline) = self.gate.deadline().known() {
            let now = self.now();
            if deadline <= now {
                self.ask(now, |_| None);
            }
        }
        self.generation()
    }

    /// Asks the machine if the deadline may have passed; a refusal without one reads no clock, and one with it
    /// reads it once: what it said is left in `looked`.
    fn ask_if_due(
        &self,
        looked: &mut Option<Moment>,
        question: impl FnOnce(&mut Machine) -> Option<Role>,
    ) -> Option<Admitted> {
        let deadline = self.gate.deadline().known()?;
        let now = self.now();
        *looked = Some(now);
        if now < deadline {
            return None;
        }
        self.ask(now, question).flatten()
    }

    /// Asks the machine, if nobody else is moving it: a refusal never waits (R3).
    fn ask(
        &self,
        now: Moment,
        question: impl FnOnce(&mut Machine) -> Option<Role>,
    ) -> Option<Option<Admitted>> {
        let machine = match self.machine.try_lock() {
            Ok(machine) => machine,
            Err(std::sync::TryLockError::Poisoned(poisoned)) => poisoned.into_inner(),
            Err(std::sync::TryLockError::WouldBlock) => return None,
        };
        Some(self.moved(machine, now, |machine| {
            let role = question(machine)?;
            Some((role, era_bits(machine.era())))
        }))
    }

    /// `looked` is what the clock said, if it was looked at already.
    #[inline(always)]
    pub(crate) fn refuse(&self, looked: Option<Moment>) -> Refused {
        let notice = self.refusing();
        let left = notice.until.known().map(|until| {
            let now = looked.unwrap_or_else(|| self.now());
            until.0.saturating_sub(now.0)
        });
        Refused::new(notice, left)
    }

    /// Counts a refusal; returns what it says.
    #[inline(always)]
    fn refusing(&self) -> Arc<Notice> {
        let notice = spare::with(|here| {
            self.lanes.count_by(here.number(), Counter::Refused);
            self.notice.get(here.take_notice())
        });
        notice.unwrap_or_else(|| self.refusing_while_the_thread_ends())
    }

    #[cold]
    #[inline(never)]
    fn refusing_while_the_thread_ends(&self) -> Arc<Notice> {
        self.lanes.count(Counter::Refused);
        self.notice.get(None)
    }

    /// Takes a slot for a synthetic ping; it may wait for the lock, and is nobody's refusal.
    pub(crate) fn admit_ping(&self) -> Option<(Role, u32, Moment)> {
        let now = self.now();
        let role = self.locked(|machine| {
            machine
                .admit(Asker::Ping)
                .map(|role| (role, era_bits(machine.era()), now))
        })?;
        self.lanes.count(Counter::Admitted);
        Some(role)
    }

    pub(crate) fn count_exempt(&self) {
        self.lanes.count(Counter::Exempt);
    }

    /// Admits what is counted without being gated (an exempt call whose exemption asks for it): only in Serving.
    pub(crate) fn admit_counted(&self) -> Option<Admitted> {
        let word = self.gate.read();
        matches!(word.op(), Op::Serve | Op::ServeUntil).then(|| {
            self.lanes.count(Counter::Admitted);
            (Role::Plain, word.era())
        })
    }

    /// The inner service failed before it took a call: a failed call of the present era (R7).
    pub(crate) fn unready(&self) {
        if let Some((role, era)) = self.admit_counted() {
            self.judged(role, era, Outcome::Failure.into(), Moment::NEVER);
        }
    }

    /// Lands the verdict on an admitted call that began at `began`.
    #[inline(always)]
    pub(crate) fn judged(&self, role: Role, era: u32, verdict: Verdict, began: Moment) {
        let answered_at_once = began == Moment::NEVER && is_plain_success(role, verdict);
        if !(answered_at_once && self.land_at_once(era)) {
            // Made anew, so that those who land need none in memory.
            let Verdict {
                outcome,
                retry_after,
                code,
            } = verdict;
            let verdict = Verdict {
                outcome,
                retry_after,
                code,
            };
            self.judged_later(role, era, verdict, began);
        }
    }

    /// Whoever waited has time for a call.
    #[inline(never)]
    fn judged_later(&self, role: Role, era: u32, verdict: Verdict, began: Moment) {
        if began != Moment::NEVER && is_plain_success(role, verdict) {
            let now = self.now();
            if self.lanes.land(era, now.0.saturating_sub(began.0), now) {
                return;
            }
        }
        self.judged_locked(role, era, verdict, began);
    }

    #[inline(always)]
    fn land_at_once(&self, era: u32) -> bool {
        match self.clock.look() {
            Some(instant) => self.lanes.land_at_once(era, instant, &self.clock),
            None => self.lanes.land_at_once(era, self.now(), &self.clock),
        }
    }

    #[cold]
    fn judged_locked(&self, role: Role, era: u32, verdict: Verdict, began: Moment) {
        let now = self.now();
        let took = now.since(began);
        self.settle(role, era, Ending::Judged { verdict, took }, now);
    }

    /// Lands the end of an admitted call.
    #[cold]
    pub(crate) fn settle(&self, role: Role, era: u32, ending: Ending, now: Moment) {
        self.locked_at(now, |machine| machine.settle(role, era, ending));
    }

    /// Resolves when the present era ends.
    pub(crate) fn era_ends(&self) -> tokio::sync::futures::OwnedNotified {
        self.parked.clone().notified_owned()
    }

    // ---- operators and listeners --------------------------------------------------------------

    /// Carries out a command; `table` are the exemptions that it puts in force.
    pub(crate) fn command(
        &self,
        action: Action,
        command: Command,
        table: Option<Table>,
        actor: Arc<str>,
        reason: Arc<str>,
    ) -> Result<(bool, Status), CommandError> {
        let now = self.now();
        let (changed, status) = self.locked_at(now, |machine| {
            let changed = machine.command(command, &actor, &reason)?;
            // Under the lock, so that the last in the audit trail is the one in force.
            if let Some(table) = table {
                self.exemptions.publish(Arc::new(table));
            }
            let entry = AuditEntry {
                number: 0,
                at: machine.wall_now(),
                actor,
                reason,
                action,
                changed,
            };
            // Under both locks, so that commands and events stand in one order.
            self.journal().write_command(entry);
            Ok::<_, CommandError>((changed, machine.status()))
        })?;
        Ok((changed, self.with_partners_word(status, now)))
    }

    pub(crate) fn status(&self) -> Status {
        let now = self.now();
        let status = self.locked_at(now, |machine| machine.status());
        self.with_partners_word(status, now)
    }

    fn with_partners_word(&self, mut status: Status, now: Moment) -> Status {
        self.heard.load().add_to(&mut status, now);
        status
    }

    /// Notes what the partner says of itself; traced when it says something else.
    pub(crate) fn partner_says(&self, says: PartnerSays) {
        let now = self.now();
        let before = self
            .heard
            .rcu(|heard| Arc::new(heard.with_word(says.clone(), now)));
        if !before.is_same_word(&says) {
            let indicator = says.indicator().as_str();
            let description = says.description();
            harmless(|| {
                tracing::info!(
                    partner = %OneLine(&self.partner),
                    indicator,
                    description,
                    "the partner says"
                );
            });
        }
    }

    /// Notes that the partner's word could not be read; traced when it is for another reason.
    pub(crate) fn partner_unreadable(&self, error: Arc<str>) {
        let now = self.now();
        let before = self
            .heard
            .rcu(|heard| Arc::new(heard.with_error(error.clone(), now)));
        if !before.is_same_error(&error) {
            let error = &*error;
            harmless(|| {
                tracing::warn!(
                    partner = %OneLine(&self.partner),
                    error,
                    "the partner's word cannot be read"
                );
            });
        }
    }

    /// Moves time; returns the next deadline.
    pub(crate) fn look(&self) -> Moment {
        self.locked(|machine| machine.next_deadline())
    }

    /// Reads the journal, with the machine's lock in hand as whoever writes it: so a call that got that
    /// lock by trying finds this one free, and waits for nobody (R3).
    pub(crate) fn read_journal<T>(&self, f: impl FnOnce(&Journal) -> T) -> T {
        self.locked(|_| f(&self.journal()))
    }

    fn journal(&self) -> std::sync::MutexGuard<'_, Journal> {
        self.journal.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Looks at the exemptions in force, and leaves them to the next call on this thread.
    #[inline]
    pub(crate) fn with_exemptions<T>(&self, look: impl FnOnce(&Table) -> T) -> T {
        let table = self.exemptions.get(spare::take_exemptions());
        let seen = look(&table);
        spare::leave_exemptions(table);
        seen
    }

    pub(crate) fn calls_have_names(&self) {
        // Relaxed: guards nothing but a helpful error.
        self.named.store(true, Ordering::Relaxed);
    }

    pub(crate) fn call_names(&self) -> CallNames {
        if self.named.load(Ordering::Relaxed) {
            CallNames::Given
        } else {
            CallNames::Unknown
        }
    }

    /// Runs `f` on the machine, at the present moment, and tells what came of it.
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
        // First what has landed: before anything is judged, or shown.
        self.lanes
            .drain_while_locked(|landed| machine.landed(landed));
        machine.tick(now, self.traffic());
        let answer = f(&mut machine);
        let news = self.publish(&mut machine);
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

    /// Publishes what the machine decided, under its lock; what is to be told goes out as a value.
    fn publish(&self, machine: &mut Machine) -> News {
        let deadline = machine.next_deadline();
        let word = Word::new(machine.op(), machine.era(), machine.generation());
        let before = self.gate.read();
        let events = machine.take_events();
        let lanes = machine.lanes();
        let lanes_stand = self.lanes.stand_while_locked(lanes);
        if !lanes_stand {
            // What landed since the drain was in time: it did so before this era, this window, this failure's run ends.
            self.lanes
                .close_while_locked(|landed| machine.landed(landed));
        }
        let open = || {
            if let (false, Some(open)) = (lanes_stand, lanes) {
                self.lanes.open_while_locked(open);
            }
        };
        if word == before && deadline == self.gate.deadline() && events.is_empty() {
            open();
            return News::default();
        }
        if !events.is_empty() || word.generation() != before.generation() {
            // The notice first: a refusal that reads the new word must not show the old reason.
            let notice = notice(&self.partner, machine);
            self.reads_pass.store(notice.read_only, Ordering::Relaxed);
            self.notice.publish(Arc::new(notice));
            // A replaced policy is an event too.
            self.hang_limit
                .store(nanos(machine.rules().hang_limit), Ordering::Relaxed);
        }
        self.gate.publish_while_locked(word, deadline);
        open();
        let recovery = events.iter().rev().find_map(|event| self.recovery(event));
        self.journal().write(&events, machine.take_ended());
        News {
            published: true,
            recovery,
            era_ended: before.era() != word.era(),
            events,
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

    /// Tells everybody, after the lock is free and the flag has cleared (R16).
    fn tell(&self, news: News) {
        if !news.published {
            return;
        }
        // Also without a recovery: whoever sleeps to a deadline must learn of the new one.
        if let Some(bulletin) = self.bulletin.upgrade() {
            harmless(|| bulletin.send_modify(|bulletin| bulletin.update(news.recovery)));
        }
        if news.era_ended {
            harmless(|| self.parked.notify_waiters());
        }
        for event in &news.events {
            harmless(|| trace(&self.partner, event));
        }
    }
}

// A panic leaves nothing half done in here: no user's code runs under the lock, and a poisoned lock is
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

/// Whether it may change nothing but a number.
#[inline]
fn is_plain_success(role: Role, verdict: Verdict) -> bool {
    role == Role::Plain && verdict.outcome == Outcome::Success && verdict.retry_after.is_none()
}

fn notice(partner: &Arc<str>, machine: &Machine) -> Notice {
    let held = machine.held();
    let until = machine.known_end();
    Notice {
        partner: partner.clone(),
        mode: machine.mode(),
        cause: machine.first_cause().unwrap_or(Cause::Tripped),
        since: machine.shut_since(),
        until,
        until_wall: until.known().map(|until| machine.wall_at(until)),
        promised_end: machine
            .promised_end()
            .known()
            .map(|end| machine.wall_at(end)),
        generation: machine.generation(),
        read_only: machine.is_read_only(),
        message: held.and_then(|held| held.message.clone()),
    }
}

/// One tracing event for what happened; warnings are what an operator should look at.
fn trace(partner: &str, event: &Event) {
    let (partner, number) = (OneLine(partner), event.number);
    match &event.kind {
        EventKind::ModeChanged {
            from,
            to: Mode::Serving,
        } => tracing::info!(%partner, number, %from, "serving again"),
        EventKind::ModeChanged { from, to } => {
            tracing::warn!(%partner, number, %from, %to, "mode changed")
        }
        EventKind::Tripped { evidence, wait } => {
            tracing::warn!(%partner, number, %evidence, ?wait, "tripped")
        }
        EventKind::WouldHaveTripped { evidence, wait } => {
            tracing::warn!(%partner, number, %evidence, ?wait, "would have entered maintenance")
        }
        EventKind::WaitingForProbe => tracing::warn!(
            %partner,
            number,
            "no request that may probe has come for a whole wait: give the layer a synthetic ping, or let more requests probe with `may_probe`"
        ),
        EventKind::HoldEngaged {
            actor,
            reason,
            read_only,
            ..
        } => {
            tracing::warn!(%partner, number, actor = %OneLine(actor), reason = %OneLine(reason), read_only, "held by an operator")
        }
        EventKind::HoldEnded { expired } => {
            tracing::warn!(%partner, number, expired, "the operator's hold ended")
        }
        EventKind::EpisodeBegan { episode, cause } => {
            tracing::warn!(%partner, number, episode, %cause, "episode began")
        }
        EventKind::Recovered {
            episode,
            generation,
        } => tracing::info!(
            %partner,
            number,
            episode,
            generation,
            "recovered: caches are told"
        ),
        EventKind::Switched { switches } => tracing::warn!(
            %partner,
            number,
            dry_run = switches.dry_run,
            bypass = switches.bypass,
            "switched"
        ),
        EventKind::RampBegan { duration } => {
            tracing::info!(%partner, number, ?duration, "traffic grows")
        }
        EventKind::ShadowEnded => tracing::info!(%partner, number, "would be serving again"),
        EventKind::PolicyReplaced => tracing::info!(%partner, number, "policy replaced"),
        EventKind::ExemptionsReplaced => tracing::info!(%partner, number, "exemptions replaced"),
        EventKind::WindowReset => tracing::info!(%partner, number, "window reset"),
    }
}

#[cfg(all(test, maintenance_loom))]
mod loom_tests;
