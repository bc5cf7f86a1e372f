//! From a HOST:PORT as a person wrote it to a connection. A name stays a name until it is dialled: it is looked up each
//! time, and all its addresses are tried, as RFC 8305 ("Happy Eyeballs") orders them.

use std::collections::VecDeque;
use std::fmt;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use futures_util::stream::{FuturesUnordered, StreamExt as _};
use tokio::net::TcpStream;
use tokio::time::{sleep, timeout};

/// The longest name of a host, in bytes (RFC 1035, section 2.3.4).
const MAX_NAME_BYTES: usize = 253;
/// The most addresses of a name that are tried. A guess: as many as a message between peers has.
const MAX_ADDRS: usize = 16;
/// How long one address is tried alone: RFC 8305, section 5, "Connection Attempt Delay".
const STAGGER: Duration = Duration::from_millis(250);

/// Where somebody listens, as a person wrote it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct HostPort {
    host: Host,
    port: u16,
}

#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
enum Host {
    Addr(SocketAddr),
    Name(String),
}

impl HostPort {
    /// The address, where it isn't a name.
    pub fn addr(&self) -> Option<SocketAddr> {
        match &self.host {
            Host::Addr(addr) => Some(*addr),
            Host::Name(_) => None,
        }
    }

    /// A host's name, or an IP address without brackets, and a port.
    ///
    /// # Errors
    /// Why it can be neither.
    pub fn new(host: &str, port: u16) -> Result<Self, String> {
        if let Ok(ip) = host.parse::<IpAddr>() {
            return Ok(SocketAddr::new(ip, port).into());
        }
        let is_usual = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
        let last = host.trim_end_matches('.').rsplit('.').next().unwrap_or_default();
        if host.is_empty() || host.len() > MAX_NAME_BYTES || !host.bytes().all(is_usual) || last.is_empty() {
            return Err(format!("{host:?} is neither a host's name nor an IP address"));
        }
        if last.bytes().all(|byte| byte.is_ascii_digit()) {
            return Err(format!("{host:?} is no IP address, and no name ends in a number"));
        }
        Ok(Self { host: Host::Name(host.to_owned()), port })
    }
}

impl From<SocketAddr> for HostPort {
    fn from(addr: SocketAddr) -> Self {
        Self { host: Host::Addr(addr), port: addr.port() }
    }
}

impl FromStr for HostPort {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let place = match text.parse::<SocketAddr>() {
            Ok(addr) => addr.into(),
            Err(_a_name) => {
                let (host, port) = text.rsplit_once(':').ok_or("expected HOST:PORT")?;
                if host.contains(':') {
                    return Err("an IPv6 address stands in brackets: [ADDRESS]:PORT".to_owned());
                }
                Self::new(host, port.parse().map_err(|_digits| format!("{port:?} is no port"))?)?
            }
        };
        if place.port == 0 {
            return Err("nobody listens on port 0".to_owned());
        }
        match place.addr().map(|addr| addr.ip()) {
            Some(ip) if ip.is_unspecified() => Err(format!("{ip} is where one listens; name an address to dial")),
            Some(ip) if ip.is_multicast() => Err(format!("{ip} isn't one host's address")),
            Some(_) | None => Ok(place),
        }
    }
}

impl fmt::Display for HostPort {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.host {
            Host::Addr(addr) => addr.fmt(f),
            Host::Name(name) => write!(f, "{name}:{}", self.port),
        }
    }
}

/// Where on this machine one reaches who listens at `addr`: everywhere means here, too.
pub fn seen_from_here(addr: SocketAddr) -> SocketAddr {
    match addr.ip() {
        ip if !ip.is_unspecified() => addr,
        IpAddr::V4(_) => SocketAddr::from((Ipv4Addr::LOCALHOST, addr.port())),
        IpAddr::V6(_) => SocketAddr::from((Ipv6Addr::LOCALHOST, addr.port())),
    }
}

/// The addresses of a host.
pub type Lookup = dyn Fn(&str) -> io::Result<Vec<IpAddr>> + Send + Sync;

/// How names are looked up.
#[derive(Clone, Default)]
pub enum Resolver {
    /// As the system does it.
    #[default]
    System,
    /// As a test wants it.
    Fixed(Arc<Lookup>),
}

impl fmt::Debug for Resolver {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::System => "System",
            Self::Fixed(_) => "Fixed",
        })
    }
}

impl Resolver {
    /// The addresses behind `to`, in the order in which they are to be tried.
    ///
    /// # Errors
    /// When its name can't be looked up, or has no address.
    pub async fn resolve(&self, to: &HostPort) -> io::Result<Vec<SocketAddr>> {
        let name = match &to.host {
            Host::Addr(addr) => return Ok(vec![*addr]),
            Host::Name(name) => name,
        };
        let found: io::Result<Vec<SocketAddr>> = match self {
            Self::System => tokio::net::lookup_host((name.as_str(), to.port)).await.map(Iterator::collect),
            Self::Fixed(find) => find(name).map(|ips| ips.into_iter().map(|ip| SocketAddr::new(ip, to.port)).collect()),
        };
        let found =
            found.map_err(|error| io::Error::new(error.kind(), format!("{name} can't be looked up: {error}")))?;
        if found.is_empty() {
            return Err(io::Error::new(io::ErrorKind::NotFound, format!("{name} has no address")));
        }
        Ok(interleave(found))
    }
}

