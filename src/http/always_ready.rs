//! `Service` for an endpoint that is always ready, answers at once and never fails.

/// Implements `Service` for a type with `fn answer(&self, &request::Parts) -> Response<Body>`,
/// given the type and its body.
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
                std::future::ready(Ok(self.answer(&request)))
            }
        }
    };
}

pub(in crate::http) use always_ready;
