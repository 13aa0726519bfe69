//! A page by a template, and the values that a template may use.

use minijinja::{AutoEscape, Environment, UndefinedBehavior, Value, context};

use super::{
    built_in::{SCRIPT, STYLE},
    error::RefusalsError,
    one_refusal::Refusal,
    page_values::{Contact, PageValues, Time, Words},
};

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

    pub(super) fn render(&self, refusal: &Refusal<'_>) -> Result<String, minijinja::Error> {
        self.0.get_template(NAME)?.render(values(refusal))
    }
}

/// Returns the values that a template may use.
fn values(refusal: &Refusal<'_>) -> Value {
    let refused = refusal.refused;
    let page = PageValues::new(refusal);
    context! {
        lang => page.lang,
        dir => page.dir,
        title => page.title,
        component => refusal.component(),
        partner => refused.partner(),
        nothing_processed => refusal.nothing_processed(),
        cause => refused.cause().to_string(),
        mode => refused.mode().to_string(),
        read_only => refused.is_read_only(),
        generation => refused.generation(),
        retry_after => page.retry_after.as_secs(),
        message => refused.message(),
        since => time(page.since),
        until => page.until.map(time),
        next_try => page.next_try.map(time),
        works => page.works.to_vec(),
        support => page.support.map(|it| support(&it)),
        status_url => page.status_url,
        returns => page.returns,
        check => context! {
            url => page.check.url,
            every => page.check.every,
            is_notice => page.check.is_notice,
        },
        texts => texts(page.words),
        style => Value::from_safe_string(STYLE.to_owned()),
        script => Value::from_safe_string(SCRIPT.to_owned()),
    }
}

fn time(time: Time) -> Value {
    context! { machine => time.machine, human => time.human }
}

fn support(support: &Contact<'_>) -> Value {
    context! {
        contact => support.contact,
        href => support.href,
        hours => support.hours.unwrap_or_default(),
    }
}

fn texts(words: Words) -> Value {
    context! {
        lead => words.lead,
        since => words.since,
        until => words.until,
        next_try => words.next_try,
        unknown_end => words.unknown_end,
        still_works => words.still_works,
        support => words.support,
        hours => words.hours,
        status_page => words.status_page,
        returns => words.returns,
        tells => words.tells,
        works_again => words.works_again,
        back => words.back,
    }
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;

    use http::Method;

    use super::{
        super::{
            built_in::built_in, looks::Looks, samples::in_samples, support::Support,
            texts::PageTexts,
        },
        *,
    };

    /// Looks whose texts all have what HTML gives a meaning.
    fn hostile() -> Looks {
        let mut texts = PageTexts::english();
        for text in [
            &mut texts.title,
            &mut texts.title_read_only,
            &mut texts.lead,
            &mut texts.since,
            &mut texts.unknown_end,
            &mut texts.hours,
            &mut texts.back,
        ] {
            text.push_str("</p> \"{component}\" & 'é'");
        }
        texts.what_works = Some(vec!["<li>".into(), String::new()]);
        texts.support_hours = Some("<9/5>".into());
        texts.right_to_left = true;
        let mut looks = Looks::new();
        looks.component = Some("<b>\"Billing\" & Co's</b>".into());
        looks.status_url = Some("https://status.example/?a='&b=\"".into());
        looks.support = Some(Support::text("<ask>", "").unwrap());
        looks.set_language("ar", texts).unwrap();
        looks
    }

    #[test]
    fn the_built_in_page_is_that_of_its_template() {
        let template = Template::new(include_str!("page.html")).unwrap();
        let mut polling = hostile();
        polling.notice_url = Some("/notice.json?a=\"&b".to_owned());
        let mut pages = Vec::new();
        for looks in [Looks::new(), hostile(), polling] {
            for method in [Method::GET, Method::POST] {
                let Ok(()) = in_samples(&looks, &method, |refusal| {
                    let page = built_in(&PageValues::new(refusal));
                    assert_eq!(page, template.render(refusal).unwrap());
                    pages.push(page);
                    Ok::<_, Infallible>(())
                });
            }
        }
        // Every branch of the template was taken, and its other side too.
        for part in [
            "<noscript>",
            "<p class=\"message\">",
            "Expected until",
            "We try again at",
            "We do not know yet",
            "data-notice=\"true\"",
            "It opens what you asked for",
            "It tells you as soon",
            "role=\"status\"></p>",
            "<ul>",
            "<a href=\"tel:0\">",
            "class=\"hours\"",
            "Status page",
        ] {
            let with = pages.iter().filter(|page| page.contains(part)).count();
            assert!((1..pages.len()).contains(&with), "{part}: {with} pages");
        }
    }
}
