//! The wait that a partner asks for in the headers of an answer.
//!
//! The headers come from another system, perhaps from one that is failing. Each is read strictly by
//! its grammar, without guesses. An invalid header asks for nothing.

use std::time::{Duration, SystemTime};

use http::{
    HeaderMap, HeaderName, HeaderValue,
    header::{DATE, RETRY_AFTER},
};
use sfv::{BareItem, Dictionary, Item, List, ListEntry, Parser};

/// The longest span, 2³¹ s or 68 years. RFC 9111, 1.2.2, gives this value to a number that is too
/// large.
const LONGEST: Duration = Duration::from_secs(1 << 31);

/// A number of milliseconds, as Microsoft, OpenAI and others send it beside `Retry-After`.
const MILLISECONDS: [HeaderName; 2] = [
    HeaderName::from_static("retry-after-ms"),
    HeaderName::from_static("x-ms-retry-after-ms"),
];
const RATE_LIMIT: HeaderName = HeaderName::from_static("ratelimit");
const REMAINING: HeaderName = HeaderName::from_static("ratelimit-remaining");
const RESET: HeaderName = HeaderName::from_static("ratelimit-reset");

/// Returns the wait that the partner asks for in the headers of an answer, or `None`.
///
/// These headers are read:
///
/// - `Retry-After: 120` asks for 120 s, and so does `Retry-After: 120.0`. A fraction is rounded up:
///   `0.5` asks for 1 s.
/// - `retry-after-ms: 1500` and `x-ms-retry-after-ms: 1500` ask for 1.5 s.
/// - `Retry-After: Wed, 31 Jul 2024 20:57:00 GMT` asks for the time until then. The current time is
///   the answer's `Date`, and `now` only if there is no `Date`.
/// - `RateLimit: "default";r=0;t=30` asks for 30 s, because nothing remains. The older form
///   `limit=100, remaining=0, reset=30` is read too.
/// - `RateLimit-Remaining: 0` with `RateLimit-Reset: 30` asks for 30 s, because nothing remains.
///
/// Of several values of `Retry-After` and of the headers in milliseconds the longest counts. One
/// that is present and valid hides the rate limits, even if it asks for nothing. `RateLimit` hides
/// the older fields in the same way. Zero and a date in the past ask for nothing, and so does a
/// value of another form: a negative number, `1e3`, `120s`. A number that is too large, or a date
/// that is too far, is 2³¹ s (68 years). In any case the layer waits no longer than the longest
/// wait of the policy.
///
/// `X-RateLimit-Reset` is not read: some partners send seconds in it, others an instant.
///
/// [`HttpCalls::by_status`](super::HttpCalls::by_status) uses this function for every answer that
/// is no success. It is public for [rules of your own](super::HttpCalls::judged_by).
///
/// ```
/// use std::time::{Duration, SystemTime};
/// use http::{HeaderMap, header::{DATE, RETRY_AFTER}};
/// use tower_maintenance::http::retry_after;
///
/// let mut headers = HeaderMap::new();
/// headers.insert(DATE, "Wed, 31 Jul 2024 20:05:00 GMT".parse()?);
/// headers.insert(RETRY_AFTER, "Wed, 31 Jul 2024 20:57:00 GMT".parse()?);
/// // Our own clock does not matter, because the answer has a `Date`.
/// let asked = retry_after(&headers, SystemTime::UNIX_EPOCH);
/// assert_eq!(asked, Some(Duration::from_secs(52 * 60)));
/// # Ok::<(), http::header::InvalidHeaderValue>(())
/// ```
#[must_use]
pub fn retry_after(headers: &HeaderMap, now: SystemTime) -> Option<Duration> {
    asked(headers, || now)
}

