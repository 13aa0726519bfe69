//! The form of a case: JSON, read strictly, so that no part of it is passed over.
//!
//! It is read by hand and not by derive, because an error must name the key, its value and its
//! place.

use std::time::Duration;

use serde_json::{Map, Value};
use tower_maintenance::{Policy, Rate, Window};

/// A case: under this policy, these steps must lead to what they expect.
#[derive(Debug)]
pub(crate) struct Case {
    pub(crate) config: Config,
    pub(crate) steps: Vec<Step>,
}

/// The rules under which a case runs.
#[derive(Debug)]
pub(crate) enum Config {
    Rules {
        policy: Box<Policy>,
        /// The limit of a slow call, if the case has one.
        slow: Option<Duration>,
    },
    /// The case asks for semantics that the design decides otherwise.
    Decided(String),
}

#[derive(Debug)]
pub(crate) struct Step {
    pub(crate) at: Duration,
    pub(crate) op: Op,
    pub(crate) repeat: u32,
    pub(crate) every: Duration,
    pub(crate) expect: Expect,
    /// The step's place, for messages.
    pub(crate) place: String,
}

#[derive(Debug, Clone)]
pub(crate) enum Op {
    Call {
        outcome: Outcome,
        took: Option<Duration>,
        exempt: bool,
    },
    Start {
        id: String,
        outcome: Option<Outcome>,
        exempt: bool,
    },
    Finish {
        id: String,
        outcome: Option<Outcome>,
    },
    Control(Action),
    /// `advance` and `expect`: only the clock moves.
    Look,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Outcome {
    Ok,
    Err,
    SlowOk,
    SlowErr,
    Ignored,
    Dropped,
    Panic,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Action {
    Open,
    HalfOpen,
    Close,
    ForceOpen,
    MetricsOnly,
    Reset,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum State {
    Closed,
    Open,
    HalfOpen,
    ForcedOpen,
    MetricsOnly,
}

/// Expectations of a step. A value that is not named is not checked.
#[derive(Debug, Default)]
pub(crate) struct Expect {
    /// The state is one of these.
    pub(crate) states: Option<Vec<State>>,
    /// Whether a call would be let in.
    pub(crate) permitted: Option<bool>,
    pub(crate) accepted: Option<Accepted>,
    /// The readings, and the value each must have: a number, or none (`null`).
    pub(crate) readings: Vec<(&'static str, Reading, Option<f64>)>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Accepted {
    /// Whether the last outcome counted: the call was let in, and did not end too late for its era.
    Counted(bool),
    /// How many of the step's calls were let in. For a `finish`, how many outcomes counted.
    Many(u64),
}

/// A number that an expectation reads.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Reading {
    Total,
    Failed,
    Succeeded,
    Slow,
    FailureRate,
    SlowRate,
    NotPermitted,
    RetryAfterMs,
    Permits,
    Transitions,
    ToOpen,
    ToHalfOpen,
    ToClosed,
    Recoveries,
}

/// Longer than any case lasts.
const NEVER: Duration = Duration::from_secs(10 * 365 * 24 * 3600);

impl Case {
    pub(crate) fn read(case: Value) -> Result<Self, String> {
        let mut fields = Fields::of(case, "case")?;
        // These keys are for human readers.
        for key in ["id", "source", "note"] {
            fields.text(key)?;
        }
        fields.list("requires")?;
        let config = fields.required("config")?;
        let steps = fields.list("steps")?.ok_or("case: no `steps`")?;
        fields.done()?;

        let mut before = Duration::ZERO;
        let steps = steps
            .into_iter()
            .enumerate()
            .map(|(index, step)| {
                let step = Step::read(step, &format!("step {}", index + 1))?;
                if step.at < before {
                    return Err(format!("{}: at_ms goes back", step.place));
                }
                before = step.at;
                Ok(step)
            })
            .collect::<Result<_, _>>()?;
        Ok(Self {
            config: Config::read(config)?,
            steps,
        })
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum WindowKind {
    Count,
    Time,
    Fixed,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum AsDecided {
    Yes,
    No,
}

impl Config {
    fn read(config: Value) -> Result<Self, String> {
        use AsDecided::{No, Yes};

        let mut fields = Fields::of(config, "config")?;
        let mut decided = Vec::new();
        for (key, values) in [
            ("wait_cmp", &[("ge", Yes), ("gt", No)][..]),
            ("failure_rate_cmp", &[("ge", Yes), ("gt", No)]),
            (
                "half_open_verdict",
                &[("all", Yes), ("rate", No), ("ratio", No)],
            ),
            (
                "half_open_timeout_to",
                &[("open", Yes), ("closed", No), ("reprobe", No)],
            ),
        ] {
            let asked = fields.0.get(key).cloned();
            if fields.word(key, values)? == Some(No) {
                decided.push(format!("{key} is {}", asked.unwrap_or_default()));
            }
        }
        // The only values that exist: R9 and R11 have no others.
        fields.word("evaluate_on", &[("failure", Yes)])?;
        if fields.flag("automatic_half_open")? == Some(false) {
            return Err("config: automatic_half_open is false, known is true".into());
        }
        if fields.take("failures_in_window", "anything", |_| Some(()))? == Some(()) {
            decided.push("failures_in_window".into());
        }
        let kind = fields.word(
            "window_kind",
            &[
                ("count", WindowKind::Count),
                ("time", WindowKind::Time),
                ("fixed", WindowKind::Fixed),
            ],
        )?;
        if kind == Some(WindowKind::Fixed) {
            decided.push("window_kind is \"fixed\"".into());
        }

        let size = fields.number("window_size")?;
        let bucket = fields.millis("bucket_ms")?;
        let min_calls = fields.count("minimum_calls")?.unwrap_or(1);
        let failure_rate = fields.number("failure_rate_threshold")?;
        let consecutive = fields.count("consecutive_failures")?;
        let slow = fields.millis("slow_call_duration_ms")?;
        let slow_rate = fields.number("slow_call_rate_threshold")?;
        let wait = fields.millis("wait_in_open_ms")?;
        let factor = fields.number("backoff_multiplier")?.unwrap_or(1.0);
        let longest_wait = fields.millis("backoff_max_ms")?;
        let probes = fields.count("half_open_calls")?.unwrap_or(1);
        let lease = fields.millis("max_wait_in_half_open_ms")?;
        let abandoned_all = fields.word(
            "abandoned",
            &[("release", false), ("as_failure_when_all", true)],
        )?;
        fields.done()?;

        let window = match kind {
            Some(WindowKind::Count) => {
                // A size that is not named is large enough for the numbers that are.
                let size = match size {
                    Some(size) => whole(size).ok_or("config: window_size is not a whole number")?,
                    None => min_calls.max(consecutive.unwrap_or(0)).max(100),
                };
                if min_calls > size {
                    decided.push(format!(
                        "minimum_calls {min_calls} above a count window of {size}"
                    ));
                }
                Window::calls(size)
            }
            Some(WindowKind::Time | WindowKind::Fixed) | None => {
                let length = span(size.unwrap_or(60.0), "config: window_size")?;
                let buckets = match bucket {
                    Some(width) => buckets(length, width)?,
                    None => 10,
                };
                Window::time(length).in_buckets(buckets)
            }
        };
        if !decided.is_empty() {
            return Ok(Self::Decided(decided.join(", ")));
        }

        let rate = |value: f64, key: &str| {
            Rate::ratio(value).map_err(|error| format!("config: {key}: {error}"))
        };
        // A case relies on nothing but what it names. So every default of the design is off here,
        // or so far away that it is never reached. Only the wait has no such value, and stays at 30
        // s.
        let mut policy = Policy::new(window, Rate::HALF)
            .without_failure_rate()
            .without_consecutive_failures()
            .without_given_up()
            .with_min_calls(min_calls)
            .with_jitter(0.0)
            .with_probes(probes)
            .with_successes_needed(probes)
            .with_lease(lease.unwrap_or(NEVER));
        let wait = wait.unwrap_or(Duration::from_secs(30));
        let longest_wait = longest_wait.unwrap_or(NEVER).max(wait);
        policy = policy
            .with_wait(wait)
            .with_wait_growing(factor, longest_wait);
        if let Some(threshold) = failure_rate {
            policy = policy.with_failure_rate(rate(threshold, "failure_rate_threshold")?);
        }
        if let Some(run) = consecutive {
            policy = policy.with_consecutive_failures(run);
        }
        policy = match (slow, slow_rate) {
            // A duration alone says which calls are slow. Resilience4j's default threshold is all
            // of them.
            (Some(longer_than), threshold) => {
                let threshold = rate(threshold.unwrap_or(1.0), "slow_call_rate_threshold")?;
                policy.with_slow_calls(longer_than, threshold)
            }
            (None, Some(_)) => {
                return Err(
                    "config: slow_call_rate_threshold without slow_call_duration_ms".into(),
                );
            }
            (None, None) => policy,
        };
        if abandoned_all == Some(true) {
            // Every caller that left counts, however short its wait.
            policy = policy.with_given_up(min_calls, Duration::ZERO);
        }
        let rules = [
            failure_rate.is_some(),
            consecutive.is_some(),
            slow.is_some(),
            abandoned_all == Some(true),
        ];
        if !rules.contains(&true) {
            // One rule must be on, and this one never fires.
            policy = policy.with_slow_calls(NEVER, rate(1.0, "")?);
        }
        policy.check().map_err(|error| format!("config: {error}"))?;
        Ok(Self::Rules {
            policy: Box::new(policy),
            slow,
        })
    }
}

/// How many buckets of `width` make a window of `length`.
fn buckets(length: Duration, width: Duration) -> Result<u32, String> {
    let divides = !width.is_zero() && length.as_nanos().is_multiple_of(width.as_nanos());
    divides
        .then(|| u32::try_from(length.as_nanos() / width.as_nanos()).ok())
        .flatten()
        .ok_or_else(|| format!("config: bucket_ms {width:?} does not divide {length:?}"))
}

impl Step {
    fn read(step: Value, place: &str) -> Result<Self, String> {
        let mut fields = Fields::of(step, place)?;
        let at = fields.millis("at_ms")?;
        let at = at.ok_or_else(|| format!("{place}: no `at_ms`"))?;
        let op = fields.text("op")?;
        let op = op.ok_or_else(|| format!("{place}: no `op`"))?;
        let place = format!("{place} ({op} at {} ms)", at.as_millis());
        fields.1.clone_from(&place);
        fields.text("note")?;
        let repeat = fields.count("repeat")?.unwrap_or(1);
        if repeat == 0 {
            return Err(format!("{place}: repeat is 0"));
        }
        let every = fields.millis("every_ms")?.unwrap_or_default();
        let expect = match fields.0.remove("expect") {
            None | Some(Value::Null) => Expect::default(),
            Some(expect) => Expect::read(expect, &format!("{place}, expect"))?,
        };
        let op = match op.as_str() {
            "call" => Op::Call {
                outcome: fields
                    .word("outcome", OUTCOMES)?
                    .ok_or_else(|| format!("{place}: no `outcome`"))?,
                took: fields.millis("duration_ms")?,
                exempt: fields.flag("exempt")?.unwrap_or(false),
            },
            "start" => Op::Start {
                id: fields.required("id")?.to_string(),
                outcome: fields.word("outcome", OUTCOMES)?,
                exempt: fields.flag("exempt")?.unwrap_or(false),
            },
            "finish" => Op::Finish {
                id: fields.required("id")?.to_string(),
                outcome: fields.word("outcome", OUTCOMES)?,
            },
            "control" => Op::Control(
                fields
                    .word("action", ACTIONS)?
                    .ok_or_else(|| format!("{place}: no `action`"))?,
            ),
            "advance" | "expect" => Op::Look,
            _ => return Err(format!("{place}: unknown op")),
        };
        fields.done()?;
        Ok(Self {
            at,
            op,
            repeat,
            every,
            expect,
            place,
        })
    }
}

const OUTCOMES: &[(&str, Outcome)] = &[
    ("ok", Outcome::Ok),
    ("err", Outcome::Err),
    ("slow_ok", Outcome::SlowOk),
    ("slow_err", Outcome::SlowErr),
    ("ignored", Outcome::Ignored),
    ("dropped", Outcome::Dropped),
    ("panic", Outcome::Panic),
];

impl Outcome {
    pub(crate) fn is_slow(self) -> bool {
        matches!(self, Self::SlowOk | Self::SlowErr)
    }
}

const ACTIONS: &[(&str, Action)] = &[
    ("open", Action::Open),
    ("half_open", Action::HalfOpen),
    ("close", Action::Close),
    ("force_open", Action::ForceOpen),
    ("metrics_only", Action::MetricsOnly),
    ("reset", Action::Reset),
];

const STATES: &[(&str, State)] = &[
    ("closed", State::Closed),
    ("open", State::Open),
    ("half_open", State::HalfOpen),
    ("forced_open", State::ForcedOpen),
    ("metrics_only", State::MetricsOnly),
];

impl State {
    pub(crate) fn name(self) -> &'static str {
        let found = STATES.iter().find(|(_, state)| *state == self);
        found.map_or("?", |(name, _)| name)
    }
}

const READINGS: [(&str, Reading); 14] = [
    ("total", Reading::Total),
    ("failed", Reading::Failed),
    ("succeeded", Reading::Succeeded),
    ("slow", Reading::Slow),
    ("failure_rate", Reading::FailureRate),
    ("slow_rate", Reading::SlowRate),
    ("not_permitted", Reading::NotPermitted),
    ("retry_after_ms", Reading::RetryAfterMs),
    ("permits", Reading::Permits),
    ("transitions", Reading::Transitions),
    ("to_open", Reading::ToOpen),
    ("to_half_open", Reading::ToHalfOpen),
    ("to_closed", Reading::ToClosed),
    ("recoveries", Reading::Recoveries),
];

impl Expect {
    fn read(expect: Value, place: &str) -> Result<Self, String> {
        let mut fields = Fields::of(expect, place)?;
        let mut states = fields.word("state", STATES)?.map(|state| vec![state]);
        if let Some(any) = fields.list("state_any")? {
            let any = any
                .into_iter()
                .map(|state| known(&state, STATES, place, "state_any"))
                .collect::<Result<Vec<_>, _>>()?;
            // If both are named, both must hold.
            states = match states {
                Some(only) => Some(only.into_iter().filter(|one| any.contains(one)).collect()),
                None => Some(any),
            };
        }
        let accepted = match fields.0.remove("accepted") {
            None | Some(Value::Null) => None,
            Some(Value::Bool(counted)) => Some(Accepted::Counted(counted)),
            Some(value) => {
                let many = value.as_u64().ok_or_else(|| {
                    format!("{place}: accepted is {value}, known are true, false and a count")
                })?;
                Some(Accepted::Many(many))
            }
        };
        let permitted = fields.flag("permitted")?;
        let mut readings = Vec::new();
        for (key, reading) in READINGS {
            // Here `null` has a meaning: there is no such number.
            if fields.0.contains_key(key) {
                readings.push((key, reading, fields.number(key)?));
            }
        }
        fields.done()?;
        Ok(Self {
            states,
            permitted,
            accepted,
            readings,
        })
    }
}

/// The fields of one object that were not asked for yet, and its place. A field that is `null`
/// counts as absent.
struct Fields(Map<String, Value>, String);

impl Fields {
    fn of(value: Value, place: &str) -> Result<Self, String> {
        match value {
            Value::Object(fields) => Ok(Self(fields, place.into())),
            other => Err(format!("{place}: {other} is not an object")),
        }
    }

    fn take<T>(
        &mut self,
        key: &str,
        wanted: &str,
        read: impl FnOnce(&Value) -> Option<T>,
    ) -> Result<Option<T>, String> {
        let value = self.0.remove(key).filter(|value| !value.is_null());
        let Some(value) = value else {
            return Ok(None);
        };
        match read(&value) {
            Some(read) => Ok(Some(read)),
            None => Err(format!("{}: {key} is {value}, not {wanted}", self.1)),
        }
    }

    fn text(&mut self, key: &str) -> Result<Option<String>, String> {
        self.take(key, "a text", |value| value.as_str().map(Into::into))
    }

    fn flag(&mut self, key: &str) -> Result<Option<bool>, String> {
        self.take(key, "true or false", Value::as_bool)
    }

    fn list(&mut self, key: &str) -> Result<Option<Vec<Value>>, String> {
        self.take(key, "a list", |value| value.as_array().cloned())
    }

    fn number(&mut self, key: &str) -> Result<Option<f64>, String> {
        self.take(key, "a number", Value::as_f64)
    }

    fn count(&mut self, key: &str) -> Result<Option<u32>, String> {
        self.take(key, "a whole number", |value| {
            value.as_f64().and_then(whole)
        })
    }

    fn millis(&mut self, key: &str) -> Result<Option<Duration>, String> {
        let millis = |value: &Value| match value.as_u64() {
            Some(millis) => Some(Duration::from_millis(millis)),
            None => Duration::try_from_secs_f64(value.as_f64()? / 1000.0).ok(),
        };
        self.take(key, "a span in milliseconds", millis)
    }

    fn word<T: Copy>(&mut self, key: &str, words: &[(&str, T)]) -> Result<Option<T>, String> {
        match self.0.remove(key) {
            None | Some(Value::Null) => Ok(None),
            Some(value) => known(&value, words, &self.1, key).map(Some),
        }
    }

    fn required(&mut self, key: &str) -> Result<Value, String> {
        self.0
            .remove(key)
            .ok_or_else(|| format!("{}: no `{key}`", self.1))
    }

    /// Asserts that every field was asked for.
    fn done(self) -> Result<(), String> {
        match self.0.keys().next() {
            Some(key) => Err(format!("{}: unknown key `{key}`", self.1)),
            None => Ok(()),
        }
    }
}

fn known<T: Copy>(value: &Value, words: &[(&str, T)], place: &str, key: &str) -> Result<T, String> {
    let found = words.iter().find(|(word, _)| Some(*word) == value.as_str());
    found.map(|(_, meant)| *meant).ok_or_else(|| {
        let words: Vec<_> = words.iter().map(|(word, _)| *word).collect();
        format!("{place}: {key} is {value}, known: {}", words.join(", "))
    })
}

fn whole(number: f64) -> Option<u32> {
    let fits = number.fract() == 0.0 && (0.0..=f64::from(u32::MAX)).contains(&number);
    fits.then_some(number as u32)
}

fn span(seconds: f64, what: &str) -> Result<Duration, String> {
    Duration::try_from_secs_f64(seconds).map_err(|error| format!("{what}: {error}"))
}
