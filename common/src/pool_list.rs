//! Ordered lists of pools, as annotations name them.

use crate::name::{NameError, PoolName};
use serde::{Deserialize, Serialize};
use std::ops::Deref;

/// Pools in the order in which they are tried: 1 to [`PoolList::MAX`], none of them twice.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "Vec<PoolName>", into = "Vec<PoolName>")]
pub struct PoolList(Vec<PoolName>);

/// Why a text is not a list of pools.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PoolListError {
    /// The text is longer than any list that anybody reads.
    #[error("{0} bytes, and at most {max} are allowed", max = PoolList::MAX_BYTES)]
    TooLong(usize),
    /// There are more names than are ever tried.
    #[error("{0} pools, and at most {max} are allowed", max = PoolList::MAX)]
    TooMany(usize),
    /// There is none, or nothing beside a comma.
    #[error("a name is missing")]
    Missing,
    /// A name is none.
    #[error(transparent)]
    Name(#[from] NameError),
    /// A pool is named again.
    #[error("pool {0} is named twice")]
    Twice(PoolName),
}

impl PoolList {
    /// The longest list.
    pub const MAX: usize = 16;
    /// The longest text of a list.
    pub const MAX_BYTES: usize = 1_024;

    /// Reads names with commas between them, and blanks around them if wanted. `None` for a blank text.
    pub fn read(text: &str) -> Result<Option<Self>, PoolListError> {
        if text.trim().is_empty() {
            return Ok(None);
        }
        if text.len() > Self::MAX_BYTES {
            return Err(PoolListError::TooLong(text.len()));
        }
        let name = |part: &str| match part.trim() {
            "" => Err(PoolListError::Missing),
            name => Ok(PoolName::new(name)?),
        };
        let names = text.split(',').map(name).collect::<Result<Vec<_>, _>>()?;
        Self::try_from(names).map(Some)
    }
}

impl TryFrom<Vec<PoolName>> for PoolList {
    type Error = PoolListError;

    fn try_from(names: Vec<PoolName>) -> Result<Self, PoolListError> {
        if names.is_empty() {
            return Err(PoolListError::Missing);
        }
        if names.len() > Self::MAX {
            return Err(PoolListError::TooMany(names.len()));
        }
        match names.iter().enumerate().find(|(at, name)| names[..*at].contains(name)) {
            Some((_, name)) => Err(PoolListError::Twice(name.clone())),
            None => Ok(Self(names)),
        }
    }
}

impl From<PoolList> for Vec<PoolName> {
    fn from(list: PoolList) -> Self {
        list.0
    }
}

impl Deref for PoolList {
    type Target = [PoolName];

    fn deref(&self) -> &[PoolName] {
        &self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_in_their_order() {
        let names = |text: &str| {
            let list = PoolList::read(text).expect(text)?;
            Some(list.iter().map(PoolName::as_str).collect::<Vec<_>>().join(" "))
        };
        for (text, expected) in [
            ("", None),
            (" \t", None),
            ("red", Some("red")),
            (" red , blue.2,a_b ", Some("red blue.2 a_b")),
            ("b,a", Some("b a")),
        ] {
            assert_eq!(names(text).as_deref(), expected, "{text:?}");
        }
    }

    #[test]
    fn what_is_no_list_is_told() {
        let many: Vec<String> = (0..=PoolList::MAX).map(|number| format!("p{number}")).collect();
        for (text, expected) in [
            ("red,", "a name is missing"),
            (",", "a name is missing"),
            ("red,,blue", "a name is missing"),
            ("red, Blue", "pool name \"Blue\" is malformed: "),
            ("red/blue", "pool name \"red/blue\" is malformed: "),
            ("ns:team:web", "pool name \"ns:team:web\" is malformed: "),
            ("red blue", "pool name \"red blue\" is malformed: "),
            ("red,blue, red", "pool red is named twice"),
            (&many.join(","), "17 pools, and at most 16 are allowed"),
            (&"a".repeat(254), "pool name has 254 bytes, at most 253 are allowed"),
            (&"a,".repeat(600), "1200 bytes, and at most 1024 are allowed"),
        ] {
            let error = PoolList::read(text).expect_err(text).to_string();
            assert!(error.starts_with(expected), "{text}: {error}");
        }
        assert!(serde_json::from_str::<PoolList>("[]").is_err());
        assert!(serde_json::from_str::<PoolList>(r#"["a","a"]"#).is_err());
        let list: PoolList = serde_json::from_str(r#"["b","a"]"#).expect("a list");
        assert_eq!(serde_json::to_string(&list).expect("text"), r#"["b","a"]"#);
    }
}
