//! The numbers for Prometheus, read from the store when they are asked for.

use crate::error::Error;
use crate::paging::read_all;
use crate::pools;
use common::error::chain;
use common::store::{Store, keys};
use common::wire::admin::PoolView;
use std::fmt::Write;

struct Numbers {
    pools: Vec<PoolView>,
    nodes: u64,
    alive: u64,
}

/// All numbers in Prometheus' text form. When the store can't be read, it says that and nothing else.
pub async fn render(store: &dyn Store) -> String {
    let numbers = read(store).await.inspect_err(|error| {
        tracing::warn!(error = %chain(error), "metrics without the store's numbers");
    });
    let mut text = String::new();
    let version = env!("CARGO_PKG_VERSION");
    let build = (format!("version=\"{version}\""), 1);
    family(&mut text, "coil_controller_build_info", "The program's version.", &[build]);
    family(
        &mut text,
        "coil_store_up",
        "Whether the store answers.",
        &[(String::new(), numbers.is_ok().into())],
    );
    if let Ok(numbers) = numbers {
        add(&mut text, &numbers);
    }
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

fn add(text: &mut String, numbers: &Numbers) {
    let per_family = |value: fn(&common::wire::admin::PoolUsage) -> u64| -> Vec<(String, u64)> {
        let usages = numbers.pools.iter().flat_map(|pool| pool.usage.iter().map(move |usage| (pool, usage)));
        usages
            .map(|(pool, usage)| {
                (format!("pool=\"{}\",family=\"{}\"", pool.name, usage.family), value(usage))
            })
            .collect()
    };
    let disabled: Vec<_> = numbers
        .pools
        .iter()
        .map(|pool| (format!("pool=\"{}\"", pool.name), u64::from(pool.pool.disabled)))
        .collect();
    family(
        text,
        "coil_pool_blocks",
        "Blocks that the pool can be cut in.",
        &per_family(|usage| usage.blocks),
    );
    family(text, "coil_pool_blocks_leased", "Blocks leased to nodes.", &per_family(|usage| usage.leased));
    family(text, "coil_pool_disabled", "Whether the pool gives nothing new.", &disabled);
    family(text, "coil_nodes", "Nodes that are registered.", &[(String::new(), numbers.nodes)]);
    family(
        text,
        "coil_nodes_alive",
        "Nodes heard of within the liveness TTL.",
        &[(String::new(), numbers.alive)],
    );
}

fn family(text: &mut String, name: &str, help: &str, samples: &[(String, u64)]) {
    // Writing to a string can't fail.
    let _ = writeln!(text, "# HELP {name} {help}\n# TYPE {name} gauge");
    for (labels, value) in samples {
        let labels = if labels.is_empty() { String::new() } else { format!("{{{labels}}}") };
        let _ = writeln!(text, "{name}{labels} {value}");
    }
}
