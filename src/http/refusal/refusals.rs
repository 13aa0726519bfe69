//! The settings of refusals, as the user gives them.

use std::{
    borrow::Cow,
    fmt,
    ops::Deref,
    sync::{Arc, LazyLock},
    time::Duration,
};

use arc_swap::{ArcSwap, Guard};
use http::{
    HeaderMap, HeaderName, HeaderValue, Uri,
    header::{
        CACHE_CONTROL, CONNECTION, CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_TYPE, RETRY_AFTER,
        TRANSFER_ENCODING,
    },
};
use serde_json::{Map, Value};

use super::{
    error::RefusalsError,
    looks::Looks,
    one_refusal::Refusal,
    page::Page,
    problem::EditProblem,
    support::{Support, absolute_url},
    texts::PageTexts,
};
use crate::{
    facts::refused::Refused, http::shared_caches::overrides_cache_control, layer::Builder,
    operator::handle::MaintenanceHandle,
};

/// The look of refusals: texts, support, languages, the page and the problem document.
///
/// A refusal is a 503 with `Cache-Control: private, no-store`, `Vary: Accept, Accept-Language`
/// and a jittered `Retry-After`, which is at least 1 s and otherwise never past a known end. Its
/// body is an HTML page if `Accept` prefers HTML, and otherwise a problem document ([RFC
/// 9457](https://www.rfc-editor.org/rfc/rfc9457)).
///
/// The layer takes the settings by [`Builder::refusals`](crate::Builder::refusals), once for all of
/// its views, and for handlers whose call was refused ([`of`](Self::of)). A view may have settings
/// of its own: `MaintenanceLayer::with_refusals`. [`LiveRefusals`](super::LiveRefusals) can be
/// replaced while the layer runs.
///
/// Customers read the name of the [component](Self::component). The name of the partner, which the
/// layer was given, is in nothing that customers get, unless a template or a closure puts it there.
///
/// A setting that is one value takes the last value that it is given. Headers, languages, what
/// still works, and edits of the problem document add up.
///
#[cfg_attr(feature = "axum", doc = "```")]
#[cfg_attr(not(feature = "axum"), doc = "```ignore")]
/// use http::{Request, Response};
/// use tower::{Layer, ServiceExt, service_fn};
/// use tower_maintenance::{Hold, MaintenanceLayer, http::Refusals};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let refusals = Refusals::new()
///     .component("Billing")
///     .still_works(["Support chat", "Downloading invoices"])
///     .support_email("billing@example.com", "Mon to Fri, 8:00 to 18:00 UTC")?
///     .status_url("https://status.example.com")?;
/// let layer = MaintenanceLayer::builder("zuora").refusals(refusals).build()?;
/// let ours = service_fn(async |_: Request<()>| {
///     Ok::<_, std::convert::Infallible>(Response::new(String::new()))
/// });
/// let gated = layer.paths().layer(ours);
///
/// let hold = Hold::new("on-call", "ticket 4711").with_message("We move to a new ledger.");
/// layer.handle().engage(hold)?;
/// let browser = Request::get("/billing/prices").header("accept", "text/html").body(())?;
/// let page = gated.clone().oneshot(browser).await?;
/// assert_eq!(page.status(), 503);
/// assert!(page.body().contains("Billing is temporarily unavailable for maintenance"));
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
#[must_use = "refusals do nothing until a layer or a view is given them"]
pub struct Refusals {
    pub(super) looks: Looks,
    pub(super) page: Page,
    pub(super) problem: Option<Arc<EditProblem>>,
    pub(super) headers: HeaderMap,
    /// What has replaced these settings, if they are [live](super::LiveRefusals).
    pub(super) live: Option<Arc<ArcSwap<Self>>>,
}

static DEFAULTS: LazyLock<Refusals> = LazyLock::new(Refusals::new);

impl Refusals {
    /// Returns the defaults: English texts, no support contact, no status page.
    pub fn new() -> Self {
        Self {
            looks: Looks::new(),
            page: Page::BuiltIn,
            problem: None,
            headers: HeaderMap::new(),
            live: None,
        }
    }

