//! Lists: in the order of ids, page by page, without reading what is not shown.

use super::{addresses, text};
use crate::fixture::Api;
use crate::scale::Counted;
use serde_json::{Value, json};
use std::sync::Arc;

const T: &str = "/v0.1/ipam/tenants/t";

fn ids(items: &[Value]) -> Vec<String> {
    items.iter().map(|item| text(&item["id"])).collect()
}

#[tokio::test]
async fn pages_are_in_the_order_of_ids() {
    let api = Api::new().await;
    let block = api.private("t", "10.0.0.0/24").await;
    for n in 0..25 {
        let body = json!({"ip_address": {"used_by_device": format!("d{}", n % 2), "tenant_id": format!("t{}", n % 3)}});
        api.m(201, "POST", &addresses("t", &block), &body).await;
        api.private("many", &format!("10.{n}.0.0/24")).await;
    }
    for (path, expected) in [
        (addresses("t", &block), 25),
        ("/v0.1/ipam/allocated_ip_addresses".to_owned(), 25),
        ("/v0.1/ipam/allocated_ip_addresses?used_by_device=d0".to_owned(), 13),
        ("/v0.1/ipam/instances/d0/ip_addresses".to_owned(), 13),
        ("/v0.1/ipam/tenants/t0/allocated_ip_addresses".to_owned(), 9),
        ("/v0.1/ipam/tenants/t0/allocated_ip_addresses?used_by_device=d1".to_owned(), 4),
        ("/v0.1/ipam/tenants/t0/instances/d1/ip_addresses".to_owned(), 4),
        ("/v0.1/ipam/tenants/many/ip_blocks".to_owned(), 25),
        ("/v0.1/ipam/tenants/many/ip_blocks?type=private".to_owned(), 25),
        ("/v0.1/ipam/tenants/many/ip_blocks?type=public".to_owned(), 0),
        ("/v0.1/ipam/tenants/none/ip_blocks".to_owned(), 0),
    ] {
        let all = ids(&api.all(&path, 200).await);
        assert_eq!(all.len(), expected, "{path}");
        assert!(all.is_sorted(), "{path}: {all:?}");
        for limit in [1, 3, 7] {
            assert_eq!(ids(&api.all(&path, limit).await), all, "{path} by {limit}");
        }
    }
    for silly in ["limit=0", "limit=-1", "limit=x", "limit=", "limit=1.5", "marker=x", "limit=1&limit=2"] {
        api.m(400, "GET", &format!("{}?{silly}", addresses("t", &block)), &Value::Null).await;
    }
    // A marker is a place, whether or not there is something at it.
    let nobody = "00000000-0000-0000-0000-000000000000";
    assert_eq!(
        api.read(&format!("{}?marker={nobody}", addresses("t", &block))).await["ip_addresses"]
            .as_array()
            .expect("list")
            .len(),
        25
    );
    let page = api.with("GET", &format!("{T}/ip_blocks/{block}/ip_addresses.xml?limit=3&x=y"), &[], "").await;
    assert!(
        page.text.contains("<link rel=\"next\" href=\"http://localhost:9898/v0.1/ipam/tenants/t/ip_blocks/"),
        "{}",
        page.text
    );
    assert!(page.text.contains("/ip_addresses.xml?limit=3&amp;x=y&amp;marker="), "{}", page.text);
}

#[tokio::test]
async fn reads_are_bounded_by_what_is_shown() {
    let store = Counted::new().await;
    let api = Api::on(Arc::clone(&store) as Arc<dyn common::store::Store>);
    let block = api.private("t", "10.0.0.0/16").await;
    let mut ids = Vec::new();
    for n in 0..600 {
        let device = if n % 100 == 0 { "rare" } else { "common" };
        let body = json!({"ip_address": {"used_by_device": device}});
        ids.push(text(&api.m(201, "POST", &addresses("t", &block), &body).await["ip_address"]["id"]));
    }
    ids.sort_unstable();
    let near_the_end = &ids[580];
    for (path, calls, entries) in [
        (format!("{}?limit=10", addresses("t", &block)), 18, 23),
        (format!("{}?limit=10&marker={near_the_end}", addresses("t", &block)), 18, 23),
        (format!("{T}/allocated_ip_addresses?limit=10&marker={near_the_end}"), 17, 22),
        ("/v0.1/ipam/allocated_ip_addresses?limit=10".to_owned(), 17, 22),
        (format!("{T}/allocated_ip_addresses?used_by_device=rare"), 13, 13),
        (format!("{}/10.0.1.7", addresses("t", &block)), 2, 2),
        (format!("{T}/ip_blocks?limit=1"), 1, 1),
    ] {
        store.reset();
        api.read(&path).await;
        let (called, read) = store.counted();
        assert!(called <= calls && read <= entries, "{path}: {called} calls for {read} entries");
    }
    // An allocation reads its block, and a page of what is taken once for many.
    store.reset();
    for _ in 0..64 {
        api.m(201, "POST", &addresses("t", &block), &Value::Null).await;
    }
    let (called, _) = store.counted();
    assert!(called <= 64 + 3, "{called} reads for 64 addresses");
}

/// The next address costs the same however many are used, and whatever the size.
#[tokio::test]
async fn the_next_address_is_flat() {
    let mut costs = Vec::new();
    for (cidr, used) in [("10.0.0.0/24", 0), ("10.0.0.0/8", 0), ("10.0.0.0/8", 20_000)] {
        let store = Counted::new().await;
        let api = Api::on(Arc::clone(&store) as Arc<dyn common::store::Store>);
        let block = api.private("t", cidr).await;
        super::lists::fill(&store, &block, used).await;
        // A controller that was just started looks for a place once.
        api.m(201, "POST", &addresses("t", &block), &Value::Null).await;
        store.reset();
        for _ in 0..100 {
            api.m(201, "POST", &addresses("t", &block), &Value::Null).await;
        }
        costs.push(store.counted());
    }
    for (calls, entries) in &costs {
        assert!(*calls <= 104 && *entries <= 400, "{costs:?}");
    }
}

/// Takes the first addresses of a block, as if they had been allocated.
pub(super) async fn fill(store: &Arc<Counted>, block: &str, used: u32) {
    use common::store::record::melange::Address;
    use common::store::{Op, Store, Txn, keys, record};
    let tenant = common::name::TenantId::new("t").expect("tenant");
    let id = block.parse().expect("id");
    let taken: Vec<Op> = (0..used)
        .map(|n| {
            let record = Address {
                id: uuid::Uuid::from_u128(n.into()),
                owner: tenant.clone(),
                tenant: tenant.clone(),
                device: None,
                interface: None,
                created: 1,
                updated: 1,
                freed: None,
                pod: false,
            };
            let address = std::net::Ipv4Addr::from_bits(0x0a00_0000 + n);
            Op::Put(keys::melange::address(id, address.into()), record::encode(&record))
        })
        .collect();
    for ops in taken.chunks(Txn::MAX) {
        store.txn(Txn { compares: Vec::new(), ops: ops.to_vec() }).await.expect("written");
    }
}
