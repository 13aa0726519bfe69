//! The built-in page, without a template engine.
//!
//! `page.html` is the same page as a template. With feature `page-templates` a test compares the
//! two, byte for byte.

use std::fmt::{self, Write as _};

use super::page_values::{Contact, PageValues, Time};

pub(super) const STYLE: &str = include_str!("page.css");
pub(super) const SCRIPT: &str = include_str!("page.js");

/// Returns the built-in page with these values, each of them escaped.
pub(super) fn built_in(values: &PageValues<'_>) -> String {
    let mut html = String::with_capacity(STYLE.len() + SCRIPT.len() + 4096);
    // Writing to a `String` does not fail.
    let _ = head(&mut html, values);
    let _ = what_happened(&mut html, values);
    let _ = what_helps(&mut html, values);
    let _ = write!(
        html,
        "\n</main>\n<script>{SCRIPT}</script>\n</body>\n</html>"
    );
    html
}

fn head(html: &mut String, page: &PageValues<'_>) -> fmt::Result {
    write!(
        html,
        r#"<!doctype html>
<html lang="{lang}" dir="{dir}">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="robots" content="noindex">
<meta name="color-scheme" content="light dark">
<title>{title}</title>"#,
        lang = Escaped(page.lang),
        dir = page.dir,
        title = Escaped(&page.title),
    )?;
    if page.returns {
        let seconds = page.retry_after.as_secs();
        write!(
            html,
            "\n<noscript><meta http-equiv=\"refresh\" content=\"{seconds}\"></noscript>"
        )?;
    }
    write!(html, "\n<style>{STYLE}</style>\n</head>\n<body>\n")
}

/// Writes the title, what became of the request, and the times.
fn what_happened(html: &mut String, page: &PageValues<'_>) -> fmt::Result {
    let (words, check) = (&page.words, &page.check);
    write!(
        html,
        r#"<main id="maintenance" data-check="{url}" data-every="{every}" data-notice="{notice}" data-returns="{returns}">
<h1>{title}</h1>
<p class="lead">{lead}</p>"#,
        url = Escaped(&check.url),
        every = check.every,
        notice = true_or_empty(check.is_notice),
        returns = true_or_empty(page.returns),
        title = Escaped(&page.title),
        lead = Escaped(&words.lead),
    )?;
    if let Some(message) = page.message {
        write!(html, "\n<p class=\"message\">{}</p>", Escaped(message))?;
    }
    write!(html, "\n<dl>")?;
    dated(html, &words.since, &page.since)?;
    if let Some(until) = &page.until {
        dated(html, &words.until, until)?;
    } else if let Some(next_try) = &page.next_try {
        dated(html, &words.next_try, next_try)?;
    }
    write!(html, "\n</dl>")?;
    if page.until.is_none() && page.next_try.is_none() {
        write!(html, "\n<p>{}</p>", Escaped(&words.unknown_end))?;
    }
    let polls = if page.returns {
        &*words.returns
    } else if !check.url.is_empty() {
        &*words.tells
    } else {
        ""
    };
    write!(
        html,
        "\n<p id=\"state\" role=\"status\">{}</p>\n<p id=\"again\" hidden><span>{}</span> \
         <a id=\"back\" href=\"\">{}</a></p>",
        Escaped(polls),
        Escaped(&words.works_again),
        Escaped(&words.back),
    )
}

fn dated(html: &mut String, label: &str, time: &Time) -> fmt::Result {
    write!(
        html,
        "\n<div><dt>{}</dt><dd><time datetime=\"{}\">{}</time></dd></div>",
        Escaped(label),
        Escaped(&time.machine),
        Escaped(&time.human),
    )
}

/// Writes what still works, the contact and the status page.
fn what_helps(html: &mut String, page: &PageValues<'_>) -> fmt::Result {
    let words = &page.words;
    if !page.works.is_empty() {
        write!(html, "\n<h2>{}</h2>\n<ul>", Escaped(&words.still_works))?;
        for what in page.works {
            write!(html, "\n<li>{}</li>", Escaped(what))?;
        }
        write!(html, "\n</ul>")?;
    }
    if page.support.is_some() || page.status_url.is_some() {
        write!(html, "\n<h2>{}</h2>", Escaped(&words.support))?;
    }
    if let Some(support) = &page.support {
        contact(html, &words.hours, support)?;
    }
    if let Some(url) = page.status_url {
        let (url, text) = (Escaped(url), Escaped(&words.status_page));
        write!(html, "\n<p><a href=\"{url}\">{text}</a></p>")?;
    }
    Ok(())
}

fn contact(html: &mut String, label: &str, support: &Contact<'_>) -> fmt::Result {
    let contact = Escaped(support.contact);
    match support.href.map(Escaped) {
        Some(href) => write!(html, "\n<p><a href=\"{href}\">{contact}</a>")?,
        None => write!(html, "\n<p>{contact}")?,
    }
    if let Some(hours) = support.hours.map(Escaped) {
        let label = Escaped(label);
        write!(html, "<br><span class=\"hours\">{label}: {hours}</span>")?;
    }
    write!(html, "</p>")
}

fn true_or_empty(is_so: bool) -> &'static str {
    if is_so { "true" } else { "" }
}

/// A text in HTML: in an element, or in an attribute with quotes. It escapes what a template
/// escapes.
struct Escaped<'t>(&'t str);

impl fmt::Display for Escaped<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut rest = self.0;
        while let Some(at) = rest.find(['<', '>', '&', '"', '\'', '/']) {
            f.write_str(&rest[..at])?;
            f.write_str(match rest.as_bytes()[at] {
                b'<' => "&lt;",
                b'>' => "&gt;",
                b'&' => "&amp;",
                b'"' => "&quot;",
                b'\'' => "&#x27;",
                _ => "&#x2f;",
            })?;
            rest = &rest[at + 1..];
        }
        f.write_str(rest)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_html_gives_a_meaning_is_escaped() {
        let text = "</h1><b a=\"1\" b='2'>é & €</b>";
        assert_eq!(
            Escaped(text).to_string(),
            "&lt;&#x2f;h1&gt;&lt;b a=&quot;1&quot; b=&#x27;2&#x27;&gt;é &amp; €&lt;&#x2f;b&gt;"
        );
        assert_eq!(Escaped("").to_string(), "");
    }
}
