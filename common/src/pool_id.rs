//! Which pool an address belongs to: one of Coil's own, or one of a namespace. The two kinds share the keys of
//! leases and blocks, so that one allocator serves both; their names can't be mistaken for each other.

use crate::name::{NameError, PodText, PoolName};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_decode_str, utf8_percent_encode};
use serde::{Deserialize, Serialize};
use std::fmt;

/// What stands for itself in a key; everything else is percent-encoded, so that any text fits between slashes and
/// colons.
const PLAIN: AsciiSet = NON_ALPHANUMERIC.remove(b'-').remove(b'_').remove(b'.');

/// A text as part of a key.
pub fn encoded(text: &(impl AsRef<str> + ?Sized)) -> impl fmt::Display + '_ {
    utf8_percent_encode(text.as_ref(), &PLAIN)
}

/// The text that a part of a key stands for; `None` if it is not written as [`encoded`] does.
pub fn decoded(part: &str) -> Option<PodText> {
    let text = percent_decode_str(part).decode_utf8().ok()?;
    let text = PodText::new(text).ok()?;
    let canonical = encoded(&text).to_string() == part;
    canonical.then_some(text)
}

/// The name of something that belongs to a namespace.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Scoped {
    /// The namespace.
    pub namespace: PodText,
    /// The name, unique within the namespace.
    pub name: PodText,
}

impl fmt::Display for Scoped {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.namespace, self.name)
    }
}

/// A pool of either kind. As text: `default`, or `ns:<namespace>:<name>`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum PoolId {
    /// A pool that is cut in blocks.
    Coil(PoolName),
    /// A namespace's pool, of which single addresses are leased.
    Namespace(Scoped),
}

#[cfg(feature = "openapi")]
impl utoipa::PartialSchema for PoolId {
    fn schema() -> utoipa::openapi::RefOr<utoipa::openapi::schema::Schema> {
        let rule = "a pool's name, or ns:NAMESPACE:NAME of a namespace's pool, both percent-encoded";
        crate::openapi::text(rule, "^([a-z0-9][a-z0-9_.-]*|ns:[^:/]+:[^:/]+)$", "default", 4 + 2 * 3 * 512)
    }
}

#[cfg(feature = "openapi")]
impl utoipa::ToSchema for PoolId {}

impl PoolId {
    /// The name, if it is one of Coil's own pools.
    pub fn coil(&self) -> Option<&PoolName> {
        match self {
            Self::Coil(name) => Some(name),
            Self::Namespace(_) => None,
        }
    }

    /// Parses the text form.
    pub fn new(text: &str) -> Result<Self, NameError> {
        let Some(scoped) = text.strip_prefix("ns:") else { return Ok(Self::Coil(PoolName::new(text)?)) };
        let malformed = || NameError::Malformed {
            what: "pool",
            text: text.to_owned(),
            rule: "ns:<namespace>:<name>, both percent-encoded",
        };
        let (namespace, name) = scoped.split_once(':').ok_or_else(malformed)?;
        let scoped = decoded(namespace).zip(decoded(name)).ok_or_else(malformed)?;
        Ok(Self::Namespace(Scoped { namespace: scoped.0, name: scoped.1 }))
    }
}

impl fmt::Display for PoolId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Coil(name) => name.fmt(f),
            Self::Namespace(Scoped { namespace, name }) => {
                write!(f, "ns:{}:{}", encoded(namespace), encoded(name))
            }
        }
    }
}

impl From<PoolName> for PoolId {
    fn from(name: PoolName) -> Self {
        Self::Coil(name)
    }
}

impl From<PoolId> for String {
    fn from(id: PoolId) -> Self {
        id.to_string()
    }
}

impl TryFrom<String> for PoolId {
    type Error = NameError;

    fn try_from(text: String) -> Result<Self, NameError> {
        Self::new(&text)
    }
}

impl std::str::FromStr for PoolId {
    type Err = NameError;

    fn from_str(text: &str) -> Result<Self, NameError> {
        Self::new(text)
    }
}

impl PartialEq<PoolName> for PoolId {
    fn eq(&self, other: &PoolName) -> bool {
        self.coil() == Some(other)
    }
}

/// What leases belong to: a pool, by a name of which the kind is known or not.
pub trait AnyPool: fmt::Display + Send + Sync {}

impl AnyPool for PoolId {}
impl AnyPool for PoolName {}

#[cfg(test)]
mod tests {
    use super::*;

    fn scoped(namespace: &str, name: &str) -> PoolId {
        let text = |text: &str| PodText::new(text).expect("text");
        PoolId::Namespace(Scoped { namespace: text(namespace), name: text(name) })
    }

    #[test]
    fn any_text_goes_both_ways() {
        for (namespace, name) in
            [("team", "web"), ("a/b", "c:d"), ("50%", "ポッド"), ("A B", ".."), ("ns:x", "+")]
        {
            let id = scoped(namespace, name);
            let text = id.to_string();
            assert_eq!(PoolId::new(&text), Ok(id), "{text}");
            assert!(!text.contains(['/', ' ', '\0']) && text.matches(':').count() == 2, "{text}");
            assert!(PoolName::new(text).is_err(), "no pool of Coil's own has such a name");
        }
        assert_eq!(scoped("team", "web").to_string(), "ns:team:web");
        assert_eq!(PoolId::new("default"), Ok(PoolName::default_pool().into()));
    }

    #[test]
    fn what_is_written_otherwise_is_nobody() {
        for text in [
            "ns:", "ns:a", "ns::b", "ns:a:", "ns:a:b:c", "ns:a:%62", "ns:a:%zz", "ns:a:%ff", "svc:a:b", "a/b",
        ] {
            assert!(PoolId::new(text).is_err(), "{text}");
        }
    }
}
