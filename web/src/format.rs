//! Sizes, durations, times and short names as text. Pure.

use shared::ids::FileId;
pub use shared::words::{bytes, counted};

/// A duration given in milliseconds: `7 ms`, `1.3 s`, `2 min 5 s`.
pub fn millis(ms: u64) -> String {
    match ms {
        0..1000 => format!("{ms} ms"),
        1000..60_000 => format!("{}.{} s", ms / 1000, ms % 1000 / 100),
        _ => format!("{} min {} s", ms / 60_000, ms % 60_000 / 1000),
    }
}

/// A duration in whole seconds: `7 s`, `2 min 5 s`, `1 h 3 min`.
pub fn seconds(count: u64) -> String {
    match count {
        0..60 => format!("{count} s"),
        60..3600 => format!("{} min {} s", count / 60, count % 60),
        _ => format!("{} h {} min", count / 3600, count % 3600 / 60),
    }
}

/// The time of day of `at_ms` (milliseconds since 1970) where local time is `ahead_min` minutes ahead of UTC.
pub fn clock(at_ms: u64, ahead_min: i32) -> String {
    let shifted = i64::try_from(at_ms).unwrap_or(0) + i64::from(ahead_min) * 60_000;
    let of_day = shifted.rem_euclid(86_400_000);
    let (seconds, ms) = (of_day / 1000, of_day % 1000);
    format!("{:02}:{:02}:{:02}.{ms:03}", seconds / 3600, seconds / 60 % 60, seconds % 60)
}

/// The end of a file id: ids made close together differ there. Short names stay whole.
pub fn short_file(file: &FileId) -> String {
    let text = file.as_str();
    let length = text.chars().count();
    if length <= 16 {
        return text.to_owned();
    }
    let tail: String = text.chars().skip(length - 6).collect();
    format!("…{tail}")
}

/// What share of `whole` is `part`, in per cent, rounded down, at most 100. Nothing of nothing is all of it.
pub fn percent(part: u64, whole: u64) -> u64 {
    let scaled = u128::from(part) * 100 / u128::from(whole.max(1));
    if whole == 0 { 100 } else { u64::try_from(scaled).unwrap_or(100).min(100) }
}

/// `text` as one word of a shell command.
pub fn quoted(text: &str) -> String {
    format!("'{}'", text.replace('\'', r"'\''"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_grow_from_milliseconds_to_minutes() {
        assert_eq!([7, 1_340, 125_000].map(millis), ["7 ms", "1.3 s", "2 min 5 s"]);
    }

    #[test]
    fn whole_seconds_grow_to_minutes_and_hours() {
        assert_eq!([7, 125, 3_780].map(seconds), ["7 s", "2 min 5 s", "1 h 3 min"]);
    }

    #[test]
    fn a_time_of_day_follows_the_readers_clock() {
        assert_eq!(clock(3_723_004, 0), "01:02:03.004");
        assert_eq!(clock(3_723_004, -120), "23:02:03.004");
    }

    #[test]
    fn a_short_file_id_keeps_the_end_that_differs() {
        assert_eq!(short_file(&"track_a".parse().unwrap()), "track_a");
        assert_eq!(short_file(&"0198c0de-0000-7000-8000-00000000beef".parse().unwrap()), "…00beef");
    }

    #[test]
    fn a_share_is_never_more_than_all() {
        assert_eq!([percent(0, 0), percent(1, 3), percent(9, 3)], [100, 33, 100]);
    }

    #[test]
    fn a_name_in_a_command_stays_one_word() {
        assert_eq!(quoted("a b"), "'a b'");
        assert_eq!(quoted("it's"), r"'it'\''s'");
    }
}
