//! The notices of a layer, and the endpoint that serves them as JSON.

use std::{fmt, sync::Arc, time::SystemTime};

use arc_swap::ArcSwapOption;
use http::{
    HeaderMap, HeaderValue, Response,
    header::{CACHE_CONTROL, CONTENT_TYPE, VARY, X_CONTENT_TYPE_OPTIONS},
    request,
};
use serde_json::{Value, json};
use tower::util::rng::{HasherRng, Rng};

use super::{announcement::Announcement, notice_script::NoticeScript};
use crate::{
    base::rfc3339::rfc3339,
    facts::{glance::Glance, mode::Mode},
    http::{
        always_ready::always_ready,
        refusal::{PageTexts, Refusals},
        shared_caches::KEPT_NOWHERE,
    },
    operator::handle::MaintenanceHandle,
};

/// The notice that a product shows: a JSON endpoint, and a script that shows a banner.
///
/// Serve both where the gate does not refuse them: outside the layer, or as exempt routes.
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
/// let text = "Maintenance of Billing is planned. Invoices move tonight.";
/// assert_eq!(state().await?["notice"]["text"], text);
///
/// layer.handle().engage(Hold::new("on-call", "the ledger moves").read_only())?;
/// assert_eq!(state().await?["state"], "read_only");
/// # Ok(())
/// # }
/// ```
///
/// The banner has a button that hides it, and screen readers announce it politely. The script works
/// under a `Content-Security-Policy` without inline styles and scripts. When the state changes it
/// dispatches a `maintenance` event on `document` with the JSON as its `detail`: a product can use
/// it to disable what would be refused.
///
/// | member | value |
/// |---|---|
/// | `state` | `serving`, `announced`, `read_only`, `maintenance` |
/// | `component`, `generation` | as on the page |
/// | `notice` | `null`, or `text` with those of `since`, `starts`, `ends` that are known |
/// | `status_url` | the address of a status page, or `null` |
/// | `hide` | the label of the button that hides the banner |
/// | `check_after_seconds` | the time until the next poll: 15 to 45, drawn anew each time |
#[derive(Clone)]
pub struct Notices {
    handle: MaintenanceHandle,
    refusals: Refusals,
    announced: Arc<ArcSwapOption<Announcement>>,
}

impl Notices {
    /// Returns notices for the state of `handle`, with the texts and languages of `refusals`.
    ///
    /// Give [`handle.refusals()`](MaintenanceHandle::refusals) for those of the layer. If
    /// `refusals` have no name of the component, it is that of the layer's.
    ///
    /// Clones share the announcement.
    #[must_use]
    pub fn new(handle: &MaintenanceHandle, refusals: &Refusals) -> Self {
        Self {
            handle: handle.clone(),
            refusals: refusals.clone().named_as(handle.refusals()),
            announced: Arc::default(),
        }
    }

    /// Shows this announcement from now on, in place of any earlier one. It does not schedule
    /// maintenance.
    pub fn announce(&self, announcement: Announcement) {
        self.announced.store(Some(Arc::new(announcement)));
    }

    /// Ends the announcement.
    pub fn withdraw(&self) {
        self.announced.store(None);
    }

    /// Returns the endpoint that serves the notice as JSON.
    #[must_use]
    pub fn json(&self) -> NoticeJson {
        NoticeJson(self.clone())
    }

    /// Returns the endpoint that serves the script.
    ///
    /// The script polls `notice.json` in its own folder, or the address in its `data-url`
    /// attribute.
    #[must_use]
    pub fn script(&self) -> NoticeScript {
        NoticeScript {}
    }

    fn answer(&self, headers: &HeaderMap) -> Response<String> {
        let glance = self.handle.glance();
        let announced = self.announced_at(glance.wall_now());
        let state = State::of(&glance, announced.is_some());
        let refusals = self.refusals.now();
        let texts = refusals.texts(headers);
        let spread = HasherRng::new().next_f64();
        let body = json!({
            "state": state.as_str(),
            "component": refusals.component_name(texts),
            "generation": glance.generation(),
            "notice": state.notice(&glance, announced.as_deref(), &refusals, texts),
            "status_url": refusals.status_page(),
            "hide": texts.hide,
            "check_after_seconds": 15 + (spread * 31.0) as u64,
        });
        let mut response = Response::new(body.to_string());
        let headers = response.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        headers.insert(CACHE_CONTROL, KEPT_NOWHERE);
        headers.insert(VARY, HeaderValue::from_static("Accept-Language"));
        headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
        response
    }

    /// Returns the announcement if its end has not passed at `now`.
    fn announced_at(&self, now: SystemTime) -> Option<Arc<Announcement>> {
        let announced = self.announced.load_full();
        announced.filter(|announced| announced.ends.is_none_or(|ends| now < ends))
    }
}

/// The state that the JSON shows.
#[derive(Debug, Clone, Copy)]
enum State {
    Serving,
    Announced,
    ReadOnly,
    Maintenance,
}

impl State {
    fn of(glance: &Glance, is_announced: bool) -> Self {
        match (glance.mode(), glance.is_read_only()) {
            (Mode::Serving, _) if is_announced => Self::Announced,
            (Mode::Serving, _) => Self::Serving,
            (Mode::Maintenance | Mode::Probing, true) => Self::ReadOnly,
            (Mode::Maintenance | Mode::Probing, false) => Self::Maintenance,
        }
    }

    fn as_str(self) -> &'static str {
        match self {
            Self::Serving => "serving",
            Self::Announced => "announced",
            Self::ReadOnly => "read_only",
            Self::Maintenance => "maintenance",
        }
    }

    /// Returns the member `notice` of the JSON.
    fn notice(
        self,
        glance: &Glance,
        announced: Option<&Announcement>,
        refusals: &Refusals,
        texts: &PageTexts,
    ) -> Value {
        let sentence = |text: &str, more: Option<&str>| {
            let text = refusals.with_component(text, texts);
            match more {
                Some(more) => format!("{text} {more}"),
                None => text,
            }
        };
        let message = glance.message();
        let held = |text: &str| {
            let since = glance.episode().map(|_| glance.since());
            json!({
                "text": sentence(text, message),
                "since": since.map(rfc3339),
                "ends": glance.promised_end().map(rfc3339),
            })
        };
        match self {
            Self::Serving => Value::Null,
            Self::Announced => announced.map_or(Value::Null, |announced| {
                json!({
                    "text": sentence(&texts.notice_announced, Some(&announced.text)),
                    "starts": announced.starts.map(rfc3339),
                    "ends": announced.ends.map(rfc3339),
                })
            }),
            Self::ReadOnly => held(&texts.notice_read_only),
            Self::Maintenance => held(&texts.notice_maintenance),
        }
    }
}

impl fmt::Debug for Notices {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Notices")
            .field("handle", &self.handle)
            .field("announced", &self.announced)
            .finish_non_exhaustive()
    }
}

/// An endpoint that serves the notice as JSON. [`Notices::json`] makes it.
#[derive(Debug, Clone)]
pub struct NoticeJson(Notices);

impl NoticeJson {
    fn answer(&self, request: &request::Parts) -> Response<String> {
        self.0.answer(&request.headers)
    }
}

always_ready!(NoticeJson, String);
