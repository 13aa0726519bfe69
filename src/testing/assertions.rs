//! Assertions on the layer, for tests that read like the story they tell.
//!
//! Functions, as `assert!` and its kin are, and not methods: what a test demands should stand at the
//! beginning of its line. One that fails quotes the sentence in which [`Status`] explains itself, since
//! "expected `Serving`, found `Maintenance`" leaves the only question open, which is why.

use std::{error::Error as StdError, future::Future, panic::Location, time::Duration};

use http::{Response, StatusCode, header};
use tower::BoxError;

use crate::{
    facts::{
        event::EventKind,
        evidence::Evidence,
        mode::{Cause, Mode},
        refused::Refused,
        status::Status,
    },
    operator::handle::MaintenanceHandle,
};

/// Asserts that requests pass.
///
/// ```
/// use tower_maintenance::{Hold, MaintenanceLayer};
/// use tower_maintenance::testing::{assert_in_maintenance, assert_serving};
///
/// let handle = MaintenanceLayer::new("zuora").handle();
/// assert_serving(&handle);
/// handle.engage(Hold::new("on-call", "ticket 4711"))?;
/// assert_in_maintenance(&handle);
/// # Ok::<(), tower_maintenance::CommandError>(())
/// ```
///
/// # Panics
///
/// If the mode is another one.
#[track_caller]
pub fn assert_serving(handle: &MaintenanceHandle) {
    assert_mode(handle, Mode::Serving);
}

/// Asserts that requests are refused, whoever holds maintenance.
///
/// Once the wait of a trip is over this is [`Probing`](Mode::Probing), and no more `Maintenance`.
///
/// ```should_panic
/// use tower_maintenance::{MaintenanceLayer, testing::assert_in_maintenance};
///
/// let handle = MaintenanceLayer::new("zuora").handle();
/// // Panics with "expected zuora to be in maintenance; zuora is serving: no calls in 60 s".
/// assert_in_maintenance(&handle);
/// ```
///
/// # Panics
///
/// If the mode is another one.
#[track_caller]
pub fn assert_in_maintenance(handle: &MaintenanceHandle) {
    assert_mode(handle, Mode::Maintenance);
}

/// Asserts that the partner is being tried.
///
/// ```
/// use tower_maintenance::{MaintenanceLayer, testing::assert_probing};
///
/// let handle = MaintenanceLayer::new("zuora").handle();
/// handle.trip("on-call", "drill")?;
/// handle.probe_now("on-call", "let us see")?;
/// assert_probing(&handle);
/// # Ok::<(), tower_maintenance::CommandError>(())
/// ```
///
/// # Panics
///
/// If the mode is another one.
#[track_caller]
pub fn assert_probing(handle: &MaintenanceHandle) {
    assert_mode(handle, Mode::Probing);
}

#[track_caller]
fn assert_mode(handle: &MaintenanceHandle, expected: Mode) {
    let status = handle.status();
    let in_words = match expected {
        Mode::Serving => "serving",
        Mode::Maintenance => "in maintenance",
        Mode::Probing => "probing",
    };
    assert!(
        status.mode == expected,
        "expected {} to be {in_words}; {status}",
        status.partner
    );
}

/// Asserts that the partner's failures have tripped the layer, and tells on what; an operator may
/// hold it on top of that.
///
/// ```
/// use tower::ServiceExt;
/// use tower_maintenance::MaintenanceLayer;
/// use tower_maintenance::testing::{SimulatedPartner, assert_tripped};
///
/// # #[tokio::main(flavor = "current_thread", start_paused = true)]
/// # async fn main() {
/// let partner = SimulatedPartner::healthy();
/// let layer = MaintenanceLayer::new("zuora");
/// let billing = tower::Layer::layer(&layer, partner.clone());
///
/// partner.break_down();
/// for _ in 0..5 {
///     let _ = billing.clone().oneshot("a call").await;
/// }
/// let evidence = assert_tripped(&layer.handle());
/// assert_eq!(evidence.to_string(), "5 calls failed in a row");
/// # }
/// ```
///
/// # Panics
///
/// If it has not tripped, or has recovered.
#[track_caller]
#[expect(
    clippy::must_use_candidate,
    reason = "an assertion is complete without its result"
)]
pub fn assert_tripped(handle: &MaintenanceHandle) -> Evidence {
    let status = handle.status();
    match tripped(&status) {
        Some(evidence) => evidence,
        None => panic!("expected {} to have tripped; {status}", status.partner),
    }
}

fn tripped(status: &Status) -> Option<Evidence> {
    let held = status
        .causes
        .iter()
        .any(|held| held.cause == Cause::Tripped);
    status.evidence.filter(|_| held)
}

