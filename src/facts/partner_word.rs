//! The partner's own statement about its state, shown beside what the layer measured.
//!
//! A statement is information and never a command, because a status page is written by people,
//! comes late, and describes the experience of other customers. So it changes no mode, begins no
//! episode and is not in the audit trail. The layer keeps it beside the machine, and only the
//! status shows it.

use std::{
    fmt,
    sync::Arc,
    time::{Duration, SystemTime},
};

use crate::{
    base::{moment::Moment, one_line::is_treacherous},
    facts::mode::Mode,
};

/// The longest text from outside, in characters: the text is kept in memory and written to logs.
const LONGEST: usize = 256;

/// How long a statement is fresh: five readings of a page that is read once a minute.
const FRESH_FOR: Duration = Duration::from_secs(300);

/// The share of failures from which "operational" is a contradiction. A fifth of at least
/// `min_calls` is more than chance, and it is well below the rate at which the default policy
/// trips.
const YET_FAILING: f64 = 0.2;

/// The share of failures below which an outage is a contradiction: the outage does not affect this
/// service.
const YET_WELL: f64 = 0.05;

/// The state that the partner claims: the values of Statuspage's `status.indicator`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Indicator {
    /// `none`: all systems operational.
    #[doc(alias = "none")]
    Operational,
    /// `minor`: degraded.
    #[doc(alias = "degraded")]
    Minor,
    /// `major`: a partial outage.
    Major,
    /// `critical`: an outage.
    Critical,
    /// `maintenance`: a planned maintenance.
    Maintenance,
}

impl Indicator {
    const ALL: [Self; 5] = [
        Self::Operational,
        Self::Minor,
        Self::Major,
        Self::Critical,
        Self::Maintenance,
    ];

    /// Returns the value on the wire: `none`, `minor`, `major`, `critical` or `maintenance`.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Operational => "none",
            Self::Minor => "minor",
            Self::Major => "major",
            Self::Critical => "critical",
            Self::Maintenance => "maintenance",
        }
    }

    /// Parses a value on the wire; `None` for an unknown one.
    #[must_use]
    pub fn from_word(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|it| it.as_str() == word)
    }

    fn is_outage(self) -> bool {
        matches!(self, Self::Major | Self::Critical)
    }
}

impl fmt::Display for Indicator {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Operational => "operational",
            Self::Minor | Self::Major | Self::Critical | Self::Maintenance => self.as_str(),
        })
    }
}

/// A statement of the partner about its own state.
///
/// [`MaintenanceHandle::report_partner_status`](crate::MaintenanceHandle::report_partner_status)
/// takes it. The texts are made safe to show: each run of control characters, white space and
/// invisible characters becomes one blank, and a text longer than 256 characters is cut.
///
/// ```
/// use tower_maintenance::{Indicator, PartnerStatus};
///
/// let says = PartnerStatus::new(Indicator::Major, "Billing\r\n\u{1b}[31mdown")
///     .with_source("status.zuora.com");
/// assert_eq!(says.description(), "Billing [31mdown");
/// assert_eq!(says.to_string(), "Billing [31mdown (major)");
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
#[must_use = "a statement does nothing until `report_partner_status`"]
#[doc(alias = "PartnerSays")]
pub struct PartnerStatus {
    indicator: Indicator,
    description: Arc<str>,
    source: Option<Arc<str>>,
    changed: Option<SystemTime>,
    fresh_for: Duration,
}

impl PartnerStatus {
    /// Builds a statement.
    ///
    /// An empty `description` becomes the name of the indicator.
    pub fn new(indicator: Indicator, description: &str) -> Self {
        let mut description = plain(description);
        if description.is_empty() {
            description = indicator.to_string().into();
        }
        Self {
            indicator,
            description,
            source: None,
            changed: None,
            fresh_for: FRESH_FOR,
        }
    }

