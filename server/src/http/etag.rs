//! Entity tags (RFC 9110, section 8.8.3), parsed by their grammar. A file's tag is its version in quotes; it is strong.

use axum::http::{HeaderMap, HeaderName};
use shared::ids::Version;

use crate::store::precondition::Versions;

/// The tag of a version.
pub fn of(version: Version) -> String {
    format!("\"{version}\"")
}

/// What `If-Match` or `If-None-Match` lists.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Tags {
    /// `*`.
    Any,
    /// These; none where the header breaks the grammar, so it matches nothing.
    Listed(Vec<Tag>),
}

/// One tag.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tag {
    is_weak: bool,
    /// With its quotes.
    opaque: Vec<u8>,
}

impl Tags {
    /// The tags of a header; `None` where there is no such header.
    pub fn read(headers: &HeaderMap, name: &HeaderName) -> Option<Self> {
        let lines: Vec<&[u8]> = headers.get_all(name).iter().map(axum::http::HeaderValue::as_bytes).collect();
        if lines.is_empty() {
            return None;
        }
        // Several lines of a list are one list.
        let all = lines.join(&b',');
        if all.trim_ascii() == b"*" {
            return Some(Self::Any);
        }
        Some(Self::Listed(list(&all).unwrap_or_default()))
    }

    /// The versions that match by strong comparison, as `If-Match` needs it: a weak tag never does.
    pub fn strong_versions(&self) -> Versions {
        self.versions(|tag| !tag.is_weak)
    }

    /// The versions that match by weak comparison, as `If-None-Match` wants it.
    pub fn weak_versions(&self) -> Versions {
        self.versions(|_tag| true)
    }

    fn versions(&self, counts: impl Fn(&Tag) -> bool) -> Versions {
        match self {
            Self::Any => Versions::Any,
            Self::Listed(tags) => {
                Versions::OneOf(tags.iter().filter(|tag| counts(tag)).filter_map(Tag::version).collect())
            }
        }
    }

    /// Whether the tag `opaque`, given with its quotes, is listed by weak comparison.
    pub fn have(&self, opaque: &str) -> bool {
        match self {
            Self::Any => true,
            Self::Listed(tags) => tags.iter().any(|tag| tag.opaque == opaque.as_bytes()),
        }
    }
}

impl Tag {
    /// The one tag that `value` is.
    pub fn parse(value: &[u8]) -> Option<Self> {
        let mut rest = value.trim_ascii();
        tag(&mut rest).filter(|_| rest.is_empty())
    }

    /// The version that it names by strong comparison.
    pub fn strong_version(&self) -> Option<Version> {
        if self.is_weak { None } else { self.version() }
    }

    fn version(&self) -> Option<Version> {
        let number = std::str::from_utf8(self.opaque.strip_prefix(b"\"")?.strip_suffix(b"\"")?).ok()?;
        // `+1` and `01` are other tags than `1`.
        number.parse().ok().filter(|version: &Version| version.to_string() == number)
    }
}

/// `#entity-tag`: tags with commas between them; empty elements are passed over (section 5.6.1.2).
fn list(mut rest: &[u8]) -> Option<Vec<Tag>> {
    let mut tags = Vec::new();
    loop {
        rest = rest.trim_ascii_start();
        match rest.first() {
            None => return Some(tags),
            Some(b',') => {}
            Some(_) => {
                tags.push(tag(&mut rest)?);
                rest = rest.trim_ascii_start();
            }
        }
        match rest.split_first() {
            None => return Some(tags),
            Some((b',', more)) => rest = more,
            Some(_) => return None,
        }
    }
}

/// `[ "W/" ] DQUOTE *etagc DQUOTE`, at the front of `rest`.
fn tag(rest: &mut &[u8]) -> Option<Tag> {
    let (is_weak, quoted) = rest.strip_prefix(b"W/").map_or((false, *rest), |quoted| (true, quoted));
    let inner = quoted.strip_prefix(b"\"")?;
    let length = inner.iter().position(|byte| *byte == b'"')?;
    let is_opaque = |byte: &u8| *byte == 0x21 || (0x23..=0x7e).contains(byte) || *byte >= 0x80;
    let (opaque, more) = quoted.split_at_checked(length + 2)?;
    *rest = more;
    inner.iter().take(length).all(is_opaque).then(|| Tag { is_weak, opaque: opaque.to_vec() })
}

#[cfg(test)]
mod tests {
    use axum::http::header;

    use super::*;

    fn tags(lines: &[&str]) -> Tags {
        let mut headers = HeaderMap::new();
        for line in lines {
            headers.append(header::IF_MATCH, line.parse().unwrap());
        }
        Tags::read(&headers, &header::IF_MATCH).unwrap()
    }

    fn strong(lines: &[&str]) -> Versions {
        tags(lines).strong_versions()
    }

    fn versions(numbers: &[u64]) -> Versions {
        Versions::OneOf(numbers.iter().map(|number| Version(*number)).collect())
    }

    #[test]
    fn tags_are_read_by_their_grammar() {
        assert_eq!(strong(&["\"3\""]), versions(&[3]));
        assert_eq!(strong(&["\"1\", \"2\""]), versions(&[1, 2]));
        assert_eq!(strong(&[" , \"1\"\t,,\"2\" ,"]), versions(&[1, 2]));
        assert_eq!(strong(&["\"1\"", "\"2\""]), versions(&[1, 2]));
        assert_eq!(strong(&["*"]), Versions::Any);
        assert_eq!(strong(&[" * "]), Versions::Any);
        assert_eq!(strong(&["\"x,*,y\""]), versions(&[]), "a star in a tag is a character of it");
        assert_eq!(strong(&["\"a,b\", \"4\""]), versions(&[4]), "a comma in a tag is a character of it");
        for never in
            ["W/\"1\"", "1", "\"01\"", "\"+1\"", "\"x\"", "\"0\"", "", "w/\"1\"", "\"1", "\"1\"\"2\"", "\"1\" \"2\""]
        {
            assert_eq!(strong(&[never]), versions(&[]), "{never}");
        }
        for broken in ["*, \"1\"", "\"1\", x", "\"1\";\"2\"", "\"a b\", \"1\""] {
            assert_eq!(strong(&[broken]), versions(&[]), "{broken}: what breaks the grammar matches nothing");
        }
        assert_eq!(tags(&["W/\"1\", \"2\""]).weak_versions(), versions(&[1, 2]));
        assert_eq!(Tags::read(&HeaderMap::new(), &header::IF_MATCH), None);
    }
}
