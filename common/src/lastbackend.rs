//! The words of the platform API (`docs/api/lastbackend.md`) that its records and its bodies share.

use serde::{Deserialize, Serialize};
use std::fmt;

/// Most characters of a name.
pub const MAX_NAME: usize = 64;

/// Name of a namespace or service: a lower-case letter, then lower-case letters and digits, in groups with one `-` or
/// `_` between them; at most 64 characters. It can be part of a key, a host name or a path.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Name(String);

/// A text is no name.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "{0:?} is no name: a letter, then letters and digits in groups with one '-' or '_' between them, at most {MAX_NAME} \
     characters"
)]
pub struct BadName(String);

impl Name {
    /// Parses a name as it is kept: in lower case.
    pub fn new(text: &str) -> Result<Self, BadName> {
        let group = |part: &str| {
            !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit())
        };
        let starts = text.starts_with(|c: char| c.is_ascii_lowercase());
        if text.len() <= MAX_NAME && starts && text.split(['-', '_']).all(group) {
            Ok(Self(text.to_owned()))
        } else {
            Err(BadName(text.to_owned()))
        }
    }

    /// Parses a name that somebody chose, in whatever case.
    pub fn chosen(text: &str) -> Result<Self, BadName> {
        Self::new(&text.to_ascii_lowercase()).map_err(|_| BadName(text.to_owned()))
    }

    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl TryFrom<String> for Name {
    type Error = BadName;

    fn try_from(text: String) -> Result<Self, BadName> {
        Self::new(&text)
    }
}

impl std::str::FromStr for Name {
    type Err = BadName;

    fn from_str(text: &str) -> Result<Self, BadName> {
        Self::new(text)
    }
}

impl From<Name> for String {
    fn from(name: Name) -> Self {
        name.0
    }
}

/// A service: its namespace, and its name there.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ServiceId {
    /// The namespace.
    pub namespace: Name,
    /// The name, unique within the namespace.
    pub name: Name,
}

impl fmt::Display for ServiceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.namespace, self.name)
    }
}

/// Protocol of a port.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "lowercase")]
pub enum Protocol {
    /// TCP.
    #[default]
    Tcp,
    /// UDP.
    Udp,
    /// SCTP.
    Sctp,
}

/// A port on which a container listens.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema), schema(as = ServicePort))]
pub struct Port {
    /// The protocol.
    pub protocol: Protocol,
    /// The port of the machine, if it is published.
    pub external: u16,
    /// The port in the container.
    pub internal: u16,
    /// Whether the machine's port leads to the container.
    pub published: bool,
}

/// State of a pod or container.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "lowercase")]
pub enum RunState {
    /// It is being made.
    Provision,
    /// The pod has its network, and no container yet.
    Ready,
    /// It is made, and not started.
    Created,
    /// It runs.
    Running,
    /// It ended without a failure, and is started again.
    Stopped,
    /// It failed, and is tried again after a while.
    Error,
    /// It is being removed.
    Destroyed,
}

impl RunState {
    /// The word for it.
    pub fn word(self) -> &'static str {
        match self {
            Self::Provision => "provision",
            Self::Ready => "ready",
            Self::Created => "created",
            Self::Running => "running",
            Self::Stopped => "stopped",
            Self::Error => "error",
            Self::Destroyed => "destroyed",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names() {
        let long = "a".repeat(MAX_NAME);
        for good in ["a", "demo", "test-ns", "a1-2_b", "x9", long.as_str()] {
            assert_eq!(Name::new(good).expect(good).as_str(), good);
        }
        assert_eq!(Name::chosen("Test-NS").expect("a name").as_str(), "test-ns");
        let longer = "a".repeat(MAX_NAME + 1);
        for bad in [
            "",
            "1a",
            "-a",
            "a-",
            "a--b",
            "a-_b",
            "_",
            "a.b",
            "a b",
            "a/b",
            "é",
            "A",
            "a\n",
            "..",
            longer.as_str(),
        ] {
            assert!(Name::new(bad).is_err(), "{bad:?}");
        }
        for bad in ["É", "a/B", "", "K\u{212a}"] {
            let error = Name::chosen(bad).expect_err(bad).to_string();
            assert!(error.contains(&format!("{bad:?}")), "{error}");
        }
    }
}
