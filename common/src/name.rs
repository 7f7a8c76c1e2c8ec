//! Names, parsed once and valid ever after. A value of one of these types can be put into a store key, a
//! file name or a netlink message without a further check.

use serde::{Deserialize, Serialize};
use std::fmt;

/// Why a text is not a name.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NameError {
    /// The text is empty.
    #[error("{what} is empty")]
    Empty {
        /// Which name it should have been.
        what: &'static str,
    },
    /// The text is longer than the name allows.
    #[error("{what} has {len} bytes, at most {max} are allowed")]
    TooLong {
        /// Which name it should have been.
        what: &'static str,
        /// Length of the text in bytes.
        len: usize,
        /// The limit in bytes.
        max: usize,
    },
    /// The text has a character in a place where the name does not allow it.
    #[error("{what} {text:?} is malformed: {rule}")]
    Malformed {
        /// Which name it should have been.
        what: &'static str,
        /// The text.
        text: String,
        /// What is allowed.
        rule: &'static str,
    },
}

macro_rules! name {
    ($(#[$doc:meta])* $name:ident, $what:literal, max $max:expr, $rule:literal, pattern $pattern:literal,
     like $example:literal, $valid:expr) => {
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(try_from = "String", into = "String")]
        pub struct $name(String);

        impl $name {
            /// Parses a name.
            pub fn new(text: impl Into<String>) -> Result<Self, NameError> {
                let text = text.into();
                let valid: fn(&str) -> bool = $valid;
                if text.is_empty() {
                    return Err(NameError::Empty { what: $what });
                }
                if text.len() > $max {
                    return Err(NameError::TooLong { what: $what, len: text.len(), max: $max });
                }
                if !valid(&text) {
                    return Err(NameError::Malformed { what: $what, text, rule: $rule });
                }
                Ok(Self(text))
            }

            /// The name as text.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl TryFrom<String> for $name {
            type Error = NameError;
            fn try_from(text: String) -> Result<Self, NameError> {
                Self::new(text)
            }
        }

        impl std::str::FromStr for $name {
            type Err = NameError;
            fn from_str(text: &str) -> Result<Self, NameError> {
                Self::new(text)
            }
        }

        impl From<$name> for String {
            fn from(name: $name) -> String {
                name.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl AsRef<str> for $name {
            fn as_ref(&self) -> &str {
                &self.0
            }
        }

        #[cfg(feature = "openapi")]
        impl utoipa::PartialSchema for $name {
            fn schema() -> utoipa::openapi::RefOr<utoipa::openapi::schema::Schema> {
                crate::openapi::text($rule, $pattern, $example, $max)
            }
        }

        #[cfg(feature = "openapi")]
        impl utoipa::ToSchema for $name {}
    };
}

name!(
    /// A pool's name: a lower-case letter or digit, then lower-case letters, digits, `-`, `_` and `.`; at most
    /// 253 bytes.
    PoolName,
    "pool name",
    max 253,
    "a lower-case letter or digit, then lower-case letters, digits, '-', '_', '.'",
    pattern r"^[a-z0-9][a-z0-9_.-]*$",
    like "default",
    |text| {
        text.starts_with(|c: char| c.is_ascii_lowercase() || c.is_ascii_digit())
            && text.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || "-_.".contains(c))
    }
);

name!(
    /// A node's name: an ASCII letter or digit, then letters, digits, `-`, `_` and `.`; at most 253 bytes, as a
    /// Kubernetes node name.
    NodeName,
    "node name",
    max 253,
    "a letter or digit, then letters, digits, '-', '_', '.'",
    pattern r"^[A-Za-z0-9][A-Za-z0-9_.-]*$",
    like "node-a",
    |text| {
        text.starts_with(|c: char| c.is_ascii_alphanumeric())
            && text.chars().all(|c| c.is_ascii_alphanumeric() || "-_.".contains(c))
    }
);

name!(
    /// A container's id: opaque text without control characters, at most 512 bytes.
    ContainerId,
    "container id",
    max 512,
    "no control characters",
    pattern r"^[^\x00-\x1f\x7f-\x9f]+$",
    like "4c4e1f0f1bd0",
    |text| !text.chars().any(char::is_control)
);

name!(
    /// The name of a network interface as Linux takes it: at most 15 bytes, no `/`, `:` or white space, and
    /// neither `.` nor `..`.
    IfName,
    "interface name",
    max 15,
    "no '/', ':', white space or control characters, and not '.' or '..'",
    pattern r"^[^/:\s\x00-\x1f\x7f-\x9f]+$",
    like "eth0",
    |text| {
        text != "." && text != ".." && !text.chars().any(|c| c.is_whitespace() || c.is_control() || "/:".contains(c))
    }
);

name!(
    /// One part of a pod's identity, its namespace or its name: opaque text without control characters, at most
    /// 512 bytes.
    PodText,
    "pod namespace or name",
    max 512,
    "no control characters",
    pattern r"^[^\x00-\x1f\x7f-\x9f]+$",
    like "web-0",
    |text| !text.chars().any(char::is_control)
);

name!(
    /// A tenant's id: opaque text without control characters, at most 255 bytes.
    TenantId,
    "tenant id",
    max 255,
    "no control characters",
    pattern r"^[^\x00-\x1f\x7f-\x9f]+$",
    like "acme",
    |text| !text.chars().any(char::is_control)
);

name!(
    /// The id of a tenant's block: a UUID in lower case.
    BlockId,
    "block id",
    max 36,
    "a UUID in lower case",
    pattern r"^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$",
    like "01a1ff4f-de69-75d7-b160-dd3f860eadbd",
    |text| {
        let digits = |part: &str| part.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
        let lengths = text.split('-').map(str::len);
        lengths.eq([8, 4, 4, 4, 12]) && text.split('-').all(digits)
    }
);

name!(
    /// An id that somebody else gave to a network, an interface or a device: opaque text without control characters, at
    /// most 512 bytes, as an id of a container may have.
    OpaqueId,
    "id",
    max 512,
    "no control characters",
    pattern r"^[^\x00-\x1f\x7f-\x9f]+$",
    like "9c0a2f5e",
    |text| !text.chars().any(char::is_control)
);

name!(
    /// What people call something: text without control characters, at most 255 bytes.
    Label,
    "name",
    max 255,
    "no control characters",
    pattern r"^[^\x00-\x1f\x7f-\x9f]+$",
    like "no gateways",
    |text| !text.chars().any(char::is_control)
);

name!(
    /// A CNI network's name: an ASCII letter or digit, then letters, digits, `-`, `_` and `.` (CNI, "Network
    /// configuration format"); at most 512 bytes.
    NetworkName,
    "network name",
    max 512,
    "a letter or digit, then letters, digits, '-', '_', '.'",
    pattern r"^[A-Za-z0-9][A-Za-z0-9_.-]*$",
    like "pods",
    |text| {
        text.starts_with(|c: char| c.is_ascii_alphanumeric())
            && text.chars().all(|c| c.is_ascii_alphanumeric() || "-_.".contains(c))
    }
);

impl From<NetworkName> for PodText {
    fn from(name: NetworkName) -> Self {
        Self(name.0)
    }
}

impl IfName {
    /// `eth0`, the interface that a request means when it names none.
    pub fn eth0() -> Self {
        Self("eth0".to_owned())
    }

    /// Whether this is `eth0`.
    pub fn is_eth0(&self) -> bool {
        self.0 == "eth0"
    }
}

impl PoolName {
    /// `default`, the pool of every namespace that has no pool of its own name.
    pub fn default_pool() -> Self {
        Self("default".to_owned())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pool_names() {
        for good in ["default", "0", "a-b_c.d", "team.1"] {
            assert!(PoolName::new(good).is_ok(), "{good}");
        }
        for bad in ["", "Default", "-a", ".a", "_a", "a/b", "a b", "ü", &"a".repeat(254)] {
            assert!(PoolName::new(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn interface_names() {
        for good in ["eth0", "net1", "ipvl-1", "wlan0.20", "é"] {
            assert!(IfName::new(good).is_ok(), "{good}");
        }
        for bad in ["", ".", "..", "a/b", "a b", "eth0:1", "abcdefghijklmnop", "a\n"] {
            assert!(IfName::new(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn pod_text_is_opaque() {
        for good in ["my pod", "50%", "a+b", "ポッド", "a/b"] {
            assert_eq!(PodText::new(good).expect("valid").as_str(), good);
        }
        assert_eq!(PodText::new(""), Err(NameError::Empty { what: "pod namespace or name" }));
    }

    #[test]
    fn block_ids() {
        let good = "01a1ff4f-de69-75d7-b160-dd3f860eadbd";
        assert!(BlockId::new(good).is_ok());
        for bad in [
            "",
            "x",
            &good.to_uppercase(),
            &good.replace('-', ""),
            &good.replace('d', "g"),
            &good[1..],
            "01a1ff4fde-69-75d7-b160-dd3f860eadbd",
        ] {
            assert!(BlockId::new(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn errors_say_the_rule() {
        let error = NodeName::new("a/b").expect_err("slash");
        assert!(error.to_string().contains("node name \"a/b\" is malformed"), "{error}");
    }
}