/// The families by turns, beginning with the first address's: RFC 8305, section 4. What is left as it was is the
/// system's own order (RFC 6724).
fn interleave(addrs: Vec<SocketAddr>) -> Vec<SocketAddr> {
    let first_is_v6 = addrs.first().is_some_and(SocketAddr::is_ipv6);
    let (mut one, mut other): (VecDeque<_>, VecDeque<_>) =
        addrs.into_iter().partition(|addr| addr.is_ipv6() == first_is_v6);
    let mut mixed = Vec::new();
    while !one.is_empty() || !other.is_empty() {
        mixed.extend(one.pop_front());
        mixed.extend(other.pop_front());
    }
    mixed.dedup();
    mixed.truncate(MAX_ADDRS);
    mixed
}

/// Connects to `to`, and says at which address. It is looked up and tried for `limit` in all; may be cancelled.
///
/// # Errors
/// When it can't be looked up, or nobody answers at any of its addresses: why at the last that failed.
pub async fn connect(to: &HostPort, resolver: &Resolver, limit: Duration) -> io::Result<(TcpStream, SocketAddr)> {
    let connecting = async { race(resolver.resolve(to).await?).await };
    let late = || io::Error::new(io::ErrorKind::TimedOut, format!("no answer within {limit:?}"));
    timeout(limit, connecting).await.unwrap_or_else(|_elapsed| Err(late()))
}

/// The next address is tried when one has failed, or has been tried for a while.
async fn race(addrs: Vec<SocketAddr>) -> io::Result<(TcpStream, SocketAddr)> {
    let named = addrs.len() > 1;
    let attempt = async |addr: SocketAddr| match TcpStream::connect(addr).await {
        Ok(stream) => Ok((stream, addr)),
        Err(error) if named => Err(io::Error::new(error.kind(), format!("{addr}: {error}"))),
        Err(error) => Err(error),
    };
    let mut untried = addrs.into_iter();
    let mut under_way = FuturesUnordered::new();
    let mut failure = io::Error::from(io::ErrorKind::NotFound);
    loop {
        under_way.extend(untried.next().map(&attempt));
        let more = untried.len() > 0;
        tokio::select! {
            tried = under_way.next() => match tried {
                Some(Ok(connected)) => return Ok(connected),
                Some(Err(error)) => failure = error,
                None => return Err(failure),
            },
            () = sleep(STAGGER), if more => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use tokio::net::TcpListener;

    use super::*;

    const LIMIT: Duration = Duration::from_secs(20);

    fn fixed(ips: &[&str]) -> Resolver {
        let ips: Vec<IpAddr> = ips.iter().map(|ip| ip.parse().unwrap()).collect();
        Resolver::Fixed(Arc::new(move |_| Ok(ips.clone())))
    }

    #[test]
    fn a_bad_host_and_port_is_told_from_a_name_that_may_not_exist_yet() {
        for good in
            ["10.0.0.1:9001", "[::1]:9001", "localhost:1", "peer-0.peers.default.svc.cluster.local:9001", "a_b:2"]
        {
            assert_eq!(good.parse::<HostPort>().unwrap().to_string(), good);
        }
        for bad in ["", "peer", ":9001", "peer:", "peer:x", "peer:70000", "peer:0", "::1:9001", "a b:1", "http://a:1"] {
            assert!(bad.parse::<HostPort>().is_err(), "{bad}");
        }
        for bad in ["0.0.0.0:9001", "[::]:9001", "224.0.0.1:9001", "1.2.3:9001", "999.1.1.1:1", "[::1:9001", ".:1"] {
            assert!(bad.parse::<HostPort>().is_err(), "{bad}");
        }
    }

    #[tokio::test]
    async fn the_families_of_a_names_addresses_take_turns() {
        let resolver = fixed(&["::1", "::2", "::3", "10.0.0.1"]);
        let found = resolver.resolve(&"name:7".parse().unwrap()).await.unwrap();
        let expected = ["[::1]:7", "10.0.0.1:7", "[::2]:7", "[::3]:7"];
        assert_eq!(found, expected.map(|addr| addr.parse().unwrap()));
    }

    #[tokio::test]
    async fn the_address_of_a_name_that_answers_is_found_among_those_that_dont() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let place = HostPort::new("name", port).unwrap();
        // The first two refuse.
        let resolver = fixed(&["127.0.0.3", "127.0.0.2", "127.0.0.1"]);
        let (_stream, addr) = connect(&place, &resolver, LIMIT).await.unwrap();
        assert_eq!(addr, listener.local_addr().unwrap());
        let nowhere = connect(&place, &fixed(&["127.0.0.3", "127.0.0.2"]), LIMIT).await.unwrap_err();
        assert_eq!(nowhere.kind(), io::ErrorKind::ConnectionRefused);
        assert!(nowhere.to_string().starts_with("127.0.0.2:"), "{nowhere}");
        assert!(connect(&place, &fixed(&[]), LIMIT).await.is_err());
    }

    #[tokio::test]
    async fn a_name_is_looked_up_each_time_it_is_dialled() {
        let listener = TcpListener::bind("127.0.0.2:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let place = HostPort::new("name", port).unwrap();
        let asked = std::sync::atomic::AtomicU8::new(0);
        let moves = Resolver::Fixed(Arc::new(move |_| {
            Ok(vec![IpAddr::from([127, 0, 0, asked.fetch_add(1, std::sync::atomic::Ordering::Relaxed) + 1])])
        }));
        assert!(connect(&place, &moves, LIMIT).await.is_err());
        assert_eq!(connect(&place, &moves, LIMIT).await.unwrap().1, listener.local_addr().unwrap());
    }
}
