//! How a content is offered to a browser: under its name, and never as something that runs on this origin.

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

#[cfg(test)]
mod tests {
    use super::*;

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
