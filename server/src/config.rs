//! Flags, environment and configuration file. Variables and the file's values become the flags' defaults, so that flags
//! beat them by themselves and every check is made once.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};

use clap::builder::{BoolishValueParser, Resettable};
use clap::error::{ContextKind, ContextValue, ErrorKind};
use clap::{Arg, ArgAction, ArgMatches, Command, CommandFactory, FromArgMatches};
use toml::{Table, Value};

use crate::cli::Cli;

/// What Kubernetes puts before the address of a service.
const SERVICE_SCHEMES: [&str; 3] = ["tcp://", "udp://", "sctp://"];

/// What was read.
#[derive(Debug)]
pub struct Settings {
    /// The command and its flags.
    pub cli: Cli,
    /// What there is to say about them once there is a log.
    pub notes: Vec<String>,
}

/// Why there is no usable configuration. Each but [`ConfigError::Help`] is one line.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// Help or the version was asked for, or is told because nothing was.
    #[error(transparent)]
    Help(clap::Error),
    /// A flag, or what stands for it in the environment or the file, is wrong.
    #[error("{0}")]
    Flags(String),
    /// The file can't be read.
    #[error("can't read the configuration file {path}")]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// The file isn't TOML.
    #[error("the configuration file {path} isn't valid TOML: line {line}: {reason}")]
    Syntax {
        /// The file.
        path: PathBuf,
        /// Where.
        line: usize,
        /// Why.
        reason: String,
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

/// Reads flags, what `variable` gives for the name of a variable, and the file.
///
/// # Errors
/// When one of them is wrong, or help was asked for.
pub fn read(
    args: impl IntoIterator<Item = OsString>,
    variable: impl Fn(&str) -> Option<OsString>,
) -> Result<Settings, ConfigError> {
    let args: Vec<OsString> = args.into_iter().collect();
    let mut layers = Layers { variable: &variable, presets: Vec::new(), service_links: BTreeMap::new() };
    let mut described = Cli::command();
    if let Some(path) = layers.file_named_by(&args) {
        described = layers.with_file(described, &path)?;
    }
    let mut command = layers.with_environment(described.clone());
    let matches = command.try_get_matches_from_mut(&args).map_err(|error| match error.kind() {
        // Told with what stands in the variables, which only clap's own description has.
        ErrorKind::DisplayHelp => {
            ConfigError::Help(described.clone().try_get_matches_from(&args).err().unwrap_or(error))
        }
        ErrorKind::DisplayVersion | ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand => ConfigError::Help(error),
        _ => ConfigError::Flags(layers.explain(error, &command)),
    })?;
    let cli = Cli::from_arg_matches(&matches).map_err(|error| ConfigError::Flags(layers.explain(error, &command)))?;
    match cli.command.contradiction() {
        Some(sentence) => Err(ConfigError::Flags(sentence)),
        None => Ok(Settings { notes: layers.notes(&described, &matches), cli }),
    }
}

/// What stands below the flags.
struct Layers<'a> {
    variable: &'a dyn Fn(&str) -> Option<OsString>,
    /// The values that didn't come from a flag.
    presets: Vec<Preset>,
    /// Variables that are Kubernetes', with what is in them.
    service_links: BTreeMap<String, OsString>,
}

/// A value of the environment or the file.
struct Preset {
    /// The flag's long name.
    flag: String,
    value: OsString,
    /// The variable, or the file.
    whence: String,
}

