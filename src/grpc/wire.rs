//! gRPC on the wire: the status in headers and trailers, its details, and its message.
//!
//! The input comes from outside. No input panics, input that cannot be read counts as absent, and
//! at most [`MAX_DETAILS`] bytes are decoded.

use std::{collections::BTreeMap, fmt::Write, time::Duration};

use base64::{
    Engine,
    alphabet::STANDARD,
    engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig},
};
use http::{HeaderMap, HeaderName, HeaderValue};
use prost::Message;

use super::Code;

pub(super) const GRPC_STATUS: HeaderName = HeaderName::from_static("grpc-status");
pub(super) const GRPC_MESSAGE: HeaderName = HeaderName::from_static("grpc-message");
pub(super) const GRPC_DETAILS: HeaderName = HeaderName::from_static("grpc-status-details-bin");
const GRPC_PUSHBACK: HeaderName = HeaderName::from_static("grpc-retry-pushback-ms");

/// Longer details are not read, in bytes of base64. It is the limit that gRPC advises for all
/// metadata of a response.
const MAX_DETAILS: usize = 8 * 1024;

/// Writes without padding, and reads with or without it, as gRPC asks.
pub(super) const BASE64: GeneralPurpose = GeneralPurpose::new(
    &STANDARD,
    GeneralPurposeConfig::new()
        .with_encode_padding(false)
        .with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

const RETRY_INFO: &str = "type.googleapis.com/google.rpc.RetryInfo";
const ERROR_INFO: &str = "type.googleapis.com/google.rpc.ErrorInfo";

// The messages of `google/rpc/status.proto` and `google/rpc/error_details.proto`, and the two of
// `google/protobuf` that they need.

#[derive(Clone, PartialEq, Message)]
struct Status {
    #[prost(int32, tag = "1")]
    code: i32,
    #[prost(string, tag = "2")]
    message: String,
    #[prost(message, repeated, tag = "3")]
    details: Vec<Any>,
}

#[derive(Clone, PartialEq, Message)]
struct Any {
    #[prost(string, tag = "1")]
    type_url: String,
    #[prost(bytes = "vec", tag = "2")]
    value: Vec<u8>,
}

#[derive(Clone, PartialEq, Message)]
struct RetryInfo {
    #[prost(message, optional, tag = "1")]
    retry_delay: Option<Span>,
}

/// `google.protobuf.Duration`.
#[derive(Clone, PartialEq, Message)]
struct Span {
    #[prost(int64, tag = "1")]
    seconds: i64,
    #[prost(int32, tag = "2")]
    nanos: i32,
}

#[derive(Clone, PartialEq, Message)]
struct ErrorInfo {
    #[prost(string, tag = "1")]
    reason: String,
    #[prost(string, tag = "2")]
    domain: String,
    #[prost(btree_map = "string, string", tag = "3")]
    metadata: BTreeMap<String, String>,
}

impl Any {
    fn of(type_url: &str, message: &impl Message) -> Self {
        Self {
            type_url: type_url.to_owned(),
            value: message.encode_to_vec(),
        }
    }
}

impl From<Duration> for Span {
    fn from(span: Duration) -> Self {
        // The longest `google.protobuf.Duration`: ten thousand years.
        let seconds = i64::try_from(span.as_secs()).unwrap_or(i64::MAX);
        Self {
            seconds: seconds.min(315_576_000_000),
            nanos: i32::try_from(span.subsec_nanos()).unwrap_or(0),
        }
    }
}

impl Span {
    /// Returns `None` for a span that is negative or invalid.
    fn read(&self) -> Option<Duration> {
        let seconds = u64::try_from(self.seconds).ok()?;
        let nanos = u32::try_from(self.nanos).ok()?;
        (nanos < 1_000_000_000).then(|| Duration::new(seconds, nanos))
    }
}

/// Returns the code of `grpc-status`, if it is there; `UNKNOWN` if there are several that differ.
pub(super) fn code(headers: &HeaderMap) -> Option<Code> {
    let mut values = headers.get_all(GRPC_STATUS).iter();
    let first = values.next()?;
    if values.any(|other| other != first) {
        return Some(Code::Unknown);
    }
    Some(Code::from_header(first.as_bytes()))
}

/// Returns how long the partner asks callers to wait: the longer of `RetryInfo` in the details and
/// `grpc-retry-pushback-ms`.
pub(super) fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    pushback(headers).max(retry_info(headers))
}

/// Returns the pushback. A negative number asks not to retry this call at all, which is no time.
fn pushback(headers: &HeaderMap) -> Option<Duration> {
    let millis: i32 = headers.get(GRPC_PUSHBACK)?.to_str().ok()?.parse().ok()?;
    u64::try_from(millis).ok().map(Duration::from_millis)
}

fn retry_info(headers: &HeaderMap) -> Option<Duration> {
    let encoded = headers.get(GRPC_DETAILS)?.as_bytes();
    if encoded.len() > MAX_DETAILS {
        return None;
    }
    let status = Status::decode(&*BASE64.decode(encoded).ok()?).ok()?;
    // The part before the last slash is the host that the type could be read from.
    let is_retry_info = |any: &&Any| any.type_url.ends_with("/google.rpc.RetryInfo");
    let info = status.details.iter().find(is_retry_info)?;
    RetryInfo::decode(&*info.value).ok()?.retry_delay?.read()
}

