//! Counters, and the text in which Prometheus reads them.

use crate::state::Summary;
use std::fmt::Write;
use std::sync::atomic::{AtomicU64, Ordering};

/// A count that only grows.
#[derive(Debug, Default)]
pub struct Counter(AtomicU64);

impl Counter {
    /// Counts `n` more.
    pub fn add(&self, n: u64) {
        self.0.fetch_add(n, Ordering::Relaxed);
    }

    /// The count.
    pub fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// What the daemon counts.
#[derive(Debug, Default)]
pub struct Metrics {
    /// Requests for an address that got one.
    pub added: Counter,
    /// Requests for an address that failed.
    pub add_failed: Counter,
    /// Requests to free that freed something or had nothing to free.
    pub deleted: Counter,
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

struct Family {
    name: &'static str,
    kind: &'static str,
    help: &'static str,
}

impl Metrics {
    /// The Prometheus text format, version 0.0.4.
    pub fn render(&self, summary: &Summary, commits: u64, failed_commits: u64) -> String {
        let mut text = String::new();
        let one = |value: u64| vec![(String::new(), value)];
        let family = |name, kind, help| Family { name, kind, help };
        write_family(
            &mut text,
            &family("coild_add_total", "counter", "Requests for an address, by result."),
            &[
                (r#"{result="ok"}"#.to_owned(), self.added.get()),
                (r#"{result="error"}"#.to_owned(), self.add_failed.get()),
            ],
        );
        let journal = [
            ("coild_journal_commits_total", "Commits to the journal.", commits),
            ("coild_journal_commit_failures_total", "Commits to the journal that failed.", failed_commits),
        ];
        for (name, help, counter) in self.counters().into_iter().chain(journal) {
            write_family(&mut text, &family(name, "counter", help), &one(counter));
        }
        for (name, help, value) in [
            ("coild_fenced_addresses", "Addresses held in blocks whose lease is gone.", summary.fenced),
            (
                "coild_conflict_addresses",
                "Addresses set aside because a foreign host uses them.",
                summary.conflicts,
            ),
            (
                "coild_quarantined_blocks",
                "Blocks rebuilt whose holders are not yet certain.",
                summary.quarantined,
            ),
            ("coild_mirror_lag_milliseconds", "For how long the mirror has been behind.", summary.mirror_lag),
        ] {
            write_family(&mut text, &family(name, "gauge", help), &one(value));
        }
        write_pools(&mut text, summary);
        let version = format!("{{version=\"{}\"}}", env!("CARGO_PKG_VERSION"));
        write_family(
            &mut text,
            &family("coild_build_info", "gauge", "The program's version."),
            &[(version, 1)],
        );
        text
    }

    /// Names, meanings and values.
    fn counters(&self) -> [(&'static str, &'static str, u64); 9] {
        [
            ("coild_del_total", "Requests to free an address.", self.deleted.get()),
            ("coild_blocks_acquired_total", "Blocks leased.", self.acquired.get()),
            ("coild_blocks_released_total", "Blocks released.", self.released.get()),
            ("coild_mirror_writes_total", "Transactions written by the mirror.", self.mirror_writes.get()),
            ("coild_store_errors_total", "Calls of the store that failed.", self.store_errors.get()),
            (
                "coild_orphans_freed_total",
                "Addresses freed because their container was gone.",
                self.orphans.get(),
            ),
            (
                "coild_conflicts_total",
                "Addresses that a foreign host was found to use.",
                self.conflicts.get(),
            ),
            (
                "coild_cri_errors_total",
                "Times that the container runtime told nothing.",
                self.runtime_errors.get(),
            ),
            (
                "coild_store_restores_total",
                "Times that the store went back to an earlier state.",
                self.restores.get(),
            ),
        ]
    }
}

fn write_pools(text: &mut String, summary: &Summary) {
    let of = |count: fn(&crate::state::PoolSummary) -> u64| -> Vec<(String, u64)> {
        let labels = |(pool, family): &(_, _)| format!("{{pool=\"{pool}\",family=\"{family}\"}}");
        summary.pools.iter().map(|(key, pool)| (labels(key), count(pool))).collect()
    };
    for (name, help, values) in [
        ("coild_blocks", "Blocks held.", of(|pool| pool.blocks)),
        ("coild_addresses_allocated", "Addresses held by containers.", of(|pool| pool.allocated)),
        ("coild_addresses_available", "Addresses that can be given at once.", of(|pool| pool.available)),
        ("coild_addresses_resting", "Addresses in cooldown.", of(|pool| pool.resting)),
    ] {
        write_family(text, &Family { name, kind: "gauge", help }, &values);
    }
}

fn write_family(text: &mut String, family: &Family, values: &[(String, u64)]) {
    let Family { name, kind, help } = family;
    // Writing to a string can't fail.
    let _ = writeln!(text, "# HELP {name} {help}\n# TYPE {name} {kind}");
    for (labels, value) in values {
        let _ = writeln!(text, "{name}{labels} {value}");
    }
}