    /// Sets where the statement was read.
    ///
    /// Default: unknown.
    pub fn with_source(self, source: &str) -> Self {
        let source = Some(plain(source)).filter(|source| !source.is_empty());
        Self { source, ..self }
    }

    /// Sets when the partner last changed the statement.
    ///
    /// Default: unknown.
    pub fn changed_at(self, at: SystemTime) -> Self {
        Self {
            changed: Some(at),
            ..self
        }
    }

    /// Sets how long the statement counts as current after it was read.
    ///
    /// Default: 5 min, which is five readings of a page that is read once a minute.
    pub fn fresh_for(self, span: Duration) -> Self {
        Self {
            fresh_for: span,
            ..self
        }
    }

    /// Returns the state that the partner claims.
    #[must_use]
    pub fn indicator(&self) -> Indicator {
        self.indicator
    }

    /// Returns the partner's own words, safe to show.
    #[must_use]
    pub fn description(&self) -> &str {
        &self.description
    }

    /// Returns where the statement was read, if that is known.
    #[must_use]
    pub fn source(&self) -> Option<&str> {
        self.source.as_deref()
    }

    /// Returns when the partner last changed the statement, if that is known.
    #[must_use]
    pub fn changed(&self) -> Option<SystemTime> {
        self.changed
    }
}

impl fmt::Display for PartnerStatus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.description)?;
        match self.indicator {
            Indicator::Operational => Ok(()),
            bad => write!(f, " ({bad})"),
        }
    }
}

/// Returns `text` on one line, without characters that a terminal or a log would act on and without
/// invisible ones, cut after [`LONGEST`] characters.
pub(crate) fn plain(text: &str) -> Arc<str> {
    let odd = |c: char| {
        is_treacherous(c)
            || c.is_whitespace()
            // Invisible characters, which can hide text: soft hyphen, zero-width and format
            // characters.
            || matches!(c, '\u{ad}' | '\u{200b}'..='\u{200d}' | '\u{2060}'..='\u{206f}' | '\u{feff}')
    };
    let mut line = String::new();
    let mut length = 0;
    for word in text.split(odd).filter(|word| !word.is_empty()) {
        let blank = (length > 0).then_some(' ');
        for c in blank.into_iter().chain(word.chars()) {
            if length == LONGEST {
                line.push('…');
                return line.into();
            }
            line.push(c);
            length += 1;
        }
    }
    line.into()
}

/// The partner's last statement, compared with what was measured; part of
/// [`Status`](crate::Status).
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct PartnerReport {
    /// The statement.
    pub says: PartnerStatus,
    /// When it was last read.
    pub read: SystemTime,
    /// How long ago it was last read.
    pub age: Duration,
    /// Whether it is older than [`PartnerStatus::fresh_for`] allows.
    pub stale: bool,
    /// How it contradicts what was measured; `None` if it agrees, or is stale.
    pub contradiction: Option<Contradiction>,
}

/// How the partner's statement contradicts what was measured.
#[derive(Debug, Clone, Copy, PartialEq)]
#[non_exhaustive]
pub enum Contradiction {
    /// The partner says operational, but a fifth or more of at least `min_calls` calls failed.
    OperationalYetFailing {
        /// The share of failures, 0 to 1.
        failure_rate: f64,
    },
    /// The partner says operational, but a rule tripped the layer, or would have under dry run or
    /// bypass.
    OperationalYetTripped,
    /// The partner says major or critical, but less than one in twenty of at least `min_calls`
    /// calls failed.
    OutageYetServing {
        /// The share of failures, 0 to 1.
        failure_rate: f64,
    },
}

