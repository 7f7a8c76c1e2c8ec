//! Leasing, as nodes do it: many at once, from one pool.

use super::put;
use crate::ipam::{Range, Space, Unit};
use crate::name::PoolName;
use crate::store::leases::FreeUnits;
use crate::store::{Compare, Store, StoreError, Txn, keys};
use futures_util::future::join_all;
use std::sync::Arc;

/// Holders that take all they can get from one pool get all of it, and no unit twice.
pub async fn a_pool_is_shared_out(store: Arc<dyn Store>) {
    let nets = ["10.0.0.0/23", "10.0.3.0/25", "10.0.8.0/24"].map(|net| net.parse().expect("a network"));
    let nets = nets.map(Range::of_net);
    let space = Space::new(nets[0].family(), 2, &nets, &[]).expect("a space");
    let holders = (0..8_u128).map(|holder| {
        let (store, space) = (Arc::clone(&store), space.clone());
        tokio::spawn(async move { take_all(&*store, &space, holder * 31).await })
    });
    let mut taken = Vec::new();
    for holder in join_all(holders).await {
        taken.extend(holder.expect("ends"));
    }
    taken.sort();
    let all: Vec<Unit> = (0..).map_while(|index| space.unit_at(index)).collect();
    assert_eq!(taken, all);
    let count = store.count(&keys::leases(&PoolName::default_pool())).await.expect("counted");
    assert_eq!(count, all.len() as u64);
}

async fn take_all(store: &dyn Store, space: &Space, start: u128) -> Vec<Unit> {
    let pool = PoolName::default_pool();
    let mut taken = Vec::new();
    let mut free = FreeUnits::new(store, &pool, space, start);
    while let Some(unit) = free.next().await.expect("a search goes on") {
        let key = keys::lease(&pool, unit);
        match store.txn(Txn::new().when(Compare::Absent(key.clone())).then(put(&key, "x"))).await {
            Ok(_) => taken.push(unit),
            Err(StoreError::Conflict) => {}
            Err(error) => panic!("{error:?}"),
        }
        free.lost(unit);
    }
    taken
}
