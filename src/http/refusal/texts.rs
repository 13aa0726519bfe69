//! What the page and the notice say, in one language.

/// The words of the page and of the in-product notice in one language; `{component}` stands for the component's name.
///
/// English is built in ([`PageTexts::english`]); another language begins as a copy of it:
///
/// ```
/// use tower_maintenance::http::{PageTexts, Refusals};
///
/// let mut german = PageTexts::english();
/// german.title = "{component} wird gewartet".into();
/// german.lead = "Ihre Anfrage wurde nicht bearbeitet; Sie können sie später gefahrlos wiederholen.".into();
/// // ... and so on
/// let refusals = Refusals::new().language("de", german)?;
/// # let _ = refusals;
/// # Ok::<(), tower_maintenance::http::RefusalsError>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct PageTexts {
    /// The heading in maintenance.
    pub title: String,
    /// The heading under a read-only hold.
    pub title_read_only: String,
    /// What happened to the request. It must say that nothing was processed.
    pub lead: String,
    /// Before the time at which it began.
    pub since: String,
    /// Before the time at which a hold is expected to end.
    pub until: String,
    /// Before the time at which the partner is tried again, where nobody knows the end.
    pub next_try: String,
    /// Where nobody knows when it ends.
    pub unknown_end: String,
    /// Above the list of what still works.
    pub still_works: String,
    /// Before the support's contact.
    pub support: String,
    /// Before the support's hours.
    pub hours: String,
    /// The link to the status page.
    pub status_page: String,
    /// That the page returns by itself.
    pub returns: String,
    /// That the page tells when it works again, where what was sent must be sent once more.
    pub tells: String,
    /// That it works again, and what to do.
    pub works_again: String,
    /// The link back to what was left.
    pub back: String,
    /// The notice before maintenance that was announced; the announcement's own text follows.
    pub notice_announced: String,
    /// The notice under a read-only hold.
    pub notice_read_only: String,
    /// The notice in maintenance.
    pub notice_maintenance: String,
    /// The button that hides the notice.
    pub hide: String,
    /// What still works, in this language. `None`: as given to [`Refusals::still_works`](super::Refusals::still_works).
    pub what_works: Option<Vec<String>>,
    /// The support's hours, in this language. `None`: as given to [`Refusals::support`](super::Refusals::support).
    pub support_hours: Option<String>,
    /// Whether the language is written from right to left.
    pub right_to_left: bool,
}

impl PageTexts {
    /// The built-in texts.
    #[must_use]
    pub fn english() -> Self {
        let text = String::from;
        Self {
            title: text("{component} is down for maintenance"),
            title_read_only: text("{component} can be read, but not changed for now"),
            lead: text(
                "Your request was not processed, so nothing was changed or charged. It is safe to repeat it.",
            ),
            since: text("Since"),
            until: text("Expected until"),
            next_try: text("We try again at"),
            unknown_end: text("We do not know yet how long it will take."),
            still_works: text("What still works"),
            support: text("If it cannot wait"),
            hours: text("Hours"),
            status_page: text("Status page"),
            returns: text(
                "This page checks by itself, and returns to what you asked for as soon as it works again.",
            ),
            tells: text(
                "This page checks by itself, and tells you as soon as it works again. Then go back and send it once more.",
            ),
            works_again: text("It works again."),
            back: text("Go back"),
            notice_announced: text("Maintenance of {component} is planned."),
            notice_read_only: text("{component} can be read, but not changed for now."),
            notice_maintenance: text("{component} is down for maintenance."),
            hide: text("Hide"),
            what_works: None,
            support_hours: None,
            right_to_left: false,
        }
    }
}
