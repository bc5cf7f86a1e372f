//! The protocol in virtual time: the same [`crate::gossip::node::Node`], with links, disks and faults that follow from
//! one seed. Every message goes through the real encoder and decoder.
//!
//! Safety is checked after each step: a peer's version of a file never goes backwards, and nobody knows a change that
//! nobody made. Once the faults have ended, liveness: peers that can reach each other end with the same catalogue.

pub mod check;
pub mod host;
pub mod network;
pub mod outcome;
pub mod queue;
pub mod report;
pub mod scenario;
pub mod story;
pub mod world;
