//! What host-local keeps: a directory for each network, and in it a file for each address, which is named like it and
//! says in two lines which container has it, and on which interface. A file `lock` is locked (flock(2)) while it works.
//!
//! The pods' names are in the cache of the library by which runtimes call plugins: a file for each network, container
//! and interface.

use common::name::{ContainerId, IfName, PodText};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fs::File;
use std::io;
use std::net::IpAddr;
use std::path::{Path, PathBuf};

/// What a container has on an interface.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(super) struct Reservation {
    /// The addresses, IPv4 first, one of a family at most.
    pub(super) addresses: Vec<IpAddr>,
    /// Namespace of the pod; the network where the runtime named none.
    pub(super) namespace: PodText,
    /// The pod; the container where the runtime named none.
    pub(super) pod: PodText,
    /// The container.
    pub(super) container: ContainerId,
    /// The interface.
    pub(super) interface: IfName,
}

/// The directory of a network. As long as this lives, host-local waits.
#[derive(Debug)]
pub(super) struct Directory {
    path: PathBuf,
    _lock: File,
}

impl Directory {
    pub(super) fn lock(path: &Path) -> io::Result<Self> {
        let lock =
            File::options().read(true).write(true).create(true).truncate(false).open(path.join("lock"))?;
        lock.lock()?;
        Ok(Self { path: path.to_owned(), _lock: lock })
    }

    /// What it says, with the pods' names that are in `results`.
    pub(super) fn read(&self, network: &str, results: &Path) -> Result<Vec<Reservation>, String> {
        let failed =
            |path: &Path, error: &dyn std::fmt::Display| format!("can't read {}: {error}", path.display());
        let mut found: BTreeMap<(ContainerId, IfName), Vec<IpAddr>> = BTreeMap::new();
        for entry in std::fs::read_dir(&self.path).map_err(|error| failed(&self.path, &error))? {
            let path = entry.map_err(|error| failed(&self.path, &error))?.path();
            let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
            // Others are the lock, and where the next search begins.
            let Ok(address) = name.parse::<IpAddr>() else { continue };
            let text = std::fs::read_to_string(&path).map_err(|error| failed(&path, &error))?;
            let attachment = parse(&text).map_err(|error| failed(&path, &error))?;
            found.entry(attachment).or_default().push(address);
        }
        let mut reservations = Vec::new();
        for ((container, interface), mut addresses) in found {
            addresses.sort();
            if addresses.windows(2).any(|two| two[0].is_ipv4() == two[1].is_ipv4()) {
                return Err(format!(
                    "container {container} has {addresses:?} on {interface}: more than one of a family"
                ));
            }
            let pod = remembered(results, network, &container, &interface)?;
            let (namespace, pod) = named(pod, network, &container)?;
            reservations.push(Reservation { addresses, namespace, pod, container, interface });
        }
        reservations.sort_by(|a, b| a.addresses.cmp(&b.addresses));
        Ok(reservations)
    }
}

/// The two lines of a file. Old versions wrote the first one only.
fn parse(text: &str) -> Result<(ContainerId, IfName), String> {
    let mut lines = text.lines().map(str::trim).filter(|line| !line.is_empty());
    let container = lines.next().ok_or("it is empty")?;
    // It becomes part of a file's name.
    if container.contains('/') {
        return Err(format!("container {container:?}: an id has no slash"));
    }
    let container =
        ContainerId::new(container).map_err(|error| format!("container {container:?}: {error}"))?;
    let interface = match lines.next() {
        Some(name) => IfName::new(name).map_err(|error| format!("interface {name:?}: {error}"))?,
        None => IfName::eth0(),
    };
    Ok((container, interface))
}

/// What the runtime called the plugin with.
#[derive(Debug, Default, Deserialize)]
struct Remembered {
    #[serde(rename = "cniArgs", default)]
    args: Option<Vec<(String, String)>>,
}

fn remembered(
    results: &Path,
    network: &str,
    container: &ContainerId,
    interface: &IfName,
) -> Result<Remembered, String> {
    let path = results.join(format!("{network}-{container}-{interface}"));
    match std::fs::read(&path) {
        Ok(bytes) => serde_json::from_slice(&bytes).map_err(|error| format!("{}: {error}", path.display())),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Remembered::default()),
        Err(error) => Err(format!("can't read {}: {error}", path.display())),
    }
}

/// Namespace and name of a pod, as the plugin will name them when it is called to free the address.
fn named(pod: Remembered, network: &str, container: &ContainerId) -> Result<(PodText, PodText), String> {
    let args: BTreeMap<String, String> = pod.args.unwrap_or_default().into_iter().collect();
    let text = |key: &str, otherwise: &str| {
        let value = args.get(key).filter(|value| !value.is_empty()).map_or(otherwise, String::as_str);
        PodText::new(value).map_err(|error| format!("{key} of container {container}: {error}"))
    };
    Ok((text("K8S_POD_NAMESPACE", network)?, text("K8S_POD_NAME", container.as_str())?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_of_all_versions() {
        let expected = (ContainerId::new("c1").expect("id"), IfName::new("net1").expect("name"));
        assert_eq!(parse("c1\r\nnet1"), Ok(expected.clone()));
        assert_eq!(parse("c1\nnet1\n"), Ok(expected));
        assert_eq!(parse("c1"), Ok((ContainerId::new("c1").expect("id"), IfName::eth0())));
        for bad in ["", "\r\n", "c1\r\na/b", "../c1\r\neth0"] {
            assert!(parse(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn a_directory() {
        let dir = tempfile::tempdir().expect("directory");
        let results = dir.path().join("results");
        std::fs::create_dir(&results).expect("made");
        let file = |name: &str, text: &str| std::fs::write(dir.path().join(name), text).expect("written");
        file("10.1.0.3", "c1\r\neth0");
        file("fd00::3", "c1\r\neth0");
        file("10.1.0.2", "c2\r\neth0");
        file("last_reserved_ip.0", "10.1.0.3");
        let args = r#"{"kind": "cniCacheV1", "cniArgs": [["IgnoreUnknown", "1"], ["K8S_POD_NAMESPACE", "shop"], ["K8S_POD_NAME", "web-0"]]}"#;
        std::fs::write(results.join("net-c1-eth0"), args).expect("written");
        let directory = Directory::lock(dir.path()).expect("locked");
        let read = directory.read("net", &results).expect("read");
        let told: Vec<_> = read
            .iter()
            .map(|one| {
                (one.addresses.len(), one.namespace.as_str(), one.pod.as_str(), one.container.as_str())
            })
            .collect();
        assert_eq!(told, [(1, "net", "c2", "c2"), (2, "shop", "web-0", "c1")]);
        assert!(
            File::open(dir.path().join("lock")).expect("lock").try_lock().is_err(),
            "host-local does not wait"
        );
        file("10.1.0.4", "c1\r\neth0");
        assert!(
            directory
                .read("net", &results)
                .expect_err("two of a family")
                .contains("more than one of a family")
        );
    }
}
