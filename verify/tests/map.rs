//! The map means what the embedded store means, whatever is asked of both.

use bytes::Bytes;
use coil_verify::map::Map;
use common::store::embedded::Embedded;
use common::store::{Compare, KeyRange, Op, Store, StoreError, Txn};
use proptest::prelude::*;

fn key() -> impl Strategy<Value = String> {
    prop::sample::select(vec!["a/1", "a/2", "a/3", "b/1"]).prop_map(str::to_owned)
}

fn range() -> impl Strategy<Value = KeyRange> {
    prop::sample::select(vec![KeyRange::prefix("a/"), KeyRange::prefix("b/"), KeyRange::prefix("c/")])
}

fn compare() -> impl Strategy<Value = Compare> {
    prop_oneof![
        key().prop_map(Compare::Absent),
        (key(), 0..12_u64).prop_map(|(key, revision)| Compare::CreateRevision(key, revision)),
        (key(), 0..12_u64).prop_map(|(key, revision)| Compare::ModRevision(key, revision)),
        range().prop_map(Compare::Empty),
    ]
}

fn op() -> impl Strategy<Value = Op> {
    prop_oneof![
        (key(), any::<u8>()).prop_map(|(key, value)| Op::Put(key, Bytes::from(vec![value]))),
        key().prop_map(Op::Delete),
    ]
}

fn txn() -> impl Strategy<Value = Txn> {
    (prop::collection::vec(compare(), 0..2), prop::collection::vec(op(), 0..3)).prop_map(
        |(compares, mut ops)| {
            let mut seen = std::collections::BTreeSet::new();
            ops.retain(|op| seen.insert(op.key().to_owned()));
            Txn { compares, ops }
        },
    )
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn a_map_is_a_store(txns in prop::collection::vec(txn(), 1..25)) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().expect("runtime");
        runtime.block_on(async {
            let store = Embedded::in_memory().await.expect("store");
            let mut map = Map::default();
            for txn in txns {
                let done = map.txn(&txn).map(|_| map.revision());
                match store.txn(txn).await {
                    Ok(revision) => prop_assert_eq!(done, Some(revision)),
                    Err(StoreError::Conflict) => prop_assert_eq!(done, None),
                    Err(error) => panic!("{error}"),
                }
                for limit in [0, 1, 10] {
                    let range = KeyRange::prefix("a/");
                    let page = store.list(&range, limit).await.expect("read");
                    prop_assert_eq!(map.page(&range, limit, Clone::clone), page);
                }
            }
            Ok(())
        })?;
    }
}