/// Asserts that this operator holds maintenance.
///
/// ```
/// use tower_maintenance::{Hold, MaintenanceLayer, testing::assert_held_by};
///
/// let handle = MaintenanceLayer::new("zuora").handle();
/// handle.engage(Hold::new("on-call", "ticket 4711"))?;
/// assert_held_by(&handle, "on-call");
/// # Ok::<(), tower_maintenance::CommandError>(())
/// ```
///
/// # Panics
///
/// If nobody does, or another operator.
#[track_caller]
pub fn assert_held_by(handle: &MaintenanceHandle, operator: &str) {
    let status = handle.status();
    let held = status
        .causes
        .iter()
        .any(|held| held.cause == Cause::Operator && &*held.actor == operator);
    assert!(
        held,
        "expected {} to be held by {operator}; {status}",
        status.partner
    );
}

/// Asserts that a call was refused, under any wrapping, and returns the refusal.
///
/// Takes what any stack around calls gives: `Error<E>`, a `BoxError`, an error of your own that
/// names its source. For a response see [`assert_refusal`].
///
/// ```
/// use tower::{ServiceExt, service_fn};
/// use tower_maintenance::{Cause, Hold, MaintenanceLayer, testing::assert_refused};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let layer = MaintenanceLayer::new("zuora");
/// let billing = tower::Layer::layer(&layer, service_fn(async |()| Ok::<_, std::io::Error>("paid")));
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
/// If the call was let through, whatever came of it.
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

/// Asserts that a call was let through, whatever came of it, and returns what came of it.
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
/// It is a 503 with `Retry-After`, `Cache-Control: no-store` and a problem document or a page: that, and not
/// any 503, is what a client may take for "not processed". The body is left alone.
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
/// let hint = assert_refusal(&response); // drawn anew each time, never past the end
/// assert!(hint >= Duration::from_secs(45) && hint <= Duration::from_secs(90));
/// # Ok(())
/// # }
/// ```
///
/// # Panics
///
/// If one of these is missing, or says something else.
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
        (header::CACHE_CONTROL, &["no-store"][..]),
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

/// Asserts that the layer trips before `cap` is over, and tells on what; at once if it has tripped.
///
/// It waits for the event, in tokio's time: under a paused clock an hour passes in no time.
///
/// ```
/// use std::time::Duration;
/// use tower::ServiceExt;
/// use tower_maintenance::MaintenanceLayer;
/// use tower_maintenance::testing::{Phase, SimulatedPartner, assert_trips_within};
///
/// # #[tokio::main(flavor = "current_thread", start_paused = true)]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let partner = SimulatedPartner::healthy();
/// partner.switch_to(Phase::failing(1.0).with_status(502))?;
/// let layer = MaintenanceLayer::new("zuora");
/// let billing = tower::Layer::layer(&layer, partner);
/// let customers = tokio::spawn(async move {
///     loop {
///         let _ = billing.clone().oneshot("a call").await;
///         tokio::time::sleep(Duration::from_secs(2)).await;
///     }
/// });
///
/// assert_trips_within(&layer.handle(), Duration::from_secs(60)).await;
/// # customers.abort();
/// # Ok(())
/// # }
/// ```
///
/// # Cancel safety
///
/// Dropping the future only ends the waiting.
///
/// # Panics
///
/// If it has not tripped by then; outside a tokio runtime with time enabled.
#[track_caller]
pub fn assert_trips_within(
    handle: &MaintenanceHandle,
    cap: Duration,
) -> impl Future<Output = Evidence> + '_ {
    let asserted = Location::caller();
    async move {
        // Subscribed before the state is read, so that no trip falls in between.
        let mut events = handle.events();
        if let Some(evidence) = tripped(&handle.status()) {
            return evidence;
        }
        let trip = async {
            loop {
                // `None` would mean that nobody is left, but this handle is.
                let event = events.recv().await.map(|event| event.kind);
                if let Some(EventKind::Tripped { evidence, .. }) = event {
                    return evidence;
                }
            }
        };
        match tokio::time::timeout(cap, trip).await {
            Ok(evidence) => evidence,
            Err(_elapsed) => panic!(
                "expected {} to trip within {cap:?}; {} (asserted at {asserted})",
                handle.partner(),
                handle.status()
            ),
        }
    }
}

