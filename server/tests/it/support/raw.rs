//! A client that says its bytes itself: what no proper client would send, or when.

use std::net::SocketAddr;
use std::time::Duration;

use serde_json::Value;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::support::app::PATIENCE;

/// A connection.
pub(crate) struct Raw(pub(crate) TcpStream);

/// An answer as it came.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    /// In lower case, without the status line.
    pub(crate) head: String,
    pub(crate) body: Vec<u8>,
}

impl Raw {
    pub(crate) async fn connect(addr: SocketAddr) -> Self {
        Self(TcpStream::connect(addr).await.unwrap())
    }

    pub(crate) async fn write(&mut self, bytes: impl AsRef<[u8]>) {
        self.0.write_all(bytes.as_ref()).await.unwrap();
    }

    /// Reads one answer whose length is said.
    pub(crate) async fn answer(&mut self) -> Answer {
        timeout(PATIENCE, self.read_answer()).await.expect("no answer").expect("closed instead of an answer")
    }

    async fn read_answer(&mut self) -> Option<Answer> {
        let mut bytes = Vec::new();
        let end = loop {
            if let Some(end) = bytes.windows(4).position(|four| four == b"\r\n\r\n") {
                break end + 4;
            }
            if self.0.read_buf(&mut bytes).await.ok()? == 0 {
                return None;
            }
        };
        let head = String::from_utf8(bytes[..end].to_vec()).unwrap().to_lowercase();
        let status = head.split(' ').nth(1).unwrap().parse().unwrap();
        let length =
            head.lines().find_map(|line| line.strip_prefix("content-length: ")).map_or(0, |n| n.parse().unwrap());
        let mut body = bytes.split_off(end);
        while body.len() < length {
            if self.0.read_buf(&mut body).await.ok()? == 0 {
                return None;
            }
        }
        Some(Answer { status, head, body })
    }

    /// Waits until the server has closed it, at most `limit`; what came until then.
    pub(crate) async fn closed(&mut self, limit: Duration) -> Vec<u8> {
        let mut rest = Vec::new();
        let read = async { while !matches!(self.0.read_buf(&mut rest).await, Ok(0) | Err(_)) {} };
        timeout(limit, read).await.expect("still open");
        rest
    }
}

impl Answer {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.head.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(": "))
    }

    /// The stable name of the problem that it is.
    pub(crate) fn problem(&self) -> String {
        assert_eq!(self.header("content-type"), Some("application/problem+json"), "{self:?}");
        let problem: Value = serde_json::from_slice(&self.body).unwrap();
        problem["type"].as_str().unwrap().strip_prefix("urn:grapevine:problem:").unwrap().to_owned()
    }
}