impl Layers<'_> {
    /// `--config` or its variable, before anything else is checked.
    fn file_named_by(&mut self, args: &[OsString]) -> Option<PathBuf> {
        let command = self.with_environment(Cli::command()).ignore_errors(true);
        let matches = command.try_get_matches_from(args).ok()?;
        let below = matches.subcommand().and_then(|(_, below)| below.try_get_one::<PathBuf>("config").ok().flatten());
        below.or_else(|| matches.try_get_one::<PathBuf>("config").ok().flatten()).cloned()
    }

    /// Variables are read here and not by clap: an empty one is none, and what Kubernetes sets for its own purposes isn't
    /// meant for us.
    fn with_environment(&mut self, command: Command) -> Command {
        command.mut_args(|arg| self.with_variable(arg)).mut_subcommands(|below| self.with_environment(below))
    }

    fn with_variable(&mut self, mut arg: Arg) -> Arg {
        if matches!(arg.get_action(), ArgAction::SetTrue) {
            arg = arg.value_parser(BoolishValueParser::new());
        }
        let Some(name) = arg.get_env().and_then(OsStr::to_str).map(str::to_owned) else { return arg };
        arg = arg.env(Resettable::Reset);
        match (self.variable)(&name).filter(|value| !value.is_empty()) {
            None => arg,
            Some(value) if is_service_link(&name, &value) => {
                self.service_links.insert(name, value);
                arg
            }
            Some(value) => self.preset(arg, vec![value], &name),
        }
    }

    fn with_file(&mut self, command: Command, path: &Path) -> Result<Command, ConfigError> {
        let text =
            std::fs::read_to_string(path).map_err(|source| ConfigError::Read { path: path.to_owned(), source })?;
        let file: Table = text.parse().map_err(|error: toml::de::Error| ConfigError::Syntax {
            path: path.to_owned(),
            line: error
                .span()
                .and_then(|span| text.get(..span.start))
                .map_or(1, |before| before.lines().count().max(1)),
            reason: error.message().replace('\n', "; "),
        })?;
        self.with_table(command, file, "", path)
    }

    /// The table `name` of the file, for its command.
    fn with_table(
        &mut self,
        mut command: Command,
        table: Table,
        name: &str,
        path: &Path,
    ) -> Result<Command, ConfigError> {
        for (key, value) in table {
            let name = if name.is_empty() { key.clone() } else { format!("{name}.{key}") };
            let unknown = || ConfigError::UnknownKey { path: path.to_owned(), key: name.clone() };
            if let Value::Table(below) = value {
                let subcommand = command.find_subcommand(&key).cloned().ok_or_else(unknown)?;
                let subcommand = self.with_table(subcommand, below, &name, path)?;
                command = command.mut_subcommand(&key, |_| subcommand);
            } else {
                let flag = flag_of(&command, &key).ok_or_else(unknown)?;
                let values = as_texts(value).ok_or_else(unknown)?;
                command = command.mut_arg(flag, |arg| self.preset(arg, values, &path.display().to_string()));
            }
        }
        Ok(command)
    }

    fn preset(&mut self, arg: Arg, values: Vec<OsString>, whence: &str) -> Arg {
        let flag = name_of(&arg).to_owned();
        let from = |value: &OsString| Preset { flag: flag.clone(), value: value.clone(), whence: whence.to_owned() };
        self.presets.extend(values.iter().map(from));
        let secret = arg.is_hide_env_values_set();
        arg.required(false).default_values(values).hide_default_value(secret)
    }

    /// clap's paragraphs as one line, without its hints how to ask for help and without secrets; and where a value came
    /// from that is in no flag.
    fn explain(&self, mut error: clap::Error, command: &Command) -> String {
        let text = |kind| match error.get(kind) {
            Some(ContextValue::String(text)) => text.clone(),
            _ => String::new(),
        };
        let (arg, value) = (text(ContextKind::InvalidArg), text(ContextKind::InvalidValue));
        let flag = arg.split_whitespace().next().unwrap_or_default().trim_start_matches("--").to_owned();
        let gave = |preset: &&Preset| preset.flag == flag && preset.value.to_string_lossy().contains(&value);
        let whence = self.presets.iter().rfind(gave).map(|preset| format!(" (from {})", preset.whence));
        if is_secret(command, &flag) && !value.is_empty() {
            error.insert(ContextKind::InvalidValue, ContextValue::String("…".to_owned()));
        }
        let told = error.render().to_string();
        let told = told.strip_prefix("error: ").unwrap_or(&told);
        let hints = ["Usage:", "For more information"];
        let paragraphs = told.split("\n\n").filter(|paragraph| !hints.iter().any(|hint| paragraph.starts_with(hint)));
        let lines = paragraphs.map(|paragraph| paragraph.lines().map(str::trim).collect::<Vec<_>>().join(" "));
        let line = lines.map(|line| line.trim().to_owned()).collect::<Vec<_>>().join("; ");
        format!("{line}{}", whence.unwrap_or_default())
    }

    /// Of the variables that the command reads, those that are Kubernetes'.
    fn notes(&self, described: &Command, matches: &ArgMatches) -> Vec<String> {
        let read = variables(described, matches);
        let links = self.service_links.iter().filter(|(name, _)| read.contains(&OsStr::new(name)));
        let note = |(name, value): (&String, &OsString)| {
            let value = value.to_string_lossy();
            format!(
                "{name}={value} is what Kubernetes says of a service of that name, and no value for a flag: ignored"
            )
        };
        links.map(note).collect()
    }
}

