//! What comes on a connection: frames, or the original's JSON lines. The first byte tells.

use shared::gossip::io::{Input, LinkId};
use shared::wire::frame;
use shared::wire::lines::{self, Line, LineError};
use shared::wire::peer::PeerMessage;

/// How the other side speaks.
#[derive(Debug)]
pub enum Codec {
    /// It hasn't spoken yet; `original`: it may speak lines.
    Unknown {
        /// Whether the original's peers may take part.
        original: bool,
    },
    /// [`frame`]s.
    Frames(frame::Decoder),
    /// [`lines`].
    Lines(lines::Decoder),
    /// Something else; the decoder of frames says what is wrong with it.
    Neither(frame::Decoder),
}

/// What was decoded.
#[derive(Debug)]
pub enum Decoded {
    /// In frames.
    Messages(Vec<PeerMessage>),
    /// In lines.
    Lines(Vec<Line>),
}

impl Decoded {
    /// How much there is to do.
    pub fn count(&self) -> usize {
        match self {
            Self::Messages(messages) => messages.len(),
            Self::Lines(lines) => lines.len(),
        }
    }

    /// For the node.
    pub fn on(self, link: LinkId) -> Input {
        match self {
            Self::Messages(messages) => Input::Messages { link, messages },
            Self::Lines(lines) => Input::Lines { link, lines },
        }
    }
}

impl Codec {
    /// Takes bytes as they came from the socket.
    pub fn push(&mut self, bytes: &[u8]) {
        match self {
            Self::Unknown { original } => {
                let Some(first) = bytes.first() else { return };
                *self = match *first {
                    // Of the length of a frame within the limit.
                    0 => Self::Frames(frame::Decoder::default()),
                    first if *original && (first == lines::OPENING || first.is_ascii_whitespace()) => {
                        Self::Lines(lines::Decoder::default())
                    }
                    _ => Self::Neither(frame::Decoder::default()),
                };
                self.push(bytes);
            }
            Self::Frames(decoder) | Self::Neither(decoder) => decoder.push(bytes),
            Self::Lines(decoder) => decoder.push(bytes),
        }
    }

    /// Returns what was decoded of the bytes pushed, and what is wrong with the rest.
    pub fn take(&mut self) -> (Decoded, Option<String>) {
        match self {
            Self::Unknown { .. } => (Decoded::Messages(Vec::new()), None),
            Self::Frames(decoder) | Self::Neither(decoder) => {
                let (messages, failure) = all(|| decoder.next_message());
                (Decoded::Messages(messages), failure.map(|failure| format!("bad frame: {failure}")))
            }
            Self::Lines(decoder) => {
                let (lines, failure) = all(|| decoder.next_line());
                (Decoded::Lines(lines), failure.as_ref().map(bad_line))
            }
        }
    }

    /// The same at the end of the stream, which ends the last line, too.
    pub fn end(&mut self) -> (Decoded, Option<String>) {
        match (self.take(), self) {
            ((Decoded::Lines(mut lines), None), Self::Lines(decoder)) => match decoder.last_line() {
                Ok(last) => {
                    lines.extend(last);
                    (Decoded::Lines(lines), None)
                }
                Err(error) => (Decoded::Lines(lines), Some(bad_line(&error))),
            },
            (taken, _) => taken,
        }
    }
}

fn bad_line(error: &LineError) -> String {
    let cause = std::error::Error::source(error).map(|cause| format!(": {cause}"));
    format!("bad line: {error}{}", cause.unwrap_or_default())
}

fn all<T, E>(mut next: impl FnMut() -> Result<Option<T>, E>) -> (Vec<T>, Option<E>) {
    let mut decoded = Vec::new();
    loop {
        match next() {
            Ok(Some(one)) => decoded.push(one),
            Ok(None) => return (decoded, None),
            Err(error) => return (decoded, Some(error)),
        }
    }
}
