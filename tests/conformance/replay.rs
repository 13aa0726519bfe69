//! Replays one case through the public API: a layer around a partner that answers when told to, on
//! a clock that moves when told to.
//!
//! The layer is not looked at between two steps. What falls due meanwhile must be the same (R11).

use std::{
    any::Any,
    collections::{BTreeMap, HashMap, VecDeque, hash_map::Entry},
    future::Future,
    panic::{AssertUnwindSafe, catch_unwind, resume_unwind},
    pin::Pin,
    task::{Context, Poll, Waker},
    time::Duration,
};

use tokio::{sync::oneshot, task::unconstrained};
use tower::{Layer, Service};
use tower_maintenance::{
    CacheBusts, Calls, Cause, Error, EventKind, Events, Exemption, Hold, Judge, Maintenance,
    MaintenanceHandle, MaintenanceLayer, Mode, Policy, ResponseFuture, Status, Verdict,
};

use crate::form::{Accepted, Action, Case, Config, Expect, Op, Outcome, Reading, State, Step};

/// How a case ended.
#[derive(Debug)]
pub(crate) enum Ended {
    Passed,
    Failed(String),
    Skipped(String),
}

pub(crate) fn replay(case: &Case) -> Ended {
    let (policy, slow) = match &case.config {
        Config::Decided(what) => return Ended::Skipped(format!("decided otherwise: {what}")),
        Config::Rules { policy, slow } => (policy, *slow),
    };
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .start_paused(true)
        .build()
        .expect("a runtime without I/O needs nothing that could be missing");
    let replayed = catch_unwind(AssertUnwindSafe(|| {
        // Unconstrained: tokio must not delay a task for fairness because it had many answers in a
        // row.
        runtime.block_on(unconstrained(async {
            let mut replay = Replay::new(policy, slow, &case.steps)?;
            replay.run().await
        }))
    }));
    match replayed {
        Ok(Ok(())) => Ended::Passed,
        Ok(Err(why)) => Ended::Failed(why),
        Err(panic) => Ended::Failed(format!("panicked: {}", message(&*panic))),
    }
}

fn message(panic: &(dyn Any + Send)) -> &str {
    let text = panic.downcast_ref::<String>().map(String::as_str);
    text.or_else(|| panic.downcast_ref::<&str>().copied())
        .unwrap_or("with something else than a message")
}

// ---- the partner --------------------------------------------------------------------------------

/// Answers each request when its sender says so, and with the outcome that it says.
#[derive(Debug, Clone)]
struct Partner;

struct Request {
    name: &'static str,
    answer: oneshot::Receiver<Outcome>,
}

#[derive(Debug, PartialEq, Eq)]
enum Trouble {
    Down,
    /// An outcome that says nothing about the partner.
    OurOwn,
}

const EXEMPT: &str = "exempt";

impl Service<Request> for Partner {
    type Response = ();
    type Error = Trouble;
    type Future = Pin<Box<dyn Future<Output = Result<(), Trouble>>>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Trouble>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request) -> Self::Future {
        Box::pin(async move {
            let answer = request.answer.await;
            match answer.expect("the sender lives as long as the call") {
                Outcome::Ok | Outcome::SlowOk => Ok(()),
                Outcome::Err | Outcome::SlowErr => Err(Trouble::Down),
                Outcome::Ignored => Err(Trouble::OurOwn),
                // Unwinds as any panic does, without the hook that would print it.
                Outcome::Panic => resume_unwind(Box::new("the partner's code panicked")),
                Outcome::Dropped => unreachable!("a call that is dropped gets no answer"),
            }
        })
    }
}

#[derive(Debug, Clone, Copy)]
struct Judged;

impl Judge<Request, (), Trouble> for Judged {
    fn name<'r>(&self, request: &'r Request) -> Option<&'r str> {
        Some(request.name)
    }

    fn verdict(&self, result: Result<&(), &Trouble>) -> Verdict {
        use tower_maintenance::Outcome::{Failure, Success};
        match result {
            Ok(()) => Success.into(),
            Err(Trouble::Down) => Failure.into(),
            Err(Trouble::OurOwn) => Verdict::ours(),
        }
    }
}

