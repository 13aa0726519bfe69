//! Wall time as text for the wire.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// The last second of the year 9999: RFC 3339 has four digits for the year.
const LAST: Duration = Duration::from_secs(253_402_300_799);

/// Formats `at` as RFC 3339 with milliseconds.
///
/// The wall clock may be set to any time. A time before the Unix epoch is written as the epoch, and
/// a time after the year 9999 as the last second of that year (R22).
pub(crate) fn rfc3339(at: SystemTime) -> String {
    let since_epoch = at.duration_since(UNIX_EPOCH).unwrap_or_default();
    let writable = UNIX_EPOCH + since_epoch.min(LAST);
    humantime::format_rfc3339_millis(writable).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_that_cannot_be_written_is_the_nearest_that_can() {
        let day = Duration::from_secs(86_400);
        assert_eq!(rfc3339(UNIX_EPOCH + day), "1970-01-02T00:00:00.000Z");
        assert_eq!(rfc3339(UNIX_EPOCH - day), "1970-01-01T00:00:00.000Z");
        let far = UNIX_EPOCH + Duration::from_secs(1 << 40);
        assert_eq!(rfc3339(far), "9999-12-31T23:59:59.000Z");
    }
}
