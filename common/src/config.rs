//! One configuration from three places: flags win over the environment, the environment over a TOML file, the
//! file over defaults. A file's keys are the names of the long flags, without the dashes.

use clap::{Arg, ArgMatches, Command, Parser};
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use toml::Value;

/// Why a configuration file can't be used.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// It can't be read.
    #[error("can't read the configuration file {path}")]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// It is not TOML.
    #[error("the configuration file {path} is not valid TOML")]
    Malformed {
        /// The file.
        path: PathBuf,
        /// Where it is wrong.
        #[source]
        source: Box<toml::de::Error>,
    },
    /// It has a key that is not a flag of this command.
    #[error("{path}: unknown key {key:?}; the keys are the long flags, see --help")]
    UnknownKey {
        /// The file.
        path: PathBuf,
        /// The key.
        key: String,
    },
    /// A key has a value that no flag could have.
    #[error("{path}: {key} must be a text, a number, a boolean or a list of these")]
    Value {
        /// The file.
        path: PathBuf,
        /// The key.
        key: String,
    },
}

/// Parses the command line; when it names a file by `--config` or `COIL_CONFIG`, that file's values become the
/// defaults of the flags that it names. Prints help, version and errors of usage as clap does, and exits then.
pub fn parse<T: Parser>() -> Result<T, ConfigError> {
    let args: Vec<OsString> = std::env::args_os().collect();
    let file = file_named_by(&args).or_else(|| std::env::var_os("COIL_CONFIG").map(PathBuf::from));
    let command = match file {
        Some(path) => with_defaults(T::command(), &path, &read(&path)?, &args)?,
        None => T::command(),
    };
    let matches: ArgMatches = command.get_matches_from(args);
    Ok(T::from_arg_matches(&matches).unwrap_or_else(|error| error.exit()))
}

fn file_named_by(args: &[OsString]) -> Option<PathBuf> {
    let mut args = args.iter().filter_map(|arg| arg.to_str());
    while let Some(arg) = args.next() {
        match arg.strip_prefix("--config") {
            Some("") => return args.next().map(PathBuf::from),
            Some(value) if value.starts_with('=') => return Some(PathBuf::from(&value[1..])),
            _ => {}
        }
    }
    None
}

fn read(path: &Path) -> Result<toml::Table, ConfigError> {
    let text = std::fs::read_to_string(path)
        .map_err(|source| ConfigError::Unreadable { path: path.to_owned(), source })?;
    text.parse().map_err(|source| ConfigError::Malformed { path: path.to_owned(), source: Box::new(source) })
}

fn with_defaults(
    command: Command,
    path: &Path,
    table: &toml::Table,
    args: &[OsString],
) -> Result<Command, ConfigError> {
    // The file speaks to the subcommand that was called, if there are any, but for the flags that all of them have.
    let global =
        |key: &str| command.get_arguments().any(|arg| arg.is_global_set() && arg.get_long() == Some(key));
    let (global, own): (toml::Table, toml::Table) =
        table.clone().into_iter().partition(|(key, _)| global(key));
    let command = set_defaults(command, path, &global).map_err(|(_, error)| error)?;
    let called = command
        .get_subcommands()
        .map(|sub| sub.get_name().to_owned())
        .find(|name| args.iter().any(|arg| arg.to_str() == Some(name)));
    match called {
        Some(name) => {
            let mut result = Ok(());
            let command = command.mut_subcommand(name, |sub| {
                set_defaults(sub, path, &own).unwrap_or_else(|(sub, error)| {
                    result = Err(error);
                    *sub
                })
            });
            result.map(|()| command)
        }
        None => set_defaults(command, path, &own).map_err(|(_, error)| error),
    }
}

fn set_defaults(
    mut command: Command,
    path: &Path,
    table: &toml::Table,
) -> Result<Command, (Box<Command>, ConfigError)> {
    for (key, value) in table {
        let long = |arg: &&Arg| arg.get_long() == Some(key.as_str()) && key != "config";
        let Some(id) = command.get_arguments().find(long).map(|arg| arg.get_id().clone()) else {
            let error = ConfigError::UnknownKey { path: path.to_owned(), key: key.clone() };
            return Err((Box::new(command), error));
        };
        let values: Option<Vec<String>> = match value {
            Value::Array(items) => items.iter().map(scalar).collect(),
            other => scalar(other).map(|value| vec![value]),
        };
        let Some(values) = values else {
            let error = ConfigError::Value { path: path.to_owned(), key: key.clone() };
            return Err((Box::new(command), error));
        };
        command = command.mut_arg(id, |arg| arg.required(false).default_values(values));
    }
    Ok(command)
}

