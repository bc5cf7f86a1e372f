//! A connection's socket: tells the visitor what comes and goes, and doesn't wait for ever for who takes nothing.

use std::io::{self, ErrorKind, IoSlice};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::{Buf as _, Bytes};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::time::{Instant, Sleep, sleep_until};

use crate::http::door::refusal;
use crate::http::door::visitors::Visitor;
use crate::http::pace::Pace;

/// The socket.
#[derive(Debug)]
pub(super) struct Socket {
    tcp: TcpStream,
    visitor: Arc<Visitor>,
    /// The patience with who doesn't take what is written.
    pace: Pace,
    stuck_since: Option<Instant>,
    /// Made when it is needed first.
    alarm: Option<Pin<Box<Sleep>>>,
    /// What is written instead of the library's own refusal.
    refusal: Bytes,
}

impl Socket {
    /// The socket of a visitor, who must take what is written at `pace`.
    pub(super) fn new(tcp: TcpStream, visitor: Arc<Visitor>, pace: Pace) -> Self {
        Self { tcp, visitor, pace, stuck_since: None, alarm: None, refusal: Bytes::new() }
    }

    /// Counts the time for which a write is stuck; an error when that is too long.
    fn patiently(&mut self, written: Poll<io::Result<usize>>, context: &mut Context<'_>) -> Poll<io::Result<usize>> {
        let Poll::Ready(written) = written else {
            return self.poll_alarm(context).map(|()| Err(ErrorKind::TimedOut.into()));
        };
        if let Some(since) = self.stuck_since.take() {
            self.pace.count(since.elapsed());
        }
        self.pace.pay_back(written.as_ref().copied().unwrap_or_default());
        Poll::Ready(written)
    }

    /// Whether `bytes` are the library's answer to a head that it can't understand: that has no body, and all our errors
    /// have one. It is written whole, when no request is being served.
    fn replaces(&mut self, bytes: &[u8]) -> bool {
        let refusal = if self.visitor.waits() { refusal::instead_of(bytes) } else { None };
        refusal.is_some_and(|refusal| {
            self.refusal = refusal;
            true
        })
    }

    fn poll_refusal(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        while !self.refusal.is_empty() {
            let written = Pin::new(&mut self.tcp).poll_write(context, &self.refusal);
            let written = ready!(self.patiently(written, context))?;
            self.refusal.advance(written);
        }
        Poll::Ready(Ok(()))
    }

    fn poll_alarm(&mut self, context: &mut Context<'_>) -> Poll<()> {
        let deadline = *self.stuck_since.get_or_insert_with(Instant::now) + self.pace.left();
        let alarm = self.alarm.get_or_insert_with(|| Box::pin(sleep_until(deadline)));
        if alarm.deadline() != deadline {
            alarm.as_mut().reset(deadline);
        }
        alarm.as_mut().poll(context)
    }
}

impl AsyncRead for Socket {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        let read = Pin::new(&mut self.tcp).poll_read(context, buffer);
        if buffer.filled().len() > before {
            self.visitor.on_bytes();
        }
        read
    }
}

impl AsyncWrite for Socket {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        if self.replaces(bytes) {
            return Poll::Ready(Ok(bytes.len()));
        }
        let written = Pin::new(&mut self.tcp).poll_write(context, bytes);
        self.patiently(written, context)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        pieces: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        if let [only] = pieces
            && self.replaces(only)
        {
            return Poll::Ready(Ok(only.len()));
        }
        let written = Pin::new(&mut self.tcp).poll_write_vectored(context, pieces);
        self.patiently(written, context)
    }

    fn is_write_vectored(&self) -> bool {
        self.tcp.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.poll_refusal(context))?;
        let flushed = Pin::new(&mut self.tcp).poll_flush(context);
        // Whoever writes flushes when nothing is left to be written.
        if let Poll::Ready(Ok(())) = flushed {
            self.visitor.on_written();
        }
        flushed
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.poll_refusal(context))?;
        Pin::new(&mut self.tcp).poll_shutdown(context)
    }
}
