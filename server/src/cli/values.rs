//! How the values of flags are read and checked.

use std::net::SocketAddr;
use std::ops::RangeInclusive;

use clap::builder::{RangedU64ValueParser, TypedValueParser};
use shared::ids::{FileId, Version};

use crate::dial::HostPort;

/// A count within limits.
pub(super) fn count(range: RangeInclusive<u64>) -> impl TypedValueParser<Value = usize> {
    RangedU64ValueParser::<u64>::new().range(range).map(|count| usize::try_from(count).unwrap_or(usize::MAX))
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_injected_id_may_have_colons() {
        assert_eq!(injection("a:b:1"), Ok(("a:b".parse().unwrap(), Version(1))));
        assert!(injection("track_a").is_err());
        assert!(injection("track_a:0").is_err());
    }
}