fn scalar(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text.clone()),
        Value::Integer(number) => Some(number.to_string()),
        Value::Float(number) => Some(number.to_string()),
        Value::Boolean(flag) => Some(flag.to_string()),
        Value::Datetime(_) | Value::Array(_) | Value::Table(_) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::{CommandFactory, FromArgMatches};

    #[derive(Debug, Parser)]
    struct Flags {
        #[arg(long)]
        config: Option<PathBuf>,
        #[arg(long, default_value = "a")]
        name: String,
        #[arg(long, value_delimiter = ',', required = true)]
        endpoints: Vec<String>,
        #[arg(long)]
        verbose: bool,
    }

    fn flags(file: &str, args: &[&str]) -> Result<Flags, String> {
        let args: Vec<OsString> =
            std::iter::once("prog").chain(args.iter().copied()).map(OsString::from).collect();
        let table = file.parse().expect("TOML");
        let command = with_defaults(Flags::command(), Path::new("f"), &table, &args)
            .map_err(|error| error.to_string())?;
        let matches = command.try_get_matches_from(args).map_err(|error| error.to_string())?;
        Flags::from_arg_matches(&matches).map_err(|error| error.to_string())
    }

    #[test]
    fn flags_win_over_the_file_and_the_file_over_defaults() {
        let file = "name = 'b'\nendpoints = ['x', 'y']\nverbose = true";
        let from_file = flags(file, &[]).expect("valid");
        assert_eq!((from_file.name.as_str(), from_file.verbose), ("b", true));
        assert_eq!(from_file.endpoints, ["x", "y"]);
        let from_flags = flags(file, &["--name", "c", "--endpoints=z"]).expect("valid");
        assert_eq!((from_flags.name.as_str(), from_flags.endpoints), ("c", vec!["z".to_owned()]));
    }

    #[derive(Debug, Parser)]
    struct Tool {
        #[arg(long, global = true, default_value = "here")]
        server: String,
        #[command(subcommand)]
        noun: Noun,
    }

    #[derive(Debug, clap::Subcommand)]
    enum Noun {
        Show {
            #[arg(long, default_value = "1")]
            depth: u8,
        },
    }

    #[test]
    fn the_file_speaks_to_the_subcommand_and_to_global_flags() {
        let parse = |file: &str, args: &[&str]| {
            let args: Vec<OsString> = args.iter().map(OsString::from).collect();
            let table = file.parse().expect("TOML");
            let command =
                with_defaults(Tool::command(), Path::new("f"), &table, &args).map_err(|e| e.to_string())?;
            let matches = command.try_get_matches_from(args).map_err(|e| e.to_string())?;
            Tool::from_arg_matches(&matches).map_err(|e| e.to_string())
        };
        let file = "server = 'there'\ndepth = 2";
        let Tool { server, noun: Noun::Show { depth } } = parse(file, &["t", "show"]).expect("valid");
        assert_eq!((server.as_str(), depth), ("there", 2));
        let flags = ["t", "show", "--server", "elsewhere", "--depth", "3"];
        let Tool { server, noun: Noun::Show { depth } } = parse(file, &flags).expect("valid");
        assert_eq!((server.as_str(), depth), ("elsewhere", 3));
        assert!(parse("depht = 2", &["t", "show"]).expect_err("typo").contains("unknown key \"depht\""));
    }

    #[test]
    fn a_wrong_file_is_refused_by_key() {
        assert!(flags("nmae = 'b'", &[]).expect_err("typo").contains("unknown key \"nmae\""));
        assert!(flags("config = 'b'", &[]).expect_err("recursive").contains("unknown key \"config\""));
        assert!(flags("name = {}", &[]).expect_err("table").contains("name must be a text"));
    }

    #[test]
    fn the_file_is_found_in_both_spellings() {
        let args = |list: &[&str]| list.iter().map(OsString::from).collect::<Vec<_>>();
        assert_eq!(file_named_by(&args(&["p", "--config", "f"])), Some("f".into()));
        assert_eq!(file_named_by(&args(&["p", "--config=f"])), Some("f".into()));
        assert_eq!(file_named_by(&args(&["p", "--configure=f"])), None);
    }
}
