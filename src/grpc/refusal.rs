//! A refusal over gRPC.

use std::time::Duration;

use http::{Response, header::CONTENT_TYPE};
use tower::util::rng::{HasherRng, Rng};

use super::{
    Code,
    web::Form,
    wire::{self, Details, GRPC_DETAILS, GRPC_MESSAGE, GRPC_STATUS},
};
use crate::{
    base::{rfc3339::rfc3339, setting_error::setting_error, span::Span},
    facts::refused::Refused,
    http::{HandlerRefusal, Processed, Refusals, delays, mark},
};

/// The `reason` of a refusal's `google.rpc.ErrorInfo`. It is unique within [`DOMAIN`].
pub const REASON: &str = "MAINTENANCE";

/// The `domain` of a refusal's `google.rpc.ErrorInfo`.
///
/// By this and [`REASON`] a caller tells a refusal from the partner's own `UNAVAILABLE`.
pub const DOMAIN: &str = "tower-maintenance";

/// The default limit of delays, as long as the longest `Retry-After` over HTTP: maintenance may end
/// early.
const LONGEST: Duration = Duration::from_secs(300);
/// The longest `google.protobuf.Duration`: ten thousand years.
const LONGEST_ON_THE_WIRE: Duration = Duration::from_secs(315_576_000_000);
/// How many bytes of a text go on the wire. Clients accept 8 KiB of headers, and a text is there
/// twice, once with up to three bytes for each of its own.
const LONGEST_TEXT: usize = 1024;

/// Returns the response for a refused call inside a handler of your own: `UNAVAILABLE`, with
/// details.
///
/// The views make such responses by themselves. Call this function where a refusal reaches your
/// code as an error. It says that a call that the request needs was not made. Only the view before
/// routes says that nothing was processed, and so does a handler by
/// [`Refused::nothing_processed`].
///
/// The response is Trailers-Only, one HEADERS frame: HTTP status 200,
/// `content-type: application/grpc`, `grpc-status: 14`, a `grpc-message`, and in
/// `grpc-status-details-bin` a `google.rpc.Status` with two details:
///
/// - `google.rpc.ErrorInfo`: reason [`REASON`], domain [`DOMAIN`], and metadata. The metadata are
///   `component` (the name that customers know: [`Refusals::component`]), `mode` (`maintenance` or
///   `probing`), `read_only`, `since`, `until` if the end is known (both RFC 3339), `generation`,
///   and `processed`, which is `false` or absent: if absent, it is not known whether something was
///   processed.
/// - `google.rpc.RetryInfo`: a random delay, so that callers do not come back at the same instant.
///   It is between half of the time that is left and the whole of it, at most 5 min. If the end is
///   not known, it is 15 s to 45 s. While the partner is being probed, it is 2.5 s to 7.5 s.
///
/// The message carries the operator's [message to customers](crate::Hold::with_message), cut to
/// 1024 bytes in all. It never carries the reason, which is for the audit trail.
///
/// The [`Refused`] is among the response's extensions, for layers between here and the wire. The
/// current span's field `maintenance.refused` is recorded, if the span has that field.
///
/// A layer answers a request in gRPC-Web with `application/grpc-web+proto` or
/// `application/grpc-web-text+proto`, and is otherwise the same: Trailers-Only is in the headers
/// there too. Its limit of 5 min is set by `longest_retry_delay` of
/// [`GrpcCalls`](super::GrpcCalls::longest_retry_delay) and
/// [`GrpcRoutes`](super::GrpcRoutes::longest_retry_delay). This function has the limit fixed.
///
/// ```
/// use tower_maintenance::{Error, Hold, MaintenanceLayer, grpc::refusal};
/// # use tower::{Service, ServiceExt, Layer, service_fn};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let layer = MaintenanceLayer::new("zuora");
/// # layer.handle().engage(Hold::new("on-call", "drill"))?;
/// # let mut partner = layer.layer(service_fn(async |()| Ok::<_, std::io::Error>(())));
/// # partner.ready().await?;
/// let Err(Error::Refused(refused)) = partner.call(()).await else {
///     panic!("it is in maintenance")
/// };
/// let response: http::Response<String> = refusal(&refused);
/// assert_eq!(response.status(), 200);
/// assert_eq!(response.headers()["grpc-status"], "14");
/// assert_eq!(
///     response.headers()["grpc-message"],
///     "This service is in maintenance: a call that the request needs was not made",
/// );
/// assert!(response.headers().contains_key("grpc-status-details-bin"));
/// # Ok(())
/// # }
/// ```
#[must_use]
pub fn refusal<B: Default>(refused: impl Into<HandlerRefusal>) -> Response<B> {
    Longest::default().refusal(&refused.into(), Form::Grpc)
}

setting_error! {
    /// The delay for refused callers is invalid: it is too short.
    DelayError, "Returns the value as it was given.", "{} is {}: allowed is {}"
}

/// The longest delay in a `RetryInfo`.
#[derive(Debug, Clone, Copy)]
pub(super) struct Longest(Duration);

impl Default for Longest {
    fn default() -> Self {
        Self(LONGEST)
    }
}

impl Longest {
    pub(super) fn new(span: Duration) -> Result<Self, DelayError> {
        if span < Duration::from_secs(1) {
            return Err(DelayError::new(
                "longest_retry_delay",
                Span(span).to_string(),
                "1 s or longer",
            ));
        }
        Ok(Self(span.min(LONGEST_ON_THE_WIRE)))
    }

