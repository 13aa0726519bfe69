//! How a refusal looks over HTTP: a problem document for programs, a page for people.

mod negotiate;
mod page;
mod texts;

use std::{
    fmt,
    sync::{Arc, LazyLock},
    time::{Duration, UNIX_EPOCH},
};

use http::{
    HeaderMap, HeaderName, HeaderValue, Method, Response, StatusCode, Uri,
    header::{
        CACHE_CONTROL, CONNECTION, CONTENT_ENCODING, CONTENT_LANGUAGE, CONTENT_LENGTH,
        CONTENT_SECURITY_POLICY, CONTENT_TYPE, RETRY_AFTER, TRANSFER_ENCODING, VARY,
        X_CONTENT_TYPE_OPTIONS,
    },
};
use serde_json::{Map, Value, json};
use tower::util::rng::{HasherRng, Rng};

pub use self::texts::PageTexts;
use self::{
    negotiate::{Form, language},
    page::Template,
};
use super::setting_error::setting_error;
use crate::{
    base::{one_line::OneLine, rfc3339::rfc3339},
    facts::{
        endpoint::Class,
        mode::{Cause, Mode},
        refused::{Notice, Refused},
    },
};

/// What `Retry-After` says around under a hold without expiry: nobody knows, and half a minute is polite.
const UNKNOWN_END: Duration = Duration::from_secs(30);
/// What it says around while the partner is being probed: it may be back any moment.
const WHILE_PROBING: Duration = Duration::from_secs(5);

/// How refusals look: texts, support, languages, the page and the problem document.
///
/// A refusal is a 503 with a jittered `Retry-After` (never past a known end, but at least 1 s), `Cache-Control: no-store` and `Vary: Accept, Accept-Language`;
/// what follows is an HTML page if `Accept` prefers one, and otherwise a problem document
/// ([RFC 9457](https://www.rfc-editor.org/rfc/rfc9457)). Given to a view by
/// [`refusing`](crate::MaintenanceLayer::refusing).
///
/// ```
/// use http::{Request, Response};
/// use tower::{Layer, ServiceExt, service_fn};
/// use tower_maintenance::{Hold, MaintenanceLayer, http::Refusals};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let refusals = Refusals::new()
///     .component("Billing")
///     .still_works(["Support chat", "Downloading invoices"])
///     .support("billing@example.com", "Mon to Fri, 8:00 to 18:00 UTC")?
///     .status_url("https://status.example.com")?;
/// let layer = MaintenanceLayer::new("zuora");
/// let ours = service_fn(async |_: Request<()>| Ok::<_, std::convert::Infallible>(Response::new(String::new())));
/// let gated = layer.paths().refusing(refusals).layer(ours);
///
/// layer.handle().engage(Hold::new("on-call", "ticket 4711").with_message("We move to a new ledger."))?;
/// let browser = Request::get("/billing/prices").header("accept", "text/html").body(())?;
/// let page = gated.clone().oneshot(browser).await?;
/// assert_eq!(page.status(), 503);
/// assert!(page.body().contains("Billing is down for maintenance"));
/// assert!(page.body().contains("We move to a new ledger."));
/// assert!(!page.body().contains("ticket")); // the reason is for operators
///
/// let script = Request::get("/billing/prices").body(())?;
/// let problem = gated.oneshot(script).await?;
/// assert_eq!(problem.headers()["content-type"], "application/problem+json");
/// assert!(problem.body().contains(r#""processed":false"#));
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
#[must_use = "refusals do nothing until a view is `refusing` with them"]
pub struct Refusals {
    component: Option<String>,
    support: Option<Support>,
    works: Vec<String>,
    status_url: Option<String>,
    notice_url: Option<String>,
    problem_type: String,
    longest: Duration,
    checks_every: Duration,
    /// English first.
    languages: Vec<(String, PageTexts)>,
    page: Page,
    problem: Option<Arc<EditProblem>>,
    headers: HeaderMap,
}

#[derive(Clone)]
enum Page {
    BuiltIn,
    Template(Box<Template>),
    Closure(Arc<MakePage>),
}

