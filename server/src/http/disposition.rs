//! `Content-Disposition`: how a content is offered to a browser (under its name, and never as something that runs on
//! this origin), and what a form's field says of itself.

use std::borrow::Cow;

use axum::http::{HeaderMap, HeaderValue, header};

/// Media types that a browser would run or draw on our origin if it were talked into showing them.
const ACTIVE: [&str; 8] = [
    "text/html",
    "text/javascript",
    "application/javascript",
    "application/ecmascript",
    "text/xml",
    "application/xml",
    "text/xsl",
    "application/x-shockwave-flash",
];

/// The media type under which a content uploaded as `content_type` is sent.
pub fn safe_type(content_type: &str) -> &str {
    let essence = content_type.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    let active = ACTIVE.contains(&essence.as_str()) || essence.ends_with("+xml");
    if active { "application/octet-stream" } else { content_type }
}

/// `Content-Disposition` for a download named `name` (RFC 6266): plain for old clients, exact in `filename*`.
pub fn attachment(name: &str) -> String {
    let plain: String =
        name.chars().map(|c| if c.is_ascii_graphic() && !"\"\\/%".contains(c) || c == ' ' { c } else { '_' }).collect();
    let exact: String = name.bytes().map(percent_encoded).collect();
    format!("attachment; filename=\"{plain}\"; filename*=UTF-8''{exact}")
}

fn percent_encoded(byte: u8) -> String {
    // RFC 8187, section 3.2.1: attr-char.
    if byte.is_ascii_alphanumeric() || b"!#$&+-.^_`|~".contains(&byte) {
        char::from(byte).to_string()
    } else {
        format!("%{byte:02X}")
    }
}

/// What a field of `multipart/form-data` is called, and its file (RFC 7578, section 4.2).
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct FormField {
    /// The field's name.
    pub name: Option<String>,
    /// The file's name.
    pub filename: Option<String>,
}

impl FormField {
    /// Reads the head of a field. Names are UTF-8, or else Latin-1, as old clients send them; `filename*` (RFC 8187),
    /// which forms should not have and some have, is a name too and beats the other.
    pub fn read(headers: &HeaderMap) -> Self {
        let mut field = Self::default();
        let mut exact = None;
        let mut rest = headers.get(header::CONTENT_DISPOSITION).map(HeaderValue::as_bytes).unwrap_or_default();
        skip_past(&mut rest, b';');
        while let Some((key, value)) = parameter(&mut rest) {
            match key.to_ascii_lowercase().as_slice() {
                b"name" => field.name = Some(text(&value)),
                b"filename" => field.filename = Some(text(&value)),
                b"filename*" => exact = extended(&value),
                _ => {}
            }
        }
        field.filename = exact.or(field.filename);
        field
    }
}

/// The next `key=value` or `key="value"` up to its semicolon.
fn parameter<'a>(rest: &mut &'a [u8]) -> Option<(&'a [u8], Cow<'a, [u8]>)> {
    let key = skip_past(rest, b'=')?.trim_ascii();
    *rest = rest.trim_ascii_start();
    let value = match rest.strip_prefix(b"\"") {
        Some(quoted) => {
            *rest = quoted;
            let value = unquoted(rest);
            skip_past(rest, b';');
            Cow::Owned(value)
        }
        None => Cow::Borrowed(skip_past(rest, b';').unwrap_or_default().trim_ascii()),
    };
    Some((key, value))
}

/// What comes before `end`, which is skipped too; all there is where that doesn't come, `None` where there is nothing.
fn skip_past<'a>(rest: &mut &'a [u8], end: u8) -> Option<&'a [u8]> {
    let mut parts = rest.splitn(2, |byte| *byte == end);
    let before = parts.next().filter(|_| !rest.is_empty());
    *rest = parts.next().unwrap_or_default();
    before
}

/// A quoted string whose first quote was taken, up to its last. Browsers write a quote as `%22` (WHATWG HTML, 4.10.21.8),
/// others as `\"`; any other backslash stands for itself, as in the paths of old browsers.
fn unquoted(rest: &mut &[u8]) -> Vec<u8> {
    let mut value = Vec::new();
    loop {
        match rest {
            [b'\\', b'"', more @ ..] => {
                value.push(b'"');
                *rest = more;
            }
            [b'"', more @ ..] => {
                *rest = more;
                return value;
            }
            [byte, more @ ..] => {
                value.push(*byte);
                *rest = more;
            }
            [] => return value,
        }
    }
}