/// The content of a refusal's details.
pub(super) struct Details<'d> {
    pub(super) code: Code,
    pub(super) message: &'d str,
    pub(super) retry_after: Duration,
    pub(super) reason: &'d str,
    pub(super) domain: &'d str,
    pub(super) metadata: BTreeMap<String, String>,
}

/// Returns the value of `grpc-status-details-bin`.
pub(super) fn details(details: Details<'_>) -> HeaderValue {
    let retry = RetryInfo {
        retry_delay: Some(details.retry_after.into()),
    };
    let error = ErrorInfo {
        reason: details.reason.to_owned(),
        domain: details.domain.to_owned(),
        metadata: details.metadata,
    };
    let status = Status {
        code: details.code.number().into(),
        message: details.message.to_owned(),
        details: vec![Any::of(ERROR_INFO, &error), Any::of(RETRY_INFO, &retry)],
    };
    visible(BASE64.encode(status.encode_to_vec()))
}

/// Returns the value of `grpc-message`, percent-encoded except for printable ASCII other than `%`.
///
/// A blank at either end is encoded too, because HTTP/2 accepts no value that begins or ends with
/// one.
pub(super) fn message(text: &str) -> HeaderValue {
    let mut out = String::with_capacity(text.len());
    for (position, byte) in text.bytes().enumerate() {
        let at_an_end = position == 0 || position + 1 == text.len();
        match byte {
            b' ' if at_an_end => out.push_str("%20"),
            b'%' => out.push_str("%25"),
            b' '..=b'~' => out.push(char::from(byte)),
            _ => {
                // Writing to a `String` cannot fail.
                let _ = write!(out, "%{byte:02X}");
            }
        }
    }
    visible(out)
}

