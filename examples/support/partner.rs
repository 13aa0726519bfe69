//! The partner of the example `billing`, and how it is called.

use std::{
    io,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use axum::{
    body::{Bytes, HttpBody},
    http::{HeaderValue, Request, Response, header, request},
};
use http_body_util::{BodyExt, Full};
use hyper_util::{client::legacy::Client, rt::TokioExecutor};
use serde_json::{Value, json};
use tower::{BoxError, ServiceBuilder, ServiceExt, util::BoxCloneSyncService};
use tower_maintenance::{
    MaintenanceLayer,
    testing::{PartnerServer, SimulatedPartner},
};

pub(crate) const TIMEOUT: Duration = Duration::from_secs(3);
/// At most the timeout: it drops the call, which then counts as the partner's failure.
pub(crate) const HANG_LIMIT: Duration = Duration::from_secs(1);
/// A partner that is slower than this is not back yet.
pub(crate) const SLOW: Duration = Duration::from_secs(1);

/// A real HTTP server on a port of its own. Its prices have risen each time it was mended, and its `ETag` says nothing of it.
pub(crate) async fn simulated_partner(mended: Arc<AtomicU64>) -> io::Result<PartnerServer> {
    let answers = move |request: &request::Parts| {
        let risen = mended.load(Ordering::Relaxed);
        let answer = match request.uri.path() {
            "/v1/prices" => json!({ "currency": "EUR", "basic": 19 + risen, "pro": 49 + risen }),
            "/v1/subscriptions" => json!({ "success": true, "subscription": "A-S00012345" }),
            _ => json!({ "success": true }),
        };
        let mut answer = Response::new(Bytes::from(answer.to_string()));
        let tag = HeaderValue::from_static("\"price-list\"");
        answer.headers_mut().insert(header::ETAG, tag);
        answer
    };
    let partner = SimulatedPartner::healthy().over_http();
    partner.healthy_with(answers).listen().await
}

pub(crate) type Answer = Response<Bytes>;

/// The partner, as the handlers call it: an answer that came whole, or an error.
#[derive(Clone)]
pub(crate) struct Partner {
    url: Arc<str>,
    stack: BoxCloneSyncService<Request<Full<Bytes>>, Answer, BoxError>,
}

impl Partner {
    /// Behind the layer; read it from the outside in.
    pub(crate) fn behind(layer: &MaintenanceLayer, url: &str) -> Self {
        let stack = ServiceBuilder::new()
            .timeout(TIMEOUT) // drops the call: quiet for `HANG_LIMIT` means failed
            .and_then(whole) // within the timeout, since a body may hang too
            .layer(layer.http_calls())
            .service(Client::builder(TokioExecutor::new()).build_http());
        Self {
            url: url.into(),
            stack: BoxCloneSyncService::new(stack),
        }
    }

    /// Past the layer, for the ping: that has its probe slot already.
    pub(crate) fn directly(url: &str) -> Self {
        let stack = ServiceBuilder::new()
            .timeout(SLOW)
            .and_then(whole)
            .service(Client::builder(TokioExecutor::new()).build_http());
        Self {
            url: url.into(),
            stack: BoxCloneSyncService::new(stack),
        }
    }

    pub(crate) async fn get(&self, path: &str) -> Result<Answer, BoxError> {
        let request = Request::get(format!("{}{path}", self.url)).body(Full::default())?;
        self.stack.clone().oneshot(request).await
    }

    pub(crate) async fn post(&self, path: &str, json: &Value) -> Result<Answer, BoxError> {
        let request = Request::post(format!("{}{path}", self.url))
            .header(header::CONTENT_TYPE, "application/json")
            .body(json.to_string().into())?;
        self.stack.clone().oneshot(request).await
    }
}

/// An answer that is a good one, with its whole body.
async fn whole<B>(response: Response<B>) -> Result<Answer, BoxError>
where
    B: HttpBody<Data = Bytes, Error: Into<BoxError>>,
{
    let (head, body) = response.into_parts();
    let body = body.collect().await.map_err(Into::into)?;
    if head.status.is_success() {
        Ok(Answer::from_parts(head, body.to_bytes()))
    } else {
        Err(format!("the partner answered {}", head.status).into())
    }
}
