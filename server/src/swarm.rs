//! The local peers of `serve`: start, leave, kill, rejoin.

use shared::ids::PeerId;

/// Why nothing was done to a peer.
#[derive(Debug, thiserror::Error)]
pub enum SwarmError {
    /// There is no local peer of that id.
    #[error("there is no local peer {0}")]
    NotFound(PeerId),
    /// The peer isn't in the state that the action needs.
    #[error("the peer is {0}")]
    WrongState(&'static str),
    /// As many peers as allowed run already.
    #[error("{0} peers run already, as many as allowed")]
    Full(u32),
    /// The peer couldn't be started.
    #[error("the peer could not be started")]
    Start(#[source] anyhow::Error),
}

/// The local peers; clones are the same swarm.
#[derive(Debug, Clone)]
pub struct Swarm {}

impl Swarm {
    /// Starts one more peer, which joins through one of those that run.
    ///
    /// # Errors
    /// When there is no room for it or its address can't be bound.
    pub async fn start_peer(&self) -> Result<PeerId, SwarmError> {
        Err(SwarmError::Full(0))
    }

    /// The peer says goodbye and stops.
    ///
    /// # Errors
    /// When no such peer runs.
    pub async fn leave(&self, peer: PeerId) -> Result<(), SwarmError> {
        Err(SwarmError::NotFound(peer))
    }

    /// The peer stops at once, without goodbye and without writing what it hasn't written.
    ///
    /// # Errors
    /// When no such peer runs.
    pub async fn kill(&self, peer: PeerId) -> Result<(), SwarmError> {
        Err(SwarmError::NotFound(peer))
    }

    /// A peer that left or was killed starts again at its address, with what it kept.
    ///
    /// # Errors
    /// When there is no such peer, or it runs.
    pub async fn rejoin(&self, peer: PeerId) -> Result<(), SwarmError> {
        Err(SwarmError::NotFound(peer))
    }
}
