//! Addresses that are held, or were: shown, deallocated and restored.

use super::interfaces::Holder;
use super::read::{StoredAddress, id, place};
use super::{Kind, Melange, MelangeError, Page, PageRequest, view};
use crate::audit;
use crate::auth::Caller;
use common::clock::now_millis;
use common::name::{OpaqueId, TenantId};
use common::store::Txn;
use common::store::keys::melange::List;
use common::store::melange::{Place, deallocate, restore};
use common::store::record::melange::{Address, Interface};
use common::store::retry::{Attempts, seed};
use common::wire::melange::IpAddressView;

impl Melange {
    /// The addresses of a block by id, held and deallocated.
    pub async fn addresses_of_block(
        &self,
        tenant: &TenantId,
        block: &str,
        page: PageRequest,
    ) -> Result<Page<IpAddressView>, MelangeError> {
        let block = self.block(tenant, id(block, Kind::Block)?).await?.id;
        Ok(self.addresses(List::Block(block), page).await?.views())
    }

    /// The addresses that are held, by id: all, a tenant's, a device's, or what a tenant holds for a device.
    pub async fn allocated(
        &self,
        tenant: Option<&TenantId>,
        device: Option<&OpaqueId>,
        page: PageRequest,
    ) -> Result<Page<IpAddressView>, MelangeError> {
        let list = match (tenant, device) {
            (None, None) => List::All,
            (Some(tenant), None) => List::Tenant(tenant),
            (None, Some(device)) => List::Device(device),
            (Some(tenant), Some(device)) => List::TenantDevice(tenant, device),
        };
        Ok(self.addresses(list, page).await?.views())
    }

    /// An address of a block, held or deallocated.
    pub async fn show_address(
        &self,
        tenant: &TenantId,
        block: &str,
        address: &str,
    ) -> Result<IpAddressView, MelangeError> {
        Ok(self.address_of(tenant, block, address).await?.view())
    }

    async fn address_of(
        &self,
        tenant: &TenantId,
        block: &str,
        address: &str,
    ) -> Result<StoredAddress, MelangeError> {
        let block = self.block(tenant, id(block, Kind::Block)?).await?.id;
        self.address(place(block, address)?).await
    }

    /// Deallocates an address. It is not given again before its days are over, and can be restored until then.
    pub async fn deallocate(
        &self,
        who: &Caller,
        tenant: &TenantId,
        block: &str,
        address: &str,
    ) -> Result<(), MelangeError> {
        let stored = self.address_of(tenant, block, address).await?;
        let mut attempts = Attempts::new(seed(stored.record.id));
        loop {
            match self.try_deallocate(who, stored.place).await {
                Ok(()) => return Ok(()),
                Err(error) => attempts.after(error).await?,
            }
        }
    }

    /// Deallocates an address, unless that was done already.
    pub(super) async fn try_deallocate(&self, who: &Caller, place: Place) -> Result<(), MelangeError> {
        let StoredAddress { entry, record, .. } = self.address(place).await?;
        must_not_be_a_pods(place, &record)?;
        if record.freed.is_some() {
            return Ok(());
        }
        let now = now_millis();
        let txn = self.unplug(deallocate(place, &entry, &record, now), record.interface.as_ref()).await?;
        self.store.txn(txn).await?;
        let what = format!("melange address {} of block {}: deallocated", place.address, place.block);
        audit::changed(who, &what, &record, &Address { freed: Some(now), updated: now, ..record.clone() });
        Ok(())
    }

    /// Gives a deallocated address back to whom it was taken from.
    pub async fn restore(
        &self,
        who: &Caller,
        tenant: &TenantId,
        block: &str,
        address: &str,
    ) -> Result<IpAddressView, MelangeError> {
        let stored = self.address_of(tenant, block, address).await?;
        let mut attempts = Attempts::new(seed(stored.record.id));
        loop {
            match self.try_restore(who, tenant, stored.place).await {
                Ok(view) => return Ok(view),
                Err(error) => attempts.after(error).await?,
            }
        }
    }

    async fn try_restore(
        &self,
        who: &Caller,
        tenant: &TenantId,
        place: Place,
    ) -> Result<IpAddressView, MelangeError> {
        let StoredAddress { entry, record, .. } = self.address(place).await?;
        must_not_be_a_pods(place, &record)?;
        if record.freed.is_none() {
            return Ok(view::address(place, &record));
        }
        let network = self.block(tenant, place.block).await?.block.network;
        let (txn, interface) = self.plug_again(&record, network.as_ref()).await?;
        let after = Address { freed: None, updated: now_millis(), interface, ..record.clone() };
        self.store.txn(txn.and(restore(place, &entry, &record, &after))).await?;
        let what = format!("melange address {} of block {}: restored", place.address, place.block);
        audit::changed(who, &what, &record, &after);
        Ok(view::address(place, &after))
    }

    /// The interface gets the address again, unless it is another tenant's or in another network by now.
    async fn plug_again(
        &self,
        record: &Address,
        network: Option<&OpaqueId>,
    ) -> Result<(Txn, Option<OpaqueId>), MelangeError> {
        let Some(id) = &record.interface else { return Ok((Txn::new(), None)) };
        let plug = self.plug(id).await?;
        let holder = Holder {
            tenant: record.tenant.clone(),
            device: record.device.clone(),
            interface: Some(id.clone()),
            mac: None,
        };
        let after: Result<Interface, MelangeError> = self.plugged(&plug, &holder, network).await;
        match after {
            Ok(after) => Ok((plug.holds(Txn::new(), &after), Some(id.clone()))),
            Err(MelangeError::Invalid { .. } | MelangeError::Unprocessable(_)) => Ok((Txn::new(), None)),
            Err(error) => Err(error),
        }
    }
}

/// What pods hold is for their nodes to give and to take.
fn must_not_be_a_pods(place: Place, record: &Address) -> Result<(), MelangeError> {
    if !record.pod {
        return Ok(());
    }
    let container = record.device.as_ref().map(ToString::to_string).unwrap_or_default();
    let text =
        format!("address {} is held by the pod of container {container}, and goes with it", place.address);
    Err(MelangeError::Unprocessable(text))
}

impl Page<StoredAddress> {
    pub(super) fn views(self) -> Page<IpAddressView> {
        Page { items: self.items.iter().map(StoredAddress::view).collect(), next: self.next }
    }
}
