//! DEL: removes the interface, then frees the addresses. In this order no address is free while an interface
//! still has it; and as both steps are content with nothing to do, a DEL may come again and again.

use super::{coild, names_of, path_of};
use crate::client::AttachmentPath;
use crate::config::{Mode, NetworkConfig};
use crate::datapath::DatapathError;
use crate::datapath::detach;
use crate::datapath::netns::{Netns, NetnsError};
use crate::env::Target;
use crate::error::Error;
use nix::errno::Errno;
use std::path::Path;

/// Detaches the container.
pub fn run(config: &NetworkConfig, target: &Target) -> Result<String, Error> {
    let path = path_of(config, target)?;
    if config.mode == Mode::Main {
        remove_interface(config, target.netns.as_deref(), &path)?;
    }
    coild(config).release(&path)?;
    Ok(String::new())
}

fn remove_interface(
    config: &NetworkConfig,
    netns: Option<&Path>,
    path: &AttachmentPath,
) -> Result<(), Error> {
    let netns = match netns.map(Netns::open).transpose() {
        // In the host's namespace ADD makes nothing.
        Err(NetnsError::Missing(_) | NetnsError::Host(_)) => None,
        Err(error) => return Err(DatapathError::from(error).into()),
        Ok(netns) => netns,
    };
    let names = names_of(path);
    let remove = |netns: Option<&Netns>| {
        let mut asked = Ok(());
        let held = || match coild(config).lookup(path) {
            Ok(reply) => {
                reply.into_iter().flat_map(|reply| reply.addresses).map(|held| held.address).collect()
            }
            Err(error) => {
                asked = Err(error);
                Vec::new()
            }
        };
        detach::detach(netns, &path.interface, &names, held)?;
        Ok(asked?)
    };
    match remove(netns.as_ref()) {
        // When the namespace that was mounted there is gone, an ordinary file may be left.
        Err(Error::Datapath(DatapathError::Netns(NetnsError::Enter { source: Errno::EINVAL, .. }))) => {
            remove(None)
        }
        result => result,
    }
}
