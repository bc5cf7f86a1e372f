//! Log output. Field names in use: `peer.id`, `peer.addr`, `file.id`, `error`, `duration_ms`, `offences`.

use std::io::IsTerminal;

use clap::ValueEnum;
use tracing_subscriber::filter::{LevelFilter, Targets};
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;

/// How log lines look.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum LogFormat {
    /// For people.
    Human,
    /// One JSON object a line.
    Json,
}

/// Starts logging on standard error. `RUST_LOG` says what is logged (`debug`, or `info,server::peer=trace`); without it
/// `info`, and nothing from the AMQP library, which reports every loss itself although ours are told by the relay and
/// the bridge.
pub fn start(format: LogFormat) {
    let wanted: Option<Targets> = std::env::var("RUST_LOG").ok().and_then(|directives| directives.parse().ok());
    let filter = wanted.unwrap_or_else(|| Targets::new().with_default(LevelFilter::INFO));
    let subscriber = tracing_subscriber::registry().with(filter.with_target("lapin", LevelFilter::OFF));
    let lines =
        tracing_subscriber::fmt::layer().with_writer(std::io::stderr).with_ansi(std::io::stderr().is_terminal());
    match format {
        LogFormat::Human => subscriber.with(lines.with_target(false)).init(),
        LogFormat::Json => subscriber.with(lines.json()).init(),
    }
}
