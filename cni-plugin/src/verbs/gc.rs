//! GC: frees what the network's attachments hold that are no more. As main plugin it removes their interfaces
//! before that, where a container lives on that the runtime has forgotten; the others went with their namespaces.

use super::coild;
use crate::config::{Mode, NetworkConfig};
use crate::datapath::detach;
use crate::datapath::veth::HostNames;
use crate::error::Error;
use common::wire::node::{Attachment, AttachmentId, CollectRequest, StatusReply};
use std::net::IpAddr;

/// Frees the addresses of this network whose attachment is not among the valid ones.
pub fn run(config: &NetworkConfig) -> Result<String, Error> {
    let request = request(config)?;
    let coild = coild(config);
    if config.mode == Mode::Main {
        detach::remove_host_ends(&stale(&coild.status()?, &request))?;
    }
    coild.collect(&request)?;
    Ok(String::new())
}

/// The addresses that coild is going to free, and the names that the host's ends of their attachments may have.
pub fn stale(status: &StatusReply, request: &CollectRequest) -> Vec<(HostNames, IpAddr)> {
    let is_stale = |held: &&Attachment| {
        let id = AttachmentId { container_id: held.container_id.clone(), interface: held.interface.clone() };
        held.network.as_ref() == Some(&request.network) && !request.valid_attachments.contains(&id)
    };
    status
        .attachments
        .iter()
        .filter(is_stale)
        .map(|held| {
            let names =
                HostNames::of(&held.pod_namespace, &held.pod_name, &held.container_id, &held.interface);
            (names, held.address)
        })
        .collect()
}

/// What coild is asked.
pub fn request(config: &NetworkConfig) -> Result<CollectRequest, Error> {
    let network = config.network.as_str().to_owned();
    Ok(CollectRequest { network, valid_attachments: config.valid_attachments()? })
}
