//! What comes on a connection: frames, or the original's JSON lines. The first byte tells.

use shared::gossip::io::{Input, LinkId};
use shared::wire::frame;
use shared::wire::lines::{self, Line};
use shared::wire::peer::PeerMessage;

/// How the other side speaks.
#[derive(Debug)]
pub enum Speech {
    /// It hasn't spoken yet; `original`: it may speak lines.
    Unknown {
        /// Whether the original's peers may take part.
        original: bool,
    },
    /// [`frame`]s.
    Frames(frame::Decoder),
    /// [`lines`].
    Lines(lines::Decoder),
}

/// What was said.
#[derive(Debug)]
pub enum Said {
    /// In frames.
    Messages(Vec<PeerMessage>),
    /// In lines.
    Lines(Vec<Line>),
}

impl Said {
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

impl Speech {
    /// Takes bytes as they came from the socket.
    pub fn push(&mut self, bytes: &[u8]) {
        match self {
            Self::Unknown { original } => {
                let Some(first) = bytes.first() else { return };
                *self = if *original && *first == lines::OPENING {
                    Self::Lines(lines::Decoder::default())
                } else {
                    Self::Frames(frame::Decoder::default())
                };
                self.push(bytes);
            }
            Self::Frames(decoder) => decoder.push(bytes),
            Self::Lines(decoder) => decoder.push(bytes),
        }
    }

    /// What was said with what was pushed, and what is wrong with the rest.
    pub fn take(&mut self) -> (Said, Option<String>) {
        match self {
            Self::Unknown { .. } => (Said::Messages(Vec::new()), None),
            Self::Frames(decoder) => {
                let (messages, failure) = all(|| decoder.next_message());
                (Said::Messages(messages), failure.map(|failure| format!("bad frame: {failure}")))
            }
            Self::Lines(decoder) => {
                let (lines, failure) = all(|| decoder.next_line());
                (Said::Lines(lines), failure.map(|failure| format!("bad line: {failure}")))
            }
        }
    }
}

fn all<T, E>(mut next: impl FnMut() -> Result<Option<T>, E>) -> (Vec<T>, Option<E>) {
    let mut said = Vec::new();
    loop {
        match next() {
            Ok(Some(one)) => said.push(one),
            Ok(None) => return (said, None),
            Err(error) => return (said, Some(error)),
        }
    }
}
