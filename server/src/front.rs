//! How the server is known to browsers: the names that it goes by, and the path that a proxy puts it under. Both are said
//! by flags. What a request says of them itself (`X-Forwarded-…`) is read nowhere: anybody can send that.

use std::net::Ipv6Addr;
use std::str::FromStr;
use std::sync::Arc;

/// A name under which browsers reach the server: on every port, or on the one that it names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AllowedHost {
    /// As in a `Host` header: an IPv6 address stands in brackets.
    name: String,
    port: Option<u16>,
}

/// Why a text is no [`AllowedHost`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("expected HOST or HOST:PORT, without http:// and without a path")]
pub struct AllowedHostError;

impl AllowedHost {
    /// Whether it is reached as `host` (an IPv6 address in brackets); `ports` are those that it may be on.
    pub fn covers(&self, host: &str, ports: &[u16]) -> bool {
        self.name.eq_ignore_ascii_case(host) && self.port.is_none_or(|port| ports.contains(&port))
    }
}

impl FromStr for AllowedHost {
    type Err = AllowedHostError;

    fn from_str(text: &str) -> Result<Self, AllowedHostError> {
        if let Ok(address) = text.parse::<Ipv6Addr>() {
            return Ok(Self { name: format!("[{address}]"), port: None });
        }
        let (name, port) = match text.rsplit_once(':') {
            Some((name, port)) if !port.ends_with(']') => {
                (name, Some(port.parse().map_err(|_no_port| AllowedHostError)?))
            }
            _ => (text, None),
        };
        let name = match name.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
            Some(address) => format!("[{}]", address.parse::<Ipv6Addr>().map_err(|_no_address| AllowedHostError)?),
            None if !name.is_empty() && name.bytes().all(is_of_a_name) => name.to_owned(),
            None => return Err(AllowedHostError),
        };
        Ok(Self { name, port })
    }
}

fn is_of_a_name(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_')
}

/// The path that a proxy puts the server under: `/grapevine`, or nothing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BasePath(
    /// Empty, or one segment or more with a slash before each.
    Arc<str>,
);

/// Why a text is no [`BasePath`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("expected a path like /grapevine, of letters, digits and - . _ ~")]
pub struct BasePathError;

impl BasePath {
    /// Whether the server is at the root.
    pub fn is_root(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether one of the server's own paths begins like it: then that would mean two things.
    pub fn is_taken_by(&self, path: &str) -> bool {
        let first = |path: &str| path.split('/').nth(1).map(str::to_owned);
        !self.is_root() && first(&self.0) == first(path)
    }

    /// Where one of the server's paths is for browsers.
    pub fn join(&self, path: &str) -> String {
        format!("{}{path}", self.0)
    }

    /// The server's path (with its query) that `path` stands for; `None` where it isn't below the base path.
    pub fn strip(&self, path: &str) -> Option<String> {
        let rest = path.strip_prefix(&*self.0)?;
        match rest.bytes().next() {
            Some(b'/') => Some(rest.to_owned()),
            Some(b'?') | None => Some(format!("/{rest}")),
            Some(_) => None,
        }
    }
}

impl Default for BasePath {
    fn default() -> Self {
        Self("".into())
    }
}

impl std::fmt::Display for BasePath {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(if self.is_root() { "/" } else { &self.0 })
    }
}

impl FromStr for BasePath {
    type Err = BasePathError;

    fn from_str(text: &str) -> Result<Self, BasePathError> {
        let path = text.strip_suffix('/').unwrap_or(text);
        if path.is_empty() {
            return Ok(Self::default());
        }
        let mut segments = path.strip_prefix('/').ok_or(BasePathError)?.split('/');
        if segments.all(is_plain) { Ok(Self(path.into())) } else { Err(BasePathError) }
    }
}

/// Whether a segment means the same to everybody: no escapes, no way up.
fn is_plain(segment: &str) -> bool {
    !matches!(segment, "" | "." | "..") && segment.bytes().all(|byte| is_of_a_name(byte) || byte == b'~')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_allowed_host_covers_every_port_unless_it_names_one() {
        let covers =
            |allowed: &str, host: &str, ports: &[u16]| allowed.parse::<AllowedHost>().unwrap().covers(host, ports);
        assert!(covers("grape.example", "GRAPE.example", &[8443]));
        assert!(covers("grape.example:8443", "grape.example", &[8443]));
        assert!(!covers("grape.example:8443", "grape.example", &[80, 443]));
        assert!(covers("grape.example:443", "grape.example", &[80, 443]));
        assert!(!covers("grape.example", "x.grape.example", &[80]));
        for allowed in ["::1", "[::1]", "[0:0:0::1]"] {
            assert!(covers(allowed, "[::1]", &[80]), "{allowed}");
        }
        assert!(covers("[::1]:8000", "[::1]", &[8000]) && !covers("[::1]:8000", "[::1]", &[80]));
    }

    #[test]
    fn what_is_no_host_is_refused() {
        for text in
            ["", "https://grape.example", "grape.example/x", "*.example", "a@b", "grape.example:", "a:70000", "[x]"]
        {
            assert_eq!(text.parse::<AllowedHost>(), Err(AllowedHostError), "{text}");
        }
    }

    #[test]
    fn a_base_path_is_plain() {
        let written = |text: &str| text.parse::<BasePath>().map(|base| base.to_string());
        assert_eq!(written("/grapevine"), Ok("/grapevine".to_owned()));
        assert_eq!(written("/tools/grapevine/"), Ok("/tools/grapevine".to_owned()));
        assert_eq!((written("/"), written("")), (Ok("/".to_owned()), Ok("/".to_owned())));
        for text in ["grapevine", "//x", "/a//b", "/..", "/a/./b", "/a?b", "/a b", "/%67", "http://x/y"] {
            assert_eq!(written(text), Err(BasePathError), "{text}");
        }
    }

    #[test]
    fn only_what_is_below_the_base_path_is_stripped() {
        let base: BasePath = "/grapevine".parse().unwrap();
        let strip = |path| base.strip(path);
        assert_eq!(strip("/grapevine/files?limit=1").as_deref(), Some("/files?limit=1"));
        assert_eq!((strip("/grapevine").as_deref(), strip("/grapevine?x").as_deref()), (Some("/"), Some("/?x")));
        assert_eq!((strip("/grapevines/files"), strip("/files/grapevine/")), (None, None));
        assert_eq!(base.join("/ui/"), "/grapevine/ui/");
    }
}
