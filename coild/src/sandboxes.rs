//! What really runs on this machine, as far as the kernel tells: network namespaces and the addresses in them.

use nix::sched::{CloneFlags, setns};
use std::collections::{BTreeMap, HashSet};
use std::fs::{self, File};
use std::net::IpAddr;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// Whether a network namespace exists.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sighting {
    /// It is there.
    Alive,
    /// It is gone.
    Gone,
    /// It can't be told: the place where it would be is not visible.
    Unknown,
}

/// Looks for the network namespace at a path.
pub fn look(path: &str) -> Sighting {
    let path = Path::new(path);
    match fs::metadata(path) {
        Ok(_) => Sighting::Alive,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            // Of /proc/<pid>/ns/net the whole /proc/<pid> goes; elsewhere the directory of namespaces stays.
            let place = if path.starts_with("/proc") { Some(Path::new("/proc/self")) } else { path.parent() };
            if place.is_some_and(Path::is_dir) { Sighting::Gone } else { Sighting::Unknown }
        }
        Err(_) => Sighting::Unknown,
    }
}

/// Whether a path can name the same namespace after a reboot. A process id can't.
pub fn survives_reboot(path: &str) -> bool {
    !path.starts_with("/proc/") && look(path) == Sighting::Alive
}

/// Why the machine's addresses are not known.
#[derive(Debug, thiserror::Error)]
pub enum ScanError {
    /// The network namespaces can't be listed.
    #[error("can't list {0}")]
    List(PathBuf, #[source] std::io::Error),
    /// A namespace can't be looked into.
    #[error("can't open the network namespace {0}")]
    Open(PathBuf, #[source] std::io::Error),
    /// A namespace can't be entered: the daemon lacks `CAP_SYS_ADMIN`.
    #[error("can't enter the network namespace {0}")]
    Enter(PathBuf, #[source] nix::Error),
    /// The addresses of a namespace can't be read.
    #[error("can't read the addresses in {0}")]
    Addresses(PathBuf, #[source] nix::Error),
    /// The thread that looks around failed.
    #[error("the scan was cut short")]
    CutShort,
}

/// Every address on an interface in any network namespace that has a name or a process, but for this
/// process's own namespace; with the path of that namespace.
pub fn addresses() -> Result<BTreeMap<IpAddr, PathBuf>, ScanError> {
    // Entering a namespace changes the thread, so that it must be one that ends afterwards.
    std::thread::spawn(scan).join().map_err(|_| ScanError::CutShort)?
}

fn scan() -> Result<BTreeMap<IpAddr, PathBuf>, ScanError> {
    let own = fs::metadata("/proc/self/ns/net").map(|meta| (meta.dev(), meta.ino())).ok();
    let mut seen: HashSet<(u64, u64)> = own.into_iter().collect();
    let mut found = BTreeMap::new();
    for path in namespaces()? {
        let file = match File::open(&path) {
            Ok(file) => file,
            // A process or namespace that goes away meanwhile holds no address any more.
            Err(error) if went_away(&error) => continue,
            Err(error) => return Err(ScanError::Open(path, error)),
        };
        let meta = file.metadata().map_err(|error| ScanError::Open(path.clone(), error))?;
        if !seen.insert((meta.dev(), meta.ino())) {
            continue;
        }
        match setns(&file, CloneFlags::CLONE_NEWNET) {
            Ok(()) => {}
            // A plain file among the names: its namespace was unmounted.
            Err(nix::Error::EINVAL) => continue,
            Err(error) => return Err(ScanError::Enter(path, error)),
        }
        let interfaces =
            nix::ifaddrs::getifaddrs().map_err(|error| ScanError::Addresses(path.clone(), error))?;
        for address in interfaces.filter_map(|interface| ip_of(interface.address?)) {
            found.insert(address, path.clone());
        }
    }
    Ok(found)
}

fn went_away(error: &std::io::Error) -> bool {
    error.kind() == std::io::ErrorKind::NotFound || error.raw_os_error() == Some(nix::libc::ESRCH)
}

fn namespaces() -> Result<Vec<PathBuf>, ScanError> {
    let mut paths = Vec::new();
    for dir in ["/run/netns", "/run/docker/netns"] {
        match fs::read_dir(dir) {
            Ok(entries) => paths.extend(entries.flatten().map(|entry| entry.path())),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
            Err(error) => return Err(ScanError::List(dir.into(), error)),
        }
    }
    let processes = fs::read_dir("/proc").map_err(|error| ScanError::List("/proc".into(), error))?;
    // Process 1 is the machine's init or the one that this daemon's own container runs; neither is in a pod, and
    // nobody may look into an init that has more capabilities.
    let is_pid =
        |name: &std::ffi::OsStr| name != "1" && name.as_encoded_bytes().iter().all(u8::is_ascii_digit);
    paths.extend(
        processes
            .flatten()
            .filter(|entry| is_pid(&entry.file_name()))
            .map(|entry| entry.path().join("ns/net")),
    );
    Ok(paths)
}

fn ip_of(address: nix::sys::socket::SockaddrStorage) -> Option<IpAddr> {
    let v4 = address.as_sockaddr_in().map(|v4| IpAddr::V4(v4.ip()));
    v4.or_else(|| address.as_sockaddr_in6().map(|v6| IpAddr::V6(v6.ip())))
}
