//! The view around reqwest, and a call through it.

use http::{Request, Response};
use reqwest::Body;
use tower::ServiceExt;

use super::service::HttpService;
use crate::{
    call::nested::Nested,
    facts::refused::Error,
    http::{CallBody, HttpCalls},
    layer::MaintenanceLayer,
    service::Maintenance,
};

/// It judges as `http_calls()` does, and opens errors.
pub(super) type View = MaintenanceLayer<Nested<HttpCalls>>;

pub(super) type Guarded = Maintenance<HttpService, Nested<HttpCalls>>;

/// Makes the call of a request of reqwest.
pub(super) async fn execute(
    client: Guarded,
    request: reqwest::Request,
) -> Result<reqwest::Response, Error<reqwest::Error>> {
    let request = Request::<Body>::try_from(request).map_err(Error::Inner)?;
    client.oneshot(request).await.map(into_reqwest)
}

/// Turns an answer with a watched body into reqwest's response.
pub(super) fn into_reqwest(answer: Response<CallBody<Body>>) -> reqwest::Response {
    answer.map(Body::wrap).into()
}
