//! The flags that say what a service's containers are.

use clap::Args;
use common::wire::lastbackend::{Count, PortBody, SpecBody};
use std::str::FromStr;

/// What a container is.
#[derive(Debug, Args)]
pub(super) struct Spec {
    /// The image
    #[arg(long, value_name = "IMAGE")]
    image: Option<String>,
    /// Most memory that each container may use, in MiB
    #[arg(long, value_name = "MIB")]
    memory: Option<i64>,
    /// The program, in the words of a shell, instead of the image's
    #[arg(long, value_name = "WORDS")]
    entrypoint: Option<String>,
    /// Its arguments, in the words of a shell, instead of the image's
    #[arg(long, value_name = "WORDS", allow_hyphen_values = true)]
    command: Option<String>,
    /// A variable of the environment; may be given several times
    #[arg(long, value_name = "NAME=VALUE")]
    env: Vec<String>,
    /// A port on which it listens, and the machine's port that leads there if it is to be published: `80`,
    /// `80:8080`, `53:53/udp`; may be given several times
    #[arg(long, value_name = "PORT[:MACHINE'S][/PROTOCOL]")]
    port: Vec<Port>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Port(PortBody);

impl FromStr for Port {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (ports, protocol) = match text.split_once('/') {
            Some((ports, protocol)) => (ports, Some(protocol.to_owned())),
            None => (text, None),
        };
        let (internal, external) = match ports.split_once(':') {
            Some((internal, external)) => (internal, Some(external)),
            None => (ports, None),
        };
        let number = |text: &str| text.parse().map(Count).map_err(|_| format!("{text:?} is no port"));
        Ok(Self(PortBody {
            protocol,
            internal: Some(number(internal)?),
            external: external.map(number).transpose()?,
            published: external.map(|_| true),
        }))
    }
}

impl Spec {
    /// Whether anything was given.
    pub(super) fn is_given(&self) -> bool {
        self.body() != SpecBody::default()
    }

    /// The fields of a body.
    pub(super) fn body(&self) -> SpecBody {
        SpecBody {
            memory: self.memory.map(Count),
            entrypoint: self.entrypoint.clone(),
            command: self.command.clone(),
            image: self.image.clone(),
            env: (!self.env.is_empty()).then(|| self.env.clone()),
            ports: (!self.port.is_empty()).then(|| self.port.iter().map(|port| port.0.clone()).collect()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ports() {
        let port = |text: &str| text.parse::<Port>().map(|Port(port)| port);
        let plain = PortBody { internal: Some(Count(80)), ..PortBody::default() };
        assert_eq!(port("80"), Ok(plain.clone()));
        let published = PortBody { external: Some(Count(8_080)), published: Some(true), ..plain };
        assert_eq!(port("80:8080"), Ok(published.clone()));
        assert_eq!(port("80:8080/udp"), Ok(PortBody { protocol: Some("udp".to_owned()), ..published }));
        for bad in ["", "http", "80:", "80:x", ":80"] {
            assert!(port(bad).is_err(), "{bad}");
        }
    }
}
