//! The numbers for Prometheus, read from the store when they are asked for (`docs/metrics.md`).

use crate::error::Error;
use crate::paging::read_all;
use crate::pools;
use common::error::chain;
use common::store::{Store, keys};
use common::wire::admin::PoolView;
use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::{ConstGauge, Gauge};
use prometheus_client::metrics::info::Info;
use prometheus_client::registry::Registry;

pub use coild::metrics::CONTENT_TYPE;

struct Numbers {
    pools: Vec<PoolView>,
    nodes: u64,
    alive: u64,
}

/// All numbers. When the store can't be read, they say that and nothing else.
pub async fn render(store: &dyn Store) -> String {
    let numbers = read(store).await.inspect_err(|error| {
        tracing::warn!(error = %chain(error), "metrics without the store's numbers");
    });
    let mut registry = Registry::default();
    let build = Info::new([("version", env!("CARGO_PKG_VERSION"))]);
    registry.register("coil_controller_build", "The program", build);
    registry.register("coil_store_up", "Whether the store answers", one(numbers.is_ok().into()));
    if let Ok(numbers) = numbers {
        register(&mut registry, &numbers);
    }
    let mut text = String::new();
    // Writing to a string can't fail.
    let _ = encode(&mut text, &registry);
    text
}

async fn read(store: &dyn Store) -> Result<Numbers, Error> {
    let stored = pools::all(store).await?;
    let views = stored.iter().map(|stored| pools::view(store, &stored.name, &stored.pool));
    let pools = read_all(views).await?;
    let nodes = store.count(&keys::nodes()).await?;
    let alive = store.count(&keys::all_alive()).await?;
    Ok(Numbers { pools, nodes, alive })
}

fn register(registry: &mut Registry, numbers: &Numbers) {
    let [blocks, leased, disabled] = [(); 3].map(|()| Family::<Vec<(&str, String)>, Gauge>::default());
    for PoolView { name, pool, usage } in &numbers.pools {
        let of_pool = ("pool", name.to_string());
        disabled.get_or_create(&vec![of_pool.clone()]).set(number(pool.disabled.into()));
        for usage in usage {
            let labels = vec![of_pool.clone(), ("family", usage.family.to_string())];
            blocks.get_or_create(&labels).set(number(usage.blocks));
            leased.get_or_create(&labels).set(number(usage.leased));
        }
    }
    registry.register("coil_pool_blocks", "Blocks that the pool can be cut in", blocks);
    registry.register("coil_pool_blocks_leased", "Blocks leased to nodes", leased);
    registry.register("coil_pool_disabled", "Whether the pool gives nothing new", disabled);
    registry.register("coil_nodes", "Nodes that are registered", one(numbers.nodes));
    registry.register("coil_nodes_alive", "Nodes heard of within the liveness TTL", one(numbers.alive));
}

fn one(value: u64) -> ConstGauge<i64> {
    ConstGauge::new(number(value))
}

/// A gauge has no more than 2^63 - 1.
fn number(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use common::ipam::Pool;
    use common::name::PoolName;
    use common::store::embedded::Embedded;
    use common::store::{Op, Txn, record};
    use std::collections::BTreeSet;

    #[tokio::test]
    async fn the_documentation_has_each_of_them() {
        let store = Embedded::in_memory().await.expect("store");
        let pool = Pool::of_subnets(vec!["10.0.0.0/24".parse().expect("subnet")]);
        let put = Op::Put(keys::pool(&PoolName::default_pool()), record::encode(&pool));
        store.txn(Txn::new().then(put)).await.expect("put");
        let text = render(&store).await;
        let types = text.lines().filter_map(|line| line.strip_prefix("# TYPE ")?.split_once(' '));
        let name = |(name, kind)| if kind == "info" { format!("{name}_info") } else { String::from(name) };
        let told: BTreeSet<String> = types.map(name).collect();
        let documentation = include_str!("../../docs/metrics.md");
        let rows = documentation.lines().filter_map(|line| line.strip_prefix("| `coil_"));
        let name = |row: &str| format!("coil_{}", row.split(['{', '`']).next().unwrap_or_default());
        assert_eq!(told, rows.map(name).collect());
    }
}
