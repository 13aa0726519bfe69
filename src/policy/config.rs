//! `Serialize` and `Deserialize` for a policy, so that it can stand in a configuration file.
//!
//! Written by hand: the form is a promise to the authors of files, and each error must name the
//! setting, its value and what is allowed. A setting is read and checked where it stands, so that a
//! format that knows lines, as TOML does, tells the line of the mistake. What depends on several
//! settings is checked at the end of the table.

use std::{fmt, str::FromStr, time::Duration};

use serde::{
    Deserialize, Deserializer, Serialize, Serializer,
    de::{self, DeserializeSeed, MapAccess, SeqAccess, Visitor},
    ser::SerializeMap,
};

use crate::{
    base::one_line::OneLine,
    policy::{
        Policy,
        error::PolicyError,
        limits::{GivenUpSetting, SlowCalls},
        rate::Rate,
        window::Window,
    },
};

/// The names of the settings, in the order in which they are written.
const SETTINGS: [&str; 16] = [
    "window",
    "min_calls",
    "failure_rate",
    "consecutive_failures",
    "slow_calls",
    "given_up",
    "hang_limit",
    "wait",
    "wait_growing",
    "jitter",
    "probes",
    "successes_needed",
    "lease",
    "ramp",
    "ramp_start",
    "ping_every",
];

const TIME: &str = "a time with its unit in quotes, such as \"30s\", \"5min\" or \"250ms\"";
const TIME_OR_OFF: &str =
    "a time with its unit in quotes, such as \"30s\", \"5min\" or \"250ms\", or \"off\"";
const RATE: &str = "a percentage in quotes such as \"50%\", above 0 % and at most 100 %, or a ratio with a point \
     such as 0.5, above 0 and at most 1";
const RATE_OR_OFF: &str = "a percentage in quotes such as \"50%\", above 0 % and at most 100 %, or a ratio with a point \
     such as 0.5, above 0 and at most 1, or \"off\"";
const WINDOW: &str = "a time with its unit in quotes such as \"60s\", { time = \"60s\", buckets = 10 }, or { calls = 100 }";
const SLOW_CALLS: &str = "{ longer_than = \"1s\", rate = \"50%\" }, or \"off\"";
const GIVEN_UP: &str = "{ calls = 10, after = \"1s\" }, or \"off\"";
const WAIT_GROWING: &str = "{ factor = 2.0, longest = \"5min\" }";
const FACTOR: &str = "a number, 1 or more";
const JITTER: &str = "0 to less than 1, or a percentage in quotes such as \"20%\"";
const CALLS: &str = "1 to 4294967295 calls";

// ---- writing ------------------------------------------------------------------------------------

/// Written as a table with the names of the setters, durations as text: `"30s"`, `"5m"`. A rule
/// that is off is `"off"`. Left out is what the policy leaves to other settings: the rule of calls
/// given up and the longest wait, if neither was set.
impl Serialize for Policy {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        let mut write = |name: &str, value: Raw| map.serialize_entry(name, &value);
        let count = |count: u32| Raw::Integer(count.into());
        let rate = |rate: Rate| Raw::Float(rate.as_ratio());
        write("window", self.window.as_raw())?;
        write("min_calls", count(self.min_calls))?;
        write("failure_rate", Raw::or_off(self.failure_rate.map(rate)))?;
        write(
            "consecutive_failures",
            Raw::or_off(self.consecutive.map(count)),
        )?;
        let slow_calls = self.slow_calls.map(|slow| {
            let longer_than = Raw::time(slow.longer_than);
            Raw::table([("longer_than", longer_than), ("rate", rate(slow.rate))])
        });
        write("slow_calls", Raw::or_off(slow_calls))?;
        match self.given_up {
            GivenUpSetting::ByDefault => {}
            GivenUpSetting::On { calls, after } => write(
                "given_up",
                Raw::table([("calls", count(calls)), ("after", Raw::time(after))]),
            )?,
            GivenUpSetting::Off => write("given_up", Raw::or_off(None))?,
        }
        write("hang_limit", Raw::time(self.hang_limit))?;
        write("wait", Raw::time(self.wait))?;
        let factor = ("factor", Raw::Float(self.wait_factor));
        let growing = match self.longest_wait {
            Some(longest) => Raw::table([factor, ("longest", Raw::time(longest))]),
            None => Raw::table([factor]),
        };
        write("wait_growing", growing)?;
        write("jitter", Raw::Float(self.jitter))?;
        write("probes", count(self.probes))?;
        write("successes_needed", count(self.successes_needed))?;
        write("lease", Raw::time(self.lease))?;
        write("ramp", Raw::or_off(self.ramp.map(Raw::time)))?;
        write("ramp_start", rate(self.ramp_start))?;
        write("ping_every", Raw::time(self.ping_every))?;
        map.end()
    }
}

