//! How a refusal looks over HTTP.

use std::time::Duration;

use http::{
    HeaderValue, Response, StatusCode,
    header::{CACHE_CONTROL, CONTENT_TYPE, RETRY_AFTER},
};
use serde_json::json;

use crate::{error::Refused, mode::Mode, rfc3339::rfc3339};

/// What `Retry-After` says under a hold without expiry: nobody knows, and half a minute is polite.
const UNKNOWN_END: Duration = Duration::from_secs(30);
/// What it says while the partner is being probed: it may be back any moment.
const WHILE_PROBING: Duration = Duration::from_secs(5);

/// The response for a refused request: 503 with `Retry-After` and `Cache-Control: no-store`, and a
/// problem document ([RFC 9457](https://www.rfc-editor.org/rfc/rfc9457)) that says that nothing was processed.
///
/// `no-store` matters: browsers keep a 503 that may be cached, and show it after the recovery.
/// `Retry-After` is the time that is left, rounded up to seconds; 30 s where nobody knows the end,
/// 5 s while the partner is being probed.
///
/// The layer makes these by itself; call it where a refusal reaches your handler as an error and
/// you do not use axum (there, [`Refused`] is `IntoResponse`).
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
/// assert_eq!(response.headers()["retry-after"], "30");
/// assert_eq!(response.headers()["cache-control"], "no-store");
/// assert!(response.body().contains(r#""processed":false"#));
/// # Ok(())
/// # }
/// ```
pub fn refusal<B: From<String>>(refused: &Refused) -> Response<B> {
    let seconds = retry_after_seconds(refused);
    let problem = json!({
        "type": "about:blank",
        "title": "Service Unavailable",
        "status": StatusCode::SERVICE_UNAVAILABLE.as_u16(),
        "detail": "This is in maintenance. The request was not processed, and may be repeated safely.",
        "component": refused.partner(),
        "since": rfc3339(refused.since()),
        "generation": refused.generation(),
        "retry_after": seconds,
        "processed": false,
    });
    let mut response = Response::new(B::from(problem.to_string()));
    *response.status_mut() = StatusCode::SERVICE_UNAVAILABLE;
    let headers = response.headers_mut();
    headers.insert(RETRY_AFTER, seconds.into());
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(
        CONTENT_TYPE,
        HeaderValue::from_static("application/problem+json"),
    );
    response
}

/// Whole seconds, rounded up: a client that comes back early is refused once more.
fn retry_after_seconds(refused: &Refused) -> u64 {
    let wait = refused.retry_after().unwrap_or(match refused.mode() {
        Mode::Probing => WHILE_PROBING,
        Mode::Maintenance | Mode::Serving => UNKNOWN_END,
    });
    let up = u64::from(wait.subsec_nanos() > 0);
    (wait.as_secs().saturating_add(up)).max(1)
}
