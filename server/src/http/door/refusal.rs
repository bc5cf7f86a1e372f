//! The library that speaks HTTP refuses what it can't understand by itself, without a body. Callers get a problem all the
//! same: its bytes are exchanged for these.

use axum::http::StatusCode;
use bytes::Bytes;

use crate::http::error::{ApiError, PROBLEM_JSON};

/// What to write instead of `bytes`, where they are such a refusal.
pub(super) fn instead_of(bytes: &[u8]) -> Option<Bytes> {
    let head = std::str::from_utf8(bytes).ok()?.strip_suffix("\r\n\r\n")?;
    let (first, headers) = head.split_once("\r\n")?;
    let status = StatusCode::from_bytes(first.strip_prefix("HTTP/1.")?.split(' ').nth(1)?.as_bytes()).ok()?;
    let mut headers = headers.split("\r\n").filter_map(|line| line.split_once(": "));
    if !headers.clone().any(|header| header == ("content-length", "0"))
        || headers.any(|(name, _)| name == "content-type")
    {
        return None;
    }
    let why = match status {
        StatusCode::BAD_REQUEST => "this isn't a request of HTTP/1.1",
        StatusCode::URI_TOO_LONG => "the path is too long",
        StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE => "the head is too large, or has too many headers",
        _ => return None,
    };
    let problem = serde_json::to_vec(&ApiError::Rejected(status, why.to_owned()).problem()).ok()?;
    let head = format!(
        "HTTP/1.1 {status}\r\ncontent-type: {PROBLEM_JSON}\r\ncontent-length: {}\r\ncache-control: no-store\r\n\
         connection: close\r\n\r\n",
        problem.len()
    );
    Some([head.into_bytes(), problem].concat().into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_refusals_of_the_library_are_exchanged() {
        let of = |head: &str| instead_of(head.as_bytes());
        let bare =
            "HTTP/1.1 431 Request Header Fields Too Large\r\nconnection: close\r\ncontent-length: 0\r\ndate: x\r\n\r\n";
        let problem = of(bare).unwrap();
        let problem = std::str::from_utf8(&problem).unwrap();
        assert!(
            problem.starts_with("HTTP/1.1 431 Request Header Fields Too Large\r\ncontent-type: application/problem")
        );
        assert!(problem.ends_with('}') && problem.contains("\"status\":431"));
        assert_eq!(of("HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n"), None);
        assert_eq!(of("HTTP/1.1 400 Bad Request\r\ncontent-length: 9\r\n\r\n"), None);
        assert_eq!(of("HTTP/1.1 400 Bad Request\r\ncontent-type: x\r\ncontent-length: 0\r\n\r\n"), None);
        assert_eq!(of(&bare[..60]), None);
    }
}
