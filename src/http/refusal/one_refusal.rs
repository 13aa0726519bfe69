//! One refusal: the settings, the request, and the answer of the gate.

use std::{borrow::Cow, fmt, time::Duration};

use http::{HeaderMap, Method, Uri};

use super::{in_handler::Processed, looks::Looks, texts::PageTexts};
use crate::facts::{endpoint::Class, refused::Refused};

/// The parts of a request that its refusal depends on.
pub(in crate::http) struct Asked<'r> {
    pub(in crate::http) method: &'r Method,
    pub(in crate::http) uri: Option<&'r Uri>,
    /// The path as the client sent it, also where a router has stripped a prefix.
    pub(in crate::http) path: Option<&'r str>,
    pub(in crate::http) headers: &'r HeaderMap,
    pub(in crate::http) class: Class,
}

/// One refusal, as the closures see it that replace the page or edit the problem document.
pub struct Refusal<'r> {
    pub(super) looks: &'r Looks,
    pub(super) refused: &'r Refused,
    pub(super) asked: &'r Asked<'r>,
    pub(super) processed: Processed,
    pub(super) component: Cow<'r, str>,
    pub(super) seconds: u64,
    pub(super) lang: &'r str,
    pub(super) texts: &'r PageTexts,
}

/// The address that the page polls until requests are served again.
pub(super) struct Check {
    pub(super) url: String,
    pub(super) is_notice: bool,
}

impl Refusal<'_> {
    /// Returns the answer of the gate.
    #[must_use]
    pub fn refused(&self) -> &Refused {
        self.refused
    }

    /// Returns the name by which customers know the component that is in maintenance: that of
    /// [`Refusals::component`](super::Refusals::component), or "This service" in the language of
    /// the refusal.
    #[must_use]
    pub fn component(&self) -> &str {
        &self.component
    }

    /// Returns whether nothing of the request was processed, and it may be repeated safely. If not,
    /// a handler was refused a call, and what it did before is not known.
    #[must_use]
    pub fn nothing_processed(&self) -> bool {
        self.processed == Processed::Nothing
    }

    /// Returns the value of `Retry-After`, in whole seconds. It is drawn anew for each response.
    #[must_use]
    pub fn retry_after(&self) -> Duration {
        Duration::from_secs(self.seconds)
    }

    /// Returns the tag of the language that was chosen.
    #[must_use]
    pub fn language(&self) -> &str {
        self.lang
    }

    /// Returns the method of the request.
    #[must_use]
    pub fn method(&self) -> &Method {
        self.asked.method
    }

    /// Returns the target of the request, where it is known.
    #[must_use]
    pub fn uri(&self) -> Option<&Uri> {
        self.asked.uri
    }

    /// Returns whether the page may repeat the request by itself: only a GET that reads.
    #[must_use]
    pub fn returns(&self) -> bool {
        self.asked.method == Method::GET && self.asked.class == Class::Read
    }

    pub(super) fn check(&self) -> Option<Check> {
        match &self.looks.notice_url {
            Some(url) => Some(Check {
                url: url.clone(),
                is_notice: true,
            }),
            // The page polls its own address, whatever that is.
            None if self.returns() => Some(Check {
                url: "self".to_owned(),
                is_notice: false,
            }),
            None => None,
        }
    }

    pub(super) fn what_works(&self) -> &[String] {
        self.texts
            .what_works
            .as_deref()
            .unwrap_or(&self.looks.works)
    }
}

impl fmt::Debug for Refusal<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Refusal")
            .field("refused", self.refused)
            .field("retry_after", &self.seconds)
            .field("language", &self.lang)
            .finish_non_exhaustive()
    }
}
