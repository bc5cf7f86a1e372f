//! How the page is connected with the server.

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

    /// Whether what is shown may be out of date.
    pub fn is_stale(self) -> bool {
        !matches!(self, Self::Connected | Self::Connecting)
    }
}
