//! How the bytes of files get everywhere, as far as that can be decided without touching any: a content is cut into chunks
//! ([`cut`]) that a manifest names ([`builder`], [`manifest`]), so that each can be verified as it comes, from whomever; and
//! what is asked of whom ([`fetch`]).
//!
//! It is a sibling of [`crate::gossip`], which brings the news; neither knows the other. A driver owns files and sockets.

pub mod bits;
pub mod builder;
pub mod cut;
pub mod fetch;
pub mod io;
pub mod manifest;
