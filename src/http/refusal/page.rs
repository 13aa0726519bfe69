//! The page that people see: one document without any external asset.
//!
//! Its style and its script are constant, so that its `Content-Security-Policy` can name them by
//! their hashes. Nothing else in the document can run, whatever text is inserted into it.

use std::sync::Arc;

use http::HeaderValue;

#[cfg(feature = "page-templates")]
use super::template::Template;
use super::{built_in::built_in, one_refusal::Refusal, page_values::PageValues};
#[cfg(feature = "page-templates")]
use crate::base::{harmless::harmless, one_line::OneLine, target::TARGET};

/// Allows the page's own style and script, and the requests by which the page polls. Nothing else.
const POLICY: HeaderValue = HeaderValue::from_static(
    "default-src 'none'; style-src 'sha256-fjYIhAvAd1lGP1swcQ6NvTO7YFQlAiSxQ5XQMfZr7z8='; \
     script-src 'sha256-4VacAxiTVKuIfq14pQvcucyXJmg+No1DJ6Wv9/ZX0os='; connect-src 'self'; \
     base-uri 'none'; form-action 'none'; frame-ancestors 'self'",
);

/// A closure of the user's that makes the whole page.
type MakePage = dyn Fn(&Refusal<'_>) -> String + Send + Sync;

/// What makes the page.
#[derive(Clone)]
pub(super) enum Page {
    BuiltIn,
    #[cfg(feature = "page-templates")]
    Template(Box<Template>),
    Closure(Arc<MakePage>),
}

impl Page {
    /// Returns the page. The built-in one comes with its `Content-Security-Policy`.
    pub(super) fn render(&self, refusal: &Refusal<'_>) -> (String, Option<HeaderValue>) {
        match self {
            Self::BuiltIn => {}
            Self::Closure(page) => return (page(refusal), None),
            #[cfg(feature = "page-templates")]
            Self::Template(template) => match template.render(refusal) {
                Ok(page) => return (page, None),
                // The template was tried when it was given. If it fails now, customers get the
                // built-in page.
                Err(error) => {
                    let error = error.to_string();
                    tracing::error!(target: TARGET, error = %OneLine(&error), "rendering the page template failed");
                }
            },
        }
        (built_in(&PageValues::new(refusal)), Some(POLICY))
    }

    /// Warns if a template makes the page, which a closure is about to replace.
    #[cfg(feature = "page-templates")]
    pub(super) fn warn_of_a_template(&self) {
        if let Self::Template(_) = self {
            harmless(|| {
                tracing::warn!(target: TARGET,
                    "`page` replaces the page of `page_template`, which has no effect: set one of \
                     them"
                );
            });
        }
    }
}