impl Policy {
    /// Returns the policy with every number written out that it leaves to other settings.
    pub(crate) fn written_out(&self) -> Self {
        let given_up = match self.given_up() {
            Some((calls, after)) => GivenUpSetting::On { calls, after },
            None => GivenUpSetting::Off,
        };
        Self {
            given_up,
            longest_wait: Some(self.longest_wait()),
            ..self.clone()
        }
    }
}

impl Window {
    fn as_raw(self) -> Raw {
        match self {
            Self::Calls(size) => Raw::table([("calls", Raw::Integer(size.into()))]),
            Self::Time { length, .. } if self == Self::time(length) => Raw::time(length),
            Self::Time { length, buckets } => Raw::table([
                ("time", Raw::time(length)),
                ("buckets", Raw::Integer(buckets.into())),
            ]),
        }
    }
}

/// Written as in a [`Policy`]: `"1m"`, `{ "time": "1m", "buckets": 20 }` or `{ "calls": 100 }`.
impl Serialize for Window {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.as_raw().serialize(serializer)
    }
}

// ---- reading ------------------------------------------------------------------------------------

/// Read from a table with the names of the setters. A setting that is left out has its default.
///
/// The format must describe itself, as TOML, JSON and YAML do.
///
/// # Errors
///
/// For a name that is no setting, a setting that is given twice, a value that is no such setting or
/// out of range, and for settings that do not go together: each error names the setting, its value
/// and what is allowed. The guide's page `config` (with the feature `http`) lists the settings.
impl<'de> Deserialize<'de> for Policy {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(Table)
    }
}

/// Read as in a [`Policy`].
impl<'de> Deserialize<'de> for Window {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let raw = Raw::deserialize(deserializer)?;
        let policy = with_checked(Policy::default(), "window", &raw);
        policy.map(|it| it.window).map_err(de::Error::custom)
    }
}

/// Read from a percentage with its sign, `"50%"`, or from a ratio with a point, `0.5`.
///
/// A whole number is an error, because it does not tell whether it is a percentage.
impl<'de> Deserialize<'de> for Rate {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let raw = Raw::deserialize(deserializer)?;
        raw.rate("rate", RATE).map_err(de::Error::custom)
    }
}

/// Reads the table of a policy.
struct Table;

impl<'de> Visitor<'de> for Table {
    type Value = Policy;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a table with the settings of a policy")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Policy, A::Error> {
        let mut policy = Policy::default();
        let mut seen: Vec<&'static str> = Vec::new();
        while let Some(Name(name)) = map.next_key()? {
            if seen.contains(&name) {
                return Err(de::Error::duplicate_field(name));
            }
            seen.push(name);
            policy = map.next_value_seed(Setting { name, policy })?;
        }
        policy.check().map_err(de::Error::custom)?;
        Ok(policy)
    }
}

/// The name of a setting.
struct Name(&'static str);

impl<'de> Deserialize<'de> for Name {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct OneOf;

        impl Visitor<'_> for OneOf {
            type Value = Name;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("the name of a setting")
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<Name, E> {
                let known = SETTINGS.into_iter().find(|name| *name == text);
                known.map(Name).ok_or_else(|| {
                    let text = OneLine(text);
                    let allowed = SETTINGS.join(", ");
                    E::custom(format_args!(
                        "`{text}` is no setting of a policy: allowed is {allowed}"
                    ))
                })
            }
        }

        deserializer.deserialize_identifier(OneOf)
    }
}

/// Reads the value of a setting into a policy.
struct Setting {
    name: &'static str,
    policy: Policy,
}

