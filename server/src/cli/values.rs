//! How the values of flags are read and checked.

use std::net::{SocketAddr, ToSocketAddrs};
use std::ops::RangeInclusive;

use clap::builder::{RangedU64ValueParser, TypedValueParser};
use shared::ids::{FileId, Version};

/// A count within limits.
pub(super) fn count(range: RangeInclusive<u64>) -> impl TypedValueParser<Value = usize> {
    RangedU64ValueParser::<u64>::new().range(range).map(|count| usize::try_from(count).unwrap_or(usize::MAX))
}

/// The address that HOST:PORT stands for.
pub(super) fn resolve(text: &str) -> Result<SocketAddr, String> {
    let mut addrs = text.to_socket_addrs().map_err(|error| format!("not a reachable HOST:PORT: {error}"))?;
    // A name may have addresses of both families; peers listen on IPv4 by default.
    let first = addrs.next().ok_or("the name has no address")?;
    Ok(if first.is_ipv4() { first } else { addrs.find(SocketAddr::is_ipv4).unwrap_or(first) })
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
