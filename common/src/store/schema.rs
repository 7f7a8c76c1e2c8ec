//! The layout's version: written by whoever starts first, and refused by a program that is older than it.

use super::record::{self, LAYOUT, RecordError, Schema};
use super::{Compare, Entry, Op, Store, StoreError, Txn, keys};

/// Why a program must not use this keyspace.
#[derive(Debug, thiserror::Error)]
pub enum SchemaError {
    /// A newer program made or upgraded the keyspace.
    #[error("the keyspace has layout {found}, and this program knows layout {LAYOUT}: upgrade this program")]
    Newer {
        /// Its layout.
        found: u32,
    },
    /// An older program made it, and it was not upgraded.
    #[error("the keyspace has layout {found}, older than {LAYOUT}, which this program needs")]
    Older {
        /// Its layout.
        found: u32,
    },
    /// The record can't be read.
    #[error(transparent)]
    Record(#[from] RecordError),
    /// The store failed.
    #[error("can't read the version of the keyspace")]
    Store(#[source] StoreError),
}

/// Makes sure that the keyspace has our layout: writes its version if there is none yet, and nothing otherwise.
pub async fn ensure_schema(store: &dyn Store) -> Result<(), SchemaError> {
    let ours = Txn::new()
        .when(Compare::Absent(keys::SCHEMA.to_owned()))
        .then(Op::Put(keys::SCHEMA.to_owned(), record::encode(&Schema { layout: LAYOUT })));
    loop {
        if let Some(entry) = store.get(keys::SCHEMA).await.map_err(SchemaError::Store)? {
            return check_schema(&entry);
        }
        match store.txn(ours.clone()).await {
            // Another program may have written its own version first.
            Ok(_) | Err(StoreError::Conflict) => {}
            Err(error) => return Err(SchemaError::Store(error)),
        }
    }
}

/// Makes sure that a keyspace that is there has our layout, by the entry of [`keys::SCHEMA`].
pub fn check_schema(entry: &Entry) -> Result<(), SchemaError> {
    let Schema { layout: found } = record::decode(&entry.key, &entry.value)?;
    match found.cmp(&LAYOUT) {
        std::cmp::Ordering::Equal => Ok(()),
        std::cmp::Ordering::Greater => Err(SchemaError::Newer { found }),
        std::cmp::Ordering::Less => Err(SchemaError::Older { found }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::embedded::Embedded;

    #[tokio::test]
    async fn the_first_writes_and_a_newer_layout_is_refused() {
        let store = Embedded::in_memory().await.expect("store");
        ensure_schema(&store).await.expect("first start");
        ensure_schema(&store).await.expect("second start");
        let newer = Op::Put(keys::SCHEMA.to_owned(), record::encode(&Schema { layout: LAYOUT + 1 }));
        let revision = store.txn(Txn::new().then(newer)).await.expect("written");
        let error = ensure_schema(&store).await.expect_err("newer");
        assert!(matches!(error, SchemaError::Newer { .. }), "{error}");
        let entry = store.get(keys::SCHEMA).await.expect("read").expect("there");
        assert_eq!(entry.mod_revision, revision, "nothing was written");
    }
}
