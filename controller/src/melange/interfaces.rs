//! Interfaces: what holds addresses. An interface belongs to one tenant and is in one network as long as it holds an
//! address, and a MAC address belongs to one interface.

use super::{Melange, MelangeError, PageRequest};
use common::mac::MacAddress;
use common::name::{OpaqueId, TenantId};
use common::store::keys::melange::{self as keys, List};
use common::store::melange::Plug;
use common::store::record::melange::{Interface, Mac};
use common::store::{Txn, record};

/// Who gets addresses, besides the blocks that they are of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Holder {
    /// Who uses them.
    pub(super) tenant: TenantId,
    pub(super) device: Option<OpaqueId>,
    pub(super) interface: Option<OpaqueId>,
    pub(super) mac: Option<MacAddress>,
}

impl Melange {
    /// What there is of an interface.
    pub(super) async fn plug(&self, id: &OpaqueId) -> Result<Plug, MelangeError> {
        let entry = self.store.get(&keys::interface(id)).await?;
        let before = entry.map(|entry| Ok((record::decode(&entry.key, &entry.value)?, entry.mod_revision)));
        Ok(Plug { id: id.clone(), before: before.transpose().map_err(MelangeError::Record)? })
    }

    /// Checks that an interface may hold an address of a network, and answers what it then is.
    pub(super) async fn plugged(
        &self,
        plug: &Plug,
        holder: &Holder,
        network: Option<&OpaqueId>,
    ) -> Result<Interface, MelangeError> {
        let mut before = plug.before.as_ref().map(|(interface, _)| interface);
        let is_other = |before: &Interface| {
            let elsewhere =
                before.network.is_some() && network.is_some() && before.network.as_ref() != network;
            before.tenant != holder.tenant || elsewhere
        };
        // What it holds may be of blocks that were deleted.
        if before.is_some_and(is_other) && !self.holds_any(&plug.id).await? {
            before = None;
        }
        if before.is_some_and(|interface| interface.tenant != holder.tenant) {
            let reason = format!("interface {} is another tenant's", plug.id);
            return Err(MelangeError::invalid("interface_id", reason));
        }
        let own = before.and_then(|interface| interface.network.as_ref());
        let other = own.zip(network).filter(|(own, network)| own != network);
        if let Some((own, network)) = other
            && self.network_of(&plug.id).await?.as_ref() != Some(network)
        {
            let text = format!("interface {} is in network {own}, and can't be in {network} too", plug.id);
            return Err(MelangeError::Unprocessable(text));
        }
        let mac = holder.mac.map(|mac| mac.to_string());
        if let Some(mac) = &mac {
            self.must_be_own(plug, mac).await?;
        }
        Ok(Interface {
            tenant: holder.tenant.clone(),
            network: network.or(own).cloned(),
            device: holder.device.clone().or_else(|| before.and_then(|interface| interface.device.clone())),
            mac: mac.or_else(|| before.and_then(|interface| interface.mac.clone())),
        })
    }

    /// The network that an interface is in by its first address: that of the block may have been changed since.
    async fn network_of(&self, interface: &OpaqueId) -> Result<Option<OpaqueId>, MelangeError> {
        let first = PageRequest { limit: 1, marker: None };
        let Some(held) = self.addresses(List::Interface(interface), first).await?.items.pop() else {
            return Ok(None);
        };
        Ok(self.block(&held.record.owner, held.place.block).await?.block.network)
    }

    async fn holds_any(&self, interface: &OpaqueId) -> Result<bool, MelangeError> {
        let mut page = PageRequest { limit: 100, marker: None };
        loop {
            let found = self.addresses(List::Interface(interface), page).await?;
            if !found.items.is_empty() || found.next.is_none() {
                return Ok(!found.items.is_empty());
            }
            page.marker = found.next;
        }
    }

    async fn must_be_own(&self, plug: &Plug, mac: &str) -> Result<(), MelangeError> {
        let Some(entry) = self.store.get(&keys::mac(mac)).await? else { return Ok(()) };
        let Mac { interface } = record::decode(&entry.key, &entry.value)?;
        if interface == plug.id {
            return Ok(());
        }
        Err(MelangeError::invalid("mac_address", format!("{mac} belongs to another interface")))
    }

    /// Adds to a transaction that an address is taken from the interface that has it.
    pub(super) async fn unplug(&self, txn: Txn, interface: Option<&OpaqueId>) -> Result<Txn, MelangeError> {
        let Some(id) = interface else { return Ok(txn) };
        let plug = self.plug(id).await?;
        // Read after the record, which is written with every change of the list.
        let held = self.store.list_keys(&keys::list(List::Interface(id)), 2).await?.items.len();
        Ok(plug.gives_back(txn, held > 1))
    }
}
