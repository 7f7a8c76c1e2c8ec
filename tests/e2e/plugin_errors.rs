//! `coil` when something is wrong: codes of the specification, and messages that name the key.

use anyhow::{Context, Result, ensure};
use coil_tests::cluster::Cluster;
use coil_tests::place::Place;
use coil_tests::plugin::{CniError, Plugin, ipam_config};
use serde_json::{Value, json};
use std::path::Path;

fn plugin() -> Result<Plugin> {
    Ok(Plugin::coil(Place::Here)?.attachment("c1", "/proc/self/ns/net"))
}

fn expect(error: &CniError, code: u64, mention: &str) -> Result<()> {
    ensure!(error.code == code, "code {}, expected {code}: {}", error.code, error.text);
    ensure!(error.text.contains(mention), "{:?} does not mention {mention:?}", error.text);
    Ok(())
}

#[test]
fn coild_down_is_try_again_later() -> Result<()> {
    let config = ipam_config("ptp", Path::new("/nonexistent/coild.sock"));
    for verb in ["ADD", "DEL"] {
        expect(&plugin()?.error(verb, &config)?, 11, "/nonexistent/coild.sock")?;
    }
    let mut status = config;
    status["cniVersion"] = json!("1.1.0");
    let error = plugin()?.error("STATUS", &status)?;
    ensure!(matches!(error.code, 50 | 51), "code {}: {}", error.code, error.text);
    Ok(())
}

#[test]
fn a_full_pool_is_try_again_later() -> Result<()> {
    let cluster = Cluster::start("--subnet 10.64.0.0/28")?;
    let coild = cluster.coild("n1", &[])?;
    let mut config = ipam_config("ptp", &coild.socket());
    config["cniVersion"] = json!("1.1.0");
    plugin()?.result("STATUS", &config)?;
    for n in 0..16 {
        coild.allocate(&format!("other{n}"))?;
    }
    expect(&plugin()?.error("ADD", &config)?, 11, "default")?;
    expect(&plugin()?.error("STATUS", &config)?, 50, "default")?;
    coild.free("other3")?;
    plugin()?.result("STATUS", &config)?;
    plugin()?.add(&config)?;
    Ok(())
}

#[test]
fn an_attachment_is_added_once() -> Result<()> {
    let cluster = Cluster::start("--subnet 10.64.0.0/16")?;
    let coild = cluster.coild("n1", &[])?;
    let config = ipam_config("ptp", &coild.socket());
    plugin()?.add(&config)?;
    expect(&plugin()?.error("ADD", &config)?, 102, "c1")?;
    plugin()?.del(&config)
}

#[test]
fn configurations_are_checked_by_key() -> Result<()> {
    let good = ipam_config("ptp", Path::new("/nonexistent/coild.sock"));
    for (key, wrong, code) in [
        ("cniVersion", json!("0.2.0"), 1),
        ("cniVersion", json!("9.0.0"), 1),
        ("cniVersion", json!(1), 7),
        ("name", json!(""), 7),
        ("name", Value::Null, 7),
        ("type", json!(7), 7),
        ("ipam", json!([]), 7),
    ] {
        let mut config = good.clone();
        config[key] = wrong.clone();
        let error = plugin()?.error("ADD", &config)?;
        expect(&error, code, if code == 1 { "" } else { key }).with_context(|| format!("{key}: {wrong}"))?;
    }
    for (key, wrong) in [
        ("socket", json!("relative")),
        ("socket", json!(1)),
        ("pool", json!("../x")),
        ("addressTypes", json!([])),
        ("addressTypes", json!(["ipv5"])),
        ("addressTypes", json!("ipv4")),
        ("timeout", json!("soon")),
        ("timeout", json!(-1)),
        ("routes", json!([{"dst": "x"}])),
    ] {
        let mut config = good.clone();
        config["ipam"][key] = wrong.clone();
        let error = plugin()?.error("ADD", &config)?;
        expect(&error, 7, key).with_context(|| format!("ipam.{key}: {wrong}"))?;
    }
    for garbage in ["", "{", "[]", "null", "\u{0}", "{} {}"] {
        let error = plugin()?.error_with("ADD", garbage.as_bytes())?;
        ensure!(matches!(error.code, 6 | 7), "{garbage:?}: code {}", error.code);
    }
    Ok(())
}

#[test]
fn the_environment_is_checked() -> Result<()> {
    let config = ipam_config("ptp", Path::new("/nonexistent/coild.sock"));
    let bare = || Plugin::coil(Place::Here);
    expect(&bare()?.error("ADD", &config)?, 4, "CNI_CONTAINERID")?;
    for (name, wrong) in [
        ("CONTAINERID", ""),
        ("IFNAME", ""),
        ("IFNAME", "a/b"),
        ("IFNAME", "sixteen-letters-"),
        ("ARGS", "K8S_POD_NAME"),
        ("ARGS", "IP=10.0.0"),
    ] {
        let error = plugin()?.with(name, wrong).error("ADD", &config)?;
        expect(&error, 4, &format!("CNI_{name}")).with_context(|| format!("{name}={wrong}"))?;
    }
    let error = plugin()?.error("DANCE", &config)?;
    expect(&error, 4, "CNI_COMMAND")
}

#[test]
fn a_check_needs_its_result() -> Result<()> {
    let config = ipam_config("ptp", Path::new("/nonexistent/coild.sock"));
    expect(&plugin()?.error("CHECK", &config)?, 7, "prevResult")?;
    let mut gc = config;
    gc["cniVersion"] = json!("1.1.0");
    expect(&plugin()?.error("GC", &gc)?, 7, "cni.dev/valid-attachments")
}
