//! The page that people see: one document without any external asset.
//!
//! Its style and script are constant, so that its `Content-Security-Policy` can name them by their hashes:
//! nothing else in the document can run, whatever somebody managed to write into it.

use std::{sync::LazyLock, time::SystemTime};

use http::HeaderValue;
use minijinja::{AutoEscape, Environment, UndefinedBehavior, Value, context};

use super::{Refusal, RefusalsError};
use crate::base::rfc3339::rfc3339;

const BUILT_IN: &str = include_str!("page.html");
const STYLE: &str = include_str!("page.css");
const SCRIPT: &str = include_str!("page.js");

/// Nothing but the page's own style and script, and its question whether it works again.
pub(super) const POLICY: HeaderValue = HeaderValue::from_static(
    "default-src 'none'; style-src 'sha256-fjYIhAvAd1lGP1swcQ6NvTO7YFQlAiSxQ5XQMfZr7z8='; \
     script-src 'sha256-2FsV6dRw+eGZeGKHDEHYijH9drVPLL+eBx83DwEJXyY='; connect-src 'self'; \
     base-uri 'none'; form-action 'none'; frame-ancestors 'self'",
);

static DEFAULT: LazyLock<Template> =
    LazyLock::new(|| Template::new(BUILT_IN).expect("the built-in template is valid"));

/// A template of the page, with everything escaped as HTML that it does not declare safe.
#[derive(Debug, Clone)]
pub(super) struct Template(Environment<'static>);

const NAME: &str = "page.html";

impl Template {
    pub(super) fn new(source: &str) -> Result<Self, RefusalsError> {
        let mut environment = Environment::new();
        environment.set_auto_escape_callback(|_| AutoEscape::Html);
        // A name that is not there is an error when the template is given, not a hole in a page.
        environment.set_undefined_behavior(UndefinedBehavior::SemiStrict);
        environment
            .add_template_owned(NAME, source.to_owned())
            .map_err(|error| RefusalsError::template(&error, source))?;
        Ok(Self(environment))
    }

    pub(super) fn built_in() -> &'static Self {
        &DEFAULT
    }

    pub(super) fn render(&self, refusal: &Refusal<'_>) -> Result<String, minijinja::Error> {
        self.0.get_template(NAME)?.render(values(refusal))
    }
}

/// What a template may say.
fn values(refusal: &Refusal<'_>) -> Value {
    let (refused, texts) = (refusal.refused, refusal.texts);
    let in_its_place = |text: &str| text.replace("{component}", refusal.component());
    let title = if refused.is_read_only() {
        &texts.title_read_only
    } else {
        &texts.title
    };
    // What nobody promised is only the next try.
    let until = refused.promised_end().map(time);
    let next_try = refused.until().filter(|_| until.is_none()).map(time);
    let support = refusal.refusals.support.as_ref().map(|support| {
        let hours = texts.support_hours.as_ref().unwrap_or(&support.hours);
        context! {
            contact => &*support.contact,
            href => support.href.as_deref(),
            hours => &**hours,
        }
    });
    let check = refusal.check();
    context! {
        lang => refusal.language(),
        dir => if texts.right_to_left { "rtl" } else { "ltr" },
        title => in_its_place(title),
        component => refusal.component(),
        partner => refused.partner(),
        cause => refused.cause().to_string(),
        mode => refused.mode().to_string(),
        read_only => refused.is_read_only(),
        generation => refused.generation(),
        retry_after => refusal.retry_after().as_secs(),
        message => refused.message(),
        since => time(refused.since()),
        until => until,
        next_try => next_try,
        works => refusal.what_works().to_vec(),
        support => support,
        status_url => refusal.refusals.status_page(),
        returns => refusal.returns(),
        check => context! {
            url => check.as_ref().map_or("", |check| &*check.url),
            every => refusal.refusals.checks_every.as_millis() as u64,
            is_notice => check.as_ref().is_some_and(|check| check.is_notice),
        },
        texts => context! {
            lead => in_its_place(&texts.lead),
            since => in_its_place(&texts.since),
            until => in_its_place(&texts.until),
            next_try => in_its_place(&texts.next_try),
            unknown_end => in_its_place(&texts.unknown_end),
            still_works => in_its_place(&texts.still_works),
            support => in_its_place(&texts.support),
            hours => in_its_place(&texts.hours),
            status_page => in_its_place(&texts.status_page),
            returns => in_its_place(&texts.returns),
            tells => in_its_place(&texts.tells),
            works_again => in_its_place(&texts.works_again),
            back => in_its_place(&texts.back),
        },
        style => Value::from_safe_string(STYLE.to_owned()),
        script => Value::from_safe_string(SCRIPT.to_owned()),
    }
}

/// For the machine, and for people until the page's script has put it into their own zone.
fn time(at: SystemTime) -> Value {
    let machine = rfc3339(at);
    let human = format!("{} {} UTC", &machine[..10], &machine[11..16]);
    context! { machine => machine, human => human }
}
