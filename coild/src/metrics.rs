//! What the daemon counts, and the text in which Prometheus reads it (`docs/metrics.md`).

use crate::state::Summary;
use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::counter::{ConstCounter, Counter};
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::{ConstGauge, Gauge};
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::metrics::info::Info;
use prometheus_client::registry::Registry;
use std::time::Duration;

/// Type of the text: `OpenMetrics` 1.0.
pub const CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// Upper bounds of the buckets of requests, in seconds: from a commit on a fast disk to a lease from a slow store.
const REQUESTS: [f64; 14] =
    [0.000_25, 0.000_5, 0.001, 0.002_5, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0];
/// The same of leases, each of which is some calls of the store.
const LEASES: [f64; 10] = [0.002_5, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 5.0];

type Result = [(&'static str, &'static str); 1];

/// Times of something, by its result.
#[derive(Debug, Clone)]
pub struct Times(Family<Result, Histogram, fn() -> Histogram>);

impl Times {
    fn new(histogram: fn() -> Histogram) -> Self {
        let family = Family::new_with_constructor(histogram);
        for result in ["ok", "error"] {
            drop(family.get_or_create(&[("result", result)]));
        }
        Self(family)
    }

    /// Counts one more, which took so long.
    pub fn observe(&self, time: Duration, succeeded: bool) {
        let result = if succeeded { "ok" } else { "error" };
        self.0.get_or_create(&[("result", result)]).observe(time.as_secs_f64());
    }
}

/// What the daemon counts.
#[derive(Debug)]
pub struct Metrics {
    /// Requests for an address.
    pub adds: Times,
    /// Requests to free one.
    pub dels: Times,
    /// Leases of blocks and addresses.
    pub leases: Times,
    /// Blocks leased.
    pub acquired: Counter,
    /// Blocks whose lease was released.
    pub released: Counter,
    /// Transactions that the mirror wrote.
    pub mirror_writes: Counter,
    /// Calls of the store that failed.
    pub store_errors: Counter,
    /// Orphans freed.
    pub orphans: Counter,
    /// Addresses that a foreign host was found to use.
    pub conflicts: Counter,
    /// Times that the container runtime could not be asked.
    pub runtime_errors: Counter,
    /// How often the store was found to have gone back to an earlier state.
    pub restores: Counter,
}

impl Default for Metrics {
    fn default() -> Self {
        Self {
            adds: Times::new(|| Histogram::new(REQUESTS)),
            dels: Times::new(|| Histogram::new(REQUESTS)),
            leases: Times::new(|| Histogram::new(LEASES)),
            acquired: Counter::default(),
            released: Counter::default(),
            mirror_writes: Counter::default(),
            store_errors: Counter::default(),
            orphans: Counter::default(),
            conflicts: Counter::default(),
            runtime_errors: Counter::default(),
            restores: Counter::default(),
        }
    }
}

impl Metrics {
    /// The text.
    pub fn render(&self, summary: &Summary, commits: u64, failed_commits: u64) -> String {
        let mut registry = Registry::default();
        for (name, help, times) in [
            ("add_duration_seconds", "Requests for an address", &self.adds),
            ("del_duration_seconds", "Requests to free an address", &self.dels),
            (
                "lease_duration_seconds",
                "Leases of blocks, and of single addresses, from the store",
                &self.leases,
            ),
        ] {
            registry.register(format!("coild_{name}"), help, times.0.clone());
        }
        for (name, help, counter) in [
            ("blocks_acquired", "Blocks leased", &self.acquired),
            ("blocks_released", "Blocks released", &self.released),
            ("mirror_writes", "Transactions written by the mirror", &self.mirror_writes),
            ("store_errors", "Calls of the store that failed", &self.store_errors),
            ("orphans_freed", "Addresses freed because their container was gone", &self.orphans),
            ("conflicts", "Addresses that a foreign host was found to use", &self.conflicts),
            ("cri_errors", "Times that the container runtime told nothing", &self.runtime_errors),
            ("store_restores", "Times that the store went back to an earlier state", &self.restores),
        ] {
            registry.register(format!("coild_{name}"), help, counter.clone());
        }
        for (name, help, count) in [
            ("journal_commits", "Commits to the journal", commits),
            ("journal_commit_failures", "Commits to the journal that failed", failed_commits),
        ] {
            registry.register(format!("coild_{name}"), help, ConstCounter::new(count));
        }
        for (name, help, value) in [
            ("fenced_addresses", "Addresses held in blocks whose lease is gone", summary.fenced),
            ("conflict_addresses", "Addresses set aside because a foreign host uses them", summary.conflicts),
            ("quarantined_blocks", "Blocks rebuilt whose holders are not yet certain", summary.quarantined),
        ] {
            registry.register(format!("coild_{name}"), help, ConstGauge::new(gauge(value)));
        }
        let lag = Duration::from_millis(summary.mirror_lag).as_secs_f64();
        registry.register(
            "coild_mirror_lag_seconds",
            "For how long the mirror has been behind",
            ConstGauge::new(lag),
        );
        register_pools(&mut registry, summary);
        registry.register("coild_build", "The program", Info::new([("version", env!("CARGO_PKG_VERSION"))]));
        let mut text = String::new();
        // Writing to a string can't fail.
        let _ = encode(&mut text, &registry);
        text
    }
}