type Protocol = Calls<Judged>;
type Response = ResponseFuture<<Partner as Service<Request>>::Future, Partner, Request, Protocol>;

/// A call that was let in.
struct InFlight {
    response: Pin<Box<Response>>,
    answer: oneshot::Sender<Outcome>,
}

impl InFlight {
    fn poll(&mut self) -> Poll<Result<(), Error<Trouble>>> {
        let mut context = Context::from_waker(Waker::noop());
        self.response.as_mut().poll(&mut context)
    }

    /// Ends the call with `outcome`, and checks that the caller gets what the partner gave.
    fn end(mut self, outcome: Outcome) -> Result<(), String> {
        if outcome == Outcome::Dropped {
            return Ok(());
        }
        let (answer, _) = oneshot::channel();
        let answer = std::mem::replace(&mut self.answer, answer);
        if answer.send(outcome).is_err() {
            return Err("the request was let in, and did not reach the partner".into());
        }
        let got = catch_unwind(AssertUnwindSafe(|| self.poll()));
        let same = match outcome {
            Outcome::Ok | Outcome::SlowOk => matches!(got, Ok(Poll::Ready(Ok(())))),
            Outcome::Err | Outcome::SlowErr => {
                matches!(got, Ok(Poll::Ready(Err(Error::Inner(Trouble::Down)))))
            }
            Outcome::Ignored => {
                matches!(got, Ok(Poll::Ready(Err(Error::Inner(Trouble::OurOwn)))))
            }
            Outcome::Panic => got.is_err(),
            Outcome::Dropped => true,
        };
        if same {
            return Ok(());
        }
        Err(format!("the partner's {outcome:?} came through as {got:?}"))
    }
}

// ---- the replay ---------------------------------------------------------------------------------

struct Replay<'c> {
    steps: &'c [Step],
    /// The limit of a slow call, if the case has one.
    slow: Option<Duration>,
    service: Maintenance<Partner, Protocol>,
    handle: MaintenanceHandle,
    witness: Witness,
    /// The time since the case began.
    now: Duration,
    /// How far the clock is ahead of the steps.
    ahead: Duration,
    /// The calls of `call` under way, by when they end. Calls that end together end in the order in
    /// which they began.
    ending: BTreeMap<(Duration, u64), Ending>,
    calls: u64,
    /// The calls of `start` under way, by id.
    started: HashMap<String, Started>,
    seen: Vec<Seen>,
    /// How many calls have ended too late for their era.
    late: u64,
    /// Commands that the layer refused. They are no failure of the case, but may explain one.
    refused_commands: Vec<String>,
}

/// A call under way that will end by itself.
struct Ending {
    call: InFlight,
    outcome: Outcome,
    turn: Turn,
}

/// The calls of one `start`. A refused call has `None` in its place.
struct Started {
    step: usize,
    calls: VecDeque<Option<InFlight>>,
    outcome: Option<Outcome>,
}

/// The results of the calls of one step.
#[derive(Debug, Clone, Copy, Default)]
struct Seen {
    /// How many calls were let in. For a `finish`, how many outcomes counted.
    many: u64,
    /// Whether the last outcome counted. While the call is under way, whether it was let in.
    last: Option<bool>,
}

/// One call, start, finish or command. A step that repeats has several turns.
#[derive(Debug, Clone, Copy)]
struct Turn {
    at: Duration,
    step: usize,
    last: bool,
}

const ACTOR: &str = "conformance";
const REASON: &str = "a step of the case";

