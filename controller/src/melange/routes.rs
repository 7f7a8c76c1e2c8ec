//! Static routes of blocks.

use super::read::{StoredBlock, id};
use super::{Kind, Melange, MelangeError, Page, PageRequest, new_id, view};
use crate::audit;
use crate::auth::Caller;
use common::clock::now_millis;
use common::ipam::Family;
use common::name::TenantId;
use common::store::keys::melange as keys;
use common::store::melange::unchanged;
use common::store::record::melange::Route;
use common::store::retry::{Attempts, seed};
use common::store::{Compare, Entry, Op, Txn, record};
use common::wire::melange::{CreateIpRoute, Destination, IpRouteView, UpdateIpRoute};
use ipnet::ip_mask_to_prefix;
use std::net::IpAddr;
use uuid::Uuid;

impl Melange {
    /// The routes of a block by id.
    pub async fn routes(
        &self,
        tenant: &TenantId,
        block: &str,
        page: PageRequest,
    ) -> Result<Page<IpRouteView>, MelangeError> {
        let block = self.block(tenant, id(block, Kind::Block)?).await?.id;
        let Page { items, next } = self.page::<Route>(keys::routes(block), page).await?;
        let items = items.iter().map(|(id, route)| view::route(block, *id, route)).collect();
        Ok(Page { items, next })
    }

    /// A route.
    pub async fn show_route(
        &self,
        tenant: &TenantId,
        block: &str,
        route: &str,
    ) -> Result<IpRouteView, MelangeError> {
        let (block, route) = (id(block, Kind::Block)?, id(route, Kind::Route));
        let block = self.block(tenant, block).await?.id;
        let route = route?;
        let (record, _) = self.route(block, route).await?;
        Ok(view::route(block, route, &record))
    }

    /// Makes a route.
    pub async fn create_route(
        &self,
        who: &Caller,
        tenant: &TenantId,
        block: &str,
        body: &CreateIpRoute,
    ) -> Result<IpRouteView, MelangeError> {
        let block = self.block(tenant, id(block, Kind::Block)?).await?;
        let now = now_millis();
        let (id, CreateIpRoute { destination, netmask, gateway }) = (new_id(now), body.clone());
        must_agree(destination, netmask, gateway)?;
        let route = Route { destination: destination.into(), netmask, gateway, created: now, updated: now };
        let key = keys::route(block.id, id);
        let txn = unchanged(still_there(&block), key.clone(), 0).then(Op::Put(key, record::encode(&route)));
        match self.store.txn(txn).await {
            // Only that the block is gone can have been in the way.
            Err(common::store::StoreError::Conflict) => return Err(MelangeError::NotFound(Kind::Block)),
            written => written?,
        };
        audit::changed(who, &format!("melange route {id} of block {}: created", block.id), &(), &route);
        Ok(view::route(block.id, id, &route))
    }

    /// Changes a route.
    pub async fn update_route(
        &self,
        who: &Caller,
        tenant: &TenantId,
        block: &str,
        route: &str,
        body: &UpdateIpRoute,
    ) -> Result<IpRouteView, MelangeError> {
        let block = id(block, Kind::Block)?;
        let mut attempts = Attempts::new(seed(block));
        let (id, before, after) = loop {
            let block = self.block(tenant, block).await?;
            let id = id(route, Kind::Route)?;
            let (before, entry) = self.route(block.id, id).await?;
            let after = changed(&before, body)?;
            if before == after {
                break (id, before, after);
            }
            let after = Route { updated: now_millis(), ..after };
            let txn = unchanged(still_there(&block), entry.key.clone(), entry.mod_revision)
                .then(Op::Put(entry.key, record::encode(&after)));
            match self.store.txn(txn).await.map_err(MelangeError::from) {
                Ok(_) => break (id, before, after),
                Err(error) => attempts.after(error).await?,
            }
        };
        if before != after {
            audit::changed(who, &format!("melange route {id} of block {block}: changed"), &before, &after);
        }
        Ok(view::route(block, id, &after))
    }

    /// Deletes a route.
    pub async fn delete_route(
        &self,
        who: &Caller,
        tenant: &TenantId,
        block: &str,
        route: &str,
    ) -> Result<(), MelangeError> {
        let block = self.block(tenant, id(block, Kind::Block)?).await?.id;
        let id = id(route, Kind::Route)?;
        let mut attempts = Attempts::new(seed(id));
        let route = loop {
            let (route, entry) = self.route(block, id).await?;
            let txn =
                unchanged(Txn::new(), entry.key.clone(), entry.mod_revision).then(Op::Delete(entry.key));
            match self.store.txn(txn).await.map_err(MelangeError::from) {
                Ok(_) => break route,
                Err(error) => attempts.after(error).await?,
            }
        };
        audit::changed(who, &format!("melange route {id} of block {block}: deleted"), &route, &());
        Ok(())
    }

    async fn route(&self, block: Uuid, route: Uuid) -> Result<(Route, Entry), MelangeError> {
        let entry = self.store.get(&keys::route(block, route)).await?;
        let entry = entry.ok_or(MelangeError::NotFound(Kind::Route))?;
        Ok((record::decode(&entry.key, &entry.value)?, entry))
    }
}

/// Starts a transaction that needs the block to exist.
fn still_there(block: &StoredBlock) -> Txn {
    Txn::new().when(Compare::CreateRevision(block.key(), block.since))
}

fn changed(before: &Route, body: &UpdateIpRoute) -> Result<Route, MelangeError> {
    let mut after = before.clone();
    if let Some(destination) = body.destination {
        after.destination = destination.into();
        // A mask belongs to the destination that it was given with.
        after.netmask = None;
    }
    after.netmask = body.netmask.or(after.netmask);
    after.gateway = body.gateway.unwrap_or(after.gateway);
    let destination = Destination::try_from(after.destination.clone())
        .map_err(|reason| MelangeError::invalid("destination", reason))?;
    must_agree(destination, after.netmask, after.gateway)?;
    Ok(after)
}

/// Checks that the parts of a route are of one family, and that there is one mask.
fn must_agree(
    destination: Destination,
    netmask: Option<IpAddr>,
    gateway: IpAddr,
) -> Result<(), MelangeError> {
    let family = match destination {
        Destination::Host(address) => Family::of(address),
        Destination::Net(net) => Family::of(net.addr()),
    };
    if Family::of(gateway) != family {
        return Err(MelangeError::invalid(
            "gateway",
            format!("{gateway} is not {family} as the destination is"),
        ));
    }
    let Some(mask) = netmask else { return Ok(()) };
    if Family::of(mask) != family {
        return Err(MelangeError::invalid(
            "netmask",
            format!("{mask} is not {family} as the destination is"),
        ));
    }
    let prefix = ip_mask_to_prefix(mask)
        .map_err(|_| MelangeError::invalid("netmask", format!("{mask} is no mask of a network")))?;
    match destination {
        Destination::Net(net) if net.prefix_len() != prefix => {
            Err(MelangeError::invalid("netmask", format!("{mask} contradicts the destination {net}")))
        }
        Destination::Net(_) | Destination::Host(_) => Ok(()),
    }
}
