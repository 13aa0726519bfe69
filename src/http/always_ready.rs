//! `Service` for an endpoint that is always ready, answers at once and never fails.

use http::{
    HeaderValue, Method, Response, StatusCode,
    header::{ALLOW, CACHE_CONTROL},
};

use super::shared_caches::KEPT_NOWHERE;

/// Returns the answer to a method that the endpoint does not have; `None` for GET and HEAD.
pub(in crate::http) fn not_allowed<B: Default>(method: &Method) -> Option<Response<B>> {
    if matches!(*method, Method::GET | Method::HEAD) {
        return None;
    }
    let mut response = Response::new(B::default());
    *response.status_mut() = StatusCode::METHOD_NOT_ALLOWED;
    let headers = response.headers_mut();
    headers.insert(ALLOW, HeaderValue::from_static("GET, HEAD"));
    headers.insert(CACHE_CONTROL, KEPT_NOWHERE);
    Some(response)
}

/// Implements `Service` for a type with `fn answer(&self, &request::Parts) -> Response<Body>`,
/// given the type and its body. `answer` is called for GET and HEAD only.
macro_rules! always_ready {
    ($name:ty, $body:ty) => {
        impl<A> tower::Service<http::Request<A>> for $name {
            type Response = http::Response<$body>;
            type Error = std::convert::Infallible;
            type Future =
                std::future::Ready<Result<http::Response<$body>, std::convert::Infallible>>;

            fn poll_ready(
                &mut self,
                _: &mut std::task::Context<'_>,
            ) -> std::task::Poll<Result<(), std::convert::Infallible>> {
                std::task::Poll::Ready(Ok(()))
            }

            fn call(&mut self, request: http::Request<A>) -> Self::Future {
                let (request, _) = request.into_parts();
                let refused = crate::http::always_ready::not_allowed(&request.method);
                std::future::ready(Ok(refused.unwrap_or_else(|| self.answer(&request))))
            }
        }
    };
}

pub(in crate::http) use always_ready;