    /// Returns the settings in force: these, or those that replaced them.
    pub(in crate::http) fn now(&self) -> Now<'_> {
        match &self.live {
            None => Now::Fixed(self),
            Some(live) => Now::Live(live.load()),
        }
    }

    /// Returns settings that follow `live`.
    pub(super) fn following(live: &Arc<ArcSwap<Self>>) -> Self {
        Self {
            live: Some(live.clone()),
            ..Self::clone(&live.load())
        }
    }

    /// Returns the settings in force, which nothing replaces.
    pub(super) fn fixed(&self) -> Self {
        Self {
            live: None,
            ..Self::clone(&self.now())
        }
    }

    /// Returns the settings of the layer that made this refusal, or the defaults if the layer was
    /// given none.
    ///
    /// For a handler that has the request and makes the response by [`respond`](Self::respond):
    /// `Refusals::of(&refused).respond(method, uri, headers, &refused)`.
    pub fn of(refused: &Refused) -> &Self {
        refused.extra().unwrap_or(&DEFAULTS)
    }

    fn looking(mut self, set: impl FnOnce(&mut Looks)) -> Self {
        set(&mut self.looks);
        self
    }

    /// Sets the name by which customers know the component that is in maintenance.
    /// Default: "This service". The name of the partner that the layer was given is not for
    /// customers; to show it, give it here.
    pub fn component(self, name: impl Into<String>) -> Self {
        self.looking(|looks| looks.component = Some(name.into()))
    }

    /// Sets an e-mail address that helps customers meanwhile, and the hours in which it is
    /// answered. Default: no contact is shown.
    ///
    /// The page links to it as `mailto:`. The hours should name their time zone. An empty text
    /// means "always".
    ///
    /// # Errors
    ///
    /// If it is no e-mail address, or a contact is set already: one contact is shown.
    pub fn support_email(self, address: &str, hours: &str) -> Result<Self, RefusalsError> {
        self.supported("support_email", Support::email(address, hours)?)
    }

    /// Sets a telephone number that helps customers meanwhile, and the hours in which it is
    /// answered. Default: no contact is shown.
    ///
    /// The page links to it as `tel:`, without blanks and punctuation.
    /// [`support_email`](Self::support_email) says what the hours may be.
    ///
    /// # Errors
    ///
    /// If it is no telephone number, or a contact is set already: one contact is shown.
    pub fn support_phone(self, number: &str, hours: &str) -> Result<Self, RefusalsError> {
        self.supported("support_phone", Support::phone(number, hours)?)
    }

    /// Sets a web page that helps customers meanwhile, and the hours in which it is answered.
    /// Default: no contact is shown.
    ///
    /// [`support_email`](Self::support_email) says what the hours may be.
    ///
    /// # Errors
    ///
    /// If it is no absolute URL with https or http, or a contact is set already: one contact is
    /// shown.
    pub fn support_link(self, url: &str, hours: &str) -> Result<Self, RefusalsError> {
        self.supported("support_link", Support::link(url, hours)?)
    }

    /// Sets a contact that is a sentence, such as "ask in the chat", and its hours.
    /// Default: no contact is shown.
    ///
    /// [`support_email`](Self::support_email) says what the hours may be.
    ///
    /// # Errors
    ///
    /// If it is empty, or a contact is set already: one contact is shown.
    pub fn support_text(self, text: &str, hours: &str) -> Result<Self, RefusalsError> {
        self.supported("support_text", Support::text(text, hours)?)
    }

    fn supported(mut self, field: &'static str, support: Support) -> Result<Self, RefusalsError> {
        self.looks.set_support(field, support)?;
        Ok(self)
    }

    /// Adds what customers can still do, which the page shows as a list. Default: no list is shown.
    pub fn still_works<T: Into<String>>(self, what: impl IntoIterator<Item = T>) -> Self {
        self.looking(|looks| looks.works.extend(what.into_iter().map(Into::into)))
    }

    /// Sets the address of a status page that customers can read. Default: none is shown.
    ///
    /// # Errors
    ///
    /// If it is no absolute URL with https or http.
    pub fn status_url(self, url: &str) -> Result<Self, RefusalsError> {
        let url = absolute_url("status_url", url)?;
        Ok(self.looking(|looks| looks.status_url = Some(url)))
    }

    /// Sets the path that the page polls until requests are served again. It must be on the same
    /// host and serve [`Notices::json`](super::super::Notices::json).
    ///
    /// Default: the page polls its own address if the request is a read. Otherwise it does not
    /// poll.
    ///
    /// # Errors
    ///
    /// If it is no path that begins with a single `/`.
    pub fn notice_url(self, path: &str) -> Result<Self, RefusalsError> {
        let is_path =
            path.starts_with('/') && !path.starts_with("//") && path.parse::<Uri>().is_ok();
        if !is_path {
            let allowed = "a path that begins with a single `/`";
            return Err(RefusalsError::quoting("notice_url", path, allowed));
        }
        Ok(self.looking(|looks| looks.notice_url = Some(path.to_owned())))
    }

    /// Sets the `type` of the problem document. Default: `about:blank`, which says no more than the
    /// status does.
    ///
    /// # Errors
    ///
    /// If it is no URI.
    pub fn problem_type(self, uri: &str) -> Result<Self, RefusalsError> {
        if uri.parse::<Uri>().is_err() {
            return Err(RefusalsError::quoting("problem_type", uri, "a URI"));
        }
        Ok(self.looking(|looks| looks.problem_type = uri.to_owned()))
    }

    /// Sets the longest `Retry-After`, at least 1 s.
    ///
    /// Default: 5 min, which is also the longest wait of the default policy. A client that is told
    /// "one hour" does not learn that the hold was released after ten minutes.
    ///
    /// # Errors
    ///
    /// If it is shorter than 1 s.
    pub fn longest_retry_after(self, longest: Duration) -> Result<Self, RefusalsError> {
        at_least_a_second("longest_retry_after", longest)?;
        Ok(self.looking(|looks| looks.longest_retry_after = longest))
    }

    /// Sets the mean interval at which an open page polls, at least 1 s. Default: 15 s.
    ///
    /// Each pause lies between half of the interval and one and a half of it. Hidden tabs do not
    /// poll.
    ///
    /// # Errors
    ///
    /// If it is shorter than 1 s.
    pub fn page_checks_every(self, every: Duration) -> Result<Self, RefusalsError> {
        at_least_a_second("page_checks_every", every)?;
        Ok(self.looking(|looks| looks.page_checks_every = every))
    }

    /// Adds a language, which `Accept-Language` selects. Default: English alone.
    ///
    /// `de` also serves a request for `de-AT`, and `pt-BR` serves one for `pt` or `pt-PT`. The tag
    /// `en` replaces the built-in texts. Given twice, a language has the last texts.
    ///
    /// # Errors
    ///
    /// If `tag` is no language tag such as `de` or `pt-BR`.
    pub fn language(mut self, tag: &str, texts: PageTexts) -> Result<Self, RefusalsError> {
        self.looks.set_language(tag, texts)?;
        Ok(self)
    }

    /// Replaces the page by the result of `page`, a whole HTML document.
    ///
    /// The closure must escape every value that it takes from the [`Refusal`]. It runs once per
    /// refusal, in the future of the refused request. A panic in it reaches the request.
    ///
    /// A template of `page_template` (feature `page-templates`) that is set already has no effect
    /// then. That is a mistake, and a warning names both settings.
    pub fn page(self, page: impl Fn(&Refusal<'_>) -> String + Send + Sync + 'static) -> Self {
        #[cfg(feature = "page-templates")]
        self.page.warn_of_a_template();
        Self {
            page: Page::Closure(Arc::new(page)),
            ..self
        }
    }

    /// Edits the problem document of each refusal: adds members, replaces texts. Called again, all
    /// edits are made, in this order.
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
        let problem: Arc<EditProblem> = match self.problem {
            None => Arc::new(edit),
            Some(before) => Arc::new(move |refusal, document| {
                before(refusal, document);
                edit(refusal, document);
            }),
        };
        Self {
            problem: Some(problem),
            ..self
        }
    }

    /// Adds a header to every refusal. A `Vary` is added to the default one. Any other header
    /// replaces the default of its name.
    ///
    /// # Errors
    ///
    /// If the name or the value is not allowed in a header. Also for headers that the refusal sets
    /// itself: `Retry-After`, `Cache-Control`, and those that describe the body. Also for a header
    /// that a CDN or a proxy heeds before `Cache-Control`, such as `Surrogate-Control` or
    /// `X-Accel-Expires`, unless its value is `no-store`, `private, no-store` or `0`.
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
        let forbids = ["no-store", "private, no-store", "0"].contains(&value.trim());
        if overrides_cache_control(&parsed) && !forbids {
            let text = format!("{name}: {value}");
            return Err(RefusalsError::quoting(
                "header",
                &text,
                "`no-store`, `private, no-store` or `0` in a header that caches heed before \
                 cache-control: no cache may keep a refusal",
            ));
        }
        self.headers.append(parsed, checked);
        Ok(self)
    }

    /// Returns the same settings, with the component's name of `other` if they have none.
    pub(in crate::http) fn named_as(mut self, other: &Self) -> Self {
        let looks = &mut self.looks;
        looks.component = looks
            .component
            .take()
            .or_else(|| other.now().looks.component.clone());
        self
    }

    /// Returns the component's name by itself.
    pub(in crate::http) fn component_name<'n>(&'n self, texts: &'n PageTexts) -> Cow<'n, str> {
        self.looks.component(texts)
    }

    /// Returns the component's name by itself, in the default language.
    #[cfg(feature = "grpc")]
    pub(crate) fn default_name(&self) -> String {
        let looks = &self.now().looks;
        let (_, texts) = &looks.languages[0];
        looks.component(texts).into_owned()
    }

    /// Puts the component's name into a text.
    pub(in crate::http) fn with_component(&self, text: &str, texts: &PageTexts) -> String {
        self.looks.with_component(text, texts)
    }

    pub(in crate::http) fn status_page(&self) -> Option<&str> {
        self.looks.status_url.as_deref()
    }

    /// Returns the texts in the language that the request prefers.
    pub(in crate::http) fn texts(&self, headers: &HeaderMap) -> &PageTexts {
        let (_, texts) = self.looks.in_language_of(headers);
        texts
    }
}

