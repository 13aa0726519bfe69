//! The words of the page and of the notice, in one language.

/// The words of the page and of the in-product notice, in one language.
///
/// `{component}` stands for the name of the component: that of
/// [`Refusals::component`](super::Refusals::component), or [`unnamed`](Self::unnamed). English is
/// built in ([`PageTexts::english`]). Another language starts as a copy of it:
///
/// ```
/// use tower_maintenance::http::{PageTexts, Refusals};
///
/// let mut german = PageTexts::english();
/// german.title = "{component} wird gewartet".into();
/// german.unnamed = "dieser Dienst".into();
/// german.lead = "Ihre Anfrage wurde nicht bearbeitet. Wiederholen ist gefahrlos.".into();
/// // and so on for each field
/// let refusals = Refusals::new().language("de", german)?;
/// # let _ = refusals;
/// # Ok::<(), tower_maintenance::http::RefusalsError>(())
/// ```
///
/// With the feature `serde` the texts are read from a table with the names of the fields. A field
/// that is left out has its English text, and an unknown field is an error.
#[derive(Debug, Clone, PartialEq, Eq)]
#[cfg_attr(
    feature = "serde",
    derive(serde::Deserialize, serde::Serialize),
    serde(default = "PageTexts::english", deny_unknown_fields)
)]
#[non_exhaustive]
pub struct PageTexts {
    /// The heading during maintenance.
    pub title: String,
    /// The heading under a read-only hold.
    pub title_read_only: String,
    /// What stands for `{component}` if the component has no name. At the beginning of a sentence
    /// its first letter becomes a capital.
    pub unnamed: String,
    /// The outcome of a request that was not processed. It must say so.
    pub lead: String,
    /// The outcome of a request whose handler was refused a call to the partner. It must not say
    /// that the request was not processed, or that it may be repeated: the handler may have charged
    /// before.
    pub lead_in_handler: String,
    /// The label of the time at which maintenance began.
    pub since: String,
    /// The label of the time at which a hold is expected to end.
    pub until: String,
    /// The label of the time at which the partner is tried again, if the end is unknown.
    pub next_try: String,
    /// The sentence that is shown if neither time is known.
    pub unknown_end: String,
    /// The heading above the list of what still works.
    pub still_works: String,
    /// The heading above the support contact.
    pub support: String,
    /// The label of the support hours.
    pub hours: String,
    /// The text of the link to the status page.
    pub status_page: String,
    /// The sentence that the page polls, and repeats the request by itself.
    pub returns: String,
    /// The sentence that the page polls, and that the customer must send the request again.
    pub tells: String,
    /// The sentence that the page polls, for a request whose handler was refused a call.
    pub tells_in_handler: String,
    /// The sentence that requests are served again. [`back`](Self::back) follows it.
    pub works_again: String,
    /// The text of the link to the previous page.
    pub back: String,
    /// The notice before announced maintenance. The text of the announcement follows it.
    pub notice_announced: String,
    /// The notice under a read-only hold.
    pub notice_read_only: String,
    /// The notice during maintenance.
    pub notice_maintenance: String,
    /// The label of the button that hides the notice.
    pub hide: String,
    /// What still works, in this language. `None` stands for the list that
    /// [`Refusals::still_works`](super::Refusals::still_works) was given.
    pub what_works: Option<Vec<String>>,
    /// The support hours, in this language. `None` stands for the hours that came with the contact,
    /// such as those of [`Refusals::support_email`](super::Refusals::support_email).
    pub support_hours: Option<String>,
    /// Whether the language is written from right to left.
    pub right_to_left: bool,
}

impl PageTexts {
    /// Returns the built-in English texts.
    #[must_use]
    pub fn english() -> Self {
        let text = String::from;
        Self {
            title: text("{component} is temporarily unavailable for maintenance"),
            title_read_only: text("{component} can be viewed but not changed during maintenance"),
            unnamed: text("this service"),
            lead: text(
                "Your request was not processed, so nothing was changed or charged. It is safe to repeat it.",
            ),
            lead_in_handler: text(
                "Your request could not be completed. Some of it may have been done: please check before you repeat it.",
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
                "This page checks automatically. It opens what you asked for as soon as {component} is available again.",
            ),
            tells: text(
                "This page checks automatically. It tells you as soon as {component} is available again. Then go back and send your request once more.",
            ),
            tells_in_handler: text(
                "This page checks automatically. It tells you as soon as {component} is available again.",
            ),
            works_again: text("{component} is available again."),
            back: text("Go back"),
            notice_announced: text("Maintenance of {component} is planned."),
            notice_read_only: text("{component} can be viewed but not changed during maintenance."),
            notice_maintenance: text("{component} is temporarily unavailable for maintenance."),
            hide: text("Hide"),
            what_works: None,
            support_hours: None,
            right_to_left: false,
        }
    }
}
