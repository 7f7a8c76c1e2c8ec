//! Freeing addresses.

use super::{BlockId, Change, Holder, Place, Standing, State};
use common::name::{ContainerId, PodText};
use common::wire::node::AttachmentId;
use std::collections::HashSet;
use std::net::IpAddr;

/// An allocation named exactly: a later holder of the same address is another one.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Exact {
    /// Container and interface.
    pub attachment: AttachmentId,
    /// Sequence number.
    pub sequence: u64,
}

impl State {
    /// Frees what an attachment of this pod holds; returns the addresses, IPv4 first. An unknown container, or
    /// another pod's, holds nothing.
    pub fn release(
        &mut self,
        attachment: &AttachmentId,
        namespace: &PodText,
        pod: &PodText,
        now: u64,
    ) -> Vec<IpAddr> {
        self.release_where(attachment, now, |holder| holder.namespace == *namespace && holder.pod == *pod)
    }

    /// Frees exactly these allocations, as far as they still exist; returns their addresses.
    pub fn release_exactly(&mut self, allocations: &[Exact], now: u64) -> Vec<IpAddr> {
        allocations
            .iter()
            .flat_map(|exact| {
                self.release_where(&exact.attachment, now, |holder| holder.sequence == exact.sequence)
            })
            .collect()
    }

    /// Frees one address if this very allocation holds it; returns whether it did.
    pub fn evict(&mut self, address: IpAddr, sequence: u64, container: &ContainerId, now: u64) -> bool {
        let named =
            |holder: &Holder| holder.sequence == sequence && holder.attachment.container_id == *container;
        let found = self.allocations().find(|(_, held, holder)| *held == address && named(holder));
        let Some(attachment) = found.map(|(_, _, holder)| holder.attachment.clone()) else { return false };
        !self.release_where(&attachment, now, named).is_empty()
    }

    /// After a reboot: frees every allocation but those that `runs` says have a sandbox still. Returns how many
    /// were freed.
    pub fn free_stale(&mut self, runs: impl Fn(&Holder) -> bool, now: u64) -> usize {
        let stale: Vec<Exact> = self
            .allocations()
            .map(|(_, _, holder)| holder)
            .filter(|holder| !runs(holder))
            .map(|holder| Exact { attachment: holder.attachment.clone(), sequence: holder.sequence })
            .collect();
        self.release_exactly(&stale, now).len()
    }

    /// Frees what a CNI network holds, but for the attachments that exist; returns the addresses.
    pub fn collect(&mut self, network: &str, valid: &HashSet<AttachmentId>, now: u64) -> Vec<IpAddr> {
        let gone: Vec<Exact> = self
            .allocations()
            .map(|(_, _, holder)| holder)
            .filter(|holder| {
                holder.network.as_deref() == Some(network) && !valid.contains(&holder.attachment)
            })
            .map(|holder| Exact { attachment: holder.attachment.clone(), sequence: holder.sequence })
            .collect();
        self.release_exactly(&gone, now)
    }

    fn release_where(
        &mut self,
        attachment: &AttachmentId,
        now: u64,
        condition: impl Fn(&Holder) -> bool,
    ) -> Vec<IpAddr> {
        let matching: Vec<(Place, IpAddr)> = self
            .held_by(attachment)
            .filter(|(_, _, holder)| condition(holder))
            .map(|(place, address, _)| (place.clone(), address))
            .collect();
        for (place, _) in &matching {
            self.free(place, attachment, now);
        }
        matching.into_iter().map(|(_, address)| address).collect()
    }

    fn free(&mut self, place: &Place, attachment: &AttachmentId, now: u64) {
        let freed = self.change(&place.id, place.offset, |block| block.free(place.offset, now)).flatten();
        if let Some(places) = self.attachments.get_mut(attachment) {
            places.retain(|other| other != place);
            if places.is_empty() {
                self.attachments.remove(attachment);
            }
        }
        self.changes.push(Change::Rest(place.id.clone(), place.offset, now));
        if let Some(holder) = freed.filter(|holder| holder.fixed) {
            self.keep(&place.id, holder.namespace, holder.pod);
        }
        self.touch(&place.id, now);
        self.drop_if_fenced_and_empty(&place.id);
    }

    /// A fenced block belongs to nobody here once its last address is free.
    pub(super) fn drop_if_fenced_and_empty(&mut self, id: &BlockId) {
        let done = |held: &super::Held| held.standing == Standing::Fenced && held.block.is_empty();
        if self.blocks.get(id).is_some_and(done) {
            self.withdraw(id);
            self.changes.push(Change::RemoveBlock(id.clone()));
        }
    }
}