impl Contradiction {
    fn between(says: Indicator, seen: Seen) -> Option<Self> {
        // Outside `Serving` the window does not hold current outcomes.
        let rate = match seen.mode {
            Mode::Serving => seen.failure_rate,
            Mode::Maintenance | Mode::Probing => None,
        };
        match (says, rate) {
            (Indicator::Operational, _) if seen.tripped || seen.shadow => {
                Some(Self::OperationalYetTripped)
            }
            (Indicator::Operational, Some(failure_rate)) if failure_rate >= YET_FAILING => {
                Some(Self::OperationalYetFailing { failure_rate })
            }
            (says, Some(failure_rate))
                if says.is_outage() && !seen.shadow && failure_rate < YET_WELL =>
            {
                Some(Self::OutageYetServing { failure_rate })
            }
            _ => None,
        }
    }
}

impl fmt::Display for Contradiction {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::OperationalYetFailing { failure_rate }
            | Self::OutageYetServing { failure_rate } => {
                write!(f, "we see {:.0} % failures", failure_rate * 100.0)
            }
            Self::OperationalYetTripped => f.write_str("our calls failed"),
        }
    }
}

/// A failed attempt to read the partner's statement; part of [`Status`](crate::Status).
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct PartnerUnreadable {
    /// What went wrong and where, safe to show.
    pub error: Arc<str>,
    /// When the attempt failed.
    pub at: SystemTime,
}

/// What the layer measured, to be compared with the partner's statement.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Seen {
    pub(crate) mode: Mode,
    /// The share of failures in the window; `None` below `min_calls`.
    pub(crate) failure_rate: Option<f64>,
    /// Whether a rule tripped the layer. A trip by command does not count.
    pub(crate) tripped: bool,
    /// Whether a rule would have tripped it, if dry run and bypass were off.
    pub(crate) shadow: bool,
}

/// The partner's last statement and the last failed attempt to read one.
#[derive(Debug, Clone, Default)]
pub(crate) struct Heard {
    word: Option<(PartnerStatus, Moment)>,
    /// Cleared when a statement is read again.
    unreadable: Option<(Arc<str>, Moment)>,
}

impl Heard {
    pub(crate) fn with_word(&self, says: PartnerStatus, at: Moment) -> Self {
        Self {
            word: Some((says, at)),
            unreadable: None,
        }
    }

    pub(crate) fn with_error(&self, error: Arc<str>, at: Moment) -> Self {
        Self {
            word: self.word.clone(),
            unreadable: Some((error, at)),
        }
    }

    pub(crate) fn is_same_word(&self, says: &PartnerStatus) -> bool {
        let said = |(word, _): &(PartnerStatus, _)| {
            (word.indicator, &word.description) == (says.indicator, &says.description)
        };
        self.word.as_ref().is_some_and(said)
    }

    pub(crate) fn is_same_error(&self, error: &str) -> bool {
        self.unreadable
            .as_ref()
            .is_some_and(|(it, _)| &**it == error)
    }

    /// Compares the last statement with what was `seen` at `now`, which is `at` on the wall clock.
    pub(crate) fn report(&self, seen: Seen, now: Moment, at: SystemTime) -> Option<PartnerReport> {
        let (says, read) = self.word.as_ref()?;
        let age = now.since(*read);
        let stale = age > says.fresh_for;
        let contradiction = Contradiction::between(says.indicator, seen);
        Some(PartnerReport {
            says: says.clone(),
            read: earlier(at, age),
            age,
            stale,
            contradiction: contradiction.filter(|_| !stale),
        })
    }

    /// Returns the last failed attempt, for a status at `now`, which is `at` on the wall clock.
    pub(crate) fn unreadable(&self, now: Moment, at: SystemTime) -> Option<PartnerUnreadable> {
        let (error, noted) = self.unreadable.as_ref()?;
        Some(PartnerUnreadable {
            error: error.clone(),
            at: earlier(at, now.since(*noted)),
        })
    }
}

/// Subtracts `age` from `at`; a time before the earliest `SystemTime` stays `at`.
fn earlier(at: SystemTime, age: Duration) -> SystemTime {
    at.checked_sub(age).unwrap_or(at)
}
