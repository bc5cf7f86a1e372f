//! Everything Grapevine can decide without touching the world: vocabulary, formats, the gossip protocol and its
//! simulator. No IO, no clock, no ambient chance: time, bytes and randomness come in as arguments.
//!
//! Read in this order: [`ids`], [`wire`], [`gossip`], [`content`], [`sim`].
#![warn(clippy::float_arithmetic)]
#![cfg_attr(not(test), warn(clippy::wildcard_enum_match_arm))]

pub mod backoff;
pub mod content;
pub mod gossip;
pub mod ids;
pub mod rng;
pub mod sim;
pub mod stamp;
pub mod time;
pub mod wire;
pub mod words;
