//! What etcd counts of its own work, read from its `/metrics`.

use anyhow::{Context, Result};
use coil_tests::etcd::Etcd;
use coil_tests::http::Http;

/// Counters of an etcd server as they were at one moment.
#[derive(Debug, Clone)]
pub(crate) struct Counters(String);

impl Counters {
    /// Reads them.
    pub(crate) fn read(etcd: &Etcd) -> Result<Self> {
        let endpoint = etcd.endpoint();
        let address = endpoint.strip_prefix("http://").context("an endpoint without TLS")?;
        Ok(Self(Http::Tcp(address.parse()?).get("/metrics")?.expect(200)?.text()))
    }

    /// The sum of a metric over its labels, of which one must contain `label`.
    pub(crate) fn sum(&self, metric: &str, label: &str) -> Result<f64> {
        let mut found = None;
        for line in self.0.lines() {
            let Some(rest) = line.strip_prefix(metric) else { continue };
            let (labels, value) = rest.rsplit_once(' ').unwrap_or_default();
            if (labels.is_empty() || labels.starts_with('{')) && labels.contains(label) {
                let value: f64 = value.parse().with_context(|| format!("no number in {line}"))?;
                found = Some(found.unwrap_or(0.0) + value);
            }
        }
        found.with_context(|| format!("etcd has no metric {metric} with {label:?}"))
    }

    /// How much that grew since an earlier reading.
    pub(crate) fn grown(&self, before: &Self, metric: &str, label: &str) -> Result<f64> {
        Ok(self.sum(metric, label)? - before.sum(metric, label)?)
    }

    /// Bytes of the database that are in use: the file is larger by what earlier revisions left free.
    pub(crate) fn in_use(&self) -> Result<f64> {
        self.sum("etcd_mvcc_db_total_size_in_use_in_bytes", "")
    }

    /// Bytes of the database's file.
    pub(crate) fn database(&self) -> Result<f64> {
        self.sum("etcd_mvcc_db_total_size_in_bytes", "")
    }
}

/// Transactions that etcd carried out, whether their compares held or not.
pub(crate) const TRANSACTIONS: (&str, &str) = ("grpc_server_handled_total", "grpc_method=\"Txn\"");
/// Calls and streams that clients began.
pub(crate) const CALLS: (&str, &str) = ("grpc_server_started_total", "");
/// Reads.
pub(crate) const READS: (&str, &str) = ("grpc_server_started_total", "grpc_method=\"Range\"");
/// Streams of changes, each of one range.
pub(crate) const WATCHES: (&str, &str) = ("grpc_server_started_total", "grpc_service=\"etcdserverpb.Watch\"");
/// Times to live that were granted or renewed.
pub(crate) const LIVENESS: (&str, &str) =
    ("grpc_server_started_total", "grpc_service=\"etcdserverpb.Lease\"");
/// Bytes of keys and values that were written.
pub(crate) const WRITTEN: (&str, &str) = ("etcd_debugging_mvcc_total_put_size_in_bytes", "");
/// Bytes that clients sent.
pub(crate) const RECEIVED: (&str, &str) = ("etcd_network_client_grpc_received_bytes_total", "");
/// Bytes that clients were sent.
pub(crate) const SENT: (&str, &str) = ("etcd_network_client_grpc_sent_bytes_total", "");
/// How often the log was synced, which each change waits for, and the seconds that this took.
pub(crate) const LOG_SYNCS: (&str, &str) =
    ("etcd_disk_wal_fsync_duration_seconds_count", "etcd_disk_wal_fsync_duration_seconds_sum");
/// How often the database was written and synced, and the seconds that this took.
pub(crate) const COMMITS: (&str, &str) =
    ("etcd_disk_backend_commit_duration_seconds_count", "etcd_disk_backend_commit_duration_seconds_sum");

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_are_summed_and_names_not_confused() {
        let text = "# HELP a b\ncalls{m=\"Txn\",c=\"OK\"} 3\ncalls{m=\"Txn\",c=\"Aborted\"} 2\n\
            calls{m=\"Put\",c=\"OK\"} 7\ncalls_total 100\nsize 2.5e+06\n";
        let counters = Counters(text.to_owned());
        let sum = |metric, label| counters.sum(metric, label).expect("there");
        assert_eq!(sum("calls", "m=\"Txn\"").total_cmp(&5.0), std::cmp::Ordering::Equal);
        assert_eq!(sum("calls", "").total_cmp(&12.0), std::cmp::Ordering::Equal);
        assert_eq!(sum("size", "").total_cmp(&2.5e6), std::cmp::Ordering::Equal);
        assert!(counters.sum("cal", "").is_err() && counters.sum("calls", "Get").is_err());
    }
}
