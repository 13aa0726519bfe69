//! What the partner says of itself, shown beside what was measured.
//!
//! It is information, never a command: a status page is written by people, late, and about somebody
//! else's customers. So nothing in here changes a mode, opens an episode or stands in the audit trail;
//! it is kept beside the machine, and read only by whoever reads the status.

use std::{
    fmt,
    sync::Arc,
    time::{Duration, SystemTime},
};

use crate::{
    base::{moment::Moment, one_line::is_treacherous},
    facts::mode::Mode,
};

/// How long a text from outside may be, in characters: it is held in memory and goes into logs.
const LONGEST: usize = 256;

/// How old a word may be before it is stale: five readings of a page that is read once a minute.
const FRESH_FOR: Duration = Duration::from_secs(300);

/// From this share of failures on "operational" is a contradiction. A fifth is no accident among
/// `min_calls`, and well below the rate at which the default policy trips.
const YET_FAILING: f64 = 0.2;

/// Below this share of failures an outage is a contradiction: it has not reached us.
const YET_WELL: f64 = 0.05;

/// How bad the partner says it is; the words of Statuspage's `status.indicator`.
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
    /// `maintenance`: planned.
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

    /// The word on the wire: `none`, `minor`, `major`, `critical`, `maintenance`.
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

    /// What a word on the wire means.
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

/// What the partner says of itself, for
/// [`MaintenanceHandle::partner_says`](crate::MaintenanceHandle::partner_says).
///
/// Texts are made safe to show: control characters and invisible ones become blanks, and what is
/// longer than 256 characters is cut.
///
/// ```
/// use tower_maintenance::{Indicator, PartnerSays};
///
/// let says = PartnerSays::new(Indicator::Major, "Billing\r\n\u{1b}[31mdown").with_source("status.zuora.com");
/// assert_eq!(says.description(), "Billing [31mdown");
/// assert_eq!(says.to_string(), "Billing [31mdown (major)");
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
#[must_use = "it is not noted until `partner_says`"]
pub struct PartnerSays {
    indicator: Indicator,
    description: Arc<str>,
    source: Option<Arc<str>>,
    changed: Option<SystemTime>,
    fresh_for: Duration,
}

impl PartnerSays {
    /// What it says, in its own words; without any, the indicator's name.
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

    /// Says where it was read. Default: unknown.
    pub fn with_source(self, source: &str) -> Self {
        let source = Some(plain(source)).filter(|source| !source.is_empty());
        Self { source, ..self }
    }

    /// Says when the partner last changed it. Default: unknown.
    pub fn changed_at(self, at: SystemTime) -> Self {
        Self {
            changed: Some(at),
            ..self
        }
    }

    /// Says for how long it counts as what the partner says now. Default: 5 min, five readings of a
    /// page that is read once a minute.
    pub fn fresh_for(self, span: Duration) -> Self {
        Self {
            fresh_for: span,
            ..self
        }
    }

    /// How bad it says it is.
    #[must_use]
    pub fn indicator(&self) -> Indicator {
        self.indicator
    }

    /// Its own words, safe to show.
    #[must_use]
    pub fn description(&self) -> &str {
        &self.description
    }

    /// Where it was read, if that was said.
    #[must_use]
    pub fn source(&self) -> Option<&str> {
        self.source.as_deref()
    }

    /// When the partner last changed it, if that was said.
    #[must_use]
    pub fn changed(&self) -> Option<SystemTime> {
        self.changed
    }
}

impl fmt::Display for PartnerSays {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.description)?;
        match self.indicator {
            Indicator::Operational => Ok(()),
            bad => write!(f, " ({bad})"),
        }
    }
}

/// Words on one line, without anything a terminal or a log would act on or that hides what stands there.
pub(crate) fn plain(text: &str) -> Arc<str> {
    let odd = |c: char| {
        is_treacherous(c)
            || c.is_whitespace()
            // Invisible, and so never meant.
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

/// The partner's last word and how it stands to what was measured; part of [`Status`](crate::Status).
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct PartnerReport {
    /// What it said.
    pub says: PartnerSays,
    /// When that was last read.
    pub read: SystemTime,
    /// How long ago that is.
    pub age: Duration,
    /// Whether that is too long to be taken for what it says now.
    pub stale: bool,
    /// How it contradicts what was measured here. A stale word contradicts nothing.
    pub contradiction: Option<Contradiction>,
}

/// How the partner's word contradicts what was measured here.
#[derive(Debug, Clone, Copy, PartialEq)]
#[non_exhaustive]
pub enum Contradiction {
    /// It says operational, but of at least `min_calls` a fifth or more fail.
    OperationalYetFailing {
        /// The share of failures, 0 to 1.
        failure_rate: f64,
    },
    /// It says operational, but a rule has tripped the layer (or would have, in dry run and under bypass).
    OperationalYetTripped,
    /// It says major or critical, but of at least `min_calls` fewer than one in twenty fail.
    OutageYetServing {
        /// The share of failures, 0 to 1.
        failure_rate: f64,
    },
}

impl Contradiction {
    fn between(says: Indicator, seen: Seen) -> Option<Self> {
        // Outside Serving the window is of another time.
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

/// That the partner's word could not be read the last time; part of [`Status`](crate::Status).
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct PartnerUnreadable {
    /// What went wrong, and where.
    pub error: Arc<str>,
    /// When that was.
    pub at: SystemTime,
}

/// What was measured here, to be compared with the partner's word.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Seen {
    pub(crate) mode: Mode,
    /// The share of failures in the window; `None` below `min_calls`.
    pub(crate) failure_rate: Option<f64>,
    /// Whether a rule has tripped the layer. A trip by command is no measurement.
    pub(crate) tripped: bool,
    /// Whether a rule would have tripped it, but for dry run or bypass.
    pub(crate) shadow: bool,
}

/// What was heard last; kept beside the machine.
#[derive(Debug, Clone, Default)]
pub(crate) struct Heard {
    word: Option<(PartnerSays, Moment)>,
    /// Until it can be read again.
    unreadable: Option<(Arc<str>, Moment)>,
}

impl Heard {
    pub(crate) fn with_word(&self, says: PartnerSays, at: Moment) -> Self {
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

    pub(crate) fn is_same_word(&self, says: &PartnerSays) -> bool {
        let said = |(word, _): &(PartnerSays, _)| {
            (word.indicator, &word.description) == (says.indicator, &says.description)
        };
        self.word.as_ref().is_some_and(said)
    }

    pub(crate) fn is_same_error(&self, error: &str) -> bool {
        self.unreadable
            .as_ref()
            .is_some_and(|(it, _)| &**it == error)
    }

    /// The last word as it stands to what was `seen` here at `now`, which is `at` on the wall clock.
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

    /// Why the word could not be read the last time, told at `now`, which is `at` on the wall clock.
    pub(crate) fn unreadable(&self, now: Moment, at: SystemTime) -> Option<PartnerUnreadable> {
        let (error, noted) = self.unreadable.as_ref()?;
        Some(PartnerUnreadable {
            error: error.clone(),
            at: earlier(at, now.since(*noted)),
        })
    }
}

fn earlier(at: SystemTime, age: Duration) -> SystemTime {
    at.checked_sub(age).unwrap_or(at)
}