impl<'de> DeserializeSeed<'de> for Setting {
    type Value = Policy;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Policy, D::Error> {
        let raw = Raw::deserialize(deserializer)?;
        with_checked(self.policy, self.name, &raw).map_err(de::Error::custom)
    }
}

/// Sets a setting, and checks it as far as that is possible without the settings after it.
fn with_checked(policy: Policy, name: &str, raw: &Raw) -> Result<Policy, PolicyError> {
    // Beside settings that go together with every valid value of this one.
    let lenient = Policy {
        wait: Duration::from_nanos(1),
        ..Policy::default()
    };
    let field = |error: &PolicyError| error.field().split('.').next() == Some(name);
    match with(lenient, name, raw)?.check() {
        Err(error) if field(&error) => Err(error),
        Ok(()) | Err(_) => with(policy, name, raw),
    }
}

/// Sets a setting to a value that it can have. Its range is not checked.
fn with(policy: Policy, name: &str, raw: &Raw) -> Result<Policy, PolicyError> {
    Ok(match name {
        "window" => policy.with_window(window(raw)?),
        "min_calls" => policy.with_min_calls(raw.count("min_calls", CALLS)?),
        "failure_rate" => Policy {
            failure_rate: raw.unless_off(|it| it.rate("failure_rate", RATE_OR_OFF))?,
            ..policy
        },
        "consecutive_failures" => Policy {
            consecutive: raw.unless_off(|it| {
                it.count(
                    "consecutive_failures",
                    "1 to 4294967295 failures, or \"off\"",
                )
            })?,
            ..policy
        },
        "slow_calls" => Policy {
            slow_calls: raw.unless_off(slow_calls)?,
            ..policy
        },
        "given_up" => Policy {
            given_up: raw.unless_off(given_up)?.unwrap_or(GivenUpSetting::Off),
            ..policy
        },
        "hang_limit" => policy.with_hang_limit(raw.span("hang_limit", TIME)?),
        "wait" => policy.with_wait(raw.span("wait", TIME)?),
        "wait_growing" => wait_growing(policy, raw)?,
        "jitter" => policy.with_jitter(jitter(raw)?),
        "probes" => policy.with_probes(raw.count("probes", "1 to 10000 probes")?),
        "successes_needed" => {
            policy.with_successes_needed(raw.count("successes_needed", "1 to 10000 successes")?)
        }
        "lease" => policy.with_lease(raw.span("lease", TIME)?),
        "ramp" => Policy {
            ramp: raw.unless_off(|it| it.span("ramp", TIME_OR_OFF))?,
            ..policy
        },
        "ramp_start" => policy.with_ramp_start(raw.rate("ramp_start", RATE)?),
        _ => policy.with_ping_every(raw.span("ping_every", TIME)?),
    })
}

fn window(raw: &Raw) -> Result<Window, PolicyError> {
    let Raw::Table(_) = raw else {
        return Ok(Window::time(raw.span("window", WINDOW)?));
    };
    let [calls, time, buckets] = raw.parts("window", ["calls", "time", "buckets"], WINDOW)?;
    match (calls, time, buckets) {
        (Some(calls), None, None) => {
            let size = calls.count("window.calls", "1 to 10000000 calls")?;
            Ok(Window::calls(size))
        }
        (None, Some(time), buckets) => {
            let window = Window::time(time.span("window.time", TIME)?);
            let buckets = buckets.map(|it| it.count("window.buckets", "1 to 3600 buckets"));
            Ok(buckets
                .transpose()?
                .map_or(window, |it| window.in_buckets(it)))
        }
        (None, None, _) => Err(lacks("window", "time` or `calls", WINDOW)),
        (Some(_), _, _) => {
            let value = "a table with `calls` and more";
            Err(PolicyError::new("window", value, WINDOW))
        }
    }
}

fn slow_calls(raw: &Raw) -> Result<SlowCalls, PolicyError> {
    match raw.parts("slow_calls", ["longer_than", "rate"], SLOW_CALLS)? {
        [Some(longer_than), Some(rate)] => Ok(SlowCalls {
            longer_than: longer_than.span("slow_calls.longer_than", TIME)?,
            rate: rate.rate("slow_calls.rate", RATE)?,
        }),
        [longer_than, _] => Err(lacks(
            "slow_calls",
            longer_than.map_or("longer_than", |_| "rate"),
            SLOW_CALLS,
        )),
    }
}