impl<'c> Replay<'c> {
    fn new(policy: &Policy, slow: Option<Duration>, steps: &'c [Step]) -> Result<Self, String> {
        let layer = MaintenanceLayer::builder("partner")
            .policy(policy.clone())
            .exempt(Exemption::call(EXEMPT, "the case says so"))
            .build()
            .map_err(|error| error.to_string())?
            .judged(Judged);
        let handle = layer.handle();
        Ok(Self {
            steps,
            slow,
            service: layer.layer(Partner),
            witness: Witness::new(&handle),
            handle,
            now: Duration::ZERO,
            ahead: Duration::ZERO,
            ending: BTreeMap::new(),
            calls: 0,
            started: HashMap::new(),
            seen: vec![Seen::default(); steps.len()],
            late: 0,
            refused_commands: Vec::new(),
        })
    }

    async fn run(&mut self) -> Result<(), String> {
        let mut turns: Vec<_> = self.steps.iter().enumerate().flat_map(turns).collect();
        // A step that repeats may last beyond the beginning of the next step.
        turns.sort_by_key(|turn| turn.at);

        for (index, turn) in turns.iter().enumerate() {
            let next = turns.get(index + 1).map(|next| next.at);
            let played = self.play(*turn, next).await;
            played.map_err(|why| self.explain(&self.steps[turn.step].place, &why))?;
        }
        self.part().map_err(|why| self.explain("at the end", &why))
    }

    async fn play(&mut self, turn: Turn, next: Option<Duration>) -> Result<(), String> {
        let expect = &self.steps[turn.step].expect;
        self.run_to(turn.at + self.ahead).await?;
        let permitted = self.take(turn).await?;
        self.witness.look()?;
        match (permitted, expect.permitted) {
            (Some(true), Some(false)) => return Err("the call was let in".into()),
            (Some(false), Some(true)) => return Err("the call was refused".into()),
            _ => {}
        }
        if turn.last {
            let next = next.map(|next| next + self.ahead);
            self.end_before(turn.step, next).await?;
            let wrong = self.check(turn.step, permitted.is_none());
            if !wrong.is_empty() {
                return Err(wrong.join(", "));
            }
        }
        Ok(())
    }

    /// Does what a step says. For a call, returns whether it was let in.
    async fn take(&mut self, turn: Turn) -> Result<Option<bool>, String> {
        let steps = self.steps;
        match &steps[turn.step].op {
            Op::Call {
                outcome,
                took,
                exempt,
            } => {
                let Some(call) = self.admit(*exempt, turn)? else {
                    return Ok(Some(false));
                };
                self.let_run(call, *outcome, *took, turn).await?;
                Ok(Some(true))
            }
            Op::Start {
                id,
                outcome,
                exempt,
            } => {
                let call = self.admit(*exempt, turn)?;
                let admitted = call.is_some();
                let name_is_free = self.started.get(id).is_none_or(|group| {
                    group.step != turn.step && group.calls.iter().all(Option::is_none)
                });
                if name_is_free {
                    let group = Started {
                        step: turn.step,
                        calls: VecDeque::new(),
                        outcome: *outcome,
                    };
                    self.started.insert(id.clone(), group);
                }
                let group = self
                    .started
                    .get_mut(id)
                    .expect("inserted if it was missing");
                if group.step != turn.step {
                    return Err(format!("{id} is under way already"));
                }
                group.calls.push_back(call);
                Ok(Some(admitted))
            }
            Op::Finish { id, outcome } => {
                self.finish(id, *outcome, turn)?;
                Ok(None)
            }
            Op::Control(action) => {
                self.control(*action, turn);
                Ok(None)
            }
            Op::Look => Ok(None),
        }
    }

    /// Sends a request through the layer. Returns `None` if it is refused.
    fn admit(&mut self, exempt: bool, turn: Turn) -> Result<Option<InFlight>, String> {
        let (answer, receiver) = oneshot::channel();
        let request = Request {
            name: if exempt { EXEMPT } else { "call" },
            answer: receiver,
        };
        let mut service = self.service.clone();
        let mut context = Context::from_waker(Waker::noop());
        let ready = service.poll_ready(&mut context);
        if !matches!(ready, Poll::Ready(Ok(()))) {
            return Err(format!("the service is not ready: {ready:?}"));
        }
        let mut call = InFlight {
            response: Box::pin(service.call(request)),
            answer,
        };
        let admitted = match call.poll() {
            Poll::Pending => Some(call),
            Poll::Ready(Err(Error::Refused(_))) => None,
            other @ Poll::Ready(_) => {
                return Err(format!("answered before the partner did: {other:?}"));
            }
        };
        let seen = &mut self.seen[turn.step];
        seen.many += u64::from(admitted.is_some());
        seen.last = Some(admitted.is_some());
        Ok(admitted)
    }

