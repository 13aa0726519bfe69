//! What differs between two policies, for the log and the audit trail.

use std::{fmt, time::Duration};

use crate::policy::{Policy, rate::Rate, window::Window};

/// A setting that differs between two policies.
///
/// Its `Display` is one clause: `min_calls 10 -> 20`.
///
/// ```
/// use std::time::Duration;
/// use tower_maintenance::Policy;
///
/// let old = Policy::default();
/// let new = old.clone().with_min_calls(20).with_ramp(Duration::from_secs(60));
/// let changes: Vec<String> = old.changes(&new).iter().map(ToString::to_string).collect();
/// // The rule of calls given up takes its number from `min_calls`.
/// assert_eq!(
///     changes,
///     ["min_calls 10 -> 20", "given_up 10 after 1s -> 20 after 1s", "ramp off -> 60s"]
/// );
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct PolicyChange {
    /// The name of the setting: that of its getter, `min_calls` for instance.
    pub setting: &'static str,
    /// The old value, as text. A rule that is off is `off`.
    pub old: String,
    /// The new value, as text.
    pub new: String,
}

impl fmt::Display for PolicyChange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {} -> {}", self.setting, self.old, self.new)
    }
}

/// Shows changes as one line of a log.
pub(crate) struct InOneLine<'c>(pub(crate) &'c [PolicyChange]);

impl fmt::Display for InOneLine<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, change) in self.0.iter().enumerate() {
            let comma = if index == 0 { "" } else { ", " };
            write!(f, "{comma}{change}")?;
        }
        Ok(())
    }
}

impl Policy {
    /// Returns the settings in which `new` differs, in the order of the getters.
    ///
    /// What a setting leaves to others is compared as it is in force, so two policies that act
    /// alike have no changes.
    #[must_use]
    pub fn changes(&self, new: &Self) -> Vec<PolicyChange> {
        let both = self.texts().into_iter().zip(new.texts());
        both.filter(|((_, old), (_, new))| old != new)
            .map(|((setting, old), (_, new))| PolicyChange { setting, old, new })
            .collect()
    }

    /// Returns each setting with its exact value as text.
    fn texts(&self) -> [(&'static str, String); 16] {
        let window = match self.window() {
            Window::Calls(size) => format!("{size} calls"),
            Window::Time { length, buckets } => format!("{length:?} in {buckets} buckets"),
        };
        let slow_calls = self.slow_calls();
        let given_up = self.given_up();
        let (factor, longest) = self.wait_growing();
        let span = |span: Duration| format!("{span:?}");
        [
            ("window", window),
            ("min_calls", self.min_calls().to_string()),
            ("failure_rate", or_off(self.failure_rate(), share)),
            (
                "consecutive_failures",
                or_off(self.consecutive_failures(), |run| run.to_string()),
            ),
            (
                "slow_calls",
                or_off(slow_calls, |(over, rate)| format!("{rate} over {over:?}")),
            ),
            (
                "given_up",
                or_off(given_up, |(calls, after)| {
                    format!("{calls} after {after:?}")
                }),
            ),
            ("hang_limit", span(self.hang_limit())),
            ("wait", span(self.wait())),
            ("wait_growing", format!("by {factor} up to {longest:?}")),
            ("jitter", self.jitter().to_string()),
            ("probes", self.probes().to_string()),
            ("successes_needed", self.successes_needed().to_string()),
            ("lease", span(self.lease())),
            ("ramp", or_off(self.ramp(), span)),
            ("ramp_start", share(self.ramp_start())),
            ("ping_every", span(self.ping_every())),
        ]
    }
}

fn share(rate: Rate) -> String {
    rate.to_string()
}

fn or_off<T>(setting: Option<T>, text: impl FnOnce(T) -> String) -> String {
    setting.map_or_else(|| "off".to_owned(), text)
}