fn register_pools(registry: &mut Registry, summary: &Summary) {
    let [blocks, allocated, available, resting] =
        [(); 4].map(|()| Family::<[(&'static str, String); 2], Gauge>::default());
    for ((pool, family), counts) in &summary.pools {
        let labels = [("pool", pool.to_string()), ("family", family.to_string())];
        for (gauges, count) in [
            (&blocks, counts.blocks),
            (&allocated, counts.allocated),
            (&available, counts.available),
            (&resting, counts.resting),
        ] {
            gauges.get_or_create(&labels).set(gauge(count));
        }
    }
    registry.register("coild_blocks", "Blocks held", blocks);
    registry.register("coild_addresses_allocated", "Addresses held by containers", allocated);
    registry.register("coild_addresses_available", "Addresses that can be given at once", available);
    registry.register("coild_addresses_resting", "Addresses in cooldown", resting);
}

fn gauge(count: u64) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::state::PoolSummary;
    use common::ipam::Family;
    use common::pool_id::PoolId;
    use std::collections::{BTreeMap, BTreeSet};

    /// Names and kinds as Prometheus has them.
    fn told(text: &str) -> BTreeSet<(String, String)> {
        let types = text.lines().filter_map(|line| line.strip_prefix("# TYPE ")?.split_once(' '));
        types
            .map(|(name, kind)| match kind {
                "counter" => (format!("{name}_total"), kind.to_owned()),
                "info" => (format!("{name}_info"), "gauge".to_owned()),
                kind => (name.to_owned(), kind.to_owned()),
            })
            .collect()
    }

    fn summary() -> Summary {
        let pool = PoolSummary { blocks: 1, allocated: 2, available: 13, resting: 1 };
        let id = PoolId::from("p".parse::<common::name::PoolName>().expect("name"));
        let pools = BTreeMap::from([((id, Family::V4), pool)]);
        Summary { pools, mirror_lag: 1_500, ..Summary::default() }
    }

    #[test]
    fn the_documentation_has_each_of_them() {
        let documentation = include_str!("../../docs/metrics.md");
        let rows = documentation.lines().filter_map(|line| line.strip_prefix("| `coild_"));
        let documented: BTreeSet<(String, String)> = rows
            .map(|row| {
                let mut cells = row.split(" | ");
                let name = cells.next().expect("a name").trim_end_matches('`');
                let name = name.split('{').next().expect("a name");
                (format!("coild_{name}"), cells.next().expect("a kind").to_owned())
            })
            .collect();
        assert_eq!(told(&Metrics::default().render(&summary(), 0, 0)), documented);
    }

    #[test]
    fn the_text() {
        let metrics = Metrics::default();
        metrics.adds.observe(Duration::from_millis(2), true);
        metrics.orphans.inc_by(3);
        let text = metrics.render(&summary(), 7, 0);
        for line in [
            "coild_add_duration_seconds_bucket{le=\"0.001\",result=\"ok\"} 0",
            "coild_add_duration_seconds_bucket{le=\"0.0025\",result=\"ok\"} 1",
            "coild_add_duration_seconds_count{result=\"error\"} 0",
            "coild_orphans_freed_total 3",
            "coild_journal_commits_total 7",
            "coild_addresses_available{pool=\"p\",family=\"ipv4\"} 13",
            "coild_mirror_lag_seconds 1.5",
            "# EOF",
        ] {
            assert!(text.lines().any(|other| other == line), "{line} is missing in\n{text}");
        }
    }
}
