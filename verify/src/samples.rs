//! What the fuzz targets and the simulation ask a node for.

use coild::state::{Ask, Origin};
use common::ipam::Family;
use common::name::{ContainerId, IfName, PodText};
use common::wire::node::AttachmentId;

/// An IPv4 address for the container `c<number>`, of whatever pool.
pub fn ask(container: u32) -> Ask {
    let pod = PodText::new("pod").expect("valid");
    Ask {
        attachment: AttachmentId {
            container_id: ContainerId::new(format!("c{container}")).expect("valid"),
            interface: IfName::eth0(),
        },
        namespace: pod.clone(),
        pod,
        families: vec![Family::V4],
        choice: None,
        adopt: false,
        origin: Origin::Namespace,
        addresses: Vec::new(),
        network: None,
        netns: None,
    }
}