    /// Lets a call of a `call` end when it is to end, or at once if it takes no time.
    async fn let_run(
        &mut self,
        call: InFlight,
        outcome: Outcome,
        took: Option<Duration>,
        turn: Turn,
    ) -> Result<(), String> {
        // A slow call without a duration ends at once for the steps, and as late as it must for the
        // layer. All later steps are delayed by as much.
        let implied = match (took, self.slow) {
            (None, Some(limit)) if outcome.is_slow() => limit + Duration::from_millis(1),
            _ => Duration::ZERO,
        };
        self.ahead += implied;
        let end = self.now + took.unwrap_or(implied);
        self.calls += 1;
        let ending = Ending {
            call,
            outcome,
            turn,
        };
        self.ending.insert((end, self.calls), ending);
        if took.unwrap_or_default().is_zero() {
            self.run_to(end).await?;
        }
        Ok(())
    }

    /// Ends what was started under `id`: one call per turn if the step repeats, else all of them.
    fn finish(&mut self, id: &str, outcome: Option<Outcome>, turn: Turn) -> Result<(), String> {
        let Entry::Occupied(mut group) = self.started.entry(id.into()) else {
            return Err(format!("{id} is not under way"));
        };
        let outcome = outcome
            .or(group.get().outcome)
            .ok_or("neither start nor finish has an outcome")?;
        let calls = &mut group.get_mut().calls;
        let most = if self.steps[turn.step].repeat > 1 {
            1
        } else {
            calls.len()
        };
        let ending: Vec<_> = calls.drain(..most.min(calls.len())).collect();
        if calls.is_empty() {
            group.remove();
        }
        for call in ending {
            // A refused call has no outcome to count.
            let counted = match call {
                Some(call) => self.end(call, outcome)?,
                None => false,
            };
            let seen = &mut self.seen[turn.step];
            seen.many += u64::from(counted);
            seen.last = Some(counted);
        }
        Ok(())
    }

    /// Ends a call, and returns whether its outcome came in time for its era.
    fn end(&mut self, call: InFlight, outcome: Outcome) -> Result<bool, String> {
        call.end(outcome)?;
        let late = self.handle.status().calls.late;
        let counted = late == self.late;
        self.late = late;
        self.witness.look()?;
        Ok(counted)
    }

    fn control(&mut self, action: Action, turn: Turn) {
        let handle = &self.handle;
        let done = match action {
            Action::Open => handle.trip(ACTOR, REASON),
            Action::HalfOpen => handle.probe_now(ACTOR, REASON),
            Action::Close => handle.clear(ACTOR, REASON),
            Action::ForceOpen => handle.engage(Hold::new(ACTOR, REASON)),
            Action::MetricsOnly => handle.dry_run(ACTOR, REASON),
            Action::Reset => handle.reset(ACTOR, REASON),
        };
        if let Err(error) = done {
            let place = &self.steps[turn.step].place;
            self.refused_commands
                .push(format!("{place} was refused: {error}"));
        }
    }

    // ---- the clock ------------------------------------------------------------------------------

    /// Moves the clock to `until`, from one end of a call to the next.
    async fn run_to(&mut self, until: Duration) -> Result<(), String> {
        while let Some(first) = self.ending.first_entry() {
            let (at, _) = *first.key();
            if at > until {
                break;
            }
            let Ending {
                call,
                outcome,
                turn,
            } = first.remove();
            self.advance_to(at).await;
            let counted = self.end(call, outcome)?;
            if turn.last {
                self.seen[turn.step].last = Some(counted);
            }
        }
        self.advance_to(until).await;
        Ok(())
    }