/// The variables that the chosen command reads.
fn variables<'a>(command: &'a Command, matches: &ArgMatches) -> Vec<&'a OsStr> {
    let mut variables: Vec<&OsStr> = command.get_arguments().filter_map(Arg::get_env).collect();
    if let Some((name, below)) = matches.subcommand()
        && let Some(subcommand) = command.find_subcommand(name)
    {
        variables.extend(self::variables(subcommand, below));
    }
    variables
}

fn is_service_link(name: &str, value: &OsStr) -> bool {
    let value = value.to_string_lossy();
    name.ends_with("_PORT") && SERVICE_SCHEMES.iter().any(|scheme| value.starts_with(scheme))
}

/// Whether a flag's value mustn't be shown, whatever command has it.
fn is_secret(command: &Command, flag: &str) -> bool {
    command.get_arguments().any(|arg| name_of(arg) == flag && arg.is_hide_env_values_set())
        || command.get_subcommands().any(|below| is_secret(below, flag))
}

/// A flag by its long name, or a value without one by its own; a file doesn't name another one.
fn flag_of(command: &Command, name: &str) -> Option<clap::Id> {
    let flag = command.get_arguments().find(|arg| name_of(arg) == name && name != "config")?;
    Some(flag.get_id().clone())
}

fn name_of(arg: &Arg) -> &str {
    arg.get_long().unwrap_or(arg.get_id().as_str())
}

