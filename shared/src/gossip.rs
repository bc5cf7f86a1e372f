//! The gossip protocol, as a state machine that owns no socket, clock or chance of its own.
//!
//! Every peer keeps links (TCP connections) to a bounded set of neighbours, learns addresses from them, and passes on
//! every change that is news to it:
//!
//! ```text
//!   a                                        b
//!   │ ── Hello {id, address} ──────────────▶ │   both sides, first; other cluster or major version: Goodbye
//!   │ ◀────────────── Hello {id, address} ── │
//!   │ ── Peers [addresses] ────────────────▶ │   both sides: what I know; the news among them goes on to others
//!   │ ── Pull {after: nothing} ────────────▶ │   both sides: the catalogue, page by page
//!   │ ◀──────────────── State {256, more} ── │
//!   │ ── Pull {after: the last of them} ───▶ │
//!   │ ◀──────────────────── State {17, –} ── │
//!   │ ── Update {change, hops} ────────────▶ │   flooded: passed on once, by whom it is news, to all but its sender
//!   │ ── Ping / Pong ──────────────────────▶ │   when the link has been silent
//!   │ ── Goodbye {reason} ─────────────────▶ │
//!
//!   bridge ── Submit {n, change} ──▶ entry peer ── Accepted {n} ──▶ bridge      once the change is on disk
//! ```
//!
//! A driver feeds a [`node::Node`] with [`io::Input`]s, drains its [`io::Output`]s after each, and wakes it at
//! `next_wake`. There are two drivers: the server's peer actor and the simulator in [`crate::sim`].

pub mod catalogue;
pub mod config;
pub mod io;
pub mod links;
pub mod membership;
pub mod node;
