//! The notice within the product: before and during maintenance, where the product stays usable.
//!
//! A page that replaces everything is wrong where one component is down and its siblings work: a chat goes on
//! while billing rests. There a small script asks a small endpoint, and shows a banner.

use std::{
    convert::Infallible,
    fmt,
    future::{Ready, ready},
    sync::Arc,
    task::{Context, Poll},
    time::SystemTime,
};

use arc_swap::ArcSwapOption;
use http::{
    HeaderMap, HeaderValue, Request, Response, StatusCode,
    header::{CACHE_CONTROL, CONTENT_TYPE, ETAG, VARY, X_CONTENT_TYPE_OPTIONS},
};
use serde_json::json;
use tower::{
    Service,
    util::rng::{HasherRng, Rng},
};

use super::{
    cache_bust::is_known,
    refusal::{Refusals, RefusalsError},
};
use crate::{
    base::rfc3339::rfc3339,
    facts::{mode::Mode, status::Status},
    operator::handle::MaintenanceHandle,
};

/// How long an announcement may be, in bytes.
const LONGEST_TEXT: usize = 2048;

/// Maintenance that is to come, as customers are told.
///
/// ```
/// use std::time::{Duration, SystemTime};
/// use tower_maintenance::http::Announcement;
///
/// let tonight = SystemTime::now() + Duration::from_secs(4 * 3600);
/// let announcement = Announcement::new("Invoices move to a new ledger.")?
///     .starting(tonight)
///     .ending(tonight + Duration::from_secs(3600));
/// # let _ = announcement;
/// # Ok::<(), tower_maintenance::http::RefusalsError>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
#[must_use = "an announcement does nothing until it is `announced`"]
pub struct Announcement {
    text: String,
    starts: Option<SystemTime>,
    ends: Option<SystemTime>,
}

impl Announcement {
    /// What is to come, in 1 to 2048 bytes.
    ///
    /// # Errors
    ///
    /// If the text is empty or too long.
    pub fn new(text: impl Into<String>) -> Result<Self, RefusalsError> {
        let text = text.into();
        if text.trim().is_empty() || text.len() > LONGEST_TEXT {
            let length = format!("{} bytes", text.len());
            return Err(RefusalsError::quoting(
                "announcement",
                &length,
                "a text of 1 to 2048 bytes",
            ));
        }
        Ok(Self {
            text,
            starts: None,
            ends: None,
        })
    }

    /// When it begins. Default: nothing is said.
    pub fn starting(self, at: SystemTime) -> Self {
        Self {
            starts: Some(at),
            ..self
        }
    }

    /// When it is expected to end; from then on it is not shown any more. Default: until it is withdrawn.
    pub fn ending(self, at: SystemTime) -> Self {
        Self {
            ends: Some(at),
            ..self
        }
    }
}

