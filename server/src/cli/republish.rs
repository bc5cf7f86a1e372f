//! The flags of `grapevine republish`.

use clap::Args;
use jiff::{Span, SpanRelativeTo, Timestamp};

use crate::cli::Authorities;
use crate::site::Site;

/// `grapevine republish`.
#[derive(Debug, Args)]
pub struct Republish {
    /// The server's address.
    #[arg(default_value = "http://127.0.0.1:8000", env = "GRAPEVINE_URL")]
    pub url: Site,
    /// Only versions that were stored since then: a time (2026-11-28T06:00:00Z), or how long ago (90s, 30m, 12h, 7d).
    /// All where absent.
    #[arg(long, value_name = "TIME", value_parser = since, env = "GRAPEVINE_SINCE")]
    pub since: Option<Timestamp>,
    /// Encryption.
    #[command(flatten)]
    pub authorities: Authorities,
}

fn since(text: &str) -> Result<Timestamp, String> {
    if let Ok(time) = text.parse() {
        return Ok(time);
    }
    let wrong = "neither a time as in RFC 3339 nor how long ago (90s, 30m, 12h, 7d)";
    let ago: Span = text.parse().map_err(|_neither| wrong.to_owned())?;
    let ago = ago.abs().to_duration(SpanRelativeTo::days_are_24_hours()).map_err(|error| error.to_string())?;
    Timestamp::now().checked_sub(ago).map_err(|error| error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_or_how_long_ago_is_understood() {
        assert_eq!(since("2026-11-28T06:00:00Z").unwrap().as_millisecond(), 1_795_845_600_000);
        let now = Timestamp::now().as_second();
        for (ago, seconds) in [("90s", 90), ("30m", 1800), ("12h", 43_200), ("7d", 604_800)] {
            let apart = (now - seconds - since(ago).unwrap().as_second()).abs();
            assert!(apart <= 60, "{ago}: {apart}");
        }
        for nonsense in ["yesterday", "", "7", "2026-13-01T00:00:00Z"] {
            assert!(since(nonsense).is_err(), "{nonsense}");
        }
    }
}