/// The same as [`retry_after`], but reads the clock only if a date needs it.
pub(in crate::http) fn asked(
    headers: &HeaderMap,
    now: impl Fn() -> SystemTime,
) -> Option<Duration> {
    let reference = || date_of(headers).unwrap_or_else(&now);
    let values = headers.get_all(RETRY_AFTER).iter();
    let by_retry_after = values.filter_map(|value| one_retry_after(value, reference));
    let values = MILLISECONDS
        .into_iter()
        .flat_map(|name| headers.get_all(name));
    let in_milliseconds =
        values.filter_map(|value| rounded_up(text(value)?, Duration::from_millis));
    let asked = by_retry_after
        .chain(in_milliseconds)
        .max()
        .or_else(|| by_rate_limit(headers))
        .or_else(|| by_rate_limit_fields(headers))?;
    (!asked.is_zero()).then_some(asked.min(LONGEST))
}

fn one_retry_after(value: &HeaderValue, now: impl Fn() -> SystemTime) -> Option<Duration> {
    let text = text(value)?;
    rounded_up(text, Duration::from_secs).or_else(|| {
        let until = httpdate::parse_http_date(text).ok()?;
        // A date in the past is valid and asks for no wait.
        Some(until.duration_since(now()).unwrap_or_default())
    })
}

/// Returns the time at which the answer was made, by the clock of its sender.
fn date_of(headers: &HeaderMap) -> Option<SystemTime> {
    httpdate::parse_http_date(text(headers.get(DATE)?)?).ok()
}

fn text(value: &HeaderValue) -> Option<&str> {
    Some(value.to_str().ok()?.trim_matches([' ', '\t']))
}

/// Reads a number that consists of digits, perhaps with a fraction, which is rounded up to a whole
/// `unit`. One that overflows is the longest span.
///
/// RFC 9110 knows no fraction. Servers send one all the same, because their language prints numbers
/// so: `2.0`, `292.05`.
fn rounded_up(text: &str, unit: fn(u64) -> Duration) -> Option<Duration> {
    let (whole, fraction) = text.split_once('.').unwrap_or((text, "0"));
    if !is_digits(whole) || !is_digits(fraction) {
        return None;
    }
    let up = u64::from(fraction.bytes().any(|digit| digit != b'0'));
    let units = whole
        .parse()
        .ok()
        .and_then(|whole: u64| whole.checked_add(up));
    Some(units.map_or(LONGEST, unit))
}

/// Reads a number of seconds that consists of digits alone. One that overflows is the longest span.
fn digits(text: &str) -> Option<Duration> {
    is_digits(text).then(|| text.parse().map_or(LONGEST, Duration::from_secs))
}

/// Returns whether the text is digits alone. `parse` would accept a sign.
fn is_digits(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit())
}

/// Reads the structured field `RateLimit` of the IETF draft "RateLimit header fields for HTTP"
/// (draft-ietf-httpapi-ratelimit-headers).
///
/// Since version 08 it is a list of policies with parameters. In version 07, which is still sent,
/// it is a dictionary.
fn by_rate_limit(headers: &HeaderMap) -> Option<Duration> {
    let mut lines = headers.get_all(RATE_LIMIT).iter();
    let mut field = lines.next()?.as_bytes().to_vec();
    for line in lines {
        field.extend_from_slice(b", ");
        field.extend_from_slice(line.as_bytes());
    }
    if let Ok(dictionary) = Parser::new(&field).parse::<Dictionary>()
        && let (Some(remaining), Some(reset)) =
            (dictionary.get("remaining"), dictionary.get("reset"))
    {
        return until_reset(bare(remaining), bare(reset));
    }
    let policies = Parser::new(&field).parse::<List>().ok()?;
    let spans = policies.iter().filter_map(|policy| match policy {
        ListEntry::Item(Item { params, .. }) => until_reset(params.get("r"), params.get("t")),
        ListEntry::InnerList(_) => None,
    });
    spans.max()
}

fn bare(entry: &ListEntry) -> Option<&BareItem> {
    match entry {
        ListEntry::Item(item) => Some(&item.bare_item),
        ListEntry::InnerList(_) => None,
    }
}

/// Returns the time until a quota is reset, if nothing remains of the quota.
fn until_reset(remaining: Option<&BareItem>, reset: Option<&BareItem>) -> Option<Duration> {
    let integer = |item: Option<&BareItem>| match item? {
        BareItem::Integer(number) => Some(i64::from(*number)),
        _ => None,
    };
    let reset = u64::try_from(integer(reset)?).ok()?;
    (integer(remaining)? == 0).then(|| Duration::from_secs(reset))
}

