//! The steps of a node, as transactions.

use super::plan::Plan;
use super::survey::{MAX_MIRROR, Step};
use crate::audit;
use crate::auth::Caller;
use common::name::{NodeName, PoolName};
use common::store::record::{self, BlockMirror};
use common::store::{Compare, Entry, Revision, Txn, keys, leases};
use std::collections::BTreeMap;

/// Blocks of one transaction: each takes two compares at most, and may bring a pool to compare; and two operations.
const AT_ONCE: usize = (Txn::MAX - 3) / 3;
/// Bytes of the mirrors of one transaction, but for its last one. The rest is for keys and leases.
const BYTES: usize = Txn::MAX_BYTES - MAX_MIRROR - 100_000;

/// How many of the steps make the next transaction, and of which node.
pub(super) fn next_batch<'a>(steps: &'a [Step], plan: &Plan) -> Option<(usize, &'a NodeName)> {
    let node = node_of(steps.first()?)?;
    let mut bytes = 0;
    let fits = |step: &&Step| {
        let room = bytes < BYTES;
        bytes += mirror(step, plan).map_or(0, |mirror| record::encode(mirror).len());
        room && node_of(step) == Some(node)
    };
    Some((steps.iter().take(AT_ONCE).take_while(fits).count(), node))
}

fn node_of(step: &Step) -> Option<&NodeName> {
    match step {
        Step::Pool(_) => None,
        Step::Block(node, ..) | Step::Remove(node, ..) => Some(node),
    }
}

fn mirror<'a>(step: &Step, plan: &'a Plan) -> Option<&'a BlockMirror> {
    match step {
        Step::Block(node, place, _) => plan.nodes.get(node)?.get(place),
        Step::Pool(_) | Step::Remove(..) => None,
    }
}

/// What brings these steps of a node about. `pools` are those that are disabled.
pub(super) fn transaction(
    steps: &[Step],
    node: &NodeName,
    plan: &Plan,
    pools: &BTreeMap<PoolName, Revision>,
) -> Txn {
    let mut txn = leases::before_first_start(node);
    let mut compared: Vec<&PoolName> = Vec::new();
    for step in steps {
        let (Step::Block(_, (pool, unit), _) | Step::Remove(_, (pool, unit), ..)) = step else { continue };
        if !compared.contains(&pool) {
            // One that is enabled has revision 0 here, which no pool has: the transaction fails, and all is read anew.
            let revision = pools.get(pool).copied().unwrap_or(0);
            txn = txn.when(Compare::ModRevision(keys::pool(pool), revision));
            compared.push(pool);
        }
        txn = match step {
            Step::Remove(_, _, index, lease) => leases::reclaim(txn, node, index, Some(lease), None),
            _ => match mirror(step, plan) {
                Some(mirror) => leases::import(txn, node, pool, *unit, step.index(), mirror),
                None => txn,
            },
        };
    }
    txn
}

impl Step {
    fn index(&self) -> Option<&Entry> {
        match self {
            Self::Block(_, _, index) => index.as_ref(),
            Self::Pool(_) | Self::Remove(..) => None,
        }
    }
}

/// A line of the audit log.
pub(super) fn tell(who: &Caller, node: &NodeName, steps: &[Step]) {
    let nets = |is_there: bool| -> Vec<String> {
        let of = |step: &Step| match step {
            Step::Block(_, (_, unit), _) if is_there => Some(unit.to_string()),
            Step::Remove(_, (_, unit), ..) if !is_there => Some(unit.to_string()),
            _ => None,
        };
        steps.iter().filter_map(of).collect()
    };
    audit::changed(who, &format!("node {node}: imported"), &nets(false), &nets(true));
}
