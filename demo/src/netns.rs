//! Network namespaces, as a container runtime makes them.

use anyhow::{Context, Result, anyhow, bail};
use netlink_packet_core::{NLM_F_ACK, NLM_F_REQUEST, NetlinkMessage, NetlinkPayload};
use netlink_packet_route::RouteNetlinkMessage;
use netlink_packet_route::link::{LinkFlags, LinkMessage};
use netlink_sys::{Socket, SocketAddr, protocols::NETLINK_ROUTE};
use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, setns, unshare};
use std::fs::{self, File};
use std::path::{Path, PathBuf};

const DIRECTORY: &str = "/run/netns";
/// The loopback interface is the first one of every namespace.
const LOOPBACK: u32 = 1;

/// Makes a namespace that lives until its file is unmounted.
pub(crate) fn create(name: &str) -> Result<PathBuf> {
    fs::create_dir_all(DIRECTORY)?;
    let path = Path::new(DIRECTORY).join(name);
    File::create(&path)?;
    in_thread(|| {
        unshare(CloneFlags::CLONE_NEWNET).context("can't make a network namespace")?;
        loopback_up()?;
        mount(Some("/proc/thread-self/ns/net"), &path, None::<&str>, MsFlags::MS_BIND, None::<&str>)
            .with_context(|| format!("can't keep the network namespace {}", path.display()))
    })?;
    Ok(path)
}

/// Does something inside a namespace.
pub(crate) fn inside<T: Send>(path: &Path, action: impl FnOnce() -> Result<T> + Send) -> Result<T> {
    let file = File::open(path)?;
    in_thread(|| {
        setns(file, CloneFlags::CLONE_NEWNET).with_context(|| format!("can't enter {}", path.display()))?;
        action()
    })
}

// A network namespace is a thread's; one that ends takes it along.
fn in_thread<T: Send>(action: impl FnOnce() -> Result<T> + Send) -> Result<T> {
    std::thread::scope(|scope| scope.spawn(action).join()).map_err(|_| anyhow!("a thread panicked"))?
}

/// Whether the kernel knows IPv6.
pub(crate) fn has_ipv6() -> bool {
    Path::new("/proc/sys/net/ipv6").exists()
}

/// Names of the interfaces in this thread's namespace.
pub(crate) fn interfaces() -> Result<Vec<String>> {
    let table = fs::read_to_string("/proc/thread-self/net/dev")?;
    Ok(table.lines().filter_map(|line| Some(line.split_once(':')?.0.trim().to_owned())).collect())
}

/// Sets the loopback interface of this thread's namespace up.
pub(crate) fn loopback_up() -> Result<()> {
    let mut link = LinkMessage::default();
    link.header.index = LOOPBACK;
    link.header.flags = LinkFlags::Up;
    link.header.change_mask = LinkFlags::Up;
    let mut message = NetlinkMessage::from(RouteNetlinkMessage::SetLink(link));
    message.header.flags = NLM_F_REQUEST | NLM_F_ACK;
    message.finalize();
    let mut request = vec![0; message.buffer_len()];
    message.serialize(&mut request);

    let socket = Socket::new(NETLINK_ROUTE)?;
    socket.connect(&SocketAddr::new(0, 0))?;
    socket.send(&request, 0)?;
    let (answer, _) = socket.recv_from_full()?;
    match NetlinkMessage::<RouteNetlinkMessage>::deserialize(&answer)?.payload {
        NetlinkPayload::Error(error) if error.code.is_none() => Ok(()),
        NetlinkPayload::Error(error) => Err(error.to_io()).context("can't set the loopback interface up"),
        other => bail!("the kernel answers {other:?}"),
    }
}
