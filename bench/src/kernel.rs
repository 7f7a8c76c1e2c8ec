//! What the kernel itself takes for the interfaces of a pod: the floor of every main plugin.

use crate::netns::Netns;
use anyhow::Result;
use futures_util::TryStreamExt;
use netlink_packet_route::link::{
    InfoData, InfoKind, InfoVeth, LinkAttribute, LinkFlags, LinkInfo, LinkMessage,
};
use rtnetlink::Handle;
use std::time::{Duration, Instant};
use tokio::runtime::Runtime;

/// Name of the host's end.
const HOST: &str = "veth-floor";

/// A connection to the kernel, in the network namespace of the thread that made it.
pub(crate) struct Kernel {
    runtime: Runtime,
    handle: Handle,
}

impl Kernel {
    /// Connects.
    pub(crate) fn connect() -> Result<Self> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let handle = runtime.block_on(async {
            let (connection, handle, _) = rtnetlink::new_connection()?;
            tokio::spawn(connection);
            Ok::<_, anyhow::Error>(handle)
        })?;
        Ok(Self { runtime, handle })
    }

    /// Makes a veth pair with one end in a namespace, as plugins do, and removes it: one request each. Answers
    /// the times.
    pub(crate) fn veth(&self, pod: &Netns) -> Result<[Duration; 2]> {
        self.runtime.block_on(async {
            let start = Instant::now();
            self.handle.link().add(pair(pod)).execute().await?;
            let made = start.elapsed();
            let mut found = self.handle.link().get().match_name(HOST.to_owned()).execute();
            let index = found.try_next().await?.map_or(0, |link| link.header.index);
            while found.try_next().await?.is_some() {}
            let start = Instant::now();
            self.handle.link().del(index).execute().await?;
            Ok([made, start.elapsed()])
        })
    }
}

fn pair(pod: &Netns) -> LinkMessage {
    let named = |name: &str| {
        let mut link = LinkMessage::default();
        link.attributes.push(LinkAttribute::IfName(name.to_owned()));
        link
    };
    let mut link = named("eth0");
    link.header.flags = LinkFlags::Up;
    link.header.change_mask = LinkFlags::Up;
    let peer = InfoData::Veth(InfoVeth::Peer(named(HOST)));
    link.attributes.push(LinkAttribute::NetNsFd(pod.descriptor()));
    link.attributes.push(LinkAttribute::LinkInfo(vec![LinkInfo::Kind(InfoKind::Veth), LinkInfo::Data(peer)]));
    link
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::netns::in_new;

    #[test]
    fn pairs_come_and_go() -> Result<()> {
        coil_tests::tools::need_root()?;
        let pod = Netns::new()?;
        in_new(|| {
            let kernel = Kernel::connect()?;
            for _ in 0..3 {
                assert!(kernel.veth(&pod)?.iter().all(|time| *time > Duration::ZERO));
            }
            Ok(())
        })
    }
}