/// Asserts that the layer serves before `cap` is over; at once if it does.
///
/// It waits for the event, in tokio's time, and moves the layer's time while it waits. What it does
/// not do is call the partner: somebody must probe, a customer or a
/// [ping](MaintenanceHandle::ping).
///
/// ```
/// use std::time::Duration;
/// use tower_maintenance::MaintenanceLayer;
/// use tower_maintenance::testing::{SimulatedPartner, assert_recovers_within, assert_serving};
/// # use tower::ServiceExt;
///
/// # #[tokio::main(flavor = "current_thread", start_paused = true)]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let partner = SimulatedPartner::healthy();
/// let handle = MaintenanceLayer::new("zuora").handle();
/// tokio::spawn(handle.ping(move || partner.clone().oneshot("a ping")));
///
/// handle.trip("on-call", "drill")?;
/// assert_recovers_within(&handle, Duration::from_secs(60)).await;
/// assert_serving(&handle);
/// # Ok(())
/// # }
/// ```
///
/// # Cancel safety
///
/// Dropping the future only ends the waiting.
///
/// # Panics
///
/// If it does not serve by then; outside a tokio runtime with time enabled.
#[track_caller]
pub fn assert_recovers_within(
    handle: &MaintenanceHandle,
    cap: Duration,
) -> impl Future<Output = ()> + '_ {
    let asserted = Location::caller();
    async move {
        let recovered = tokio::time::timeout(cap, handle.wait_until_serving()).await;
        assert!(
            recovered.is_ok(),
            "expected {} to recover within {cap:?}; {} (asserted at {asserted})",
            handle.partner(),
            handle.status()
        );
    }
}

#[cfg(test)]
mod tests {
    use std::panic::{AssertUnwindSafe, catch_unwind};

    use super::*;
    use crate::{Error, Hold, MaintenanceLayer};

    fn handle() -> MaintenanceHandle {
        MaintenanceLayer::new("zuora").handle()
    }

    fn held() -> MaintenanceHandle {
        let handle = handle();
        handle.engage(Hold::new("on-call", "ticket 4711")).unwrap();
        handle
    }

    fn complaint<T>(assertion: impl FnOnce() -> T) -> String {
        let panic = catch_unwind(AssertUnwindSafe(|| {
            assertion();
        }))
        .unwrap_err();
        match panic.downcast::<String>() {
            Ok(text) => *text,
            Err(panic) => (*panic.downcast::<&'static str>().unwrap()).into(),
        }
    }

    #[test]
    fn a_failed_assertion_quotes_the_status() {
        assert_eq!(
            complaint(|| assert_serving(&held())),
            "expected zuora to be serving; zuora is in maintenance: held by on-call (ticket 4711)"
        );
        let handle = handle();
        assert_eq!(
            complaint(|| assert_probing(&handle)),
            format!("expected zuora to be probing; {}", handle.status())
        );
        assert_eq!(
            complaint(|| assert_held_by(&held(), "somebody")),
            "expected zuora to be held by somebody; zuora is in maintenance: held by on-call (ticket 4711)"
        );
    }

    #[test]
    fn a_hold_is_no_trip_and_a_trip_beneath_a_hold_is_one() {
        let handle = held();
        assert_eq!(
            complaint(|| assert_tripped(&handle)),
            "expected zuora to have tripped; zuora is in maintenance: held by on-call (ticket 4711)"
        );
        handle.trip("on-call", "drill").unwrap();
        assert_in_maintenance(&handle);
        assert_tripped(&handle);
    }

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
            "expected a refusal with `cache-control: no-store`; this 503 has None"
        );
        let refusal = response("cache-control", "no-store");
        assert_eq!(assert_refusal(&refusal), Duration::from_secs(30));
        assert_eq!(
            complaint(|| assert_refusal(&Response::new(()))),
            "expected the request to be refused with a 503; it was answered 200 OK"
        );
    }

    #[tokio::test(start_paused = true)]
    async fn what_does_not_come_in_time_is_told_with_the_place_that_asked() {
        let handle = held();
        let waits = tokio::spawn(async move {
            assert_recovers_within(&handle, Duration::from_secs(60)).await;
        });
        let panic = waits.await.unwrap_err().into_panic();
        let text = panic.downcast::<String>().unwrap();
        assert!(
            text.starts_with(
                "expected zuora to recover within 60s; \
                 zuora is in maintenance: held by on-call (ticket 4711) (asserted at "
            ) && text.contains("assertions.rs:"),
            "{text}"
        );
        let handle = self::handle();
        let trips =
            tokio::spawn(
                async move { assert_trips_within(&handle, Duration::from_secs(60)).await },
            );
        let panic = trips.await.unwrap_err().into_panic();
        let text = panic.downcast::<String>().unwrap();
        assert!(text.starts_with("expected zuora to trip within 60s; zuora is serving: no calls"));
    }
}
