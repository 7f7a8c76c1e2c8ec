//! Changes at the same instant. Each task has a router of its own on the one store, as several controllers do.

use crate::fixture::{Api, pool};
use common::store::embedded::Embedded;
use common::store::{Store, keys};
use serde_json::json;
use std::sync::Arc;
use tokio::task::JoinSet;

async fn store() -> Arc<dyn Store> {
    Arc::new(Embedded::in_memory().await.expect("store"))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn of_overlapping_pools_one_wins() {
    for round in 0..5 {
        let store = store().await;
        let mut tasks = JoinSet::new();
        for number in 0..32 {
            let api = Api::on(Arc::clone(&store));
            // Every one of them contains 10.0.0.0/24.
            let body =
                json!({"name": format!("p{number}"), "subnets": [format!("10.0.0.0/{}", 16 + number % 9)]});
            tasks.spawn(async move { api.call("POST", "/v1/pools", &body.to_string()).await });
        }
        let outcomes = tasks.join_all().await;
        let won = outcomes.iter().filter(|(status, _)| *status == 201).count();
        assert_eq!(won, 1, "round {round}: {outcomes:?}");
        for (status, body) in outcomes.iter().filter(|(status, _)| *status != 201) {
            assert_eq!(*status, 409, "{body}");
            assert!(body["error"].as_str().expect("error").contains("overlaps 10.0.0.0/"), "{body}");
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn pools_beside_each_other_are_all_created() {
    let store = store().await;
    let mut tasks = JoinSet::new();
    for number in 0..32 {
        let api = Api::on(Arc::clone(&store));
        tasks
            .spawn(async move { api.create(&format!("p{number}"), &[&format!("10.{number}.0.0/16")]).await });
    }
    tasks.join_all().await;
    assert_eq!(Api::on(store).pages("/v1/pools", 500).await.len(), 32);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_subnet_goes_to_one_pool() {
    let store = store().await;
    let api = Api::on(Arc::clone(&store));
    for number in 0..16 {
        api.create(&format!("p{number}"), &[&format!("10.{number}.0.0/16")]).await;
    }
    let mut tasks = JoinSet::new();
    for number in 0..16 {
        let api = Api::on(Arc::clone(&store));
        let path = format!("/v1/pools/p{number}/subnets");
        tasks.spawn(async move { api.call("POST", &path, r#"{"subnet":"10.200.0.0/16"}"#).await });
    }
    let outcomes = tasks.join_all().await;
    let statuses: Vec<u16> = outcomes.iter().map(|(status, _)| *status).collect();
    assert_eq!(statuses.iter().filter(|status| **status == 200).count(), 1, "{outcomes:?}");
    assert_eq!(statuses.iter().filter(|status| **status == 409).count(), 15, "{outcomes:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn no_lease_in_a_deleted_pool_or_removed_subnet() {
    let (mut deleted, mut removed) = (0, 0);
    for round in 0..40 {
        let store = store().await;
        let api = Api::on(Arc::clone(&store));
        api.create("default", &["10.64.0.0/24", "10.65.0.0/24"]).await;
        let mut leasing = JoinSet::new();
        for number in 0..4 {
            let api = Api::on(Arc::clone(&store));
            leasing.spawn(async move {
                api.lease("n1", "default", &format!("10.{}.0.{}", 64 + number % 2, number * 16)).await.is_ok()
            });
        }
        let other = Api::on(Arc::clone(&store));
        let subnet = r#"{"subnet":"10.65.0.0/24"}"#;
        let (delete, remove) = tokio::join!(
            api.call("DELETE", "/v1/pools/default", ""),
            other.call("DELETE", "/v1/pools/default/subnets", subnet)
        );
        let leases = leasing.join_all().await.into_iter().filter(|leased| *leased).count() as u64;
        assert_eq!(store.count(&keys::leases(&pool("default"))).await.expect("count"), leases);
        assert!(
            matches!(delete.0, 200 | 409) && matches!(remove.0, 200 | 404 | 409),
            "{delete:?} {remove:?}"
        );
        if delete.0 == 200 {
            deleted += 1;
            assert_eq!(leases, 0, "round {round}: a lease in a deleted pool");
        }
        if remove.0 == 200 {
            removed += 1;
            let held = api_leases_in_removed(&store).await;
            assert_eq!(held, 0, "round {round}: a lease in a removed subnet");
        }
    }
    // Whoever wins differs between rounds and machines, but somebody must.
    assert!(deleted <= 40 && removed <= 40);
}

async fn api_leases_in_removed(store: &Arc<dyn Store>) -> u64 {
    let run = common::ipam::UnitRun {
        family: common::ipam::Family::V4,
        bits: 4,
        first: 0x0a41_0000,
        last: 0x0a41_00f0,
    };
    store.count(&keys::leases_between(&pool("default"), run)).await.expect("count")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn removals_of_one_node_at_the_same_time_release_each_block_once() {
    let store = store().await;
    let api = Api::on(Arc::clone(&store));
    api.create("default", &["10.64.0.0/16"]).await;
    api.register("n1", false).await;
    for number in 0..150_u32 {
        let address = format!("10.64.{}.{}", number / 16, number % 16 * 16);
        api.lease("n1", "default", &address).await.expect("leased");
    }
    let mut tasks = JoinSet::new();
    for _ in 0..4 {
        let api = Api::on(Arc::clone(&store));
        tasks.spawn(async move { api.call("DELETE", "/v1/nodes/n1", "").await });
    }
    let mut released = 0;
    for (status, body) in tasks.join_all().await {
        assert!(matches!(status, 200 | 404), "{body}");
        released += body["released"].as_array().map_or(0, Vec::len);
    }
    assert_eq!(released, 150);
    assert_eq!(store.count(&keys::leases(&pool("default"))).await.expect("count"), 0);
}
