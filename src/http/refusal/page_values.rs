//! What the page says: the values of one refusal, for the built-in page and for templates.

use std::time::{Duration, SystemTime};

use super::one_refusal::Refusal;
use crate::base::rfc3339::rfc3339;

/// The values of a page. An optional text that is empty is `None`.
pub(super) struct PageValues<'r> {
    pub(super) lang: &'r str,
    /// The value of `dir`: from which side the language is written.
    pub(super) dir: &'static str,
    pub(super) title: String,
    pub(super) message: Option<&'r str>,
    pub(super) since: Time,
    /// The promised end.
    pub(super) until: Option<Time>,
    /// The next attempt, where no end is promised.
    pub(super) next_try: Option<Time>,
    pub(super) works: &'r [String],
    pub(super) support: Option<Contact<'r>>,
    pub(super) status_url: Option<&'r str>,
    pub(super) retry_after: Duration,
    pub(super) returns: bool,
    pub(super) check: Check,
    pub(super) words: Words,
}

/// A time in two forms. The page's script puts the one for people into the reader's time zone.
pub(super) struct Time {
    pub(super) machine: String,
    pub(super) human: String,
}

pub(super) struct Contact<'r> {
    pub(super) contact: &'r str,
    pub(super) href: Option<&'r str>,
    pub(super) hours: Option<&'r str>,
}

/// What the page polls, and how often. The address is empty if it polls nothing.
pub(super) struct Check {
    pub(super) url: String,
    pub(super) every: u64,
    pub(super) is_notice: bool,
}

/// The texts of the page in the language of the refusal.
pub(super) struct Words {
    pub(super) lead: String,
    pub(super) since: String,
    pub(super) until: String,
    pub(super) next_try: String,
    pub(super) unknown_end: String,
    pub(super) still_works: String,
    pub(super) support: String,
    pub(super) hours: String,
    pub(super) status_page: String,
    pub(super) returns: String,
    pub(super) tells: String,
    pub(super) works_again: String,
    pub(super) back: String,
}

impl<'r> PageValues<'r> {
    pub(super) fn new(refusal: &'r Refusal<'_>) -> Self {
        let (refused, texts, looks) = (refusal.refused, refusal.texts, refusal.looks);
        let title = if refused.is_read_only() {
            &texts.title_read_only
        } else {
            &texts.title
        };
        // The end of a wait is no promised end: it is shown as the next attempt.
        let until = refused.promised_end().map(Time::new);
        let next_try = refused.until().filter(|_| until.is_none()).map(Time::new);
        Self {
            lang: refusal.language(),
            dir: if texts.right_to_left { "rtl" } else { "ltr" },
            title: looks.with_component(title, texts),
            message: refused.message().filter(not_empty),
            since: Time::new(refused.since()),
            until,
            next_try,
            works: refusal.what_works(),
            support: Contact::new(refusal),
            status_url: looks.status_url.as_deref(),
            retry_after: refusal.retry_after(),
            returns: refusal.returns(),
            check: Check::new(refusal),
            words: Words::new(refusal),
        }
    }
}

impl Time {
    fn new(at: SystemTime) -> Self {
        let machine = rfc3339(at);
        let human = format!("{} {} UTC", &machine[..10], &machine[11..16]);
        Self { machine, human }
    }
}

impl<'r> Contact<'r> {
    fn new(refusal: &'r Refusal<'_>) -> Option<Self> {
        let support = refusal.looks.support.as_ref()?;
        let hours = refusal.texts.support_hours.as_ref();
        Some(Self {
            contact: &support.contact,
            href: support.href.as_deref().filter(not_empty),
            hours: Some(&**hours.unwrap_or(&support.hours)).filter(not_empty),
        })
    }
}

impl Check {
    fn new(refusal: &Refusal<'_>) -> Self {
        let check = refusal.check();
        let every = refusal.looks.page_checks_every.as_millis();
        Self {
            is_notice: check.as_ref().is_some_and(|check| check.is_notice),
            url: check.map(|check| check.url).unwrap_or_default(),
            every: u64::try_from(every).unwrap_or(u64::MAX),
        }
    }
}

impl Words {
    fn new(refusal: &Refusal<'_>) -> Self {
        let texts = refusal.texts;
        let nothing = refusal.nothing_processed();
        let word = |text: &str| refusal.looks.with_component(text, texts);
        Self {
            lead: word(if nothing {
                &texts.lead
            } else {
                &texts.lead_in_handler
            }),
            since: word(&texts.since),
            until: word(&texts.until),
            next_try: word(&texts.next_try),
            unknown_end: word(&texts.unknown_end),
            still_works: word(&texts.still_works),
            support: word(&texts.support),
            hours: word(&texts.hours),
            status_page: word(&texts.status_page),
            returns: word(&texts.returns),
            tells: word(if nothing {
                &texts.tells
            } else {
                &texts.tells_in_handler
            }),
            works_again: word(&texts.works_again),
            back: word(&texts.back),
        }
    }
}

fn not_empty(text: &&str) -> bool {
    !text.is_empty()
}
