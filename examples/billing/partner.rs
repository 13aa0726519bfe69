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
/// A call that takes longer counts as slow under the policy of `billing.toml`, and a ping fails.
pub(crate) const SLOW: Duration = Duration::from_secs(1);

/// Starts the partner, an HTTP server on a port of its own.
///
/// Each repair raises its prices, but its `ETag` never changes.
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

/// A client of the partner: a call returns an answer with its whole body, or an error.
#[derive(Clone)]
pub(crate) struct Partner {
    url: Arc<str>,
    stack: BoxCloneSyncService<Request<Full<Bytes>>, Answer, BoxError>,
}

impl Partner {
    /// Calls the partner through the layer. The outermost layer comes first.
    pub(crate) fn behind(layer: &MaintenanceLayer, url: &str) -> Self {
        let stack = ServiceBuilder::new()
            .timeout(TIMEOUT) // drops the call, which failed if it was silent for the hang limit
            .and_then(whole) // inside of the timeout, because a body may hang too
            .layer(layer.http_calls())
            .service(Client::builder(TokioExecutor::new()).build_http());
        Self {
            url: url.into(),
            stack: BoxCloneSyncService::new(stack),
        }
    }

    /// Calls the partner without the layer, for the ping: a ping already has a probe slot.
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

/// Reads the whole body of a successful answer.
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
