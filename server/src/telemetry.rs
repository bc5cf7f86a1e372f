//! Log output. Field names in use: `peer.id`, `peer.addr`, `file.id`, `error`, `duration_ms`.

use std::io::IsTerminal;

use clap::ValueEnum;
use tracing_subscriber::EnvFilter;
use tracing_subscriber::filter::Directive;

/// How log lines look.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum LogFormat {
    /// For people.
    Human,
    /// One JSON object a line.
    Json,
}

/// Starts logging on standard error. `RUST_LOG` says what is logged; without it `info`, and nothing from the AMQP
/// library, which reports every loss itself although ours are told by the relay and the bridge.
pub fn start(format: LogFormat) {
    let quiet: Option<Directive> = "lapin=off".parse().ok();
    let filter = EnvFilter::builder().with_default_directive(tracing::Level::INFO.into()).from_env_lossy();
    let filter = quiet.into_iter().fold(filter, EnvFilter::add_directive);
    let colours = std::io::stderr().is_terminal();
    let lines = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).with_ansi(colours);
    match format {
        LogFormat::Human => lines.with_target(false).init(),
        LogFormat::Json => lines.json().init(),
    }
}
