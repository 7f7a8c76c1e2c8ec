//! What was seen of a cluster, so that a restored backup is noticed: reads and transactions are linearizable, so
//! that no answer has a smaller revision than one that had arrived before the request was sent.

use crate::store::etcd::from_etcd;
use crate::store::{Revision, StoreError};
use etcd_client::ResponseHeader;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// A cluster as it was when a request was sent.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Seen {
    /// The cluster's id; 0 if nothing was seen yet.
    cluster: u64,
    /// The greatest revision of an answer.
    revision: Revision,
}

/// What was seen so far.
#[derive(Debug, Default)]
pub(super) struct Past(Mutex<(Seen, u64)>);

impl Past {
    fn lock(&self) -> MutexGuard<'_, (Seen, u64)> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// To be called before a request is sent.
    pub(super) fn seen(&self) -> Seen {
        self.lock().0
    }

    /// How often the cluster went back.
    pub(super) fn rewinds(&self) -> u64 {
        self.lock().1
    }

    /// Compares an answer with what was seen when it was asked for.
    pub(super) fn note(&self, asked: Seen, header: Option<&ResponseHeader>) -> Result<(), StoreError> {
        let Some(header) = header else { return Ok(()) };
        self.compare(asked, Seen { cluster: header.cluster_id(), revision: from_etcd(header.revision()) })
    }

    fn compare(&self, asked: Seen, answer: Seen) -> Result<(), StoreError> {
        let (seen, rewinds) = &mut *self.lock();
        let other_cluster = asked.cluster != 0 && answer.cluster != asked.cluster;
        if other_cluster || answer.revision < asked.revision {
            // Several requests may have been on their way: the first of them notices.
            if *seen == asked || seen.cluster == asked.cluster && seen.revision >= asked.revision {
                *rewinds += 1;
                *seen = answer;
            }
            return Err(StoreError::Rewound);
        }
        if seen.cluster == 0 || answer.cluster == seen.cluster {
            *seen = Seen { cluster: answer.cluster, revision: answer.revision.max(seen.revision) };
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(cluster: u64, revision: Revision) -> Seen {
        Seen { cluster, revision }
    }

    #[test]
    fn answers_out_of_order_are_no_rewind() {
        let past = Past::default();
        let first = past.seen();
        past.compare(first, at(1, 7)).expect("the first answer");
        // Asked before the other answer had arrived.
        past.compare(first, at(1, 5)).expect("an older answer");
        assert_eq!((past.seen(), past.rewinds()), (at(1, 7), 0));
    }

    #[test]
    fn a_smaller_revision_or_another_cluster_is_a_rewind() {
        for restored in [at(1, 6), at(2, 9)] {
            let past = Past::default();
            past.compare(past.seen(), at(1, 7)).expect("the first answer");
            let (asked, also) = (past.seen(), past.seen());
            assert!(matches!(past.compare(asked, restored), Err(StoreError::Rewound)));
            assert!(matches!(past.compare(also, restored), Err(StoreError::Rewound)));
            assert_eq!((past.seen(), past.rewinds()), (restored, 1));
            past.compare(past.seen(), restored).expect("from here on it goes forward");
        }
    }
}
