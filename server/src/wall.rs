//! Wall time, read in one place.

use std::time::{SystemTime, UNIX_EPOCH};

use jiff::Timestamp;

/// Milliseconds since 1970; 0 on a machine whose clock is before that.
pub fn now_ms() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

/// `ms` milliseconds since 1970 as RFC 3339 in UTC, always with three digits for them, so that times sort as texts; the
/// last time that can be written where it is beyond that.
pub fn rfc3339(ms: u64) -> String {
    let ms = i64::try_from(ms).unwrap_or(i64::MAX);
    format!("{:.3}", Timestamp::from_millisecond(ms).unwrap_or(Timestamp::MAX))
}

/// `ms` milliseconds since 1970 as HTTP writes dates (RFC 9110, section 5.6.7); the epoch where that can't be written.
pub fn http_date(ms: u64) -> String {
    let at = Timestamp::from_millisecond(i64::try_from(ms).unwrap_or(i64::MAX)).unwrap_or(Timestamp::UNIX_EPOCH);
    let written = jiff::fmt::rfc2822::DateTimePrinter::new().timestamp_to_rfc9110_string(&at);
    written.unwrap_or_else(|_out_of_range| "Thu, 01 Jan 1970 00:00:00 GMT".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_have_three_fraction_digits() {
        assert_eq!(rfc3339(0), "1970-01-01T00:00:00.000Z");
        assert_eq!(rfc3339(784_111_777_250), "1994-11-06T08:49:37.250Z");
        assert_eq!(rfc3339(784_111_777_007), "1994-11-06T08:49:37.007Z");
    }
}