/// One value, or several for a flag that can be repeated.
fn as_texts(value: Value) -> Option<Vec<OsString>> {
    let text = match value {
        Value::String(text) => text,
        Value::Integer(number) => number.to_string(),
        Value::Float(number) => number.to_string(),
        Value::Boolean(flag) => flag.to_string(),
        Value::Array(values) => return values.into_iter().map(|one| as_texts(one)?.pop()).collect(),
        Value::Datetime(_) | Value::Table(_) => return None,
    };
    Some(vec![text.into()])
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;
    use crate::cli;

    fn read_with(file: &str, flags: &[&str], variables: &[(&str, &str)]) -> Result<Settings, ConfigError> {
        let mut config = tempfile::NamedTempFile::new().unwrap();
        config.write_all(file.as_bytes()).unwrap();
        let path = config.path().to_str().unwrap().to_owned();
        let words = ["grapevine", "serve", "--config", &path].into_iter().chain(flags.iter().copied());
        let variable = |name: &str| variables.iter().find(|(known, _)| *known == name).map(|(_, value)| value.into());
        read(words.map(OsString::from), variable)
    }

    fn port(file: &str, flags: &[&str], variables: &[(&str, &str)]) -> u16 {
        let cli::Command::Serve(serve) = read_with(file, flags, variables).unwrap().cli.command else {
            panic!("not serve")
        };
        serve.port
    }

    fn refusal(file: &str, flags: &[&str], variables: &[(&str, &str)]) -> String {
        read_with(file, flags, variables).unwrap_err().to_string()
    }

    #[test]
    fn a_flag_beats_the_environment_which_beats_the_file_which_beats_the_default() {
        let (file, variable) = ("[serve]\nport = 8100", ("GRAPEVINE_PORT", "8200"));
        assert_eq!(port("", &[], &[]), 8000);
        assert_eq!(port(file, &[], &[]), 8100);
        assert_eq!(port(file, &[], &[variable]), 8200);
        assert_eq!(port(file, &["--port", "8300"], &[variable]), 8300);
    }

    #[test]
    fn an_unknown_key_is_an_error() {
        for (file, key) in [
            ("[serve]\nprot = 1", "serve.prot"),
            ("[server]\nport = 1", "server"),
            ("port = 1", "port"),
            ("[bench.gossips]\nnodes = 2", "bench.gossips"),
            ("config = 'other'", "config"),
        ] {
            let refusal = refusal(file, &[], &[]);
            assert!(refusal.ends_with(&format!("has an unknown key {key:?}")), "{refusal}");
        }
    }

    #[test]
    fn what_is_no_toml_is_told_in_one_line_with_its_place() {
        let refusal = refusal("[serve]\nport = 1\nport = = 2\n", &[], &[]);
        assert!(refusal.contains("line 3: ") && !refusal.contains('\n'), "{refusal}");
    }

    #[test]
    fn a_wrong_value_is_told_with_where_it_came_from() {
        let told = "invalid value '70000' for '--port <PORT>': 70000 is not in 0..=65535";
        assert_eq!(refusal("", &["--port", "70000"], &[]), told);
        assert_eq!(refusal("", &[], &[("GRAPEVINE_PORT", "70000")]), format!("{told} (from GRAPEVINE_PORT)"));
        let from_file = refusal("[serve]\nport = 70000", &[], &[]);
        assert!(from_file.starts_with(&format!("{told} (from /")), "{from_file}");
        assert_eq!(
            refusal("", &["--prot", "1"], &[]),
            "unexpected argument '--prot' found; tip: a similar argument exists: '--port'"
        );
    }

    #[test]
    fn a_password_is_never_told() {
        let url = "http://me:secret@broker/";
        for refusal in [
            refusal("", &["--amqp-url", url], &[]),
            refusal("", &[], &[("GRAPEVINE_AMQP_URL", url)]),
            refusal(&format!("[serve]\namqp-url = '{url}'"), &[], &[]),
        ] {
            assert!(refusal.contains("--amqp-url") && !refusal.contains("secret"), "{refusal}");
        }
        let right = "amqp://me:secret@broker/";
        let help = read_with(&format!("[serve]\namqp-url = '{right}'"), &["--help"], &[("GRAPEVINE_AMQP_URL", right)]);
        let help = help.unwrap_err().to_string();
        assert!(help.contains("--amqp-url") && !help.contains("secret"), "{help}");
    }

    #[test]
    fn what_kubernetes_says_of_a_service_called_grapevine_is_no_port_and_is_said() {
        let link = ("GRAPEVINE_PORT", "tcp://10.0.0.7:8000");
        let others = [("GRAPEVINE_SERVICE_HOST", "10.0.0.7"), ("GRAPEVINE_PORT_8000_TCP", "tcp://10.0.0.7:8000")];
        let variables = [link, ("GRAPEVINE_PEER_PORT", "tcp://10.0.0.8:9001"), others[0], others[1]];
        let Settings { cli, notes } = read_with("", &[], &variables).unwrap();
        let cli::Command::Serve(serve) = cli.command else { panic!("not serve") };
        assert_eq!((serve.port, serve.peer_port), (8000, 9001));
        assert_eq!(notes.len(), 2, "{notes:?}");
        assert!(notes.iter().any(|note| note.starts_with("GRAPEVINE_PORT=tcp://10.0.0.7:8000 is ")), "{notes:?}");
        assert_eq!(port("[serve]\nport = 8100", &[], &[link]), 8100);
        // A command without a port has nothing to say about it.
        let variable = |name: &str| (name == link.0).then(|| link.1.into());
        let watch = read(["grapevine", "watch"].map(OsString::from), variable).unwrap();
        assert_eq!(watch.notes, [""; 0]);
        assert!(read_with("", &[], &[("GRAPEVINE_PORT", "http://10.0.0.7")]).is_err());
    }
}