/// What the product shows of maintenance: a small JSON endpoint, and a script that shows a banner.
///
/// Serve both where the gate does not stand (outside the layer, or as exempt routes):
///
#[cfg_attr(feature = "axum", doc = "```")]
#[cfg_attr(not(feature = "axum"), doc = "```ignore")]
/// use axum::{Router, body::Body};
/// use http::Request;
/// use tower::ServiceExt;
/// use tower_maintenance::{Hold, MaintenanceLayer, http::{Announcement, Notices, Refusals}};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let layer = MaintenanceLayer::new("zuora");
/// let notices = Notices::new(&layer.handle(), &Refusals::new().component("Billing"));
/// let app: Router = Router::new()
///     .route_service("/maintenance/notice.json", notices.json())
///     .route_service("/maintenance/notice.js", notices.script());
/// // On every page: <script src="/maintenance/notice.js" defer></script>
///
/// let state = async || -> Result<serde_json::Value, Box<dyn std::error::Error>> {
///     let request = Request::get("/maintenance/notice.json").body(Body::empty())?;
///     let body = app.clone().oneshot(request).await?.into_body();
///     Ok(serde_json::from_slice(&axum::body::to_bytes(body, 4096).await?)?)
/// };
/// assert_eq!(state().await?["state"], "serving");
///
/// notices.announce(Announcement::new("Invoices move tonight.")?);
/// assert_eq!(state().await?["notice"]["text"], "Maintenance of Billing is planned. Invoices move tonight.");
///
/// layer.handle().engage(Hold::new("on-call", "the ledger moves").read_only())?;
/// assert_eq!(state().await?["state"], "read_only");
/// # Ok(())
/// # }
/// ```
///
/// The script lets the banner be hidden, tells screen readers politely, needs no inline style or script of your
/// `Content-Security-Policy`, and dispatches a `maintenance` event on `document` whenever the state changes (its `detail`
/// is the JSON), so that a product can grey what would be refused. The JSON:
///
/// | member | value |
/// |---|---|
/// | `state` | `serving`, `announced`, `read_only`, `maintenance` |
/// | `component`, `generation` | as on the page |
/// | `notice` | `null` while there is nothing to say; otherwise `text`, and as far as known `since`, `starts`, `ends` |
/// | `status_url` | where people read more, or `null` |
/// | `hide` | the label of the button that hides the banner |
/// | `check_after_seconds` | when to ask again: between 15 and 45, drawn anew each time |
#[derive(Clone)]
pub struct Notices {
    handle: MaintenanceHandle,
    refusals: Refusals,
    announced: Arc<ArcSwapOption<Announcement>>,
}

impl Notices {
    /// Notices of what the handle sees, with the texts and languages of `refusals`. Clones share the announcement.
    #[must_use]
    pub fn new(handle: &MaintenanceHandle, refusals: &Refusals) -> Self {
        Self {
            handle: handle.clone(),
            refusals: refusals.clone(),
            announced: Arc::default(),
        }
    }

    /// Shows this from now on, in place of what was announced before. It announces only: nothing begins by itself.
    pub fn announce(&self, announcement: Announcement) {
        self.announced.store(Some(Arc::new(announcement)));
    }

    /// Ends what was announced.
    pub fn withdraw(&self) {
        self.announced.store(None);
    }

    /// The endpoint that says in JSON what there is to show.
    #[must_use]
    pub fn json(&self) -> NoticeJson {
        NoticeJson(self.clone())
    }

    /// The script that shows it; it asks for `notice.json` beside itself, or for what its `data-url` says.
    #[must_use]
    pub fn script(&self) -> NoticeScript {
        NoticeScript {}
    }

    fn answer(&self, headers: &HeaderMap) -> Response<String> {
        let status = self.handle.status();
        let announced = self.announced.load_full();
        let announced =
            announced.filter(|announced| announced.ends.is_none_or(|ends| status.at < ends));
        let state = match (status.mode, status.read_only, &announced) {
            (Mode::Serving, _, None) => "serving",
            (Mode::Serving, _, Some(_)) => "announced",
            (_, true, _) => "read_only",
            (_, false, _) => "maintenance",
        };
        let component = self.refusals.component_or(&status.partner);
        let texts = self.refusals.texts(headers);
        let text = |text: &str, more: Option<&str>| {
            let text = text.replace("{component}", component);
            more.map_or_else(|| text.clone(), |more| format!("{text} {more}"))
        };
        let notice = match (state, announced) {
            ("announced", Some(announced)) => json!({
                "text": text(&texts.notice_announced, Some(&announced.text)),
                "starts": announced.starts.map(rfc3339),
                "ends": announced.ends.map(rfc3339),
            }),
            ("read_only", _) => held(
                &status,
                text(&texts.notice_read_only, status.message.as_deref()),
            ),
            ("maintenance", _) => held(
                &status,
                text(&texts.notice_maintenance, status.message.as_deref()),
            ),
            _ => serde_json::Value::Null,
        };
        let spread = HasherRng::new().next_f64();
        let body = json!({
            "state": state,
            "component": component,
            "generation": status.generation,
            "notice": notice,
            "status_url": self.refusals.status_page(),
            "hide": texts.hide,
            "check_after_seconds": 15 + (spread * 31.0) as u64,
        });
        let mut response = Response::new(body.to_string());
        let headers = response.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
        headers.insert(VARY, HeaderValue::from_static("Accept-Language"));
        headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
        response
    }
}

