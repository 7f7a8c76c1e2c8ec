//! What the documents tell an operator to do, done: the commands and files are taken from their code blocks.

use anyhow::{Context, Result, ensure};
use coil_tests::authority::Authority;
use coil_tests::containerd::Containerd;
use coil_tests::guide::Guide;
use coil_tests::host::Host;
use coil_tests::image;
use coil_tests::tools::find;
use coil_tests::wait::{wait_for, wait_until};
use std::collections::BTreeSet;
use std::fs;
use std::time::Duration;

const README: &str = "README.md";
const MANIFESTS: &str = "manifests/README.md";
const OPERATING: &str = "docs/operating.md";
const MIGRATION: &str = "docs/migration.md";

/// What the tests below follow. What is not followed is said here, with the test that runs it.
const FOLLOWED: [(&str, &[&str]); 3] = [
    (README, &["Five minutes by hand", "containerd", "podman"]),
    (MANIFESTS, &["systemd", "CNI"]),
    (
        OPERATING,
        &[
            "The image",
            "With etcd",
            "On one node",
            "Monitoring",
            "Install without Kubernetes",
            "Upgrade",
            "Uninstall",
            "Back up and restore etcd",
            "Drain and remove a node",
            "A pool runs out",
            "Who had this address?",
        ],
    ),
];
/// `make demo`, `make test` and `make build` are what runs this; the daemons of several machines are started by the units.
const NOT_FOLLOWED: [(&str, &[&str]); 3] = [
    (README, &["Quick start", "The daemons"]),
    // `pool_choice.rs`
    (OPERATING, &["Choose the pools of pods"]),
    // `import.rs`, `import_coil_v1.rs`
    (MIGRATION, &["From host-local", "From Coil version 1"]),
];

const SOON: Duration = Duration::from_secs(30);

#[test]
fn every_block_is_followed() -> Result<()> {
    for document in [README, MANIFESTS, OPERATING, MIGRATION] {
        let guide = Guide::read(document)?;
        let told: BTreeSet<&str> = guide.sections().collect();
        let known = FOLLOWED.iter().chain(&NOT_FOLLOWED).filter(|(name, _)| *name == document);
        let known: BTreeSet<&str> = known.flat_map(|(_, sections)| sections.iter().copied()).collect();
        ensure!(told == known, "{document}: {:?} differ", told.symmetric_difference(&known));
    }
    Ok(())
}

/// The sections, each of which is in the list above.
fn follow(host: &Host, document: &str, sections: &[&str]) -> Result<String> {
    for section in sections {
        let is_listed = |(name, known): &(&str, &[&str])| *name == document && known.contains(section);
        ensure!(FOLLOWED.iter().any(is_listed), "{document}: {section:?} is not in the list");
    }
    host.follow(document, sections)
}

fn waits_for(host: &Host, what: &str, lines: &str) -> Result<()> {
    wait_until(what, SOON, || host.shell(lines).map(|_| true))
}

/// A node and a controller by the units, and a pool.
fn node(host: &Host) -> Result<()> {
    follow(host, MANIFESTS, &["systemd"])?;
    waits_for(host, "the controller", "coilctl pool list")?;
    host.shell("coilctl pool create default --subnet 10.64.0.0/24")?;
    waits_for(host, "coild", "coild probe")
}

#[test]
fn a_node_and_containerd() -> Result<()> {
    let host = Host::new(true)?;
    node(&host)?;
    ensure!(host.read("/proc/sys/net/ipv4/ip_forward")?.trim() == "1");
    follow(&host, MANIFESTS, &["CNI"])?;
    let pools = host.shell("coilctl pool list")?;
    ensure!(pools.contains("bridged") && pools.contains("10.65.0.0/16"), "{pools}");
    // By the configuration that was installed, and then by the one that the other page has.
    let containerd = Containerd::start_installed(&host.machine)?;
    let first = containerd.run_sandboxes(&["a".to_owned()])?;
    host.machine.reach(None, &first[0].ips[0].to_string())?;
    host.shell("coilctl pool add-subnet default fd00:64::/64")?;
    follow(&host, README, &["containerd"])?;
    let second = wait_for("containerd to have read it", SOON, || {
        let pods = containerd.run_sandboxes(&["b".to_owned()])?;
        if pods[0].ips.len() == 2 {
            return Ok(Some(pods));
        }
        containerd.remove_sandboxes(&pods).map(|()| None)
    })?;
    for ip in &second[0].ips {
        host.machine.reach(None, &ip.to_string())?;
    }
    containerd.remove_sandboxes(&first)?;
    containerd.remove_sandboxes(&second)
}

