//! How the page is connected with the server, and how old what it shows is.

use shared::wire::stream::SILENCE;

/// The state of the event stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Connection {
    /// The first attempt is under way.
    #[default]
    Connecting,
    /// Frames come in.
    Connected,
    /// The connection was lost; an attempt to restore it is under way.
    Reconnecting,
    /// The connection was lost; the next attempt is made in so many seconds.
    Waiting {
        /// Seconds until then, rounded up.
        seconds: u32,
    },
    /// The server is of another version and loading the page anew didn't help.
    Incompatible,
}

impl Connection {
    /// The state in words.
    pub fn words(self) -> String {
        match self {
            Self::Connecting => "Connecting…".to_owned(),
            Self::Connected => "Connected".to_owned(),
            Self::Reconnecting => "Disconnected, reconnecting now…".to_owned(),
            Self::Waiting { seconds } => format!("Disconnected, reconnecting in {seconds} s"),
            Self::Incompatible => "The server has another version; reload the page".to_owned(),
        }
    }

    /// Whether what is shown may be out of date, when the server was last heard `age_s` seconds ago.
    pub fn is_stale(self, age_s: Option<u64>) -> bool {
        match self {
            Self::Connecting => false, // nothing is shown yet
            Self::Connected => age_s.is_some_and(|age_s| age_s >= SILENCE.as_secs()),
            Self::Reconnecting | Self::Waiting { .. } | Self::Incompatible => true,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_connection_on_which_nothing_comes_is_stale() {
        assert!(!Connection::Connected.is_stale(Some(5)));
        assert!(Connection::Connected.is_stale(Some(6)), "two heartbeats are missing and a third is due");
        assert!(Connection::Waiting { seconds: 1 }.is_stale(Some(0)));
        assert!(!Connection::Connecting.is_stale(None));
    }
}