    async fn advance_to(&mut self, at: Duration) {
        if let Some(span) = at.checked_sub(self.now).filter(|span| !span.is_zero()) {
            tokio::time::advance(span).await;
            self.now = at;
        }
    }

    /// Ends the calls of `step`, if all of them end before the `next` turn.
    async fn end_before(&mut self, step: usize, next: Option<Duration>) -> Result<(), String> {
        let ends = self.ending.iter().rev();
        let last = ends
            .filter(|(_, ending)| ending.turn.step == step)
            .map(|((at, _), _)| *at)
            .next();
        match last {
            Some(last) if next.is_none_or(|next| last <= next) => self.run_to(last).await,
            _ => Ok(()),
        }
    }

    // ---- expectations ---------------------------------------------------------------------------

    /// The differences from the expectations of the step.
    fn check(&self, step: usize, no_call: bool) -> Vec<String> {
        let Expect {
            states,
            permitted,
            accepted,
            readings,
        } = &self.steps[step].expect;
        let seen = self.seen[step];
        let status = self.handle.status();
        let mut wrong = Vec::new();

        let state = state(&status);
        if let Some(states) = states.as_ref().filter(|states| !states.contains(&state)) {
            let names: Vec<_> = states.iter().map(|state| state.name()).collect();
            wrong.push(format!(
                "state is {}, expected {}",
                state.name(),
                names.join(" or ")
            ));
        }
        // Where no call was made, the status tells whether one would be let in.
        if let Some(wanted) = permitted.filter(|wanted| no_call && *wanted != would_let_in(&status))
        {
            wrong.push(format!("permitted is {}, expected {wanted}", !wanted));
        }
        match *accepted {
            Some(Accepted::Many(many)) if many != seen.many => {
                wrong.push(format!("accepted is {}, expected {many}", seen.many));
            }
            Some(Accepted::Counted(counted)) if seen.last != Some(counted) => {
                let was = match seen.last {
                    Some(was) => was.to_string(),
                    None => "of no call".into(),
                };
                wrong.push(format!("accepted is {was}, expected {counted}"));
            }
            Some(Accepted::Many(_) | Accepted::Counted(_)) | None => {}
        }
        for (name, reading, wanted) in readings {
            let read = self.read(*reading, &status);
            let absent =
                *wanted == Some(0.0) && read.is_none() && nothing_is_none(*reading, &status);
            let same = match (read, *wanted) {
                (Some(read), Some(wanted)) => (read - wanted).abs() <= TOLERANCE,
                (read, wanted) => read == wanted,
            };
            if !same && !absent {
                wrong.push(format!(
                    "{name} is {}, expected {}",
                    shown(read),
                    shown(*wanted)
                ));
            }
        }
        wrong
    }

    fn read(&self, reading: Reading, status: &Status) -> Option<f64> {
        let window = &status.window;
        let counted = &self.witness;
        let number = match reading {
            Reading::Total => window.total,
            Reading::Failed => window.failed,
            Reading::Succeeded => window.succeeded,
            Reading::Slow => window.slow,
            Reading::FailureRate => return window.failure_rate,
            Reading::SlowRate => return window.slow_rate,
            Reading::NotPermitted => status.refused_in_mode,
            Reading::RetryAfterMs => {
                return status.retry_after.map(|left| left.as_secs_f64() * 1000.0);
            }
            Reading::Permits => status.probing.map(|probing| u64::from(probing.free))?,
            Reading::Transitions => counted.transitions,
            Reading::ToOpen => counted.to_open,
            Reading::ToHalfOpen => counted.to_half_open,
            Reading::ToClosed => counted.to_closed,
            Reading::Recoveries => counted.recoveries,
        };
        Some(number as f64)
    }

    /// Drops everything that is under way. Whatever a case did, nothing may leak (R5).
    fn part(&mut self) -> Result<(), String> {
        self.ending.clear();
        self.started.clear();
        self.witness.look()?;
        match self.handle.status().calls.in_flight() {
            0 => Ok(()),
            left => Err(format!("{left} calls are in flight, and nobody makes any")),
        }
    }