    /// Returns a refusal in the form of the request. gRPC-Web has Trailers-Only too, and its
    /// clients accept no answer of another type.
    pub(super) fn refusal<B: Default>(self, refusal: &HandlerRefusal, form: Form) -> Response<B> {
        let delay = self.delay(&refusal.refused, HasherRng::new().next_f64());
        respond(refusal, delay, form)
    }

    /// Returns the delay that `draw`, a number from 0 to 1, chooses.
    fn delay(self, refused: &Refused, draw: f64) -> Duration {
        let (least, most) = delays(refused, self.0);
        least + (most - least).mul_f64(draw)
    }
}

fn respond<B: Default>(refusal: &HandlerRefusal, delay: Duration, form: Form) -> Response<B> {
    let HandlerRefusal { refused, processed } = refusal;
    let component = Refusals::of(refused).default_name();
    let component = clipped(&component);
    let message = message(refused, component, *processed);
    let mut metadata = vec![
        ("component", component.to_owned()),
        ("mode", refused.mode().to_string()),
        ("read_only", refused.is_read_only().to_string()),
        ("since", rfc3339(refused.since())),
        ("generation", refused.generation().to_string()),
    ];
    if *processed == Processed::Nothing {
        metadata.push(("processed", "false".to_owned()));
    }
    if let Some(until) = refused.until() {
        metadata.push(("until", rfc3339(until)));
    }
    let named = |(key, value): (&str, String)| (key.to_owned(), value);
    let details = wire::details(Details {
        code: Code::Unavailable,
        message: &message,
        retry_after: delay,
        reason: REASON,
        domain: DOMAIN,
        metadata: metadata.into_iter().map(named).collect(),
    });
    let mut response = Response::new(B::default());
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, form.content_type());
    headers.insert(GRPC_STATUS, u16::from(Code::Unavailable.number()).into());
    headers.insert(GRPC_MESSAGE, wire::message(&message));
    headers.insert(GRPC_DETAILS, details);
    mark(&mut response, refused.clone());
    response
}

fn message(refused: &Refused, component: &str, processed: Processed) -> String {
    let mode = if refused.is_read_only() {
        "read-only"
    } else {
        "in maintenance"
    };
    let outcome = match processed {
        Processed::Nothing => "the call was not processed, and may be repeated safely",
        Processed::Unknown => "a call that the request needs was not made",
    };
    let said = refused.message();
    let mut text = format!(
        "{component} is {mode}: {outcome}{}{}",
        if said.is_some() { ": " } else { "" },
        said.unwrap_or_default(),
    );
    text.truncate(clipped(&text).len());
    text
}

/// Returns as much of a text as fits [`LONGEST_TEXT`].
fn clipped(text: &str) -> &str {
    // `str::floor_char_boundary` needs Rust 1.91.
    let longest = text.len().min(LONGEST_TEXT);
    let end = (0..=longest).rfind(|end| text.is_char_boundary(*end));
    &text[..end.unwrap_or_default()]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::facts::{
        mode::{Cause, Mode},
        refused::Notice,
    };

    /// Nearly the longest time that is left in any state.
    const AGES: Duration = Duration::from_secs(18_000_000_000);

    fn refused(mode: Mode, left: Option<Duration>) -> Refused {
        Refused::sample(Notice::sample("zuora", mode, Cause::Tripped), left)
    }

    #[tokio::test(start_paused = true)]
    async fn a_delay_is_never_past_a_known_end_and_differs_by_chance() {
        let secs = Duration::from_secs;
        for (mode, left, least, most) in [
            (Mode::Maintenance, Some(secs(30)), secs(15), secs(30)),
            (Mode::Maintenance, Some(secs(600)), secs(150), secs(300)),
            (Mode::Maintenance, Some(AGES), secs(150), secs(300)),
            (Mode::Maintenance, Some(Duration::ZERO), secs(0), secs(0)),
            (Mode::Maintenance, None, secs(15), secs(45)),
            (Mode::Probing, None, secs(5) / 2, secs(15) / 2),
        ] {
            let refused = refused(mode, left);
            let delay = |draw| Longest::default().delay(&refused, draw);
            assert_eq!(delay(0.0), least, "{mode} {left:?}");
            assert_eq!(delay(1.0), most, "{mode} {left:?}");
            assert_eq!(delay(0.5), (least + most) / 2, "{mode} {left:?}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn the_longest_delay_is_a_second_at_least_and_what_the_wire_can_say_at_most() {
        let secs = Duration::from_secs;
        for (longest, left, least, most) in [
            (secs(1), Some(secs(30)), secs(1) / 2, secs(1)),
            (secs(1), None, secs(1), secs(1)),
            (secs(600), Some(secs(30)), secs(15), secs(30)),
            (secs(600), Some(secs(3600)), secs(300), secs(600)),
            (Duration::MAX, Some(AGES), AGES / 2, AGES),
        ] {
            let refused = refused(Mode::Maintenance, left);
            let delay = |draw| Longest::new(longest).unwrap().delay(&refused, draw);
            assert_eq!(delay(0.0), least, "{longest:?} {left:?}");
            assert_eq!(delay(1.0), most, "{longest:?} {left:?}");
        }
        for (short, shown) in [
            (Duration::ZERO, "0 s"),
            (Duration::from_millis(999), "999 ms"),
        ] {
            let error = Longest::new(short).unwrap_err();
            assert_eq!(
                (error.field(), error.value()),
                ("longest_retry_delay", shown)
            );
            assert_eq!(
                error.to_string(),
                format!("longest_retry_delay is {shown}: allowed is 1 s or longer")
            );
        }
    }
}
