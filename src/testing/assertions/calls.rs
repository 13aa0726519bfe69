//! Assertions on calls and responses.

use std::{error::Error as StdError, time::Duration};

use http::{Response, StatusCode, header};
use tower::BoxError;

use crate::facts::refused::Refused;

/// Asserts that a call was refused, under any wrapping, and returns the refusal.
///
/// It takes the result of any stack around calls: an `Error<E>`, a `BoxError`, or an error of your
/// own that has its source. For a response see [`assert_refusal`].
///
/// ```
/// use tower::{ServiceExt, service_fn};
/// use tower_maintenance::{Cause, Hold, MaintenanceLayer, testing::assert_refused};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let layer = MaintenanceLayer::new("zuora");
/// let partner = service_fn(async |()| Ok::<_, std::io::Error>("paid"));
/// let billing = tower::Layer::layer(&layer, partner);
///
/// layer.handle().engage(Hold::new("on-call", "ticket 4711"))?;
/// let refused = assert_refused(billing.clone().oneshot(()).await);
/// assert_eq!(refused.cause(), Cause::Operator);
/// # Ok(())
/// # }
/// ```
///
/// # Panics
///
/// If the call was let through, with any result.
#[track_caller]
pub fn assert_refused<T, E: Into<BoxError>>(result: Result<T, E>) -> Refused {
    let error: BoxError = match result {
        Ok(_) => panic!("expected the call to be refused; it was let through and succeeded"),
        Err(error) => error.into(),
    };
    match Refused::find(&*error) {
        Some(refused) => refused.clone(),
        None => panic!(
            "expected the call to be refused; it was let through and failed: {}",
            in_full(&*error)
        ),
    }
}

/// Asserts that a call was let through, and returns its result.
///
/// ```
/// use tower::ServiceExt;
/// use tower_maintenance::{Error, MaintenanceLayer};
/// use tower_maintenance::testing::{SimulatedPartner, assert_let_through};
///
/// # #[tokio::main(flavor = "current_thread", start_paused = true)]
/// # async fn main() {
/// let partner = SimulatedPartner::healthy();
/// let billing = tower::Layer::layer(&MaintenanceLayer::new("zuora"), partner.clone());
/// partner.break_down();
/// let failed = assert_let_through(billing.clone().oneshot("a call").await);
/// assert!(matches!(failed, Err(Error::Inner(_))));
/// # }
/// ```
///
/// # Panics
///
/// If the call was refused.
#[track_caller]
#[expect(
    clippy::missing_errors_doc,
    reason = "the result is the caller's own, handed back"
)]
pub fn assert_let_through<T, E>(result: Result<T, E>) -> Result<T, E>
where
    E: StdError + 'static,
{
    if let Err(error) = &result {
        assert!(
            Refused::find(error).is_none(),
            "expected the call to be let through; it was refused: {}",
            in_full(error)
        );
    }
    result
}

fn in_full(error: &dyn StdError) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(error) = source {
        text = format!("{text}: {error}");
        source = error.source();
    }
    text
}

/// Asserts that a response is this crate's refusal, and returns its `Retry-After`.
///
/// A refusal is a 503 with `Retry-After`, `Cache-Control: private, no-store` and a problem document
/// or a page. Only such a response, and not any 503, tells a client that its request was not
/// processed. The body is not read.
///
#[cfg_attr(feature = "http", doc = "```")]
#[cfg_attr(not(feature = "http"), doc = "```ignore")]
/// use std::time::Duration;
/// use tower::ServiceExt;
/// use tower_maintenance::{Hold, MaintenanceLayer, testing::{SimulatedPartner, assert_refusal}};
///
/// # #[tokio::main(flavor = "current_thread", start_paused = true)]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let layer = MaintenanceLayer::new("zuora");
/// let ours = tower::service_fn(async |_: http::Request<()>| {
///     Ok::<_, std::convert::Infallible>(http::Response::new(String::from("12 EUR")))
/// });
/// let gated = tower::Layer::layer(&layer.paths(), ours);
///
/// layer.handle().engage(Hold::new("on-call", "drill").for_at_most(Duration::from_secs(90)))?;
/// let response = gated.oneshot(http::Request::get("/prices").body(())?).await?;
/// let hint = assert_refusal(&response); // random, never past the end of the hold
/// assert!(hint >= Duration::from_secs(45) && hint <= Duration::from_secs(90));
/// # Ok(())
/// # }
/// ```
///
/// # Panics
///
/// If one of these is missing or has another value.
#[track_caller]
pub fn assert_refusal<B>(response: &Response<B>) -> Duration {
    assert!(
        response.status() == StatusCode::SERVICE_UNAVAILABLE,
        "expected the request to be refused with a 503; it was answered {}",
        response.status()
    );
    let headers = response.headers();
    let says = |name: header::HeaderName| headers.get(name)?.to_str().ok();
    let forms = ["application/problem+json", "text/html; charset=utf-8"];
    for (name, expected) in [
        (header::CACHE_CONTROL, &["private, no-store"][..]),
        (header::CONTENT_TYPE, &forms),
    ] {
        let said = says(name.clone());
        assert!(
            said.is_some_and(|said| expected.contains(&said)),
            "expected a refusal with `{name}: {}`; this 503 has {said:?}",
            expected.join("` or `")
        );
    }
    let said = says(header::RETRY_AFTER);
    match said.map(str::parse) {
        Some(Ok(seconds)) => Duration::from_secs(seconds),
        Some(Err(_)) | None => {
            panic!("expected a refusal with `retry-after` in seconds; this 503 has {said:?}")
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{super::support::complaint, *};
    use crate::Error;

    #[test]
    fn a_call_that_was_let_through_was_not_refused() {
        let broken = std::io::Error::other("connection reset");
        let failed: Result<(), Error<std::io::Error>> = Err(Error::Inner(broken));
        let text = complaint(|| assert_refused(failed));
        assert!(
            text.starts_with("expected the call to be refused; it was let through and failed: ")
                && text.ends_with(": connection reset"),
            "{text}"
        );
        let answered: Result<(), BoxError> = Ok(());
        assert!(complaint(|| assert_refused(answered)).ends_with("and succeeded"));
    }

    #[test]
    fn a_503_of_somebody_else_is_no_refusal() {
        let response = |name: &str, value: &str| {
            Response::builder()
                .status(503)
                .header("retry-after", "30")
                .header("content-type", "application/problem+json")
                .header(name, value)
                .body(())
                .unwrap()
        };
        assert_eq!(
            complaint(|| assert_refusal(&response("x-cache", "miss"))),
            "expected a refusal with `cache-control: private, no-store`; this 503 has None"
        );
        let refusal = response("cache-control", "private, no-store");
        assert_eq!(assert_refusal(&refusal), Duration::from_secs(30));
        assert_eq!(
            complaint(|| assert_refusal(&Response::new(()))),
            "expected the request to be refused with a 503; it was answered 200 OK"
        );
    }
}
