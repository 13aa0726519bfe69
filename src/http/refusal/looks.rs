//! The settings of refusals that are plain values.

use std::{borrow::Cow, time::Duration};

use http::HeaderMap;

use super::{error::RefusalsError, negotiate::language, support::Support, texts::PageTexts};

/// How refusals look, apart from what the user replaces by a closure or a template.
#[derive(Debug, Clone)]
pub(super) struct Looks {
    pub(super) component: Option<String>,
    pub(super) support: Option<Support>,
    pub(super) works: Vec<String>,
    pub(super) status_url: Option<String>,
    pub(super) notice_url: Option<String>,
    pub(super) problem_type: String,
    pub(super) longest_retry_after: Duration,
    pub(super) page_checks_every: Duration,
    /// Tags and texts. English is the first, and the default.
    pub(super) languages: Vec<(String, PageTexts)>,
}

impl Looks {
    pub(super) fn new() -> Self {
        Self {
            component: None,
            support: None,
            works: Vec::new(),
            status_url: None,
            notice_url: None,
            problem_type: "about:blank".to_owned(),
            longest_retry_after: Duration::from_secs(300),
            page_checks_every: Duration::from_secs(15),
            languages: vec![("en".to_owned(), PageTexts::english())],
        }
    }

    /// Returns the component's name by itself, as in a heading.
    ///
    /// The partner's name is not for customers, so a component without a name is "This service".
    pub(super) fn component<'n>(&'n self, texts: &'n PageTexts) -> Cow<'n, str> {
        match &self.component {
            Some(name) => Cow::Borrowed(name),
            None => Cow::Owned(capitalized(&texts.unnamed)),
        }
    }

    /// Puts the component's name into a text, in place of `{component}`.
    pub(super) fn with_component(&self, text: &str, texts: &PageTexts) -> String {
        if let Some(name) = &self.component {
            return text.replace("{component}", name);
        }
        let mut parts = text.split("{component}");
        let mut whole = parts.next().unwrap_or_default().to_owned();
        for part in parts {
            let begins = whole.trim_end().is_empty() || whole.trim_end().ends_with(['.', '!', '?']);
            if begins {
                whole.push_str(&capitalized(&texts.unnamed));
            } else {
                whole.push_str(&texts.unnamed);
            }
            whole.push_str(part);
        }
        whole
    }

    /// Sets the support's contact. A second contact is an error: only one is shown.
    pub(super) fn set_support(
        &mut self,
        field: &'static str,
        support: Support,
    ) -> Result<(), RefusalsError> {
        if let Some(first) = &self.support {
            let allowed = format!("one contact; `{}` is set already", first.contact);
            return Err(RefusalsError::quoting(field, &support.contact, &allowed));
        }
        self.support = Some(support);
        Ok(())
    }

    /// Adds a language, or replaces its texts.
    pub(super) fn set_language(
        &mut self,
        tag: &str,
        texts: PageTexts,
    ) -> Result<(), RefusalsError> {
        let part = |part: &str| {
            (1..=8).contains(&part.len()) && part.bytes().all(|b| b.is_ascii_alphanumeric())
        };
        let primary = tag.split('-').next().unwrap_or_default();
        let is_tag = tag.split('-').all(part) && primary.bytes().all(|b| b.is_ascii_alphabetic());
        if !is_tag || primary.len() < 2 {
            let allowed = "a language tag such as `de` or `pt-BR`";
            return Err(RefusalsError::quoting("language", tag, allowed));
        }
        let mut known = self.languages.iter_mut();
        match known.find(|(known, _)| known.eq_ignore_ascii_case(tag)) {
            Some((_, known)) => *known = texts,
            None => self.languages.push((tag.to_owned(), texts)),
        }
        Ok(())
    }

    /// Returns the language that the request prefers: its tag and its texts.
    pub(super) fn in_language_of(&self, headers: &HeaderMap) -> (&str, &PageTexts) {
        let tags = self.languages.iter().map(|(tag, _)| &**tag);
        let (tag, texts) = &self.languages[language(headers, tags)];
        (tag, texts)
    }
}

/// Returns the text with a capital at its beginning.
fn capitalized(text: &str) -> String {
    let mut rest = text.chars();
    let first: String = rest
        .next()
        .into_iter()
        .flat_map(char::to_uppercase)
        .collect();
    first + rest.as_str()
}
