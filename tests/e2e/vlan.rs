//! `coil` as main plugin with a bridge in tagged networks, by both drivers; in a guest, as it takes a kernel with VLANs.

use anyhow::{Result, ensure};
use coil_tests::guest::Guest;

/// For each driver a lan of its own: a router with an address in VLAN 100 and one in VLAN 200, at the other end of the
/// uplink; pods `a` and `b` of VLAN 100, `c` of VLAN 200. All pods take the subnets of both VLANs for their own, so
/// that only the VLANs keep them apart.
const STORY: &str = r#"
coil-controller standalone --data-dir /run/coil --node-name guest >/run/log 2>&1 &
for try in $(seq 100); do
    wget -q -O /dev/null http://127.0.0.1:9898/healthz && break
    [ $try != 100 ] || { cat /run/log; exit 1; }
    usleep 200000
done
pool() { # name, third octet, VLAN
    wget -q -O /dev/null --header 'Content-Type: application/json' --post-data "{
        \"name\": \"$1\", \"namespace\": \"ns\", \"subnet\": \"10.9.$2.0/24\", \"start\": \"10.9.$2.5\",
        \"end\": \"10.9.$2.50\", \"gateway\": \"10.9.$2.1\", \"vlanid\": $3}" http://127.0.0.1:9898/nsippool
}
plugin() { # command, pod, pool
    CNI_COMMAND=$1 CNI_CONTAINERID=$2 CNI_NETNS=/run/netns/$2 CNI_IFNAME=eth0 CNI_PATH=/bin \
    CNI_ARGS="K8S_POD_NAMESPACE=ns;K8S_POD_NAME=$2;hcipam_ns_ippool=$3" coil <<EOF
{"cniVersion": "1.0.0", "name": "net", "type": "coil", "datapath": "bridge", "bridge": "br-$driver",
 "uplink": "up-$driver", "vlanDriver": "$vlan_driver"$extra}
EOF
}
reach() { ip netns exec $1 busybox ping -c 1 -W 2 $2 >/dev/null; }
veths() { ip -o link show type veth | grep -v up-; }
refuse() { if "$@"; then echo "unexpected: $*"; exit 1; fi; }
say() { echo "$vlan_driver: $*"; }

pool p1 1 100; pool p2 2 200; pool p3 3 0
pool p4 4 100; pool p5 5 200; pool p6 6 0
extra=
for driver in f s; do
    case $driver in
        f) vlan_driver=filtering; one=1; two=2; none=3; in_one=p1; in_two=p2; untagged=p3 ;;
        s) vlan_driver=subinterface; one=4; two=5; none=6; in_one=p4; in_two=p5; untagged=p6 ;;
    esac
    lan=lan-$driver
    ip netns add $lan
    ip link add up-$driver type veth peer name gw netns $lan
    ip -n $lan link set gw up
    ip -n $lan addr add 10.9.$none.1/24 dev gw
    for vlan in 100 200; do
        ip -n $lan link add link gw name gw.$vlan type vlan id $vlan
        ip -n $lan link set gw.$vlan up
    done
    ip -n $lan addr add 10.9.$one.1/24 dev gw.100
    ip -n $lan addr add 10.9.$two.1/24 dev gw.200
    # Another host has the second address.
    ip -n $lan addr add 10.9.$one.6/24 dev gw.100
    for pod in a$driver b$driver c$driver d$driver; do ip netns add $pod; done
    plugin ADD a$driver $in_one >/run/a; plugin ADD b$driver $in_one >/run/b
    plugin ADD c$driver $in_two >/run/c; plugin ADD d$driver $untagged >/run/d
    grep -q "10.9.$one.5/24" /run/a
    grep -q "10.9.$one.7/24" /run/b
    grep -q "10.9.$two.5/24" /run/c
    say "the address of another host in the VLAN is not used"
    for pod in a b c; do
        ip -n $pod$driver route add 10.9.$one.0/24 dev eth0 metric 5 2>/dev/null || true
        ip -n $pod$driver route add 10.9.$two.0/24 dev eth0 metric 5 2>/dev/null || true
    done
    reach a$driver 10.9.$one.7; reach b$driver 10.9.$one.5
    say "pods of one VLAN reach each other"
    reach a$driver 10.9.$one.1; reach c$driver 10.9.$two.1; reach d$driver 10.9.$none.1
    say "gateways answer"
    refuse reach a$driver 10.9.$two.5; refuse reach c$driver 10.9.$one.5; refuse reach d$driver 10.9.$one.5
    refuse ip netns exec c$driver busybox arping -q -c 2 -I eth0 10.9.$one.5
    ip netns exec b$driver busybox arping -q -c 2 -I eth0 10.9.$one.5
    say "pods of different VLANs don't"
    extra=", \"prevResult\": $(cat /run/a)"
    plugin CHECK a$driver $in_one
    say "CHECK finds all in place"
    host=$(sed 's/.*"name":"\(veth[0-9a-f]*\)".*/\1/' /run/a)
    ip link set $host nomaster
    refuse plugin CHECK a$driver $in_one
    extra=
    for pod in a b c d a; do plugin DEL $pod$driver $in_one; done
    refuse veths
    say "nothing is left after DEL"
done
vlan_driver=filtering; driver=f
ip netns add e
pool p7 7 1
refuse plugin ADD e p7
say "the VLAN of untagged frames is refused"
refuse veths
"#;

#[test]
fn vlans_keep_pods_apart() -> Result<()> {
    let printed = Guest::new()?.run(STORY)?;
    for driver in ["filtering", "subinterface"] {
        for line in [
            "the address of another host in the VLAN is not used",
            "pods of one VLAN reach each other",
            "gateways answer",
            "pods of different VLANs don't",
            "CHECK finds all in place",
            "nothing is left after DEL",
        ] {
            ensure!(printed.contains(&format!("{driver}: {line}\n")), "{driver}: not {line}:\n{printed}");
        }
    }
    ensure!(printed.contains("VLAN 1 is where br-f puts untagged frames"), "{printed}");
    Ok(())
}
