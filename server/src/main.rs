//! The `grapevine` binary: parse, start logs, run, print what went wrong, exit code.

use std::io::Write;
use std::process::ExitCode;

use server::broker::explain;
use server::config::{ConfigError, Settings};
use server::{app, config, output, telemetry};
use tracing::info;

/// Exit code for wrong flags and other bad input.
const BAD_INPUT: u8 = 2;

fn main() -> ExitCode {
    let Settings { cli, notes } = match config::read(std::env::args_os(), |name| std::env::var_os(name)) {
        Ok(settings) => settings,
        Err(ConfigError::Help(error)) => {
            // clap knows where to print what, and a closed terminal is no error.
            drop(error.print());
            return ExitCode::from(u8::try_from(error.exit_code()).unwrap_or(BAD_INPUT));
        }
        Err(error) => return fail(&error.into(), BAD_INPUT),
    };
    telemetry::start(cli.log_format, std::env::var_os("NO_COLOR").as_deref(), app::log_output(&cli.command));
    for note in notes {
        info!("{note}");
    }
    match app::run(cli.command) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) if output::ended(&error) => ExitCode::SUCCESS,
        Err(error) => {
            let bad_input = error.downcast_ref::<app::BadInput>().is_some();
            fail(&error, if bad_input { BAD_INPUT } else { 1 })
        }
    }
}

/// The one line that says why the command ends, whatever is logged.
fn fail(error: &anyhow::Error, code: u8) -> ExitCode {
    // Nobody may read it any longer.
    drop(writeln!(std::io::stderr(), "grapevine: error: {}", explain(error.as_ref())));
    ExitCode::from(code)
}