type MakePage = dyn Fn(&Refusal<'_>) -> String + Send + Sync;
type EditProblem = dyn Fn(&Refusal<'_>, &mut Map<String, Value>) + Send + Sync;

#[derive(Debug, Clone)]
struct Support {
    contact: String,
    href: Option<String>,
    hours: String,
}

static DEFAULTS: LazyLock<Refusals> = LazyLock::new(Refusals::new);

impl Refusals {
    /// The defaults: English texts, no support, no status page.
    pub fn new() -> Self {
        Self {
            component: None,
            support: None,
            works: Vec::new(),
            status_url: None,
            notice_url: None,
            problem_type: "about:blank".to_owned(),
            longest: Duration::from_secs(300),
            checks_every: Duration::from_secs(15),
            languages: vec![("en".to_owned(), PageTexts::english())],
            page: Page::BuiltIn,
            problem: None,
            headers: HeaderMap::new(),
        }
    }

    pub(super) fn defaults() -> &'static Self {
        &DEFAULTS
    }

    /// What customers call that which is in maintenance. Default: the partner's name as the layer was given it.
    pub fn component(self, name: impl Into<String>) -> Self {
        Self {
            component: Some(name.into()),
            ..self
        }
    }

    /// Who helps meanwhile, and when: an address, a number, or a link (`https:`, `mailto:`, `tel:`). Default: nobody.
    ///
    /// An address and a number become links by themselves. Hours should name their zone; give an empty text for
    /// "always".
    ///
    /// # Errors
    ///
    /// If the contact is empty, or is a link of another scheme.
    pub fn support(self, contact: &str, hours: &str) -> Result<Self, RefusalsError> {
        let contact = contact.trim();
        let bad = |allowed| RefusalsError::quoting("support", contact, allowed);
        if contact.is_empty() {
            return Err(bad("an address, a telephone number, or a link"));
        }
        let scheme = contact
            .split_once(':')
            .map(|(scheme, _)| scheme.to_ascii_lowercase());
        let is_number = contact
            .chars()
            .all(|c| c.is_ascii_digit() || " +()-./".contains(c));
        let (shown, href) = match scheme.as_deref() {
            Some("https" | "http") => (contact, Some(contact.to_owned())),
            Some("mailto" | "tel") => (
                contact.split_once(':').map_or("", |(_, rest)| rest),
                Some(contact.to_owned()),
            ),
            Some(_) if !contact.contains(char::is_whitespace) => {
                return Err(bad("a link whose scheme is https, http, mailto or tel"));
            }
            Some(_) => (contact, None),
            None if contact.contains('@') && !contact.contains(char::is_whitespace) => {
                (contact, Some(format!("mailto:{contact}")))
            }
            None if is_number => {
                let dialled: String = contact
                    .chars()
                    .filter(|c| c.is_ascii_digit() || *c == '+')
                    .collect();
                (contact, Some(format!("tel:{dialled}")))
            }
            None => (contact, None),
        };
        let support = Support {
            contact: shown.to_owned(),
            href,
            hours: hours.trim().to_owned(),
        };
        Ok(Self {
            support: Some(support),
            ..self
        })
    }

    /// What customers can still do, shown as a list. Default: nothing is said.
    pub fn still_works<T: Into<String>>(self, what: impl IntoIterator<Item = T>) -> Self {
        Self {
            works: what.into_iter().map(Into::into).collect(),
            ..self
        }
    }

    /// Where people read more. Default: nowhere.
    ///
    /// # Errors
    ///
    /// If it is no absolute URL with https or http.
    pub fn status_url(self, url: &str) -> Result<Self, RefusalsError> {
        let parsed: Option<Uri> = url.parse().ok();
        let scheme = parsed.as_ref().and_then(Uri::scheme_str);
        if !matches!(scheme, Some("https" | "http")) {
            return Err(RefusalsError::quoting(
                "status_url",
                url,
                "an absolute https or http URL",
            ));
        }
        Ok(Self {
            status_url: Some(url.to_owned()),
            ..self
        })
    }

    /// Where the page asks whether it works again, a path on the same host that serves
    /// [`Notices::json`](super::Notices::json). Default: it asks for itself, if that is a read; otherwise it cannot ask.
    ///
    /// # Errors
    ///
    /// If it is no path that begins with a single `/`.
    pub fn notice_url(self, path: &str) -> Result<Self, RefusalsError> {
        let is_path =
            path.starts_with('/') && !path.starts_with("//") && path.parse::<Uri>().is_ok();
        if !is_path {
            return Err(RefusalsError::quoting(
                "notice_url",
                path,
                "a path that begins with a single `/`",
            ));
        }
        Ok(Self {
            notice_url: Some(path.to_owned()),
            ..self
        })
    }

    /// The problem document's `type`. Default: `about:blank`, which says no more than the status does.
    ///
    /// # Errors
    ///
    /// If it is no URI.
    pub fn problem_type(self, uri: &str) -> Result<Self, RefusalsError> {
        if uri.parse::<Uri>().is_err() {
            return Err(RefusalsError::quoting("problem_type", uri, "a URI"));
        }
        Ok(Self {
            problem_type: uri.to_owned(),
            ..self
        })
    }

    /// The longest `Retry-After`, at least 1 s. Default: 5 min, which is also the policy's longest wait: who was told
    /// "an hour" does not learn that the hold was released after ten minutes.
    ///
    /// # Errors
    ///
    /// If it is shorter than 1 s.
    pub fn longest_retry_after(self, longest: Duration) -> Result<Self, RefusalsError> {
        at_least_a_second("longest_retry_after", longest)?;
        Ok(Self { longest, ..self })
    }

    /// How often an open page asks whether it works again, at least 1 s and on the average: each time between half
    /// and one and a half of it. Default: 15 s. Hidden tabs do not ask.
    ///
    /// # Errors
    ///
    /// If it is shorter than 1 s.
    pub fn page_checks_every(self, every: Duration) -> Result<Self, RefusalsError> {
        at_least_a_second("page_checks_every", every)?;
        Ok(Self {
            checks_every: every,
            ..self
        })
    }

    /// Adds a language, chosen by `Accept-Language`: `de` serves `de-AT` too, and `pt-BR` whoever asks for `pt` or `pt-PT`. Default: English alone. `en` replaces it.
    ///
    /// # Errors
    ///
    /// If the tag is none (`de`, `pt-BR`).
    pub fn language(mut self, tag: &str, texts: PageTexts) -> Result<Self, RefusalsError> {
        let part = |part: &str| {
            (1..=8).contains(&part.len()) && part.bytes().all(|b| b.is_ascii_alphanumeric())
        };
        let primary = tag.split('-').next().unwrap_or_default();
        let is_tag = tag.split('-').all(part) && primary.bytes().all(|b| b.is_ascii_alphabetic());
        if !is_tag || primary.len() < 2 {
            return Err(RefusalsError::quoting(
                "language",
                tag,
                "a language tag such as `de` or `pt-BR`",
            ));
        }
        match self
            .languages
            .iter_mut()
            .find(|(known, _)| known.eq_ignore_ascii_case(tag))
        {
            Some((_, known)) => *known = texts,
            None => self.languages.push((tag.to_owned(), texts)),
        }
        Ok(self)
    }

    /// Replaces the page by a template in [minijinja]'s syntax (Jinja2's). Everything in it is escaped as HTML, unless
    /// it says `|safe`.
    ///
    /// It may say: `component`, `partner`, `title`, `message`, `since`, `until` and `next_try` (each with `.human` and
    /// `.machine`), `works` (a list), `support` (`.contact`, `.href`, `.hours`), `status_url`, `retry_after`
    /// (seconds), `cause`, `mode`, `read_only`, `generation`, `lang`, `dir`, `returns`, `texts.*`, `check.*`, and
    /// `style` and `script` of the built-in page. It is sent without a `Content-Security-Policy`;
    /// [`header`](Self::header) can give it one.
    ///
    /// ```
    /// use tower_maintenance::http::Refusals;
    ///
    /// let refusals = Refusals::new().page_template("<h1>{{ component }} rests</h1><p>{{ message }}</p>")?;
    /// # let _ = refusals;
    /// let error = Refusals::new().page_template("<h1>{{ comonent }}</h1>").unwrap_err();
    /// assert!(error.to_string().contains("`<h1>{{ comonent }}</h1>` in line 1: undefined value"), "{error}");
    /// # Ok::<(), tower_maintenance::http::RefusalsError>(())
    /// ```
    ///
    /// # Errors
    ///
    /// If it is no template, or says a name that is not there: it is tried here.
    pub fn page_template(self, source: &str) -> Result<Self, RefusalsError> {
        let template = Template::new(source)?;
        let refusals = Self {
            page: Page::Template(Box::new(template)),
            ..self
        };
        refusals.try_template(source)?;
        Ok(refusals)
    }

    /// Replaces the page by what `page` makes: a whole HTML document. Whatever it takes from the [`Refusal`] it must
    /// escape itself.
    ///
    /// It runs once a refusal, in the refused request's future; a panic in it is the request's.
    pub fn page(self, page: impl Fn(&Refusal<'_>) -> String + Send + Sync + 'static) -> Self {
        Self {
            page: Page::Closure(Arc::new(page)),
            ..self
        }
    }

    /// Lets `edit` change the problem document: add members, replace the texts.
    ///
    /// ```
    /// use tower_maintenance::http::Refusals;
    ///
    /// let refusals = Refusals::new().problem(|refusal, document| {
    ///     document.insert("docs".into(), "https://example.com/docs/maintenance".into());
    ///     document.insert("seconds".into(), refusal.retry_after().as_secs().into());
    /// });
    /// # let _ = refusals;
    /// ```
    pub fn problem(
        self,
        edit: impl Fn(&Refusal<'_>, &mut Map<String, Value>) + Send + Sync + 'static,
    ) -> Self {
        Self {
            problem: Some(Arc::new(edit)),
            ..self
        }
    }

    /// Adds a header to every refusal. A `Vary` is added to the one that is sent; others replace what is sent by default.
    ///
    /// # Errors
    ///
    /// If name or value cannot stand in a header, or the header belongs to the refusal itself: `Retry-After`,
    /// `Cache-Control`, or what says how the body is to be read.
    pub fn header(mut self, name: &str, value: &str) -> Result<Self, RefusalsError> {
        let parsed: HeaderName = name
            .parse()
            .map_err(|_| RefusalsError::quoting("header", name, "the name of a header"))?;
        let own = [
            RETRY_AFTER,
            CACHE_CONTROL,
            CONTENT_TYPE,
            CONTENT_LENGTH,
            CONTENT_ENCODING,
            TRANSFER_ENCODING,
            CONNECTION,
        ];
        if own.contains(&parsed) {
            return Err(RefusalsError::quoting(
                "header",
                name,
                "any that the refusal does not set by itself: not retry-after, cache-control, content-type, \
                 content-length, content-encoding, transfer-encoding or connection",
            ));
        }
        let checked = HeaderValue::from_str(value).map_err(|_| {
            RefusalsError::quoting("header", value, "visible ASCII characters, blanks and tabs")
        })?;
        self.headers.append(parsed, checked);
        Ok(self)
    }

    /// The response for a refused request: for a handler whose call to the partner was refused.
    ///
    /// ```
    /// use http::{HeaderMap, Method, Response, Uri};
    /// use tower_maintenance::{Refused, http::Refusals};
    ///
    /// fn in_a_handler(refusals: &Refusals, method: &Method, uri: &Uri, headers: &HeaderMap, refused: Refused) -> Response<String> {
    ///     refusals.respond(method, uri, headers, refused)
    /// }
    /// # let _ = in_a_handler;
    /// ```
    pub fn respond<B: From<String>>(
        &self,
        method: &Method,
        uri: &Uri,
        headers: &HeaderMap,
        refused: Refused,
    ) -> Response<B> {
        let class = super::routes::route_classes::by_method(method);
        self.answer(
            &Asked {
                method,
                uri: Some(uri),
                path: Some(uri.path()),
                headers,
                class,
            },
            refused,
        )
    }

    pub(super) fn answer<B: From<String>>(
        &self,
        asked: &Asked<'_>,
        refused: Refused,
    ) -> Response<B> {
        let form = Form::preferred(asked.headers);
        let (lang, texts) = self.in_language_of(asked.headers);
        let seconds = retry_after(&refused, self.longest, HasherRng::new().next_f64());
        let refusal = Refusal {
            refusals: self,
            refused: &refused,
            asked,
            seconds,
            lang,
            texts,
        };
        let (content_type, body, policy) = match form {
            Form::Problem => ("application/problem+json", refusal.problem(), None),
            Form::Page => {
                let (page, policy) = refusal.page();
                ("text/html; charset=utf-8", page, policy)
            }
        };
        let mut response = Response::new(B::from(body));
        *response.status_mut() = StatusCode::SERVICE_UNAVAILABLE;
        let headers = response.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
        headers.insert(VARY, HeaderValue::from_static("Accept, Accept-Language"));
        headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
        if form == Form::Page
            && let Ok(lang) = HeaderValue::from_str(lang)
        {
            headers.insert(CONTENT_LANGUAGE, lang);
        }
        if let Some(policy) = policy {
            headers.insert(CONTENT_SECURITY_POLICY, policy);
        }
        for name in self.headers.keys().filter(|name| **name != VARY) {
            headers.remove(name);
        }
        for (name, value) in &self.headers {
            headers.append(name, value.clone());
        }
        headers.insert(RETRY_AFTER, seconds.into());
        headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
        mark(&mut response, refused);
        response
    }

    pub(super) fn component_or<'n>(&'n self, partner: &'n str) -> &'n str {
        self.component.as_deref().unwrap_or(partner)
    }

    pub(super) fn status_page(&self) -> Option<&str> {
        self.status_url.as_deref()
    }

    /// The texts in the language that the request wants most.
    pub(super) fn texts(&self, headers: &HeaderMap) -> &PageTexts {
        let (_, texts) = self.in_language_of(headers);
        texts
    }

    fn in_language_of(&self, headers: &HeaderMap) -> (&str, &PageTexts) {
        let tags = self.languages.iter().map(|(tag, _)| &**tag);
        let (tag, texts) = &self.languages[language(headers, tags)];
        (tag, texts)
    }

    /// Renders the template once for each thing that may or may not be there.
    fn try_template(&self, source: &str) -> Result<(), RefusalsError> {
        let Page::Template(template) = &self.page else {
            return Ok(());
        };
        let asked = Asked {
            method: &Method::GET,
            uri: None,
            path: None,
            headers: &HeaderMap::new(),
            class: Class::Read,
        };
        // As they are, and with everything there that may be there.
        let full = Self {
            support: Some(Support {
                contact: "sample".to_owned(),
                href: Some("tel:0".to_owned()),
                hours: "sample".to_owned(),
            }),
            works: vec!["sample".to_owned()],
            status_url: Some("https://sample".to_owned()),
            ..self.clone()
        };
        for (refusals, refused) in [self, &full]
            .into_iter()
            .flat_map(|refusals| samples().map(move |refused| (refusals, refused)))
        {
            for (lang, texts) in &self.languages {
                let refusal = Refusal {
                    refusals,
                    refused: &refused,
                    asked: &asked,
                    seconds: 1,
                    lang,
                    texts,
                };
                template
                    .render(&refusal)
                    .map_err(|error| RefusalsError::template(&error, source))?;
            }
        }
        Ok(())
    }
}

impl Default for Refusals {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for Refusals {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Refusals")
            .field("component", &self.component)
            .field("support", &self.support)
            .field("works", &self.works)
            .field("status_url", &self.status_url)
            .field("notice_url", &self.notice_url)
            .field("longest_retry_after", &self.longest)
            .finish_non_exhaustive()
    }
}

fn at_least_a_second(field: &'static str, span: Duration) -> Result<(), RefusalsError> {
    if span < Duration::from_secs(1) {
        return Err(RefusalsError::quoting(
            field,
            &format!("{span:?}"),
            "1 s or longer",
        ));
    }
    Ok(())
}

/// One refusal of each kind.
fn samples() -> impl Iterator<Item = Refused> {
    let modes = [Mode::Maintenance, Mode::Probing].into_iter();
    let kinds = modes.flat_map(|mode| [false, true].map(|is_set| (mode, is_set)));
    kinds.map(|(mode, is_set)| {
        let time = is_set.then_some(UNIX_EPOCH);
        let notice = Notice {
            until_wall: time,
            promised_end: time.filter(|_| mode == Mode::Maintenance),
            read_only: is_set,
            message: time.map(|_| "sample".into()),
            ..Notice::sample("sample", mode, Cause::Operator)
        };
        Refused::sample(notice, None)
    })
}

/// Marks a refusal, so that whoever watches can leave it out: the [`Refused`] as an extension of the response,
/// and `maintenance.refused` in the current span, if that has such a field.
pub(crate) fn mark<B>(response: &mut Response<B>, refused: Refused) {
    tracing::Span::current().record("maintenance.refused", true);
    response.extensions_mut().insert(refused);
}

/// The least and the most that a refusal asks its caller to wait: half of what is known or guessed, and the whole of it,
/// so that clients that were refused in one second do not come back in one. Never past a known end.
pub(crate) fn delays(refused: &Refused, longest: Duration) -> (Duration, Duration) {
    let guess = |around: Duration| (around / 2, around * 3 / 2);
    let (least, most) = match (refused.retry_after(), refused.mode()) {
        (Some(left), _) => {
            let most = left.min(longest);
            (most / 2, most)
        }
        (None, Mode::Probing) => guess(WHILE_PROBING),
        (None, Mode::Maintenance | Mode::Serving) => guess(UNKNOWN_END),
    };
    let most = most.min(longest);
    (least.min(most), most)
}

/// One of the [`delays`] in whole seconds, at least one: a client told "0" would ask again at once.
fn retry_after(refused: &Refused, longest: Duration, draw: f64) -> u64 {
    let (least, most) = delays(refused, longest);
    let most = most.as_secs().max(1);
    let least = least.as_secs().clamp(1, most);
    least + (draw * (most - least + 1) as f64) as u64
}

/// What a refusal must know of the request.
pub(super) struct Asked<'r> {
    pub(super) method: &'r Method,
    pub(super) uri: Option<&'r Uri>,
    /// The path that was asked for, also where a router has stripped some of it.
    pub(super) path: Option<&'r str>,
    pub(super) headers: &'r HeaderMap,
    pub(super) class: Class,
}

/// One refusal, as the closures that replace the page or the problem document see it.
pub struct Refusal<'r> {
    refusals: &'r Refusals,
    refused: &'r Refused,
    asked: &'r Asked<'r>,
    seconds: u64,
    lang: &'r str,
    texts: &'r PageTexts,
}

/// Where the page asks whether it works again.
struct Check {
    url: String,
    is_notice: bool,
}

impl Refusal<'_> {
    /// What the gate says.
    #[must_use]
    pub fn refused(&self) -> &Refused {
        self.refused
    }

    /// What customers call that which is in maintenance.
    #[must_use]
    pub fn component(&self) -> &str {
        self.refusals.component_or(self.refused.partner())
    }

    /// What `Retry-After` says, in whole seconds: drawn anew for each response.
    #[must_use]
    pub fn retry_after(&self) -> Duration {
        Duration::from_secs(self.seconds)
    }

    /// The language that was chosen.
    #[must_use]
    pub fn language(&self) -> &str {
        self.lang
    }

    /// The request's method.
    #[must_use]
    pub fn method(&self) -> &Method {
        self.asked.method
    }

    /// The request's target, where it is known.
    #[must_use]
    pub fn uri(&self) -> Option<&Uri> {
        self.asked.uri
    }

    /// Whether the page may ask for the same again by itself: only a GET that reads.
    #[must_use]
    pub fn returns(&self) -> bool {
        self.asked.method == Method::GET && self.asked.class == Class::Read
    }

    fn check(&self) -> Option<Check> {
        match &self.refusals.notice_url {
            Some(url) => Some(Check {
                url: url.clone(),
                is_notice: true,
            }),
            // The page asks for itself, wherever it is.
            None if self.returns() => Some(Check {
                url: "self".to_owned(),
                is_notice: false,
            }),
            None => None,
        }
    }

    fn what_works(&self) -> &[String] {
        self.texts
            .what_works
            .as_deref()
            .unwrap_or(&self.refusals.works)
    }

    fn problem(&self) -> String {
        let refused = self.refused;
        let mut document = Map::new();
        let mut put = |name: &str, value: Value| document.insert(name.to_owned(), value);
        put("type", json!(self.refusals.problem_type));
        put("title", json!("Service Unavailable"));
        put("status", json!(StatusCode::SERVICE_UNAVAILABLE.as_u16()));
        let detail = if refused.is_read_only() {
            "This can be read, but not changed for now. The request was not processed, and may be repeated safely."
        } else {
            "This is in maintenance. The request was not processed, and may be repeated safely."
        };
        put("detail", json!(detail));
        // Without the query, which is nobody else's business.
        if let Some(path) = self.asked.path {
            put("instance", json!(path));
        }
        put("component", json!(self.component()));
        put("since", json!(rfc3339(refused.since())));
        put("generation", json!(refused.generation()));
        put("retry_after", json!(self.seconds));
        put("read_only", json!(refused.is_read_only()));
        if let Some(next) = refused.until() {
            put("next_update", json!(rfc3339(next)));
        }
        if let Some(message) = refused.message() {
            put("message", json!(message));
        }
        if let Some(url) = &self.refusals.status_url {
            put("status_url", json!(url));
        }
        if let Some(support) = &self.refusals.support {
            put(
                "support",
                json!({ "contact": support.contact, "hours": support.hours }),
            );
        }
        put("processed", json!(false));
        if let Some(edit) = &self.refusals.problem {
            edit(self, &mut document);
        }
        Value::Object(document).to_string()
    }

    /// The page, and the policy that goes with it if it is the built-in one.
    fn page(&self) -> (String, Option<HeaderValue>) {
        let own = match &self.refusals.page {
            Page::BuiltIn => None,
            Page::Closure(page) => return (page(self), None),
            Page::Template(template) => Some(template.render(self)),
        };
        match own {
            Some(Ok(page)) => return (page, None),
            // It was tried when it was given; customers get a page all the same.
            Some(Err(error)) => {
                let error = error.to_string();
                tracing::error!(error = %OneLine(&error), "the page's template fails");
            }
            None => {}
        }
        let built_in = Template::built_in().render(self);
        let built_in = built_in.unwrap_or_else(|error| {
            tracing::error!(%error, "the built-in page fails");
            String::new()
        });
        (built_in, Some(page::POLICY))
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

setting_error! {
    /// Refusals, or notices, that make no sense.
    RefusalsError,
    "The value that it has, quoted; of a template the line, and what is wrong there.",
    "{} is {}: allowed is {}"
}

impl RefusalsError {
    pub(super) fn quoting(field: &'static str, value: &str, allowed: &str) -> Self {
        Self::new(field, format!("`{value}`"), allowed)
    }

    fn template(error: &minijinja::Error, source: &str) -> Self {
        let what = error
            .detail()
            .map_or_else(|| error.kind().to_string(), str::to_owned);
        let line = error.line().unwrap_or(1);
        let text = source.lines().nth(line - 1).unwrap_or_default().trim();
        let value = format!("`{text}` in line {line}: {what}");
        let allowed = "a template that says only what `page_template` documents";
        Self::new("page_template", value, allowed)
    }
}

/// The response for a refusal where nothing is known of the request: a problem document, with the
/// [default](Refusals::new) looks.
///
/// `no-store` matters: browsers keep a 503 that may be cached, and show it after the recovery. `Retry-After` is drawn
/// between half and the whole of the time that is left, so that clients do not come back all at once; around 30 s where
/// nobody knows the end, around 5 s while the partner is being probed; 5 min at most.
///
/// The layer makes refusals by itself; call this where one reaches your handler as an error and you do not use axum
/// (there, [`Refused`] is `IntoResponse`). With the request at hand, [`Refusals::respond`] makes a page too.
///
/// ```
/// use tower_maintenance::{Error, Hold, MaintenanceLayer, http::refusal};
/// # use tower::{Service, ServiceExt, Layer, service_fn};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let layer = MaintenanceLayer::new("zuora");
/// # layer.handle().engage(Hold::new("on-call", "drill"))?;
/// # let mut partner = layer.layer(service_fn(async |()| Ok::<_, std::io::Error>(())));
/// # partner.ready().await?;
/// let Err(Error::Refused(refused)) = partner.call(()).await else { panic!("it is in maintenance") };
/// let response: http::Response<String> = refusal(&refused);
/// assert_eq!(response.status(), 503);
/// let seconds: u64 = response.headers()["retry-after"].to_str()?.parse()?;
/// assert!((15..=45).contains(&seconds));
/// assert_eq!(response.headers()["cache-control"], "no-store");
/// assert!(response.body().contains(r#""processed":false"#));
/// # Ok(())
/// # }
/// ```
#[must_use]
pub fn refusal<B: From<String>>(refused: &Refused) -> Response<B> {
    let asked = Asked {
        method: &Method::GET,
        uri: None,
        path: None,
        headers: &HeaderMap::new(),
        class: Class::Write,
    };
    Refusals::defaults().answer(&asked, refused.clone())
}
