//! The `grapevine` binary: parse, start logs, run, print what went wrong, exit code.

use std::process::ExitCode;

use server::config::ConfigError;
use server::{app, config, telemetry};

/// Exit code for wrong flags and other bad input.
const BAD_INPUT: u8 = 2;

fn main() -> ExitCode {
    let cli = match config::read(std::env::args_os()) {
        Ok(cli) => cli,
        Err(ConfigError::Flags(error)) => {
            // Help and version come this way, too; clap knows where to print what, and a closed terminal is no error.
            drop(error.print());
            return ExitCode::from(u8::try_from(error.exit_code()).unwrap_or(BAD_INPUT));
        }
        Err(error) => return fail(&error.into(), BAD_INPUT),
    };
    telemetry::start(cli.log_format);
    match app::run(cli.command) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            let bad_input = error.downcast_ref::<app::BadInput>().is_some();
            fail(&error, if bad_input { BAD_INPUT } else { 1 })
        }
    }
}

#[expect(clippy::print_stderr, reason = "the one line that says why the command ends, whatever is logged")]
fn fail(error: &anyhow::Error, code: u8) -> ExitCode {
    eprintln!("grapevine: error: {error:#}");
    ExitCode::from(code)
}
