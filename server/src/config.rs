//! The configuration file: its values become the flags' defaults, so that flags and environment beat it by
//! themselves and every check is made once.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use clap::{CommandFactory, FromArgMatches};
use toml::{Table, Value};

use crate::cli::Cli;

/// Why there is no usable configuration.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The flags are wrong, or help was asked for.
    #[error(transparent)]
    Flags(#[from] clap::Error),
    /// The file can't be read.
    #[error("can't read the configuration file {path}")]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// The file isn't TOML.
    #[error("the configuration file {path} isn't valid TOML")]
    Syntax {
        /// The file.
        path: PathBuf,
        /// Where and why.
        source: Box<toml::de::Error>,
    },
    /// The file has a key that means nothing.
    #[error("the configuration file {path} has an unknown key {key:?}")]
    UnknownKey {
        /// The file.
        path: PathBuf,
        /// The key, with its table.
        key: String,
    },
}

/// Reads flags, environment and file.
///
/// # Errors
/// When one of them is wrong.
pub fn read(args: impl IntoIterator<Item = OsString>) -> Result<Cli, ConfigError> {
    let args: Vec<OsString> = args.into_iter().collect();
    let command = match file_named_by(&args) {
        Some(path) => with_file(Cli::command(), &path)?,
        None => Cli::command(),
    };
    Ok(Cli::from_arg_matches(&command.try_get_matches_from(args)?)?)
}

/// `--config` or its variable, before anything else is checked.
fn file_named_by(args: &[OsString]) -> Option<PathBuf> {
    let matches = Cli::command().ignore_errors(true).try_get_matches_from(args).ok()?;
    let below = matches.subcommand().and_then(|(_, below)| below.try_get_one::<PathBuf>("config").ok().flatten());
    below.or_else(|| matches.try_get_one::<PathBuf>("config").ok().flatten()).cloned()
}

fn with_file(mut command: clap::Command, path: &Path) -> Result<clap::Command, ConfigError> {
    let text = std::fs::read_to_string(path).map_err(|source| ConfigError::Read { path: path.to_owned(), source })?;
    let syntax = |source| ConfigError::Syntax { path: path.to_owned(), source: Box::new(source) };
    let file: Table = text.parse().map_err(syntax)?;
    for (name, values) in file {
        let unknown = |key: String| ConfigError::UnknownKey { path: path.to_owned(), key };
        let Value::Table(values) = values else { return Err(unknown(name)) };
        if command.find_subcommand(&name).is_none() {
            return Err(unknown(name));
        }
        for (key, value) in values {
            let known = command.find_subcommand(&name).is_some_and(|sub| has_flag(sub, &key));
            let (Some(value), true) = (as_texts(value), known) else { return Err(unknown(format!("{name}.{key}"))) };
            let id = id_of(command.find_subcommand(&name), &key);
            command =
                command.mut_subcommand(&name, |sub| sub.mut_arg(id, |arg| arg.required(false).default_values(value)));
        }
    }
    Ok(command)
}

fn has_flag(command: &clap::Command, key: &str) -> bool {
    command.get_arguments().any(|arg| arg.get_long() == Some(key))
}

/// clap's own name of a flag.
fn id_of(command: Option<&clap::Command>, key: &str) -> clap::Id {
    let flags = command.into_iter().flat_map(clap::Command::get_arguments);
    flags.filter(|arg| arg.get_long() == Some(key)).map(|arg| arg.get_id().clone()).next().unwrap_or_default()
}

/// One value, or several for a flag that can be repeated.
fn as_texts(value: Value) -> Option<Vec<String>> {
    match value {
        Value::String(text) => Some(vec![text]),
        Value::Integer(number) => Some(vec![number.to_string()]),
        Value::Boolean(flag) => Some(vec![flag.to_string()]),
        Value::Array(values) => values.into_iter().map(|one| as_texts(one)?.pop()).collect(),
        Value::Float(_) | Value::Datetime(_) | Value::Table(_) => None,
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;
    use crate::cli::Command;

    fn read_with(file: &str, flags: &[&str]) -> Result<Cli, ConfigError> {
        let mut config = tempfile::NamedTempFile::new().unwrap();
        config.write_all(file.as_bytes()).unwrap();
        let path = config.path().to_str().unwrap().to_owned();
        let words = ["grapevine", "serve", "--config", &path].into_iter().chain(flags.iter().copied());
        read(words.map(OsString::from))
    }

    fn port(file: &str, flags: &[&str]) -> u16 {
        let Command::Serve(serve) = read_with(file, flags).unwrap().command else { panic!("not serve") };
        serve.port
    }

    #[test]
    fn a_flag_beats_the_file_and_the_file_beats_the_default() {
        assert_eq!(port("", &[]), 8000);
        assert_eq!(port("[serve]\nport = 8100", &[]), 8100);
        assert_eq!(port("[serve]\nport = 8100", &["--port", "8200"]), 8200);
    }

    #[test]
    fn an_unknown_key_is_an_error() {
        let error = read_with("[serve]\nprot = 1", &[]).unwrap_err();
        assert!(error.to_string().contains("serve.prot"), "{error}");
        assert!(read_with("[server]\nport = 1", &[]).is_err());
        assert!(read_with("port = 1", &[]).is_err());
    }

    #[test]
    fn a_value_of_the_file_is_checked_like_a_flag() {
        assert!(matches!(read_with("[serve]\nport = 70000", &[]), Err(ConfigError::Flags(_))));
    }
}