fn held(status: &Status, text: String) -> serde_json::Value {
    let since = status.episode.as_ref().map(|episode| episode.began);
    json!({
        "text": text,
        "since": since.map(rfc3339),
        "ends": status.promised_end.map(rfc3339),
    })
}

impl fmt::Debug for Notices {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Notices")
            .field("handle", &self.handle)
            .field("announced", &self.announced)
            .finish_non_exhaustive()
    }
}

/// Says in JSON what there is to show; made by [`Notices::json`].
#[derive(Debug, Clone)]
pub struct NoticeJson(Notices);

impl<A> Service<Request<A>> for NoticeJson {
    type Response = Response<String>;
    type Error = Infallible;
    type Future = Ready<Result<Response<String>, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<A>) -> Self::Future {
        ready(Ok(self.0.answer(request.headers())))
    }
}

const SCRIPT: &str = include_str!("notice.js");
/// Changes with the script: the version of the crate.
const SCRIPT_TAG: &str = concat!("\"", env!("CARGO_PKG_VERSION"), "\"");

/// Serves the script that shows the banner; made by [`Notices::script`].
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct NoticeScript {}

impl<A> Service<Request<A>> for NoticeScript {
    type Response = Response<String>;
    type Error = Infallible;
    type Future = Ready<Result<Response<String>, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<A>) -> Self::Future {
        let headers = request.headers();
        ready(Ok(script(headers, SCRIPT, SCRIPT_TAG, "no-cache")))
    }
}

/// A script, or that it has not changed.
pub(super) fn script(
    headers: &HeaderMap,
    text: &str,
    tag: &'static str,
    cache: &'static str,
) -> Response<String> {
    let is_known = is_known(headers, tag);
    let text = if is_known { "" } else { text };
    let mut response = Response::new(text.to_owned());
    if is_known {
        *response.status_mut() = StatusCode::NOT_MODIFIED;
    }
    let headers = response.headers_mut();
    headers.insert(
        CONTENT_TYPE,
        HeaderValue::from_static("text/javascript; charset=utf-8"),
    );
    headers.insert(CACHE_CONTROL, HeaderValue::from_static(cache));
    headers.insert(ETAG, HeaderValue::from_static(tag));
    headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    response
}

#[cfg(test)]
mod tests {
    use http::header::IF_NONE_MATCH;

    use super::*;

    #[test]
    fn a_script_that_is_known_is_not_sent_again_however_its_tag_comes_back() {
        let status = |lines: &[&str]| {
            let mut headers = HeaderMap::new();
            for line in lines {
                headers.append(IF_NONE_MATCH, HeaderValue::from_str(line).unwrap());
            }
            let answer = script(&headers, "text", "\"v1\"", "no-cache");
            assert_eq!(answer.headers()[ETAG], "\"v1\"");
            assert_eq!(answer.body().is_empty(), answer.status() == 304);
            answer.status().as_u16()
        };
        for known in [
            &["\"v1\""][..],
            &["W/\"v1\""],
            &["\"v0\", \"v1\""],
            &["\"v0\",W/\"v1\" , \"v2\""],
            &["\"v0\"", "\"v1\""],
            &["*"],
        ] {
            assert_eq!(status(known), 304, "{known:?}");
        }
        for unknown in [
            &[][..],
            &[""],
            &["v1"],
            &["\"v11\""],
            &["\"v0\", W/\"v2\""],
            &["\"v1"],
        ] {
            assert_eq!(status(unknown), 200, "{unknown:?}");
        }
    }
}
