//! What the runtime says in the environment: the command, the container, and `CNI_ARGS`.

use common::name::{ContainerId, IfName, NameError, PodText};
use common::wire::node::annotation;
use ipnet::IpNet;
use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fmt;
use std::net::IpAddr;
use std::path::PathBuf;

/// A variable that is missing or wrong.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum EnvError {
    /// It is needed for this command.
    #[error("{variable} is missing, {command} needs it")]
    Missing {
        /// The variable.
        variable: &'static str,
        /// The command.
        command: Command,
    },
    /// It is not UTF-8.
    #[error("{variable} is not valid UTF-8")]
    Encoding {
        /// The variable.
        variable: &'static str,
    },
    /// It names no command.
    #[error("CNI_COMMAND {0:?} is none of ADD, DEL, CHECK, GC, STATUS, VERSION")]
    Command(String),
    /// It is not a name of its kind.
    #[error("{variable}: {reason}")]
    Name {
        /// The variable.
        variable: &'static str,
        /// Why.
        reason: NameError,
    },
    /// A part of `CNI_ARGS` is wrong.
    #[error("CNI_ARGS: {0}")]
    Args(String),
}

/// What the runtime wants.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Command {
    /// Attach a container.
    Add,
    /// Detach it.
    Del,
    /// See whether an attachment is as ADD made it.
    Check,
    /// Clean up after attachments that are gone.
    Gc,
    /// Say whether ADD would work.
    Status,
    /// Say which versions of the specification are spoken.
    Version,
}

impl Command {
    /// All of them.
    pub const ALL: [Self; 6] = [Self::Add, Self::Del, Self::Check, Self::Gc, Self::Status, Self::Version];

    /// The command as `CNI_COMMAND` has it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Add => "ADD",
            Self::Del => "DEL",
            Self::Check => "CHECK",
            Self::Gc => "GC",
            Self::Status => "STATUS",
            Self::Version => "VERSION",
        }
    }
}

impl fmt::Display for Command {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// The attachment that a command is about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Target {
    /// `CNI_CONTAINERID`
    pub container_id: ContainerId,
    /// `CNI_IFNAME`
    pub interface: IfName,
    /// `CNI_NETNS`; DEL may come without it, as the namespace may be gone.
    pub netns: Option<PathBuf>,
    /// `CNI_ARGS`
    pub args: CniArgs,
}

/// The parts of `CNI_ARGS` that mean something here. Other keys are ignored, with or without `IgnoreUnknown`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct CniArgs {
    /// `K8S_POD_NAMESPACE`
    pub namespace: Option<PodText>,
    /// `K8S_POD_NAME`. Podman gives it alone, with the container's name.
    pub pod: Option<PodText>,
    /// `IP`: addresses asked for, separated by commas.
    pub ips: Vec<IpAddr>,
    /// The annotations that choose pools, under their own names.
    pub annotations: BTreeMap<String, String>,
}

/// A call of the plugin.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Call {
    /// ADD of an attachment into the namespace at a path.
    Add(Target, PathBuf),
    /// DEL of an attachment.
    Del(Target),
    /// CHECK of an attachment in the namespace at a path.
    Check(Target, PathBuf),
    /// GC of a network.
    Gc,
    /// STATUS of a network.
    Status,
    /// VERSION.
    Version,
}

impl Call {
    /// Reads the variables that the command needs.
    pub fn parse(variable: impl Fn(&str) -> Option<OsString>) -> Result<Self, EnvError> {
        let variables = Variables { variable };
        let text = variables.text("CNI_COMMAND")?.unwrap_or_default();
        let Some(command) = Command::ALL.into_iter().find(|command| command.as_str() == text) else {
            return Err(EnvError::Command(text));
        };
        Ok(match command {
            Command::Add => variables.target_in_netns(command, Self::Add)?,
            Command::Check => variables.target_in_netns(command, Self::Check)?,
            Command::Del => Self::Del(variables.target(command)?),
            Command::Gc => Self::Gc,
            Command::Status => Self::Status,
            Command::Version => Self::Version,
        })
    }

    /// The command.
    pub fn command(&self) -> Command {
        match self {
            Self::Add(..) => Command::Add,
            Self::Del(_) => Command::Del,
            Self::Check(..) => Command::Check,
            Self::Gc => Command::Gc,
            Self::Status => Command::Status,
            Self::Version => Command::Version,
        }
    }
}

struct Variables<F> {
    variable: F,
}

impl<F: Fn(&str) -> Option<OsString>> Variables<F> {
    /// A variable; `None` if it is absent or empty.
    fn text(&self, variable: &'static str) -> Result<Option<String>, EnvError> {
        let Some(value) = (self.variable)(variable) else { return Ok(None) };
        let text = value.into_string().map_err(|_| EnvError::Encoding { variable })?;
        Ok(Some(text).filter(|text| !text.is_empty()))
    }

    fn name<T: TryFrom<String, Error = NameError>>(
        &self,
        variable: &'static str,
        command: Command,
    ) -> Result<T, EnvError> {
        let text = self.text(variable)?.ok_or(EnvError::Missing { variable, command })?;
        T::try_from(text).map_err(|reason| EnvError::Name { variable, reason })
    }

    fn target(&self, command: Command) -> Result<Target, EnvError> {
        Ok(Target {
            container_id: self.name("CNI_CONTAINERID", command)?,
            interface: self.name("CNI_IFNAME", command)?,
            netns: self.text("CNI_NETNS")?.map(PathBuf::from),
            args: CniArgs::parse(&self.text("CNI_ARGS")?.unwrap_or_default())?,
        })
    }