/// Reads the separate fields of the draft's versions up to 06, which Zuora sends.
///
/// `RateLimit-Reset` is a number of seconds from now, not an instant.
fn by_rate_limit_fields(headers: &HeaderMap) -> Option<Duration> {
    let longest = |name| {
        let values = headers.get_all(name).iter();
        values.filter_map(|value| digits(text(value)?)).max()
    };
    longest(REMAINING)?.is_zero().then(|| longest(RESET))?
}

#[cfg(test)]
mod tests {
    use std::time::UNIX_EPOCH;

    use proptest::{collection::vec, prelude::*};

    use super::*;
    use crate::base::property_cases::cases;

    const NOON: &str = "Wed, 31 Jul 2024 12:00:00 GMT";

    /// Returns the wait that the headers ask for, while our own clock shows noon.
    fn asks(headers: &[(&str, &[u8])]) -> Option<u64> {
        let headers = headers.iter().map(|(name, value)| {
            let name = HeaderName::from_bytes(name.as_bytes()).unwrap();
            (name, HeaderValue::from_bytes(value).unwrap())
        });
        let mut map = HeaderMap::new();
        for (name, value) in headers {
            map.append(name, value);
        }
        let asked = retry_after(&map, httpdate::parse_http_date(NOON).unwrap());
        asked.map(|span| span.as_secs())
    }

    fn retry_after_asks(value: &[u8]) -> Option<u64> {
        asks(&[("retry-after", value)])
    }

    #[test]
    fn seconds_are_digits() {
        for (value, seconds) in [
            ("120", Some(120)),
            ("1", Some(1)),
            ("007", Some(7)),
            (" 120\t", Some(120)),
            ("2147483648", Some(1 << 31)),
            ("2147483649", Some(1 << 31)),
            ("18446744073709551615", Some(1 << 31)),
            ("18446744073709551616", Some(1 << 31)),
            ("99999999999999999999999999999999999999", Some(1 << 31)),
            ("000000000000000000000000000000000000005", Some(5)),
            ("0", None),
            ("-0", None),
            ("", None),
            (" ", None),
            ("-5", None),
            ("+5", None),
            ("1e3", None),
            ("0x10", None),
            ("1_000", None),
            ("1,000", None),
            ("120, 60", None),
            ("12 0", None),
            ("120s", None),
            ("120;a=1", None),
            ("\"120\"", None),
            ("inf", None),
            ("soon", None),
            ("PT2M", None),
        ] {
            assert_eq!(retry_after_asks(value.as_bytes()), seconds, "{value:?}");
        }
        // Digits of other scripts, and bytes that are no text.
        for value in [
            "١٢٠".as_bytes(),
            "１２０".as_bytes(),
            b"\xff\xfe",
            b"12\x800",
        ] {
            assert_eq!(retry_after_asks(value), None, "{value:?}");
        }
        assert_eq!(asks(&[]), None);
    }

    #[test]
    fn a_fraction_of_seconds_is_rounded_up() {
        for (value, seconds) in [
            ("2.0", Some(2)),
            ("120.0", Some(120)),
            ("0.5", Some(1)),
            ("1.5", Some(2)),
            ("292.05", Some(293)),
            ("007.000", Some(7)),
            (" 2.0\t", Some(2)),
            ("0.00000000000000000000000000000000000001", Some(1)),
            ("1.99999999999999999999999999999999999999", Some(2)),
            ("18446744073709551615.5", Some(1 << 31)),
            ("99999999999999999999999999999999999999.0", Some(1 << 31)),
            ("0.0", None),
            ("5.", None),
            (".5", None),
            (".", None),
            ("1.2.3", None),
            ("1,5", None),
            ("-0.5", None),
            ("1.-5", None),
            ("1. 5", None),
            ("1.5e3", None),
            ("NaN", None),
            ("infinity", None),
        ] {
            assert_eq!(retry_after_asks(value.as_bytes()), seconds, "{value:?}");
        }
    }

