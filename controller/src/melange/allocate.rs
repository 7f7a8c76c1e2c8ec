//! Addresses are given: one of a block, or several at once, in one transaction with all that they depend on.

use super::choose::Choice;
use super::interfaces::Holder;
use super::read::{StoredAddress, id};
use super::{Kind, Melange, MelangeError, new_address_id, view};
use crate::audit;
use crate::auth::Caller;
use axum::body::Bytes;
use common::clock::now_millis;
use common::name::{OpaqueId, TenantId};
use common::store::melange::{Plug, give};
use common::store::record::melange::{Address, Interface};
use common::store::retry::{pause, seed};
use common::store::{Entry, StoreError, Txn};
use common::wire::melange::{CreateIpAddress, IpAddressView};

/// How often an address is chosen anew when another one was faster. Every time, somebody has got one.
const ATTEMPTS: u32 = 1_000;
/// After how many of these there are pauses.
const AT_ONCE: u32 = 8;

impl Melange {
    /// Allocates an address of a block.
    pub async fn allocate(
        &self,
        who: &Caller,
        tenant: &TenantId,
        block: &str,
        body: &CreateIpAddress,
    ) -> Result<IpAddressView, MelangeError> {
        let block = id(block, Kind::Block)?;
        let holder = Holder {
            tenant: body.tenant_id.clone().unwrap_or_else(|| tenant.clone()),
            device: body.used_by_device.clone(),
            interface: body.interface_id.clone(),
            mac: body.mac_address,
        };
        let seed = seed(block);
        for tried in 0..ATTEMPTS {
            let (stored, plug) = tokio::join!(self.block(tenant, block), self.plug_of(&holder));
            let (stored, plug) = (stored?, plug?);
            let plug = self.interface_after(plug, &holder, stored.block.network.as_ref()).await?;
            let choice = self.choose(stored, &holder, body.address).await?;
            match self.give(&holder, plug.as_ref(), std::slice::from_ref(&choice)).await {
                Ok(given) => {
                    let told: Vec<IpAddressView> = given.iter().map(StoredAddress::view).collect();
                    Self::tell(who, &given);
                    return told.into_iter().next().ok_or(MelangeError::NotFound(Kind::Address));
                }
                Err(StoreError::Conflict) => self.lost(&[choice], seed, tried).await,
                Err(error) => return Err(error.into()),
            }
        }
        Err(StoreError::Conflict.into())
    }

    /// What there is of the interface that gets addresses.
    pub(super) async fn plug_of(&self, holder: &Holder) -> Result<Option<Plug>, MelangeError> {
        match &holder.interface {
            Some(interface) => Ok(Some(self.plug(interface).await?)),
            None => Ok(None),
        }
    }

    /// What the interface is when it has addresses of a network.
    pub(super) async fn interface_after(
        &self,
        plug: Option<Plug>,
        holder: &Holder,
        network: Option<&OpaqueId>,
    ) -> Result<Option<(Plug, Interface)>, MelangeError> {
        let Some(plug) = plug else { return Ok(None) };
        let after = self.plugged(&plug, holder, network).await?;
        Ok(Some((plug, after)))
    }

    /// Gives the addresses that were chosen, all or none.
    pub(super) async fn give(
        &self,
        holder: &Holder,
        plug: Option<&(Plug, Interface)>,
        choices: &[Choice],
    ) -> Result<Vec<StoredAddress>, StoreError> {
        let now = now_millis();
        let device = plug.and_then(|(_, after)| after.device.clone()).or_else(|| holder.device.clone());
        let device = holder.device.clone().or(device);
        let mut txn = Txn::new();
        let mut given = Vec::new();
        for choice in choices {
            let record = Address {
                id: new_address_id(),
                owner: choice.block.tenant.clone(),
                tenant: holder.tenant.clone(),
                device: device.clone(),
                interface: holder.interface.clone(),
                created: now,
                updated: now,
                freed: None,
                pod: false,
            };
            txn = give(choice.guard(txn), choice.place(), &record);
            given.push((choice.place(), record));
        }
        if let Some((plug, after)) = plug {
            txn = plug.holds(txn, after);
        }
        let revision = self.store.txn(txn).await?;
        let entry = |key: String| Entry {
            key,
            value: Bytes::default(),
            create_revision: revision,
            mod_revision: revision,
        };
        let stored = given.into_iter().map(|(place, record)| StoredAddress {
            entry: entry(place.key()),
            place,
            record,
        });
        Ok(stored.collect())
    }

    /// After something that a choice depends on has changed.
    pub(super) async fn lost(&self, choices: &[Choice], seed: u64, tried: u32) {
        for choice in choices.iter().filter(|choice| choice.next) {
            self.cursors.skip(choice.block.id, seed >> (tried % 48)).await;
        }
        if tried >= AT_ONCE {
            tokio::time::sleep(pause(seed, tried - AT_ONCE)).await;
        }
    }

    /// The line in the audit log: one for all that was given at once.
    pub(super) fn tell(who: &Caller, given: &[StoredAddress]) {
        let addresses: Vec<String> = given
            .iter()
            .map(|given| format!("{} of block {}", given.place.address, given.place.block))
            .collect();
        let after: Vec<IpAddressView> =
            given.iter().map(|given| view::address(given.place, &given.record)).collect();
        audit::changed(who, &format!("melange address {}: allocated", addresses.join(", ")), &(), &after);
    }
}