impl Builder {
    /// Sets how refusals look, for all views of the layer and for handlers whose call to the
    /// partner was refused. Default: [`Refusals::new`].
    ///
    /// It is the one place for the name that customers know, the support contact, the status page,
    /// the languages and the page. A view may have settings of its own
    /// (`with_refusals`). Over gRPC the name alone
    /// counts.
    ///
    /// ```
    /// use tower_maintenance::{Hold, MaintenanceLayer, http::{Refusals, refusal}};
    /// # use tower::{Layer, ServiceExt, service_fn};
    ///
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let layer = MaintenanceLayer::builder("zuora")
    ///     .refusals(Refusals::new().component("Billing"))
    ///     .build()?;
    /// layer.handle().engage(Hold::new("on-call", "drill"))?;
    /// let partner = layer.layer(service_fn(async |()| Ok::<_, std::io::Error>(())));
    /// let error = partner.oneshot(()).await.unwrap_err();
    /// let response: http::Response<String> = refusal(error.refused().unwrap());
    /// assert!(response.body().contains("Billing is temporarily unavailable"));
    /// assert!(!response.body().contains("zuora"));
    /// # Ok(())
    /// # }
    /// ```
    pub fn refusals(self, refusals: impl Into<Arc<Refusals>>) -> Self {
        self.extra(refusals.into())
    }
}

