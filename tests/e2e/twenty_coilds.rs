//! Twenty nodes lease from one pool at the same moment.

use anyhow::{Result, ensure};
use coil_tests::cluster::Cluster;
use coil_tests::coild::Coild;
use coil_tests::load::at_once;
use std::collections::BTreeSet;

const NODES: usize = 20;
const ADDRESSES: usize = 33;

fn nodes(cluster: &Cluster) -> Result<Vec<Coild>> {
    at_once(NODES, |n| cluster.coild(&format!("n{n}"), &["--log", "warn"]))
}

#[test]
fn six_hundred_and_sixty_addresses_without_a_duplicate() -> Result<()> {
    let cluster = Cluster::start("--subnet 10.64.0.0/14")?;
    let coilds = nodes(&cluster)?;
    let given = at_once(NODES * ADDRESSES, |n| coilds[n % NODES].allocate(&format!("c{n}")))?;
    assert_eq!(given.iter().collect::<BTreeSet<_>>().len(), NODES * ADDRESSES, "an address was given twice");
    let mut blocks = BTreeSet::new();
    for coild in &coilds {
        let status = coild.status()?;
        assert_eq!(status.attachments.len(), ADDRESSES, "{}", coild.node());
        for block in status.address_blocks.into_values().flatten() {
            assert!(blocks.insert(block), "{block} is leased by two nodes");
        }
    }
    Ok(())
}

/// Every block of a small pool is found, however the nodes fight for the last ones.
#[test]
fn a_small_pool_is_shared_to_the_last_address() -> Result<()> {
    let cluster = Cluster::start("--subnet 10.64.0.0/24")?;
    let coilds = nodes(&cluster)?;
    let replies = at_once(NODES * 20, |n| {
        let reply = coilds[n % NODES].add(&format!("c{n}"))?;
        ensure!(matches!(reply.status, 200 | 503), "{}: {}", reply.status, reply.text());
        Ok((reply.status == 200).then(|| reply.json()).transpose()?.map(|body| body["address"].to_string()))
    })?;
    let given: Vec<String> = replies.into_iter().flatten().collect();
    assert_eq!(given.iter().collect::<BTreeSet<_>>().len(), given.len(), "an address was given twice");
    let leased: usize = coilds
        .iter()
        .map(|coild| {
            Ok(coild.status()?.address_blocks.into_values().map(|blocks| blocks.len()).sum::<usize>())
        })
        .sum::<Result<usize>>()?;
    assert_eq!(leased, 16, "not all blocks of the pool were found");
    Ok(())
}
