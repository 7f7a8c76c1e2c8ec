//! Pages of lists. A token that continues a list is opaque to clients: it names the place in the store where
//! the next page starts, so that nothing is kept between requests.

use crate::error::Error;
use common::store::KeyRange;
use futures_util::{StreamExt, TryStreamExt, stream};
use std::fmt::Write;
use std::future::Future;

/// How many items a page has if the client does not say.
pub const DEFAULT_LIMIT: usize = 500;
/// How many items a page has at most.
pub const MAX_LIMIT: usize = 5_000;
/// How many values are read from the store at once: full mirrors of large blocks must fit an answer of etcd.
pub const READ: usize = 64;
/// How many reads run at the same time.
const READS: usize = 16;

/// What page of a list is asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PageRequest {
    /// Items at most.
    pub limit: usize,
    /// The token of the page before.
    pub after: Option<String>,
}

impl Default for PageRequest {
    fn default() -> Self {
        Self { limit: DEFAULT_LIMIT, after: None }
    }
}

/// A place in a list: behind a key, or behind an offset inside of what the key holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    /// The key.
    pub key: String,
    /// The last offset that was given of it, if it was not given to its end.
    pub offset: Option<u32>,
}

impl Place {
    /// The place behind all of a key.
    pub fn after(key: impl Into<String>) -> Self {
        Self { key: key.into(), offset: None }
    }

    /// The token that stands for the place.
    pub fn token(&self) -> String {
        let mut token = String::with_capacity(self.key.len() * 2 + 8);
        for byte in self.key.bytes() {
            // Writing to a string can't fail.
            let _ = write!(token, "{byte:02x}");
        }
        if let Some(offset) = self.offset {
            let _ = write!(token, ".{offset}");
        }
        token
    }

    /// The place that a token stands for, which must be in the range of the list.
    pub fn parse(token: &str, range: &KeyRange) -> Result<Self, Error> {
        let (key, offset) = match token.split_once('.') {
            Some((key, offset)) => (key, Some(offset.parse().map_err(|_| Error::BadToken)?)),
            None => (token, None),
        };
        let key = unhex(key).filter(|key| range.contains(key)).ok_or(Error::BadToken)?;
        Ok(Self { key, offset })
    }

    /// What of the range is still to be read.
    pub fn rest(&self, range: &KeyRange) -> KeyRange {
        match self.offset {
            Some(_) => KeyRange { from: self.key.clone(), to: range.to.clone() },
            None => range.after(&self.key),
        }
    }
}

/// What of the range the page asked for starts with.
pub fn start(range: &KeyRange, after: Option<&str>) -> Result<KeyRange, Error> {
    match after {
        Some(token) => Ok(Place::parse(token, range)?.rest(range)),
        None => Ok(range.clone()),
    }
}

/// Waits for reads, some of them at the same time, and answers in their order.
pub(crate) async fn read_all<F, T, E>(reads: impl Iterator<Item = F>) -> Result<Vec<T>, E>
where
    F: Future<Output = Result<T, E>>,
{
    // Collected first: a lazy stream over closures that borrow can't be held across an await of a handler.
    stream::iter(reads.collect::<Vec<_>>()).buffered(READS).try_collect().await
}

fn unhex(text: &str) -> Option<String> {
    let pairs = text.as_bytes().chunks(2).map(|pair| {
        let [high, low] = pair else { return None };
        Some(digit(*high)? << 4 | digit(*low)?)
    });
    String::from_utf8(pairs.collect::<Option<Vec<u8>>>()?).ok()
}

fn digit(byte: u8) -> Option<u8> {
    match byte {
        b'0'..=b'9' => Some(byte - b'0'),
        b'a'..=b'f' => Some(byte - b'a' + 10),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_go_both_ways() {
        let range = KeyRange::prefix("block/");
        for place in [
            Place::after("block/n1/default/4-0a400010"),
            Place { key: "block/é".to_owned(), offset: Some(7) },
        ] {
            assert_eq!(Place::parse(&place.token(), &range).expect("own token"), place);
        }
        assert_eq!(Place::after("block/a").rest(&range).from, "block/a\0");
        assert_eq!(Place { key: "block/a".to_owned(), offset: Some(0) }.rest(&range).from, "block/a");
    }

    #[test]
    fn tokens_of_strangers_are_refused() {
        let range = KeyRange::prefix("block/");
        let of_another_list = Place::after("pool/default").token();
        for token in [
            "",
            "x",
            "6",
            "62.",
            "é",
            "62é",
            &of_another_list,
            "ff",
            "626c6f636b2f61.-1",
            "626c6f636b2f61.1.1",
        ] {
            assert!(matches!(Place::parse(token, &range), Err(Error::BadToken)), "{token}");
        }
    }
}
