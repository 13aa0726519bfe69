//! The template of the page, and the values that a template may use.

use std::{sync::LazyLock, time::SystemTime};

use minijinja::{AutoEscape, Environment, UndefinedBehavior, Value, context};

use super::{error::RefusalsError, one_refusal::Refusal};
use crate::base::rfc3339::rfc3339;

const BUILT_IN: &str = include_str!("page.html");
const STYLE: &str = include_str!("page.css");
const SCRIPT: &str = include_str!("page.js");

static DEFAULT: LazyLock<Template> =
    LazyLock::new(|| Template::new(BUILT_IN).expect("the built-in template is valid"));

/// A template of the page. It escapes every value as HTML, except those that it declares safe.
#[derive(Debug, Clone)]
pub(super) struct Template(Environment<'static>);

const NAME: &str = "page.html";

impl Template {
    pub(super) fn new(source: &str) -> Result<Self, RefusalsError> {
        let mut environment = Environment::new();
        environment.set_auto_escape_callback(|_| AutoEscape::Html);
        // An unknown name is an error when the template is given. Otherwise the page would have a
        // gap.
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

/// Returns the values that a template may use.
fn values(refusal: &Refusal<'_>) -> Value {
    let (refused, texts, looks) = (refusal.refused, refusal.texts, refusal.looks);
    let title = if refused.is_read_only() {
        &texts.title_read_only
    } else {
        &texts.title
    };
    // The end of a wait is no promised end: it is shown as the next attempt.
    let until = refused.promised_end().map(time);
    let next_try = refused.until().filter(|_| until.is_none()).map(time);
    let check = refusal.check();
    context! {
        lang => refusal.language(),
        dir => if texts.right_to_left { "rtl" } else { "ltr" },
        title => with_component(title, refusal),
        component => refusal.component(),
        partner => refused.partner(),
        nothing_processed => refusal.nothing_processed(),
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
        support => support(refusal),
        status_url => looks.status_url.as_deref(),
        returns => refusal.returns(),
        check => context! {
            url => check.as_ref().map_or("", |check| &*check.url),
            every => looks.page_checks_every.as_millis() as u64,
            is_notice => check.as_ref().is_some_and(|check| check.is_notice),
        },
        texts => words(refusal),
        style => Value::from_safe_string(STYLE.to_owned()),
        script => Value::from_safe_string(SCRIPT.to_owned()),
    }
}

fn support(refusal: &Refusal<'_>) -> Option<Value> {
    let support = refusal.looks.support.as_ref()?;
    let hours = refusal.texts.support_hours.as_ref();
    Some(context! {
        contact => &*support.contact,
        href => support.href.as_deref(),
        hours => &**hours.unwrap_or(&support.hours),
    })
}

/// Returns the texts of the page in the language of the refusal.
fn words(refusal: &Refusal<'_>) -> Value {
    let texts = refusal.texts;
    let nothing = refusal.nothing_processed();
    let word = |text: &str| with_component(text, refusal);
    context! {
        lead => word(if nothing { &texts.lead } else { &texts.lead_in_handler }),
        since => word(&texts.since),
        until => word(&texts.until),
        next_try => word(&texts.next_try),
        unknown_end => word(&texts.unknown_end),
        still_works => word(&texts.still_works),
        support => word(&texts.support),
        hours => word(&texts.hours),
        status_page => word(&texts.status_page),
        returns => word(&texts.returns),
        tells => word(if nothing { &texts.tells } else { &texts.tells_in_handler }),
        works_again => word(&texts.works_again),
        back => word(&texts.back),
    }
}

fn with_component(text: &str, refusal: &Refusal<'_>) -> String {
    refusal.looks.with_component(text, refusal.texts)
}

/// Returns a time in two forms. The page's script puts the one for people into the reader's time
/// zone.
fn time(at: SystemTime) -> Value {
    let machine = rfc3339(at);
    let human = format!("{} {} UTC", &machine[..10], &machine[11..16]);
    context! { machine => machine, human => human }
}