    fn explain(&self, place: &str, why: &str) -> String {
        let mut explained = format!("{place}: {why}");
        for refused in &self.refused_commands {
            explained.push_str("; ");
            explained.push_str(refused);
        }
        explained
    }
}

const TOLERANCE: f64 = 1e-4;

fn turns((index, step): (usize, &Step)) -> impl Iterator<Item = Turn> {
    let (at, every, repeat) = (step.at, step.every, step.repeat);
    (0..repeat).map(move |turn| Turn {
        at: at + every * turn,
        step: index,
        last: turn + 1 == repeat,
    })
}

fn state(status: &Status) -> State {
    match status.mode {
        Mode::Serving if status.switches.dry_run => State::MetricsOnly,
        Mode::Serving => State::Closed,
        Mode::Probing => State::HalfOpen,
        // The first cause decides: a trip beneath a hold does not show.
        Mode::Maintenance => match status.causes.first().map(|first| first.cause) {
            Some(Cause::Tripped) => State::Open,
            _ => State::ForcedOpen,
        },
    }
}

fn would_let_in(status: &Status) -> bool {
    match status.mode {
        Mode::Serving => true,
        Mode::Maintenance => false,
        Mode::Probing => status.probing.is_some_and(|probing| probing.free > 0),
    }
}

/// Returns whether an absent number counts as 0: there are no slots outside `Probing`, and no wait
/// outside `Maintenance`.
fn nothing_is_none(reading: Reading, status: &Status) -> bool {
    match reading {
        Reading::Permits => status.mode != Mode::Probing,
        Reading::RetryAfterMs => status.mode != Mode::Maintenance,
        _ => false,
    }
}

fn shown(number: Option<f64>) -> String {
    number.map_or_else(|| "null".into(), |number| number.to_string())
}

// ---- what the layer tells -----------------------------------------------------------------------

/// Counts the events and signals of the layer as they come.
struct Witness {
    events: Events,
    busts: CacheBusts,
    told: u64,
    /// Whether the newest reason to enter maintenance is a trip and not a hold.
    tripped: bool,
    transitions: u64,
    to_open: u64,
    to_half_open: u64,
    to_closed: u64,
    recovered: u64,
    recoveries: u64,
}

impl Witness {
    fn new(handle: &MaintenanceHandle) -> Self {
        Self {
            events: handle.events(),
            busts: handle.cache_bust(),
            told: 0,
            tripped: false,
            transitions: 0,
            to_open: 0,
            to_half_open: 0,
            to_closed: 0,
            recovered: 0,
            recoveries: 0,
        }
    }

    /// Reads both logs. It is called after every step that may write to them, because both are
    /// bounded.
    fn look(&mut self) -> Result<(), String> {
        while let Some(event) = self.events.try_recv() {
            self.told += 1;
            if event.number != self.told {
                return Err(format!(
                    "event {} came as number {}",
                    event.number, self.told
                ));
            }
            self.note(&event.kind);
        }
        while self.busts.try_recv().is_some() {
            self.recoveries += 1;
        }
        // R16 holds whatever a case expects.
        if self.recovered == self.recoveries {
            return Ok(());
        }
        Err(format!(
            "{} episodes ended with {} recovery signals",
            self.recovered, self.recoveries
        ))
    }

    fn note(&mut self, event: &EventKind) {
        match event {
            EventKind::Tripped { .. } => self.tripped = true,
            EventKind::HoldEngaged { .. } => self.tripped = false,
            EventKind::Recovered { .. } => self.recovered += 1,
            EventKind::ModeChanged { to, .. } => {
                self.transitions += 1;
                match to {
                    Mode::Serving => self.to_closed += 1,
                    Mode::Probing => self.to_half_open += 1,
                    // A hold does not count as a transition.
                    Mode::Maintenance => self.to_open += u64::from(self.tripped),
                }
            }
            _ => {}
        }
    }
}
