//! The parts of the `grapevine` binary. Parts don't import each other; [`app`] joins them.

pub mod app;
pub mod bench;
pub mod bridge;
pub mod broker;
pub mod cli;
pub mod concurrency;
pub mod config;
pub mod db;
pub mod dial;
pub mod front;
pub mod fsck;
pub mod http;
pub mod hub;
pub mod outage;
pub mod peer;
pub mod relay;
pub mod republish;
pub mod shutdown;
pub mod simulate;
pub mod store;
pub mod swarm;
pub mod telemetry;
pub mod wall;
pub mod watch;