    fn target_in_netns(
        &self,
        command: Command,
        call: impl FnOnce(Target, PathBuf) -> Call,
    ) -> Result<Call, EnvError> {
        let target = self.target(command)?;
        let netns = target.netns.clone().ok_or(EnvError::Missing { variable: "CNI_NETNS", command })?;
        Ok(call(target, netns))
    }
}

impl CniArgs {
    /// Parses `KEY=value;KEY=value`. An empty value counts as absent.
    pub fn parse(text: &str) -> Result<Self, EnvError> {
        let mut args = Self::default();
        for pair in text.split(';').filter(|pair| !pair.is_empty()) {
            let Some((key, value)) = pair.split_once('=') else {
                return Err(EnvError::Args(format!("{pair:?} is not KEY=value")));
            };
            match key {
                _ if value.is_empty() => {}
                "K8S_POD_NAMESPACE" => args.namespace = Some(pod_text(key, value)?),
                "K8S_POD_NAME" => args.pod = Some(pod_text(key, value)?),
                "IP" => args.ips = addresses(value)?,
                _ if annotation::ALL.contains(&key) => {
                    args.annotations.insert(key.to_owned(), value.to_owned());
                }
                _ => {}
            }
        }
        Ok(args)
    }
}

fn pod_text(key: &str, value: &str) -> Result<PodText, EnvError> {
    PodText::new(value).map_err(|reason| EnvError::Args(format!("{key}: {reason}")))
}

fn addresses(value: &str) -> Result<Vec<IpAddr>, EnvError> {
    let parse = |text: &str| {
        address(text).ok_or_else(|| EnvError::Args(format!("IP: {text:?} is not an IP address")))
    };
    value.split(',').map(str::trim).map(parse).collect()
}

/// An address, with or without the length of a prefix, which does not matter.
pub fn address(text: &str) -> Option<IpAddr> {
    text.parse().ok().or_else(|| text.parse::<IpNet>().ok().map(|net| net.addr()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn call(variables: &[(&str, &str)]) -> Result<Call, String> {
        let find = |name: &str| variables.iter().find(|(key, _)| *key == name).map(|(_, value)| value.into());
        Call::parse(find).map_err(|error| error.to_string())
    }

    #[test]
    fn each_command_says_what_it_misses() {
        let add = [
            ("CNI_COMMAND", "ADD"),
            ("CNI_CONTAINERID", "c1"),
            ("CNI_NETNS", "/run/netns/a"),
            ("CNI_IFNAME", "eth0"),
        ];
        assert!(matches!(call(&add), Ok(Call::Add(_, netns)) if netns.ends_with("netns/a")));
        for missing in 1..add.len() {
            let mut variables = add.to_vec();
            let (name, _) = variables.remove(missing);
            assert_eq!(call(&variables), Err(format!("{name} is missing, ADD needs it")));
        }
        let del =
            [("CNI_COMMAND", "DEL"), ("CNI_CONTAINERID", "c1"), ("CNI_IFNAME", "eth0"), ("CNI_NETNS", "")];
        assert!(matches!(call(&del), Ok(Call::Del(Target { netns: None, .. }))));
        for (text, expected) in [("GC", Call::Gc), ("STATUS", Call::Status), ("VERSION", Call::Version)] {
            assert_eq!(call(&[("CNI_COMMAND", text)]), Ok(expected));
        }
        assert!(call(&[("CNI_COMMAND", "add")]).expect_err("case").contains("CNI_COMMAND \"add\""));
    }

    #[test]
    fn names_are_checked() {
        let base = [("CNI_COMMAND", "DEL"), ("CNI_CONTAINERID", "c1")];
        for bad in ["a/b", "abcdefghijklmnop", ".."] {
            let error = call(&[base[0], base[1], ("CNI_IFNAME", bad)]).expect_err("bad name");
            assert!(error.starts_with("CNI_IFNAME: interface name"), "{error}");
        }
    }

    #[test]
    fn args_of_kubernetes() {
        let text = "IgnoreUnknown=1;K8S_POD_NAMESPACE=team;K8S_POD_NAME=web-0;K8S_POD_INFRA_CONTAINER_ID=ff;\
                    K8S_POD_UID=1;IP=10.0.0.5/24,fd00::5";
        let args = CniArgs::parse(text).expect("valid");
        let text = |part: Option<PodText>| part.map(String::from).unwrap_or_default();
        assert_eq!((text(args.namespace), text(args.pod)), ("team".to_owned(), "web-0".to_owned()));
        assert_eq!(args.ips, ["10.0.0.5".parse::<IpAddr>().unwrap(), "fd00::5".parse().unwrap()]);
        assert_eq!(CniArgs::parse("").expect("empty"), CniArgs::default());
        assert_eq!(CniArgs::parse("IP=;K8S_POD_NAME=").expect("empty values"), CniArgs::default());
    }

    #[test]
    fn malformed_args_are_named() {
        for (text, part) in [
            ("IP=10.0.0", "IP: \"10.0.0\" is not an IP address"),
            ("IP=10.0.0.1,", "IP: \"\" is not an IP address"),
            ("nonsense", "\"nonsense\" is not KEY=value"),
            ("K8S_POD_NAMESPACE=a\u{7};K8S_POD_NAME=b", "K8S_POD_NAMESPACE: pod namespace or name"),
        ] {
            let error = CniArgs::parse(text).expect_err(text).to_string();
            assert!(error.starts_with(&format!("CNI_ARGS: {part}")), "{error}");
        }
    }
}
