//! How a refusal looks over gRPC.

use std::time::Duration;

use http::{HeaderValue, Response, header::CONTENT_TYPE};
use tower::util::rng::{HasherRng, Rng};

use super::{
    Code,
    wire::{self, Details, GRPC_DETAILS, GRPC_MESSAGE, GRPC_STATUS},
};
use crate::{error::Refused, mode::Mode, rfc3339::rfc3339};

/// The `reason` of a refusal's `google.rpc.ErrorInfo`; unique within [`DOMAIN`].
pub const REASON: &str = "MAINTENANCE";

/// The `domain` of a refusal's `google.rpc.ErrorInfo`: by this and [`REASON`] a caller tells a refusal from the
/// partner's own `UNAVAILABLE`.
pub const DOMAIN: &str = "tower-maintenance";

/// What `RetryInfo` says under a hold without expiry: nobody knows, and half a minute is polite.
const UNKNOWN_END: Duration = Duration::from_secs(30);
/// What it says while the partner is being probed: it may be back any moment.
const WHILE_PROBING: Duration = Duration::from_secs(5);
/// The share of the delay that is left to chance.
const JITTER: f64 = 0.2;
/// How much of a text goes on the wire, in bytes: clients take 8 KiB of headers, and a text is there twice,
/// once at up to three bytes for each of its own.
const LONGEST_TEXT: usize = 1024;

/// The response for a refused call: Trailers-Only, `UNAVAILABLE`, with details that say that nothing was processed.
///
/// One HEADERS frame: HTTP status 200, `content-type: application/grpc`, `grpc-status: 14`, a `grpc-message`, and in
/// `grpc-status-details-bin` a `google.rpc.Status` with two details:
///
/// - `google.rpc.ErrorInfo`: reason [`REASON`], domain [`DOMAIN`]; metadata `partner`, `mode` (`maintenance` or `probing`),
///   `read_only`, `since` and, where it is known, `until` (RFC 3339), `generation`, and `processed`, which is always `false`;
/// - `google.rpc.RetryInfo`: the time that is left, less up to a fifth by chance, so that not every caller
///   comes back at the same instant; never past a known end. It begins at 30 s where nobody knows the
///   end, and at 5 s while the partner is being probed.
///
/// The message says what the operator who holds maintenance [has to say to customers](crate::Hold::with_message), as far as
/// 1024 bytes go; never the reason, which is for the audit trail.
///
/// The [`Refused`] itself is among the response's extensions, for what stands between here and the wire.
///
/// The layer makes these by itself; call it where a refusal reaches your code as an error.
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
/// let Err(Error::Refused(refused)) = partner.call(()).await else { panic!("it is in maintenance") };
/// let response: http::Response<String> = refusal(&refused);
/// assert_eq!(response.status(), 200);
/// assert_eq!(response.headers()["grpc-status"], "14");
/// assert_eq!(
///     response.headers()["grpc-message"],
///     "zuora is in maintenance: the call was not processed, and may be repeated safely",
/// );
/// assert!(response.headers().contains_key("grpc-status-details-bin"));
/// # Ok(())
/// # }
/// ```
pub fn refusal<B: Default>(refused: &Refused) -> Response<B> {
    let message = message(refused);
    let mut metadata = vec![
        ("partner", clipped(refused.partner()).to_owned()),
        ("mode", refused.mode().to_string()),
        ("read_only", refused.is_read_only().to_string()),
        ("since", rfc3339(refused.since())),
        ("generation", refused.generation().to_string()),
        ("processed", "false".to_owned()),
    ];
    if let Some(until) = refused.until() {
        metadata.push(("until", rfc3339(until)));
    }
    let named = |(key, value): (&str, String)| (key.to_owned(), value);
    let details = wire::details(Details {
        code: Code::Unavailable,
        message: &message,
        retry_after: delay(refused),
        reason: REASON,
        domain: DOMAIN,
        metadata: metadata.into_iter().map(named).collect(),
    });
    let mut response = Response::new(B::default());
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/grpc"));
    headers.insert(GRPC_STATUS, u16::from(Code::Unavailable.number()).into());
    headers.insert(GRPC_MESSAGE, wire::message(&message));
    headers.insert(GRPC_DETAILS, details);
    response.extensions_mut().insert(refused.clone());
    response
}

fn message(refused: &Refused) -> String {
    let mode = if refused.is_read_only() {
        "read-only"
    } else {
        "in maintenance"
    };
    let partner = clipped(refused.partner());
    let said = refused.message();
    let mut text = format!(
        "{partner} is {mode}: the call was not processed, and may be repeated safely{}{}",
        if said.is_some() { ": " } else { "" },
        said.unwrap_or_default(),
    );
    text.truncate(clipped(&text).len());
    text
}

/// As much of a text as fits [`LONGEST_TEXT`].
fn clipped(text: &str) -> &str {
    &text[..text.floor_char_boundary(LONGEST_TEXT)]
}

fn delay(refused: &Refused) -> Duration {
    let left = refused.retry_after().unwrap_or(match refused.mode() {
        Mode::Probing => WHILE_PROBING,
        Mode::Maintenance | Mode::Serving => UNKNOWN_END,
    });
    // Only ever shorter: past a known end, callers would stay away from a partner that is back.
    jittered(left, HasherRng::new().next_f64())
}

/// `span`, less a share of at most [`JITTER`]; `chance` is from 0 to 1.
fn jittered(span: Duration, chance: f64) -> Duration {
    span.saturating_sub(span.mul_f64(JITTER * chance))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn jitter_takes_at_most_a_fifth_and_adds_nothing() {
        for span in [
            Duration::ZERO,
            Duration::from_nanos(1),
            Duration::from_secs(30),
            Duration::MAX,
        ] {
            for chance in [0.0, 0.3, 0.999_999, 1.0] {
                let delay = jittered(span, chance);
                assert!(
                    delay <= span && delay >= span.mul_f64(0.79),
                    "{span:?} {delay:?}"
                );
            }
        }
        assert_eq!(
            jittered(Duration::from_secs(30), 0.5),
            Duration::from_secs(27)
        );
    }
}