    #[test]
    fn milliseconds_are_read_and_of_two_the_longer_counts() {
        let asked = |fields: &[(&'static str, &'static str)]| {
            let mut headers = HeaderMap::new();
            for (name, value) in fields {
                headers.append(*name, HeaderValue::from_static(value));
            }
            retry_after(&headers, UNIX_EPOCH).map(|span| span.as_millis())
        };
        for name in ["retry-after-ms", "x-ms-retry-after-ms"] {
            for (value, expected) in [
                ("1500", Some(1500)),
                (" 7 ", Some(7)),
                ("1500.0", Some(1500)),
                ("1500.5", Some(1501)),
                ("0.2", Some(1)),
                ("0", None),
                ("-1500", None),
                ("1.5e3", None),
                ("1500ms", None),
                ("NaN", None),
                ("", None),
                ("Wed, 31 Jul 2024 12:00:30 GMT", None),
                ("99999999999999999999", Some((1 << 31) * 1000)),
                ("18446744073709551615", Some((1 << 31) * 1000)),
            ] {
                assert_eq!(asked(&[(name, value)]), expected, "{name}: {value}");
            }
            assert_eq!(asked(&[(name, "1500"), (name, "2500")]), Some(2500));
            for (seconds, expected) in [("1", 1500), ("1.0", 1500), ("2", 2000), ("0", 1500)] {
                let both = [(name, "1500"), ("retry-after", seconds)];
                assert_eq!(asked(&both), Some(expected), "{seconds}");
            }
            assert_eq!(asked(&[(name, "soon"), ("retry-after", "2")]), Some(2000));
            assert_eq!(
                asked(&[(name, "1500"), ("retry-after", "soon")]),
                Some(1500)
            );
            // They hide a rate limit, as `Retry-After` does.
            let limit = ("ratelimit", r#""default";r=0;t=30"#);
            assert_eq!(asked(&[(name, "1500"), limit]), Some(1500));
            assert_eq!(asked(&[(name, "0"), limit]), None);
            assert_eq!(asked(&[(name, "soon"), limit]), Some(30_000));
        }
        let both = [("retry-after-ms", "1500"), ("x-ms-retry-after-ms", "1501")];
        assert_eq!(asked(&both), Some(1501));
    }

    #[test]
    fn a_date_is_the_time_until_then() {
        for (value, seconds) in [
            ("Wed, 31 Jul 2024 12:00:30 GMT", Some(30)),
            // The two obsolete forms that a recipient must accept (RFC 9110, 5.6.7).
            ("Wednesday, 31-Jul-24 12:00:30 GMT", Some(30)),
            ("Wed Jul 31 12:00:30 2024", Some(30)),
            // Now, and in the past.
            (NOON, None),
            ("Wed, 31 Jul 2024 11:59:59 GMT", None),
            ("Thu, 01 Jan 1970 00:00:00 GMT", None),
            // In the far future.
            ("Fri, 31 Dec 9999 23:59:59 GMT", Some(1 << 31)),
            // Invalid dates.
            ("Wed, 31 Jul 2024 12:00:30 UTC", None),
            ("Wed, 31 Jul 2024 12:00:30 +0000", None),
            ("Wed, 31 Jul 2024 14:00:30 CEST", None),
            ("Wed, 31 Jul 2024 12:00:30", None),
            ("Mon, 31 Jul 2024 12:00:30 GMT", None),
            ("Wed, 32 Jul 2024 12:00:30 GMT", None),
            ("Fri, 30 Feb 2024 12:00:30 GMT", None),
            ("Wed, 31 Jul 2024 25:00:00 GMT", None),
            ("Fri, 01 Jan 10000 00:00:00 GMT", None),
            ("2024-07-31T12:00:30Z", None),
        ] {
            assert_eq!(retry_after_asks(value.as_bytes()), seconds, "{value:?}");
        }
    }

    #[test]
    fn a_date_is_measured_by_the_answers_own_clock() {
        let until = b"Wed, 31 Jul 2024 20:57:00 GMT";
        let by = |date: &[u8]| asks(&[("retry-after", until), ("date", date)]);
        assert_eq!(by(b"Wed, 31 Jul 2024 20:56:00 GMT"), Some(60));
        assert_eq!(by(b"Wed, 31 Jul 2024 20:58:00 GMT"), None);
        // An invalid `Date` counts as absent.
        let from_noon = Some((8 * 60 + 57) * 60);
        for date in [&b"today"[..], b"", b"\xff", b"Wed, 31 Jul 2024 20:56:00"] {
            assert_eq!(by(date), from_noon, "{date:?}");
        }
        assert_eq!(retry_after_asks(until), from_noon);
        assert_eq!(by(b"Thu, 01 Jan 1970 00:00:00 GMT"), Some(1_722_459_420));
    }

    #[test]
    fn the_clock_is_read_only_for_a_date_that_needs_it() {
        let unread = || panic!("the clock was read");
        for (value, date) in [("120", None), ("soon", None), (NOON, Some(NOON))] {
            let mut headers = HeaderMap::new();
            headers.insert(RETRY_AFTER, value.parse().unwrap());
            if let Some(date) = date {
                headers.insert(DATE, date.parse().unwrap());
            }
            let _ = asked(&headers, unread);
        }
    }

    #[test]
    fn of_several_the_longest_that_can_be_read_counts() {
        let several = |values: &[&str]| {
            let headers: Vec<_> = values
                .iter()
                .map(|v| ("retry-after", v.as_bytes()))
                .collect();
            asks(&headers)
        };
        assert_eq!(several(&["5", "120", "7"]), Some(120));
        assert_eq!(several(&["soon", "120", "-9"]), Some(120));
        assert_eq!(several(&["5", "Wed, 31 Jul 2024 12:02:00 GMT"]), Some(120));
        assert_eq!(several(&["soon", "later"]), None);
    }

    #[test]
    fn a_rate_limit_asks_only_when_nothing_remains() {
        for (value, seconds) in [
            (r#""default";r=0;t=30"#, Some(30)),
            ("default;r=0;t=30", Some(30)),
            (r#"  "default";t=30;r=0;pk=:c29tZWJvZHk=:  "#, Some(30)),
            (r#""default";r=1;t=30"#, None),
            (r#""default";r=0"#, None),
            (r#""default";t=30"#, None),
            (r#""default";r=0;t=0"#, None),
            (r#""default";r=-1;t=30"#, None),
            (r#""default";r=0;t=-30"#, None),
            (r#""default";r=0.0;t=30"#, None),
            (r#""default";r=0;t=30.5"#, None),
            (r#""default";r=0;t="30""#, None),
            (r#""default";r=?0;t=30"#, None),
            // Several policies: the longest of those of which nothing remains.
            (r#""minute";r=0;t=30, "day";r=7;t=9000"#, Some(30)),
            (r#""minute";r=0;t=30, "day";r=0;t=9000"#, Some(9000)),
            (r#"("a" "b");r=0;t=30"#, None),
            // The form of version 07.
            ("limit=100, remaining=0, reset=30", Some(30)),
            ("limit=100, remaining=1, reset=30", None),
            ("remaining=0", None),
            ("remaining=0, reset=(30)", None),
            // A number with more than the 15 digits of the grammar makes the whole field invalid.
            (r#""default";r=0;t=999999999999999"#, Some(1 << 31)),
            (r#""default";r=0;t=9999999999999999"#, None),
            (r#""default";r=0;t=30,"#, None),
            (r#""default";r=0;t=30 7"#, None),
            (r#""default;r=0;t=30"#, None),
            ("", None),
            ("0", None),
        ] {
            assert_eq!(asks(&[("ratelimit", value.as_bytes())]), seconds, "{value}");
        }
        // One field in several lines.
        let lines = [&br#""minute";r=0;t=30"#[..], br#""hour";r=0;t=1800"#];
        let lines = lines.map(|line| ("ratelimit", line));
        assert_eq!(asks(&lines), Some(1800));
    }

    #[test]
    fn the_older_fields_ask_only_when_nothing_remains() {
        for (remaining, reset, seconds) in [
            ("0", "30", Some(30)),
            ("000", "30", Some(30)),
            ("1", "30", None),
            ("99999999999999999999", "30", None),
            ("0", "0", None),
            ("-1", "30", None),
            ("0", "-30", None),
            ("0", "30.5", None),
            ("0", "99999999999999999999", Some(1 << 31)),
            ("", "30", None),
            ("none", "30", None),
        ] {
            let fields = [
                ("ratelimit-limit", &b"100"[..]),
                ("ratelimit-remaining", remaining.as_bytes()),
                ("ratelimit-reset", reset.as_bytes()),
            ];
            assert_eq!(asks(&fields), seconds, "{remaining:?}, {reset:?}");
        }
        assert_eq!(asks(&[("ratelimit-remaining", b"0")]), None);
        assert_eq!(asks(&[("ratelimit-reset", b"30")]), None);
        let epoch = [
            ("x-ratelimit-remaining", &b"0"[..]),
            ("x-ratelimit-reset", b"1722459420"),
        ];
        assert_eq!(asks(&epoch), None);
    }

    #[test]
    fn retry_after_goes_before_a_rate_limit() {
        let beside = |value: &[u8]| {
            asks(&[
                ("ratelimit", br#""default";r=0;t=30"#),
                ("ratelimit-remaining", b"0"),
                ("ratelimit-reset", b"31"),
                ("retry-after", value),
            ])
        };
        assert_eq!(beside(b"5"), Some(5));
        assert_eq!(beside(b"500"), Some(500));
        assert_eq!(beside(b"0"), None, "it says: at once");
        assert_eq!(beside(NOON.as_bytes()), None);
        assert_eq!(beside(b"soon"), Some(30), "it says nothing");
        let fields = [
            ("ratelimit-remaining", &b"0"[..]),
            ("ratelimit-reset", b"31"),
        ];
        assert_eq!(asks(&fields), Some(31));
    }

    /// Random bytes, and bytes that are almost a valid header.
    fn value() -> impl Strategy<Value = Vec<u8>> {
        let near = prop_oneof![
            "[-+]?[0-9]{0,40}(\\.[0-9]+)?(e[0-9]+)?",
            "(Mon|Wed|Wednesday), [0-9]{1,2}[ -](Jul|Feb)[ -][0-9]{2,5} [0-9]{2}:[0-9]{2}:[0-9]{2} (GMT|UTC)",
            "(Sun|Wed) (Jul|Feb) [0-9 ][0-9] [0-9]{2}:[0-9]{2}:[0-9]{2} [0-9]{4}",
            "(\"?[a-z]{0,3}\"?(;[rt]=-?[0-9]{1,17}){0,3},? ?){0,4}",
            "(limit=[0-9]+)?(, )?remaining=0(, )?reset=-?[0-9]{1,17}",
        ];
        prop_oneof![
            2 => near.prop_map(String::into_bytes),
            1 => vec(any::<u8>(), 0..40),
        ]
    }

    proptest! {
        #![proptest_config(cases(2048))]

        #[test]
        fn whatever_stands_there_it_neither_panics_nor_asks_for_more_than_the_longest(
            values in vec((0_usize..7, value()), 0..6),
            now in any::<u64>(),
        ) {
            let [short, long] = MILLISECONDS;
            let names = [RETRY_AFTER, DATE, RATE_LIMIT, REMAINING, RESET, short, long];
            let mut headers = HeaderMap::new();
            for (name, value) in values {
                if let Ok(value) = HeaderValue::from_bytes(&value) {
                    headers.append(&names[name], value);
                }
            }
            let now = UNIX_EPOCH.checked_add(Duration::from_secs(now)).unwrap_or(UNIX_EPOCH);
            let asked = retry_after(&headers, now);
            prop_assert!(asked.is_none_or(|span| !span.is_zero() && span <= LONGEST));
        }
    }
}