fn given_up(raw: &Raw) -> Result<GivenUpSetting, PolicyError> {
    match raw.parts("given_up", ["calls", "after"], GIVEN_UP)? {
        [Some(calls), Some(after)] => Ok(GivenUpSetting::On {
            calls: calls.count("given_up.calls", CALLS)?,
            after: after.span("given_up.after", TIME)?,
        }),
        [calls, _] => Err(lacks(
            "given_up",
            calls.map_or("calls", |_| "after"),
            GIVEN_UP,
        )),
    }
}

/// Sets the parts that are there. The other part keeps its default.
fn wait_growing(policy: Policy, raw: &Raw) -> Result<Policy, PolicyError> {
    let [factor, longest] = raw.parts("wait_growing", ["factor", "longest"], WAIT_GROWING)?;
    let wait_factor = match factor {
        None => policy.wait_factor,
        Some(Raw::Float(factor)) => *factor,
        Some(Raw::Integer(factor)) => *factor as f64,
        Some(other) => return Err(other.unlike("wait_growing.factor", FACTOR)),
    };
    let longest = longest.map(|it| it.span("wait_growing.longest", TIME));
    Ok(Policy {
        wait_factor,
        longest_wait: longest.transpose()?.or(policy.longest_wait),
        ..policy
    })
}

fn jitter(raw: &Raw) -> Result<f64, PolicyError> {
    match raw {
        Raw::Float(share) => Ok(*share),
        // No jitter and all of it are clear without a point. The range is checked later.
        Raw::Integer(0) => Ok(0.0),
        Raw::Text(text) => match percentage(text) {
            Some(percent) => Ok(percent / 100.0),
            None => Err(raw.unlike("jitter", JITTER)),
        },
        other => Err(other.unlike("jitter", JITTER)),
    }
}

fn lacks(field: &'static str, part: &str, allowed: &str) -> PolicyError {
    PolicyError::new(field, format!("a table without `{part}`"), allowed)
}

/// Reads a number before a percent sign.
fn percentage(text: &str) -> Option<f64> {
    f64::from_str(text.trim().strip_suffix('%')?.trim_end()).ok()
}

/// Reads a time such as `30s` or `1h 30min`.
fn span(text: &str) -> Option<Duration> {
    // Part by part: the sum of parts that together exceed a `Duration` would panic in `humantime`.
    let mut rest = text.trim();
    let mut whole = None::<Duration>;
    while !rest.is_empty() {
        let unit = rest.find(|c: char| c.is_alphabetic())?;
        let after = rest[unit..].find(|c: char| !c.is_alphabetic());
        let (part, others) = rest.split_at(after.map_or(rest.len(), |length| unit + length));
        let part = humantime::parse_duration(part).ok()?;
        whole = Some(whole.unwrap_or_default().checked_add(part)?);
        rest = others.trim_start();
    }
    whole
}

// ---- a value as it stands in a file -------------------------------------------------------------

/// A value of a self-describing format.
enum Raw {
    Bool(bool),
    Integer(i128),
    Float(f64),
    Text(String),
    Table(Vec<(String, Self)>),
    /// Anything else, by its name.
    Other(&'static str),
}

impl Raw {
    fn time(span: Duration) -> Self {
        Self::Text(humantime::format_duration(span).to_string())
    }

    fn or_off(value: Option<Self>) -> Self {
        value.unwrap_or_else(|| Self::Text("off".to_owned()))
    }

    fn table<const N: usize>(parts: [(&str, Self); N]) -> Self {
        let parts = parts.map(|(name, value)| (name.to_owned(), value));
        Self::Table(parts.into())
    }

    /// Returns `None` if this says that a rule is off.
    fn unless_off<T>(
        &self,
        read: impl FnOnce(&Self) -> Result<T, PolicyError>,
    ) -> Result<Option<T>, PolicyError> {
        match self {
            Self::Bool(false) => Ok(None),
            Self::Text(text) if text == "off" => Ok(None),
            on => read(on).map(Some),
        }
    }

