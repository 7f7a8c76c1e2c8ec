//! How things are shown.

use super::read::{StoredAddress, StoredBlock};
use crate::time::rfc3339;
use common::name::TenantId;
use common::store::melange::Place;
use common::store::record::melange::{Address, IpOctet, IpRange, Policy, Route};
use common::wire::melange::{
    IpAddressView, IpBlockView, IpOctetView, IpRangeView, IpRouteView, PolicyView, expanded,
};
use std::net::IpAddr;
use uuid::Uuid;

impl StoredBlock {
    pub(super) fn view(&self) -> IpBlockView {
        let Self { tenant, id, block, .. } = self;
        let address = |address: Option<IpAddr>| address.map(expanded);
        IpBlockView {
            id: id.to_string(),
            cidr: block.cidr.to_string(),
            kind: block.kind,
            tenant_id: tenant.to_string(),
            network_id: block.network.as_ref().map(ToString::to_string),
            parent_id: block.ancestors.last().map(|parent| parent.id.to_string()),
            policy_id: block.policy.as_ref().map(|policy| policy.id.to_string()),
            gateway: address(block.gateway),
            broadcast: expanded(block.cidr.broadcast()),
            netmask: block.cidr.netmask().to_string(),
            dns1: address(block.dns1),
            dns2: address(block.dns2),
            created_at: rfc3339(block.created),
            updated_at: rfc3339(block.updated),
            links: Vec::new(),
        }
    }
}

impl StoredAddress {
    pub(super) fn view(&self) -> IpAddressView {
        address(self.place, &self.record)
    }
}

pub(super) fn address(place: Place, record: &Address) -> IpAddressView {
    IpAddressView {
        id: record.id.to_string(),
        ip_block_id: place.block.to_string(),
        address: expanded(place.address),
        version: if place.address.is_ipv4() { 4 } else { 6 },
        interface_id: record.interface.as_ref().map(ToString::to_string),
        used_by_tenant: record.tenant.to_string(),
        used_by_device: record.device.as_ref().map(ToString::to_string),
        created_at: rfc3339(record.created),
        updated_at: rfc3339(record.updated),
        links: Vec::new(),
    }
}

pub(super) fn route(block: Uuid, id: Uuid, route: &Route) -> IpRouteView {
    IpRouteView {
        id: id.to_string(),
        source_block_id: block.to_string(),
        destination: route.destination.clone(),
        netmask: route.netmask.map(|mask| mask.to_string()),
        gateway: expanded(route.gateway),
        created_at: rfc3339(route.created),
        updated_at: rfc3339(route.updated),
        links: Vec::new(),
    }
}

pub(super) fn policy(tenant: &TenantId, id: Uuid, policy: &Policy) -> PolicyView {
    PolicyView {
        id: id.to_string(),
        tenant_id: tenant.to_string(),
        name: policy.name.to_string(),
        description: policy.description.as_ref().map(ToString::to_string),
        created_at: rfc3339(policy.created),
        updated_at: rfc3339(policy.updated),
        links: Vec::new(),
    }
}

pub(super) fn range(policy: Uuid, id: Uuid, range: &IpRange) -> IpRangeView {
    IpRangeView {
        id: id.to_string(),
        policy_id: policy.to_string(),
        offset: range.offset,
        length: range.length,
        created_at: rfc3339(range.created),
        updated_at: rfc3339(range.updated),
        links: Vec::new(),
    }
}

pub(super) fn octet(policy: Uuid, id: Uuid, octet: &IpOctet) -> IpOctetView {
    IpOctetView {
        id: id.to_string(),
        policy_id: policy.to_string(),
        octet: octet.octet,
        created_at: rfc3339(octet.created),
        updated_at: rfc3339(octet.updated),
        links: Vec::new(),
    }
}