fn visible(value: String) -> HeaderValue {
    // Cannot fail: the callers write only printable ASCII.
    HeaderValue::try_from(value).unwrap_or_else(|_| HeaderValue::from_static(""))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::base::property_cases::cases;

    fn with(name: HeaderName, value: &[u8]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        headers.insert(name, HeaderValue::from_bytes(value).unwrap());
        headers
    }

    fn encoded(details: Vec<Any>) -> String {
        let status = Status {
            code: 14,
            message: "down".into(),
            details,
        };
        BASE64.encode(status.encode_to_vec())
    }

    fn retry_in(seconds: i64, nanos: i32) -> Any {
        let retry_delay = Some(Span { seconds, nanos });
        Any::of(RETRY_INFO, &RetryInfo { retry_delay })
    }

    fn asked(details: Vec<Any>) -> Option<Duration> {
        retry_after(&with(GRPC_DETAILS, encoded(details).as_bytes()))
    }

    #[test]
    fn a_status_that_is_there_twice_and_differs_is_unknown() {
        let mut headers = with(GRPC_STATUS, b"0");
        assert_eq!(code(&headers), Some(Code::Ok));
        headers.append(GRPC_STATUS, HeaderValue::from_static("0"));
        assert_eq!(code(&headers), Some(Code::Ok));
        headers.append(GRPC_STATUS, HeaderValue::from_static("14"));
        assert_eq!(code(&headers), Some(Code::Unknown));
        assert_eq!(code(&HeaderMap::new()), None);
        assert_eq!(code(&with(GRPC_STATUS, b"\xff")), Some(Code::Unknown));
    }

    #[test]
    fn the_partners_wish_is_the_longer_of_retry_info_and_pushback() {
        assert_eq!(asked(vec![retry_in(20, 5)]), Some(Duration::new(20, 5)));
        assert_eq!(
            retry_after(&with(GRPC_PUSHBACK, b"1500")),
            Some(Duration::from_millis(1500))
        );
        let mut both = with(GRPC_DETAILS, encoded(vec![retry_in(2, 0)]).as_bytes());
        both.insert(GRPC_PUSHBACK, HeaderValue::from_static("1500"));
        assert_eq!(retry_after(&both), Some(Duration::from_secs(2)));
        both.insert(GRPC_PUSHBACK, HeaderValue::from_static("2500"));
        assert_eq!(retry_after(&both), Some(Duration::from_millis(2500)));
    }

    #[test]
    fn a_wish_that_makes_no_sense_is_none() {
        let other = Any::of(ERROR_INFO, &ErrorInfo::default());
        let mistyped = Any {
            type_url: RETRY_INFO.into(),
            value: b"\xff\xff\xff".to_vec(),
        };
        let empty = Any::of(RETRY_INFO, &RetryInfo { retry_delay: None });
        assert_eq!(asked(vec![]), None);
        assert_eq!(asked(vec![other.clone()]), None);
        assert_eq!(asked(vec![mistyped]), None);
        assert_eq!(asked(vec![empty]), None);
        for (seconds, nanos) in [
            (-1, 0),
            (1, -1),
            (i64::MIN, i32::MIN),
            (0, 1_000_000_000),
            (0, i32::MAX),
        ] {
            assert_eq!(asked(vec![retry_in(seconds, nanos)]), None);
        }
        let longest = Duration::new(i64::MAX.unsigned_abs(), 0);
        assert_eq!(asked(vec![other, retry_in(i64::MAX, 0)]), Some(longest));
        for odd in ["-1", "", "1.5", " 5", "5s", "99999999999"] {
            assert_eq!(
                retry_after(&with(GRPC_PUSHBACK, odd.as_bytes())),
                None,
                "{odd}"
            );
        }
        for odd in ["%%%", "=", "AA", "AAAAA", "/////w", "AAAA,AAAA"] {
            assert_eq!(
                retry_after(&with(GRPC_DETAILS, odd.as_bytes())),
                None,
                "{odd}"
            );
        }
    }

    #[test]
    fn padding_is_read_and_not_written() {
        for nanos in 0..3 {
            let any = Any {
                type_url: "x".repeat(nanos),
                value: Vec::new(),
            };
            let bare = encoded(vec![any, retry_in(7, 0)]);
            assert!(!bare.contains('='));
            let padded = format!("{bare}{}", "=".repeat((4 - bare.len() % 4) % 4));
            for form in [bare, padded] {
                let found = retry_after(&with(GRPC_DETAILS, form.as_bytes()));
                assert_eq!(found, Some(Duration::from_secs(7)), "{form}");
            }
        }
    }

    #[test]
    fn details_that_are_too_long_are_not_decoded() {
        let with_filler = |filler: usize| {
            let any = Any {
                type_url: String::new(),
                value: vec![0; filler],
            };
            let value = encoded(vec![retry_in(7, 0), any]);
            (
                value.len(),
                retry_after(&with(GRPC_DETAILS, value.as_bytes())),
            )
        };
        let (length, found) = with_filler(6_000);
        assert!(length <= MAX_DETAILS && found.is_some(), "{length}");
        let (length, found) = with_filler(6_200);
        assert!(length > MAX_DETAILS && found.is_none(), "{length}");
    }

    #[test]
    fn a_message_is_printable_ascii_whatever_it_says() {
        let written = |text| message(text).to_str().unwrap().to_owned();
        assert_eq!(written("zuora is down"), "zuora is down");
        assert_eq!(written("100 %"), "100 %25");
        assert_eq!(written("a\r\ngrpc-status: 0"), "a%0D%0Agrpc-status: 0");
        assert_eq!(written(" Z\u{fc}rich "), "%20Z%C3%BCrich%20");
        assert_eq!(written("\u{7f}~"), "%7F~");
    }

    /// Decodes a message, as a client does.
    fn percent_decoded(value: &str) -> String {
        let mut bytes = value.bytes();
        let mut out = Vec::new();
        while let Some(byte) = bytes.next() {
            if byte == b'%' {
                let digits = [bytes.next().unwrap(), bytes.next().unwrap()];
                let digits = std::str::from_utf8(&digits).unwrap();
                out.push(u8::from_str_radix(digits, 16).unwrap());
            } else {
                out.push(byte);
            }
        }
        String::from_utf8(out).unwrap()
    }

    proptest! {
        #![proptest_config(cases(256))]

        #[test]
        fn a_message_comes_back_as_it_was(text in any::<String>()) {
            let value = message(&text);
            let written = value.to_str().unwrap();
            prop_assert!(written.bytes().all(|byte| (b' '..=b'~').contains(&byte)));
            prop_assert!(!written.starts_with(' ') && !written.ends_with(' '));
            prop_assert_eq!(percent_decoded(written), text);
        }

        #[test]
        fn whatever_the_partner_sends_nothing_panics(
            status in proptest::collection::vec(proptest::collection::vec(0x20_u8..=0x7e, 0..6), 0..3),
            text in proptest::collection::vec(0x20_u8..=0x7e, 0..64),
            bytes in proptest::collection::vec(any::<u8>(), 0..256),
        ) {
            let mut headers = HeaderMap::new();
            for value in status {
                headers.append(GRPC_STATUS, HeaderValue::from_bytes(&value).unwrap());
            }
            headers.insert(GRPC_PUSHBACK, HeaderValue::from_bytes(&text).unwrap());
            for details in [text.clone(), BASE64.encode(&bytes).into_bytes()] {
                headers.insert(GRPC_DETAILS, HeaderValue::from_bytes(&details).unwrap());
                let _ = (code(&headers), retry_after(&headers));
            }
            // One layer deeper: the outer message is well-formed, the inner one is arbitrary.
            let any = Any { type_url: RETRY_INFO.into(), value: bytes };
            let _ = asked(vec![any]);
        }

        #[test]
        fn a_wish_comes_back_as_it_was(seconds in 0_u64..315_576_000_000, nanos in 0_u32..1_000_000_000) {
            let span = Duration::new(seconds, nanos);
            let found = asked(vec![Any::of(RETRY_INFO, &RetryInfo { retry_delay: Some(span.into()) })]);
            prop_assert_eq!(found, Some(span));
        }
    }
}