#[test]
fn the_life_of_a_cluster() -> Result<()> {
    let host = Host::new(true)?;
    node(&host)?;
    follow(&host, OPERATING, &["Install without Kubernetes"])?;
    let installed = host.read("/etc/cni/net.d/10-coil.conflist")?;
    ensure!(installed == fs::read_to_string(host.work().join("manifests/cni/10-coil.conflist"))?);
    // A pod, which stays until the node is drained.
    let add = "ip netns add pod\nexport CNI_CONTAINERID=pod CNI_NETNS=/run/netns/pod CNI_IFNAME=eth0 CNI_PATH=/opt/cni/bin\n\
               echo '{\"cniVersion\": \"1.0.0\", \"name\": \"pods\", \"type\": \"coil\"}' > pod.json\n\
               CNI_COMMAND=ADD /opt/cni/bin/coil < pod.json";
    host.shell(add)?;
    let held = || -> Result<String> { host.shell("coilctl address list -o json") };
    wait_until("the pod to be seen", SOON, || Ok(held()?.contains("\"pod\"")))?;
    let before = host.shell("coild probe; coilctl node list")?;
    follow(&host, OPERATING, &["Upgrade"])?;
    waits_for(&host, "coild after its upgrade", "coild probe")?;
    ensure!(held()?.contains("\"pod\""), "{before}");

    let shown = follow(&host, OPERATING, &["A pool runs out"])?;
    ensure!(shown.contains("10.65.0.0/16") && shown.contains("node-a"), "{shown}");
    follow(&host, OPERATING, &["Who had this address?"])?;
    let shown = follow(&host, OPERATING, &["Back up and restore etcd"])?;
    ensure!(shown.contains("node-a"), "{shown}");
    waits_for(&host, "all that runs to be the node's again", "coilctl address list | grep pod")?;

    host.shell(
        "CNI_COMMAND=DEL CNI_CONTAINERID=pod CNI_NETNS=/run/netns/pod CNI_IFNAME=eth0 CNI_PATH=/opt/cni/bin \
                /opt/cni/bin/coil < pod.json",
    )?;
    wait_until("nothing to be held", SOON, || Ok(!held()?.contains("\"pod\"")))?;
    wait_until("the node to be removed", SOON, || {
        follow(&host, OPERATING, &["Drain and remove a node"]).map(|_| true)
    })?;
    let left = host.shell("coilctl node list")?;
    ensure!(!left.contains("node-a"), "{left}");
    follow(&host, OPERATING, &["Uninstall"])?;
    for gone in ["/opt/cni/bin/coil", "/etc/cni/net.d/10-coil.conflist"] {
        ensure!(!host.machine.file(gone).exists(), "{gone} is left");
    }
    Ok(())
}

#[test]
fn in_kubernetes_with_etcd() -> Result<()> {
    let host = Host::new(true)?;
    let authority = Authority::new()?;
    // For the name by which the guide asks for it.
    let (cert, key) = authority.sign_for("controller", "coil", &["localhost", "coil-controller"])?;
    let ca = authority.ca();
    for (from, to) in [
        (&cert, "controller.pem"),
        (&key, "controller-key.pem"),
        (&ca, "controller-ca.pem"),
        (&cert, "client.pem"),
        (&key, "client-key.pem"),
        (&ca, "etcd-ca.pem"),
    ] {
        fs::copy(from, host.work().join(to))?;
    }
    host.install()?;
    follow(&host, OPERATING, &["The image", "With etcd", "Monitoring"])?;
    let shown = host.shell("COIL_SERVER=https://localhost:9898 COIL_CA=controller-ca.pem COIL_TOKEN=$(cat prometheus.token) coilctl pool list")?;
    ensure!(shown.contains("10.64.0.0/16"), "{shown}");
    Ok(())
}

#[test]
fn in_kubernetes_on_one_node() -> Result<()> {
    let host = Host::new(false)?;
    host.install()?;
    follow(&host, OPERATING, &["On one node"])?;
    let shown = host.shell("coilctl pool list; coild probe")?;
    ensure!(shown.contains("10.64.0.0/16"), "{shown}");
    Ok(())
}

#[test]
fn five_minutes_by_hand() -> Result<()> {
    let host = Host::new(false)?;
    let shown = follow(&host, README, &["Five minutes by hand"])?;
    for part in ["2^60", "1 packets transmitted, 1", "fd00:64::"] {
        ensure!(shown.contains(part), "{part:?}: {shown}");
    }
    Ok(())
}

#[test]
fn podman() -> Result<()> {
    let host = Host::new(false)?;
    host.machine.forward()?;
    // What an ordinary machine has and this one, in a container, has not: its own storage, cgroups and limits.
    let dir = host.machine.dir().join("podman");
    fs::create_dir_all(&dir)?;
    let podman = find("podman", "podman")?;
    let tool = format!(
        "#!/bin/bash\nverb=$1; shift\nmore=()\n[ $verb != run ] || more=(--ulimit nofile=1024:1024 --ulimit \
         nproc=1024:1024 --cgroup-parent {cgroup})\nexec {podman} --root {dir}/root --runroot {dir}/runroot --tmpdir \
         {dir}/tmp --runtime runc --cgroup-manager cgroupfs --storage-driver vfs --events-backend none $verb \
         \"${{more[@]}}\" \"$@\"\n",
        cgroup = host.machine.cgroup(),
        podman = podman.display(),
        dir = dir.display(),
    );
    host.tool("podman", &tool)?;
    let image = image::archive(&dir)?;
    host.shell(&format!(
        "rm -f /etc/containers/containers.conf\npodman load --quiet --input {}\npodman tag {} docker.io/library/nginx",
        image.display(),
        image::IMAGE
    ))?;
    host.install()?;
    host.shell("install target/release/coil /opt/cni/bin/")?;
    host.shell("setsid coil-controller standalone --data-dir /var/lib/coil > log 2>&1 < /dev/null &")?;
    waits_for(&host, "coil", "coilctl pool list")?;
    host.shell("coilctl pool create default --subnet 10.64.0.0/16")?;
    let shown = follow(&host, README, &["podman"])?;
    let address = shown.split_whitespace().find(|word| word.starts_with("10.64.")).context("an address")?;
    ensure!(
        host.machine.ping(None, address).is_err(),
        "{address} answers though its container was removed: {shown}"
    );
    wait_until("nothing to be held", SOON, || Ok(!host.shell("coilctl address list")?.contains("10.64.")))
}