    fn count(&self, field: &'static str, allowed: &str) -> Result<u32, PolicyError> {
        let Self::Integer(count) = self else {
            return Err(self.unlike(field, allowed));
        };
        u32::try_from(*count).map_err(|_| self.unlike(field, allowed))
    }

    fn span(&self, field: &'static str, allowed: &str) -> Result<Duration, PolicyError> {
        match self {
            Self::Text(text) => span(text).ok_or_else(|| self.unlike(field, allowed)),
            other => Err(other.unlike(field, allowed)),
        }
    }

    fn rate(&self, field: &'static str, allowed: &str) -> Result<Rate, PolicyError> {
        let rate = match self {
            Self::Float(ratio) => Rate::ratio(*ratio).ok(),
            Self::Text(text) => percentage(text).and_then(|it| Rate::percent(it).ok()),
            _ => None,
        };
        rate.ok_or_else(|| self.unlike(field, allowed))
    }

    /// Returns the parts of a table by their names.
    fn parts<const N: usize>(
        &self,
        field: &'static str,
        names: [&str; N],
        allowed: &str,
    ) -> Result<[Option<&Self>; N], PolicyError> {
        let Self::Table(parts) = self else {
            return Err(self.unlike(field, allowed));
        };
        let unknown = parts.iter().find(|(name, _)| !names.contains(&&**name));
        if let Some((name, _)) = unknown {
            let value = format!("a table with `{name}`");
            return Err(PolicyError::new(field, value, allowed));
        }
        Ok(names.map(|wanted| {
            let part = parts.iter().find(|(name, _)| name == wanted);
            part.map(|(_, value)| value)
        }))
    }

    /// Returns the error that this is no value of the setting `field`.
    fn unlike(&self, field: &'static str, allowed: &str) -> PolicyError {
        PolicyError::new(field, self.to_string(), allowed)
    }
}

impl fmt::Display for Raw {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Bool(value) => write!(f, "{value}"),
            Self::Integer(value) => write!(f, "{value}"),
            // With a point: `1.0` is a ratio, and `1` may be a percentage.
            Self::Float(value) => write!(f, "{value:?}"),
            Self::Text(text) => write!(f, "\"{text}\""),
            Self::Table(_) => f.write_str("a table"),
            Self::Other(name) => f.write_str(name),
        }
    }
}

impl Serialize for Raw {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Bool(value) => serializer.serialize_bool(*value),
            // A number that is written fits: it was a `u32`.
            Self::Integer(value) => serializer.serialize_i64(*value as i64),
            Self::Float(value) => serializer.serialize_f64(*value),
            Self::Text(text) => serializer.serialize_str(text),
            Self::Table(parts) => {
                serializer.collect_map(parts.iter().map(|(name, value)| (name, value)))
            }
            Self::Other(_) => serializer.serialize_unit(),
        }
    }
}

impl<'de> Deserialize<'de> for Raw {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(Any)
    }
}

/// Reads any value.
struct Any;

impl<'de> Visitor<'de> for Any {
    type Value = Raw;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a setting")
    }

    fn visit_bool<E>(self, value: bool) -> Result<Raw, E> {
        Ok(Raw::Bool(value))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Raw, E> {
        Ok(Raw::Integer(value.into()))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Raw, E> {
        Ok(Raw::Integer(value.into()))
    }

    fn visit_f64<E>(self, value: f64) -> Result<Raw, E> {
        Ok(Raw::Float(value))
    }

    fn visit_str<E>(self, text: &str) -> Result<Raw, E> {
        Ok(Raw::Text(text.to_owned()))
    }

    fn visit_unit<E>(self) -> Result<Raw, E> {
        Ok(Raw::Other("null"))
    }

    fn visit_none<E>(self) -> Result<Raw, E> {
        Ok(Raw::Other("null"))
    }

    fn visit_some<D: Deserializer<'de>>(self, value: D) -> Result<Raw, D::Error> {
        Raw::deserialize(value)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Raw, A::Error> {
        while list.next_element::<de::IgnoredAny>()?.is_some() {}
        Ok(Raw::Other("a list"))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Raw, A::Error> {
        let mut parts = Vec::new();
        while let Some(part) = map.next_entry()? {
            parts.push(part);
        }
        Ok(Raw::Table(parts))
    }
}
