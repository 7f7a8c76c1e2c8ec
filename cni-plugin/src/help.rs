//! What the program says to a person.

use crate::version::SpecVersion;
use std::fmt::Write;

/// The line of `--version`.
pub fn version() -> String {
    format!("coil {} (CNI {})\n", env!("CARGO_PKG_VERSION"), SpecVersion::list())
}

/// What stands on standard error when the program is run without a command.
pub fn not_a_runtime() -> String {
    "coil: CNI_COMMAND is not set. This program is a CNI plugin: a container runtime runs it, with a command in \
     the environment and a network configuration on standard input. See coil --help.\n"
        .to_owned()
}

/// The text of `--help`.
pub fn help() -> String {
    let mut text = version();
    // Writing to a String can't fail.
    let _ = write!(text, "{HELP}");
    text
}

const HELP: &str = r#"
The CNI plugin of Coil: gives containers addresses from coild, the daemon of the
node, and as main plugin makes their interface too.

A container runtime (containerd, CRI-O, podman, nerdctl) runs it; install it in
the runtime's plugin directory, usually /opt/cni/bin, and put one of these
configurations into /etc/cni/net.d:

  As main plugin: a veth pair, the container's gateway 169.254.1.1 (fe80::1) on
  the host end, and a route on the host to each of the container's addresses.

    {"cniVersion": "1.0.0", "name": "pods",
     "plugins": [{"type": "coil", "socket": "/run/coild.sock"}]}

  As main plugin with a bridge, for pools of namespaces: the container is in the
  network of its pool, with that subnet's gateway.

    {"cniVersion": "1.0.0", "name": "pods",
     "plugins": [{"type": "coil", "datapath": "bridge", "uplink": "eth1",
                  "capabilities": {"io.kubernetes.cri.pod-annotations": true}}]}

  For addresses only (IPAM), under another main plugin:

    {"cniVersion": "1.0.0", "name": "pods",
     "plugins": [{"type": "ptp",
                  "ipam": {"type": "coil", "socket": "/run/coild.sock"}}]}

KEYS (top level as main plugin; in "ipam" in both roles)
  socket         where coild listens; default /run/coild.sock
  pool           pool to take addresses from; default: the one named like the
                 pod's namespace if there is one, else "default"
  addressTypes   ["ipv4"], ["ipv6"] or both; default ["ipv4"]
  routes         [{"dst": "10.0.0.0/8"}, ...] instead of the pool's routes, or of
                 the default route; "gw" too with a bridge or under another
                 main plugin
  timeout        seconds to wait for coild; default 30
  mtu            MTU of the interface; main plugin only
  datapath       "routed" (default) or "bridge"; main plugin only
  bridge         the bridge's name; default coil0
  uplink         the host's interface that leads out of the bridge
  vlanDriver     "filtering" (default) or "subinterface": one bridge whose ports
                 filter by VLAN, or one for each VLAN
  detectConflicts  false uses addresses without asking who else does
  dns            passed on to the runtime
  capabilities   {"ips": true} lets the runtime ask for certain addresses

ENVIRONMENT (set by the runtime)
  CNI_COMMAND      ADD, DEL, CHECK, GC, STATUS or VERSION
  CNI_CONTAINERID  id of the container
  CNI_NETNS        path of its network namespace
  CNI_IFNAME       name of the interface in the container
  CNI_ARGS         K8S_POD_NAMESPACE=..;K8S_POD_NAME=..;IP=address[,address]
                   without them: the network's name, the container id

Try it by hand, without touching a container:

  echo '{"cniVersion": "1.1.0", "name": "pods", "type": "coil"}' |
    CNI_COMMAND=STATUS coil && echo ready

OPTIONS
  --help, -h     this text
  --version, -V  version of the program and of CNI

Exit code 0 on success, 1 on failure with {"cniVersion", "code", "msg", "details"}
on standard output. Codes: 1 cniVersion not supported, 2 key not supported, 3 no
such container, 4 environment, 5 input or output, 6 not JSON, 7 configuration,
11 try again later, 50 STATUS: not ready, 100 unusable answer of coild, 101 coild
refused, 102 the attachment holds an address already, 103 interface or route,
104 CHECK found a difference. More in docs/coil.md.
"#;
