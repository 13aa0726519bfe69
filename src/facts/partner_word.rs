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
    base::{
        moment::{Moment, Span},
        one_line::is_treacherous,
    },
    facts::{evidence::Rule, mode::Mode, status::Status},
    operator::handle::MaintenanceHandle,
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

/// What the partner says of itself, for [`MaintenanceHandle::partner_says`].
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

/// The partner's last word and how it stands to what was measured; part of [`Status`].
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
    fn between(says: Indicator, status: &Status) -> Option<Self> {
        // A trip by command says nothing about what was measured.
        let tripped = status
            .evidence
            .is_some_and(|evidence| evidence.rule != Rule::Command);
        // Outside Serving the window is of another time.
        let rate = match status.mode {
            Mode::Serving => status.window.failure_rate,
            Mode::Maintenance | Mode::Probing => None,
        };
        match (says, rate) {
            (Indicator::Operational, _) if tripped || status.shadow.is_some() => {
                Some(Self::OperationalYetTripped)
            }
            (Indicator::Operational, Some(failure_rate)) if failure_rate >= YET_FAILING => {
                Some(Self::OperationalYetFailing { failure_rate })
            }
            (says, Some(failure_rate))
                if says.is_outage() && status.shadow.is_none() && failure_rate < YET_WELL =>
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

/// That the partner's word could not be read the last time; part of [`Status`].
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct PartnerUnreadable {
    /// What went wrong, and where.
    pub error: Arc<str>,
    /// When that was.
    pub at: SystemTime,
}

impl Status {
    pub(crate) fn explain_partner(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(report) = &self.partner_says {
            let says = &report.says;
            if report.stale {
                write!(
                    f,
                    "; the partner said {} ago (stale): {says}",
                    Span(report.age)
                )?;
            } else {
                write!(f, "; the partner says: {says}")?;
            }
            if let Some(contradiction) = report.contradiction {
                write!(f, ", but {contradiction}")?;
            }
        }
        match &self.partner_unreadable {
            Some(unreadable) => write!(f, "; its word cannot be read: {}", unreadable.error),
            None => Ok(()),
        }
    }
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

    /// Adds it to the status of `now`.
    pub(crate) fn add_to(&self, status: &mut Status, now: Moment) {
        let wall = |at: Moment| status.at.checked_sub(now.since(at)).unwrap_or(status.at);
        let unreadable = self.unreadable.as_ref();
        let unreadable = unreadable.map(|(error, at)| PartnerUnreadable {
            error: error.clone(),
            at: wall(*at),
        });
        let says = self.word.as_ref().map(|(says, read)| {
            let age = now.since(*read);
            let stale = age > says.fresh_for;
            let contradiction = Contradiction::between(says.indicator, status);
            PartnerReport {
                says: says.clone(),
                read: wall(*read),
                age,
                stale,
                contradiction: contradiction.filter(|_| !stale),
            }
        });
        status.partner_says = says;
        status.partner_unreadable = unreadable;
    }
}

impl MaintenanceHandle {
    /// Notes what the partner says of itself, to be shown in the [`Status`] beside what was measured.
    ///
    /// It is information and no command: whatever it says, no mode changes, nothing is refused for it,
    /// and the audit trail does not hold it. The last word replaces the one before, and stands for a
    /// reading now: note it again when it was read again unchanged. `http::Statuspage` is a source.
    ///
    /// ```
    /// use tower_maintenance::{Indicator, MaintenanceLayer, Mode, PartnerSays};
    ///
    /// let handle = MaintenanceLayer::new("zuora").handle();
    /// handle.partner_says(PartnerSays::new(Indicator::Critical, "Major System Outage"));
    /// assert_eq!(handle.mode(), Mode::Serving);
    /// assert_eq!(
    ///     handle.status().to_string(),
    ///     "zuora is serving: no calls in 60 s; the partner says: Major System Outage (critical)"
    /// );
    /// ```
    pub fn partner_says(&self, says: PartnerSays) {
        self.shared().partner_says(says);
    }

    /// Notes that the partner's word could not be read and why, until it is read again. What it said
    /// before stays, and ages. The text is made safe to show, as in [`PartnerSays`].
    ///
    /// ```
    /// use tower_maintenance::MaintenanceLayer;
    ///
    /// let handle = MaintenanceLayer::new("zuora").handle();
    /// handle.partner_unreadable("status.zuora.com: connection refused");
    /// assert_eq!(
    ///     handle.status().to_string(),
    ///     "zuora is serving: no calls in 60 s; its word cannot be read: status.zuora.com: connection refused"
    /// );
    /// ```
    pub fn partner_unreadable(&self, error: &str) {
        self.shared().partner_unreadable(plain(error));
    }
}
