//! The gossip protocol, as a state machine that owns no socket, clock or chance of its own.
//!
//! Every peer keeps links (TCP connections) to a few neighbours ([`membership`]: `HyParView`) with which it gets to
//! know each other first ([`handshake`]), pushes news ([`updates`]) along a tree of links and announces it on the
//! others ([`tree`]: Plumtree), compares what it knows with its neighbours ([`anti_entropy`]), watches whether they
//! live ([`liveness`]), and tells of itself ([`census`]). Each of these is a state machine; a [`node`] is all of them:
//!
//! ```text
//!   a                                              b
//!   │ ── Hello {id, address, Join} ──────────────▶ │   both sides, first; other cluster or major version: Goodbye
//!   │ ◀─────────────── Hello {id, address} ─────── │
//!   │ ◀─────────────── Welcome {others} ────────── │   now they are neighbours; or Goodbye {full, others}
//!   │                   ForwardJoin {a, ttl} ────▶ │   b sends it on walks; who it ends at dials a
//!   │ ── Reconcile [the sum of all I know] ──────▶ │   equal: silence; else
//!   │ ◀─────────────── Reconcile [16 sums] ─────── │   range by range, down to lists
//!   │ ── Request [range, keys] ──────────────────▶ │
//!   │ ◀─────────────── State {256 files, rest} ─── │   and again for the rest
//!   │ ── Broadcast {source, number, news} ───────▶ │   along the tree; twice: Prune; on other links: IHave
//!   │ ◀─────────────── Graft [what I miss] ─────── │
//!   │ ── Ping {sum} / Pong {sum} ────────────────▶ │   when the link has been silent
//!   │ ── Goodbye {reason} ───────────────────────▶ │
//!
//!   bridge ── Submit {n, change} ──▶ entry peer ── Accepted {n} ──▶ bridge      once the change is on disk
//! ```
//!
//! Peers of the original system speak JSON lines instead: see [`originals`].
//!
//! A driver feeds a [`node::Node`] with [`io::Input`]s, drains its [`io::Output`]s after each, and wakes it at
//! `next_wake`. There are two drivers: the server's peer actor and the simulator in [`crate::sim`].

pub mod anti_entropy;
pub mod branch;
pub mod catalogue;
pub mod census;
pub mod comparison;
pub mod config;
pub mod deadlines;
pub mod estimate;
pub mod failure_detector;
pub mod graft_timers;
pub mod handshake;
pub mod io;
pub mod ledger;
pub mod links;
pub mod liveness;
pub mod membership;
pub mod node;
pub mod originals;
pub mod reason;
pub mod recent;
pub mod reconcile;
pub mod root;
pub mod runtime;
pub mod stats;
pub mod story;
pub mod streams;
pub mod tree;
pub mod updates;
pub mod whereabouts;