fn text(bytes: &[u8]) -> String {
    std::str::from_utf8(bytes).map_or_else(|_latin1| latin1(bytes), str::to_owned)
}

fn latin1(bytes: &[u8]) -> String {
    bytes.iter().copied().map(char::from).collect()
}

/// `charset'language'percent-encoded` (RFC 8187, section 3.2); `None` where it isn't.
fn extended(value: &[u8]) -> Option<String> {
    let mut parts = value.splitn(3, |byte| *byte == b'\'');
    let (charset, _language, encoded) = (parts.next()?, parts.next()?, parts.next()?);
    let bytes = percent_decoded(encoded)?;
    match charset.to_ascii_lowercase().as_slice() {
        b"utf-8" => String::from_utf8(bytes).ok(),
        b"iso-8859-1" => Some(latin1(&bytes)),
        _ => None,
    }
}

fn percent_decoded(mut rest: &[u8]) -> Option<Vec<u8>> {
    let mut bytes = Vec::with_capacity(rest.len());
    while let [first, more @ ..] = rest {
        (bytes, rest) = match (first, more) {
            (b'%', [high, low, more @ ..]) => {
                let digit = |byte: &u8| char::from(*byte).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
                bytes.push(digit(high)? << 4 | digit(low)?);
                (bytes, more)
            }
            (b'%', _) => return None,
            (byte, more) => {
                bytes.push(*byte);
                (bytes, more)
            }
        };
    }
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(disposition: &[u8]) -> (Option<String>, Option<String>) {
        let value = HeaderValue::from_bytes(disposition).unwrap();
        let field = FormField::read(&HeaderMap::from_iter([(header::CONTENT_DISPOSITION, value)]));
        (field.name, field.filename)
    }

    #[test]
    fn names_of_fields_and_files_are_read_as_clients_write_them() {
        let both = |name: &str, file: &str| (Some(name.to_owned()), Some(file.to_owned()));
        let file = |file: &str| both("file", file);
        for (disposition, expected) in [
            (&b"form-data; name=\"file\"; filename=\"a b.txt\""[..], file("a b.txt")),
            (b"form-data; name=file; filename=a.txt", file("a.txt")),
            (b"form-data;NAME=\"file\" ; FileName=\"a;b=c.txt\"", file("a;b=c.txt")),
            (b"form-data; filename=\"a\"; name=\"file\"", file("a")),
            (b"form-data; name=\"file\"; filename=\"a\\\"b\"", file("a\"b")),
            (b"form-data; name=\"file\"; filename=\"a%22b\"", file("a%22b")),
            (b"form-data; name=\"file\"; filename=\"C:\\dir\\a.txt\"", file("C:\\dir\\a.txt")),
            ("form-data; name=\"file\"; filename=\"ä.txt\"".as_bytes(), file("ä.txt")),
            (b"form-data; name=\"file\"; filename=\"\xe4.txt\"", file("ä.txt")),
            (b"form-data; name=\"file\"; filename*=UTF-8''%c3%a4%20b.txt", file("ä b.txt")),
            (b"form-data; name=\"file\"; filename*=utf-8'de'a.txt; filename=\"b\"", file("a.txt")),
            (b"form-data; name=\"file\"; filename*=ISO-8859-1''%E4", file("ä")),
            (b"form-data; name=\"file\"; filename=\"b\"; filename*=UTF-8''%zz", file("b")),
            (b"form-data; name=\"file\"; filename=\"\"", file("")),
            (b"form-data; name=\"a;filename=x\"; filename=\"y", both("a;filename=x", "y")),
            (b"form-data; name=file", (Some("file".to_owned()), None)),
            (b"form-data", (None, None)),
            (b"", (None, None)),
        ] {
            assert_eq!(read(disposition), expected, "{}", disposition.escape_ascii());
        }
    }

    #[test]
    fn names_survive_and_break_nothing() {
        assert_eq!(attachment("a b.txt"), "attachment; filename=\"a b.txt\"; filename*=UTF-8''a%20b.txt");
        assert_eq!(
            attachment("é\"\r\n../x"),
            "attachment; filename=\"____.._x\"; filename*=UTF-8''%C3%A9%22%0D%0A..%2Fx"
        );
    }

    #[test]
    fn active_types_become_plain_bytes() {
        for active in ["text/html; charset=utf-8", "image/svg+xml", "TEXT/HTML", "application/xhtml+xml"] {
            assert_eq!(safe_type(active), "application/octet-stream");
        }
        assert_eq!(safe_type("text/plain; charset=utf-8"), "text/plain; charset=utf-8");
    }
}
