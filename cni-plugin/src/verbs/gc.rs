//! GC: frees what the network's attachments hold that are no more. Interfaces need no collecting, since a pair
//! goes with the container's namespace.

use super::coild;
use crate::config::NetworkConfig;
use crate::error::Error;
use common::wire::node::CollectRequest;

/// Frees the addresses of this network whose attachment is not among the valid ones.
pub fn run(config: &NetworkConfig) -> Result<String, Error> {
    coild(config).collect(&request(config)?)?;
    Ok(String::new())
}

/// What coild is asked.
pub fn request(config: &NetworkConfig) -> Result<CollectRequest, Error> {
    let network = config.network.as_str().to_owned();
    Ok(CollectRequest { network, valid_attachments: config.valid_attachments()? })
}
