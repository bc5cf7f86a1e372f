//! Log output. Field names in use: `peer.id`, `peer.addr`, `file.id`, `error`, `duration_ms`, `offences`.

use std::ffi::OsStr;
use std::io::{self, IsTerminal, Write};
use std::sync::Once;

use clap::ValueEnum;
use rustix::process::{Signal, getpid, kill_process};
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

/// Where log lines go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogOutput {
    /// To standard error. When who reads it is gone (`2>&1 | head`), the process is asked to stop, as a pipe's end would
    /// ask it if Rust didn't ignore that signal: a server ends in order, and nobody waits for one whose words go nowhere.
    Terminal,
    /// To nobody: what is measured logs all that it logs otherwise, at the same cost but for who reads it.
    Nowhere,
}

/// Starts logging to `output`. `RUST_LOG` says what is logged (`debug`, or `info,server::peer=trace`); without it
/// `info`, and nothing from the AMQP library, which reports every loss itself although ours are told by the relay and
/// the bridge, nor which files of the page there are. `no_color` is the variable of that name.
pub fn start(format: LogFormat, no_color: Option<&OsStr>, output: LogOutput) {
    let wanted: Option<Targets> = std::env::var("RUST_LOG").ok().and_then(|directives| directives.parse().ok());
    let usual = || Targets::new().with_default(LevelFilter::INFO).with_target("memory_serve", LevelFilter::WARN);
    let filter = wanted.unwrap_or_else(usual);
    let subscriber = tracing_subscriber::registry().with(filter.with_target("lapin", LevelFilter::OFF));
    let lines = tracing_subscriber::fmt::layer()
        .with_writer(move || output)
        .with_ansi(is_coloured(io::stderr().is_terminal(), no_color))
        // It would be printed where printing just failed, and panic.
        .log_internal_errors(false);
    match format {
        LogFormat::Human => subscriber.with(lines.with_target(false)).init(),
        LogFormat::Json => subscriber.with(lines.json()).init(),
    }
}

/// As <https://no-color.org> has it: any value but the empty one turns colours off.
fn is_coloured(terminal: bool, no_color: Option<&OsStr>) -> bool {
    terminal && no_color.is_none_or(OsStr::is_empty)
}

impl Write for LogOutput {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = match self {
            Self::Terminal => io::stderr().write(bytes),
            Self::Nowhere => Ok(bytes.len()),
        };
        if written.as_ref().is_err_and(|error| error.kind() == io::ErrorKind::BrokenPipe) {
            static ASKED: Once = Once::new();
            ASKED.call_once(|| {
                // If it can't be sent, the process goes on without a log.
                let _sent = kill_process(getpid(), Signal::TERM);
            });
        }
        written
    }

    fn flush(&mut self) -> io::Result<()> {
        match self {
            Self::Terminal => io::stderr().flush(),
            Self::Nowhere => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_color_is_obeyed_unless_it_is_empty() {
        assert!(is_coloured(true, None));
        assert!(is_coloured(true, Some(OsStr::new(""))));
        assert!(!is_coloured(true, Some(OsStr::new("0"))));
        assert!(!is_coloured(false, None));
    }
}