impl MaintenanceHandle {
    /// Returns how refusals of this layer look: what
    /// [`Builder::refusals`](crate::Builder::refusals) was given, or the defaults.
    pub fn refusals(&self) -> &Refusals {
        self.extra().unwrap_or(&DEFAULTS)
    }
}

/// The settings in force.
#[derive(Debug)]
pub(in crate::http) enum Now<'r> {
    Fixed(&'r Refusals),
    Live(Guard<Arc<Refusals>>),
}

impl Deref for Now<'_> {
    type Target = Refusals;

    fn deref(&self) -> &Refusals {
        match self {
            Self::Fixed(refusals) => refusals,
            Self::Live(refusals) => refusals,
        }
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
            .field("component", &self.looks.component)
            .field("support", &self.looks.support)
            .field("works", &self.looks.works)
            .field("status_url", &self.looks.status_url)
            .field("notice_url", &self.looks.notice_url)
            .field("longest_retry_after", &self.looks.longest_retry_after)
            .finish_non_exhaustive()
    }
}

fn at_least_a_second(field: &'static str, span: Duration) -> Result<(), RefusalsError> {
    if span < Duration::from_secs(1) {
        let value = format!("{span:?}");
        return Err(RefusalsError::quoting(field, &value, "1 s or longer"));
    }
    Ok(())
}
