//! The JSON of a status page, as Statuspage serves it.

use std::time::{Duration, SystemTime};

use serde_json::Value;

use crate::facts::partner_word::{Indicator, PartnerStatus};

/// Parses the body of `status.json`.
pub(super) fn parse(body: &[u8]) -> Result<PartnerStatus, String> {
    let page: Value =
        serde_json::from_slice(body).map_err(|error| format!("the body is not JSON: {error}"))?;
    let field = |path: &'static str, expected: &'static str| match page.pointer(path) {
        Some(Value::String(text)) => Ok(text.as_str()),
        Some(other) => Err(format!("`{path}` is not {expected}: {other}")),
        None => Err(format!("`{path}` is missing; it should be {expected}")),
    };
    let words = "one of none, minor, major, critical, maintenance";
    let word = field("/status/indicator", words)?;
    let indicator = Indicator::from_word(word)
        .ok_or_else(|| format!("`/status/indicator` is not {words}: {word:?}"))?;
    let says = PartnerStatus::new(indicator, field("/status/description", "text")?);
    // Optional: a page without it, or with it in another format, is valid.
    let changed = page.pointer("/page/updated_at").and_then(Value::as_str);
    Ok(match changed.and_then(instant) {
        Some(at) => says.changed_at(at),
        None => says,
    })
}

/// Parses a time as Statuspage writes it: RFC 3339 in the time zone of the page, such as
/// `2024-07-31T13:57:12.345-07:00`.
fn instant(text: &str) -> Option<SystemTime> {
    let (local, offset) = text.split_at_checked(text.len().checked_sub(6)?)?;
    let (sign, offset) = match offset.as_bytes()[0] {
        b'+' => (1, &offset[1..]),
        b'-' => (-1, &offset[1..]),
        _ => return humantime::parse_rfc3339(text).ok(),
    };
    let two = |digits: &str| {
        let number = digits.len() == 2 && digits.bytes().all(|byte| byte.is_ascii_digit());
        number.then(|| digits.parse::<u64>().ok())?
    };
    let (hours, minutes) = offset.split_once(':')?;
    let (hours, minutes) = (two(hours)?, two(minutes)?);
    if hours > 23 || minutes > 59 || local.ends_with('Z') {
        return None;
    }
    let local = humantime::parse_rfc3339(&format!("{local}Z")).ok()?;
    let offset = Duration::from_secs((hours * 60 + minutes) * 60);
    // A positive offset means that local time is ahead of UTC.
    if sign > 0 {
        local.checked_sub(offset)
    } else {
        local.checked_add(offset)
    }
}

#[cfg(test)]
mod tests {
    use proptest::{collection::vec, prelude::*};

    use super::*;
    use crate::base::property_cases::cases;

    /// The answer of a status page of Statuspage.
    const PAGE: &str = r#"{
        "page": {"id": "x", "name": "Zuora", "url": "https://status.zuora.com",
                 "time_zone": "America/Los_Angeles", "updated_at": "2024-07-31T13:57:12.345-07:00"},
        "status": {"indicator": "major", "description": "Partial System Outage"}}"#;

    #[test]
    fn a_page_is_read_as_what_the_partner_says() {
        let says = parse(PAGE.as_bytes()).unwrap();
        assert_eq!(says.indicator(), Indicator::Major);
        assert_eq!(says.description(), "Partial System Outage");
        let changed = humantime::parse_rfc3339("2024-07-31T20:57:12.345Z").unwrap();
        assert_eq!(says.changed(), Some(changed));
        for word in ["none", "minor", "major", "critical", "maintenance"] {
            let page = PAGE.replacen("major", word, 1);
            assert_eq!(parse(page.as_bytes()).unwrap().indicator().as_str(), word);
        }
        for page in [
            "null",
            "7",
            r#"{"updated_at": 7}"#,
            r#"{"updated_at": "soon"}"#,
        ] {
            let page =
                format!(r#"{{"page":{page},"status":{{"indicator":"none","description":""}}}}"#);
            let says = parse(page.as_bytes()).unwrap();
            assert_eq!((says.changed(), says.description()), (None, "operational"));
        }
    }

    #[test]
    fn what_is_no_page_is_an_error_that_names_what_is_wrong() {
        let deep = "[".repeat(10_000);
        for (page, why) in [
            ("", "the body is not JSON: EOF"),
            (
                "<html>",
                "the body is not JSON: expected value at line 1 column 1",
            ),
            ("{\"status\":", "the body is not JSON: EOF"),
            (deep.as_str(), "the body is not JSON: recursion limit"),
            ("[]", "`/status/indicator` is missing"),
            ("{}", "`/status/indicator` is missing"),
            (r#"{"status": 7}"#, "`/status/indicator` is missing"),
            (
                r#"{"status": {"indicator": 7}}"#,
                "`/status/indicator` is not one of none, minor, major, critical, maintenance: 7",
            ),
            (
                r#"{"status": {"indicator": "sunny"}}"#,
                r#"`/status/indicator` is not one of none, minor, major, critical, maintenance: "sunny""#,
            ),
            (
                r#"{"status": {"indicator": "None"}}"#,
                "`/status/indicator` is not one of",
            ),
            (
                r#"{"status": {"indicator": "none"}}"#,
                "`/status/description` is missing; it should be text",
            ),
            (
                r#"{"status": {"indicator": "none", "description": ["a"]}}"#,
                r#"`/status/description` is not text: ["a"]"#,
            ),
        ] {
            let error = parse(page.as_bytes()).unwrap_err();
            assert!(error.starts_with(why), "{page:.40}: {error}");
        }
        assert!(
            parse(b"\xff\xfe{}")
                .unwrap_err()
                .starts_with("the body is not JSON")
        );
    }

    #[test]
    fn a_time_is_read_in_whatever_zone_it_is_written() {
        let noon = humantime::parse_rfc3339("2024-07-31T12:00:00Z").unwrap();
        for text in [
            "2024-07-31T12:00:00Z",
            "2024-07-31T12:00:00.000Z",
            "2024-07-31T12:00:00+00:00",
            "2024-07-31T05:00:00.000-07:00",
            "2024-07-31T17:30:00+05:30",
            "2024-08-01T00:00:00+12:00",
        ] {
            assert_eq!(instant(text), Some(noon), "{text}");
        }
        for text in [
            "",
            "Z",
            "2024-07-31",
            "2024-07-31T12:00:00",
            "2024-07-31T12:00:00+24:00",
            "2024-07-31T12:00:00+00:60",
            "2024-07-31T12:00:00+0:000",
            "2024-07-31T12:00:00++1:00",
            "2024-07-31T12:00:00−07:00",
            "2024-07-31T12:00:00Z+00:00",
        ] {
            assert_eq!(instant(text), None, "{text}");
        }
    }

    proptest! {
        #![proptest_config(cases(1024))]

        #[test]
        fn whatever_a_page_sends_it_does_not_panic(
            body in vec(any::<u8>(), 0..200),
            indicator in any::<String>(),
            description in any::<String>(),
            time in ".{0,4}[-0-9T:.]{0,30}[-+Z].{0,5}",
        ) {
            let _ = parse(&body);
            let _ = instant(&time);
            let page = serde_json::json!({
                "page": { "updated_at": time },
                "status": { "indicator": indicator, "description": description },
            });
            let _ = parse(page.to_string().as_bytes());
            let says = PartnerStatus::new(Indicator::Minor, &description);
            prop_assert!(!says.description().contains(char::is_control));
            prop_assert!(says.description().chars().count() <= 257);
        }
    }
}
