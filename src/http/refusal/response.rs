//! The response to a refused request.

use http::{
    HeaderMap, HeaderValue, Method, Response, StatusCode, Uri,
    header::{
        CACHE_CONTROL, CONTENT_LANGUAGE, CONTENT_SECURITY_POLICY, CONTENT_TYPE, RETRY_AFTER, VARY,
        X_CONTENT_TYPE_OPTIONS,
    },
};
use tower::util::rng::{HasherRng, Rng};

use super::{
    in_handler::{HandlerRefusal, Processed},
    negotiate::Form,
    one_refusal::{Asked, Refusal},
    problem,
    refusals::Refusals,
    retry_hint::retry_after,
};
use crate::{
    facts::{endpoint::Class, refused::Refused},
    http::{method_class::by_method, shared_caches::KEPT_NOWHERE},
};

impl Refusals {
    /// Returns the response for a refused request, for a handler whose call to the partner was
    /// refused.
    ///
    /// It says that a call that the request needs was not made. It says that nothing of the request
    /// was processed only if the handler says so: [`Refused::nothing_processed`].
    ///
    /// ```
    /// use http::{HeaderMap, Method, Response, Uri};
    /// use tower_maintenance::{Refused, http::Refusals};
    ///
    /// fn in_a_handler(
    ///     method: &Method,
    ///     uri: &Uri,
    ///     headers: &HeaderMap,
    ///     refused: Refused,
    /// ) -> Response<String> {
    ///     Refusals::of(&refused).respond(method, uri, headers, &refused)
    /// }
    /// # let _ = in_a_handler;
    /// ```
    pub fn respond<B: From<String>>(
        &self,
        method: &Method,
        uri: &Uri,
        headers: &HeaderMap,
        refused: impl Into<HandlerRefusal>,
    ) -> Response<B> {
        let HandlerRefusal { refused, processed } = refused.into();
        let asked = Asked {
            method,
            uri: Some(uri),
            path: Some(uri.path()),
            headers,
            class: by_method(method),
        };
        self.answer(&asked, &refused, processed)
    }

    /// Answers for the gate before routes: nothing of the request was processed.
    #[cfg(feature = "axum")]
    pub(in crate::http) fn answer_at_gate<B: From<String>>(
        &self,
        asked: &Asked<'_>,
        refused: &Refused,
    ) -> Response<B> {
        self.answer(asked, refused, Processed::Nothing)
    }

    fn answer<B: From<String>>(
        &self,
        asked: &Asked<'_>,
        refused: &Refused,
        processed: Processed,
    ) -> Response<B> {
        self.now().answer_now(asked, refused, processed)
    }

    fn answer_now<B: From<String>>(
        &self,
        asked: &Asked<'_>,
        refused: &Refused,
        processed: Processed,
    ) -> Response<B> {
        let (lang, texts) = self.looks.in_language_of(asked.headers);
        let draw = HasherRng::new().next_f64();
        let seconds = retry_after(refused, self.looks.longest_retry_after, draw);
        let refusal = Refusal {
            looks: &self.looks,
            refused,
            asked,
            processed,
            component: self.looks.component(texts),
            seconds,
            lang,
            texts,
        };
        let mut response = match Form::preferred(asked.headers) {
            Form::Problem => {
                let document = problem::document(&refusal, self.problem.as_deref());
                with_type("application/problem+json", document)
            }
            Form::Page => {
                let (page, policy) = self.page.render(&refusal);
                let mut response = with_type("text/html; charset=utf-8", page);
                let headers = response.headers_mut();
                if let Ok(lang) = HeaderValue::from_str(lang) {
                    headers.insert(CONTENT_LANGUAGE, lang);
                }
                if let Some(policy) = policy {
                    headers.insert(CONTENT_SECURITY_POLICY, policy);
                }
                response
            }
        };
        self.finish_headers(response.headers_mut(), seconds);
        mark(&mut response, refused.clone());
        response
    }

    /// Adds the user's headers, and those that the user cannot replace.
    fn finish_headers(&self, headers: &mut HeaderMap, seconds: u64) {
        headers.insert(VARY, HeaderValue::from_static("Accept, Accept-Language"));
        headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
        for name in self.headers.keys().filter(|name| **name != VARY) {
            headers.remove(name);
        }
        for (name, value) in &self.headers {
            headers.append(name, value.clone());
        }
        headers.insert(RETRY_AFTER, seconds.into());
        headers.insert(CACHE_CONTROL, KEPT_NOWHERE);
    }
}

fn with_type<B: From<String>>(content_type: &'static str, body: String) -> Response<B> {
    let mut response = Response::new(B::from(body));
    *response.status_mut() = StatusCode::SERVICE_UNAVAILABLE;
    let content_type = HeaderValue::from_static(content_type);
    response.headers_mut().insert(CONTENT_TYPE, content_type);
    response
}

/// Marks a refusal, so that observers can leave it out: puts the [`Refused`] into the response's
/// extensions, and records `maintenance.refused` in the current span if the span has such a field.
pub(crate) fn mark<B>(response: &mut Response<B>, refused: Refused) {
    tracing::Span::current().record("maintenance.refused", true);
    response.extensions_mut().insert(refused);
}

/// Returns the response for a refusal inside a handler, without its request: a problem document
/// with the [settings of the layer](crate::Builder::refusals).
///
/// It says that a call that the request needs was not made. It says that nothing of the request was
/// processed only if the handler says so: [`Refused::nothing_processed`].
///
/// The response is `private, no-store`, because browsers keep a cacheable 503 and show it after the
/// recovery. `Retry-After` is drawn between half of the time that is left and all of it, so that
/// clients do not return at once. It lies around 30 s if the end is unknown, around 5 s while the
/// partner is probed, and is 5 min at most.
///
/// The views make their responses themselves. This function is for a handler that gets the refusal
/// as an error and does not use axum, where [`Refused`] is `IntoResponse`. A handler that has the
/// request can call [`Refusals::respond`], which makes a page too.
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
/// let Err(Error::Refused(refused)) = partner.call(()).await else {
///     panic!("the layer is in maintenance")
/// };
/// let response: http::Response<String> = refusal(&refused);
/// assert_eq!(response.status(), 503);
/// let seconds: u64 = response.headers()["retry-after"].to_str()?.parse()?;
/// assert!((15..=45).contains(&seconds));
/// assert_eq!(response.headers()["cache-control"], "private, no-store");
/// assert!(response.body().contains("A call that the request needs was not made."));
/// # Ok(())
/// # }
/// ```
#[must_use]
pub fn refusal<B: From<String>>(refused: impl Into<HandlerRefusal>) -> Response<B> {
    let HandlerRefusal { refused, processed } = refused.into();
    let asked = Asked {
        method: &Method::GET,
        uri: None,
        path: None,
        headers: &HeaderMap::new(),
        class: Class::Write,
    };
    Refusals::of(&refused).answer(&asked, &refused, processed)
}

#[cfg(feature = "axum")]
impl axum::response::IntoResponse for HandlerRefusal {
    fn into_response(self) -> axum::response::Response {
        refusal(self)
    }
}
