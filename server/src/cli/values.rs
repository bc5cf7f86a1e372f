//! How the values of flags are read and checked.

use std::net::SocketAddr;
use std::ops::RangeInclusive;
use std::time::Duration;

use clap::builder::{RangedU64ValueParser, TypedValueParser};
use lapin::types::ShortString;
use lapin::uri::AMQPUri;
use shared::ids::{FileId, Version};

use crate::dial::HostPort;

/// The longest time that a flag may name: a day.
const LONGEST: Duration = Duration::from_hours(24);

/// A count within limits.
pub(super) fn count(range: RangeInclusive<u64>) -> impl TypedValueParser<Value = usize> {
    RangedU64ValueParser::<u64>::new().range(range).map(|count| usize::try_from(count).unwrap_or(usize::MAX))
}

/// A time in seconds, which may have a fraction.
pub(super) fn seconds(text: &str) -> Result<Duration, String> {
    let seconds: f64 = text.parse().map_err(|error| format!("{error}"))?;
    let time = Duration::try_from_secs_f64(seconds).map_err(|error| error.to_string())?;
    if time <= LONGEST { Ok(time) } else { Err(format!("at most {} s are possible", LONGEST.as_secs())) }
}

/// The address of IP:PORT, as others may dial it.
pub(super) fn dialable(text: &str) -> Result<SocketAddr, String> {
    text.parse::<HostPort>()?
        .addr()
        .ok_or_else(|| "expected IP:PORT: what others are told must be an address".to_owned())
}

/// A file and its version, from ID:VERSION.
pub(super) fn injection(text: &str) -> Result<(FileId, Version), String> {
    let (file, version) = text.rsplit_once(':').ok_or("expected ID:VERSION")?;
    let file = file.parse().map_err(|error| format!("{error}"))?;
    Ok((file, version.parse().map_err(|error| format!("{error}"))?))
}

/// A RabbitMQ's address. What is wrong with it is told without it: it may have a password.
pub(super) fn amqp_url(text: &str) -> Result<String, String> {
    let read = text.parse::<AMQPUri>();
    read.map_err(|_told_with_it| "expected amqp://USER:PASSWORD@HOST:PORT/VHOST, or amqps".to_owned())?;
    Ok(text.to_owned())
}

/// A queue's name, as AMQP has it.
pub(super) fn queue(text: &str) -> Result<String, String> {
    if text.is_empty() || ShortString::try_new(text).is_err() {
        return Err("a queue's name must have 1 to 255 bytes".to_owned());
    }
    Ok(text.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_injected_id_may_have_colons() {
        assert_eq!(injection("a:b:1"), Ok(("a:b".parse().unwrap(), Version(1))));
        assert!(injection("track_a").is_err());
        assert!(injection("track_a:0").is_err());
    }

    #[test]
    fn what_is_wrong_with_a_url_is_told_without_its_password() {
        for url in ["amqp:secret", "http://me:secret@host/", "amqp://me:secret@host:port/", "secret"] {
            let reason = amqp_url(url).unwrap_err();
            assert!(!reason.contains("secret"), "{reason}");
        }
        assert!(amqp_url("amqp://me:secret@host/%2f").is_ok());
    }
}
