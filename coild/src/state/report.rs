//! What the node tells of itself.

use super::{Change, Standing, State};
use common::ipam::Family;
use common::pool_id::PoolId;
use common::wire::node::{Attachment, StatusReply};
use std::collections::BTreeMap;

/// Counts of one pool and family.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct PoolSummary {
    /// Blocks held.
    pub blocks: u64,
    /// Addresses held by attachments.
    pub allocated: u64,
    /// Addresses that can be given now.
    pub available: u64,
    /// Addresses that rest.
    pub resting: u64,
}

/// Counts of the node.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Summary {
    /// By pool and family.
    pub pools: BTreeMap<(PoolId, Family), PoolSummary>,
    /// Addresses that are set aside because a foreign host uses them.
    pub conflicts: u64,
    /// Addresses held in fenced blocks.
    pub fenced: u64,
    /// Blocks in quarantine.
    pub quarantined: u64,
    /// How long the mirror has been behind, in milliseconds; 0 if it agrees.
    pub mirror_lag: u64,
}

impl State {
    /// Changes that make all of this out of nothing, a block at a time.
    pub fn image(&self) -> impl Iterator<Item = Vec<Change>> {
        let mut first = vec![Change::Pools(self.pools.clone())];
        let choices =
            self.choices.iter().map(|(namespace, choice)| (namespace.clone(), Some(choice.clone())));
        first.extend((!self.choices.is_empty()).then(|| Change::Choose(choices.collect())));
        first.extend(self.boot.clone().map(Change::Boot));
        first.extend(self.complete.then_some(Change::Complete));
        std::iter::once(first).chain(self.blocks.iter().map(|(id, held)| {
            let put = Change::PutBlock {
                id: id.clone(),
                token: held.token,
                standing: held.standing,
                unusable: held.block.unusable().to_vec(),
                segment: held.segment.clone(),
            };
            let holders = held.block.held();
            let held_by = holders.map(|(offset, holder)| Change::Hold(id.clone(), offset, holder.clone()));
            let resting = held.block.resting();
            let resting = resting.map(|(offset, freed_at)| Change::Rest(id.clone(), offset, freed_at));
            let kept = self.kept.get(id).cloned();
            let kept = kept.map(|pod| Change::Keep(id.clone(), pod.namespace, pod.name));
            std::iter::once(put).chain(held_by).chain(resting).chain(kept).collect()
        }))
    }

    /// The body of `GET /status`.
    pub fn status(&self) -> StatusReply {
        let mut reply = StatusReply { status: 200, ..StatusReply::default() };
        for (id, held) in &self.blocks {
            let blocks = reply.address_blocks.entry(id.pool.clone());
            if held.standing == Standing::Fenced {
                reply.fenced.extend(held.block.held().filter_map(|(offset, _)| held.block.address(offset)));
            } else {
                blocks.or_default().push(id.unit.net());
            }
        }
        reply.conflicts = self.conflicts().collect();
        for (id, address, holder) in self.allocations().filter(|(_, _, holder)| !holder.conflict) {
            reply.attachments.push(Attachment {
                address,
                pool: id.pool.clone(),
                pod_namespace: holder.namespace.clone(),
                pod_name: holder.pod.clone(),
                container_id: holder.attachment.container_id.clone(),
                interface: holder.attachment.interface.clone(),
                network: holder.network.clone(),
                since: holder.since,
            });
            let container = holder.attachment.container_id.as_str().to_owned();
            reply.pods.entry(container).or_insert(address);
        }
        reply
    }

    /// Counts for metrics and readiness.
    pub fn summary(&self, now: u64) -> Summary {
        let mut summary = Summary::default();
        for (name, pool) in &self.pools {
            for family in Family::BOTH.into_iter().filter(|family| pool.has(*family)) {
                summary.pools.insert((name.clone().into(), family), PoolSummary::default());
            }
        }
        for (id, held) in &self.blocks {
            let conflicts = held.block.held().filter(|(_, holder)| holder.conflict).count() as u64;
            let allocated = held.block.held().len() as u64 - conflicts;
            summary.conflicts += conflicts;
            let available = u64::from(held.block.available(now, self.cooldown()));
            let pool = summary.pools.entry((id.pool.clone(), id.unit.family())).or_default();
            pool.blocks += 1;
            pool.allocated += allocated;
            match held.standing {
                Standing::Open => {
                    pool.available += available;
                    pool.resting += u64::from(held.block.usable()) - allocated - conflicts - available;
                }
                Standing::Quarantined => summary.quarantined += 1,
                Standing::Fenced => summary.fenced += allocated,
            }
            let lag = held.behind_since.map_or(0, |since| now.saturating_sub(since));
            summary.mirror_lag = summary.mirror_lag.max(lag);
        }
        summary
    }
}
