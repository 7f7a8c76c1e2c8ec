//! The controllers' APIs are what their description says, for requests that a tool makes of it: schemathesis.

use anyhow::{Context, Result, ensure};
use coil_tests::binaries::binary;
use coil_tests::controller::{Controller, free_address};
use coil_tests::etcd::Etcd;
use coil_tests::place::Place;
use coil_tests::tools::{directory, python_tool, run, text};
use std::process::Command;

/// What must hold for every answer.
const CHECKS: &str = "not_a_server_error,status_code_conformance,content_type_conformance,\
                      response_headers_conformance,response_schema_conformance,unsupported_method,\
                      allow_header_conformance,ignored_auth,use_after_free";
/// Seconds for each store.
const TIME: &str = "20";

/// Starts a controller that asks for tokens on TCP, and lets schemathesis loose on it as an admin.
fn explore(start: impl FnOnce(&[&str]) -> Result<Controller>) -> Result<()> {
    let schemathesis = python_tool("schemathesis")?;
    let dir = directory()?;
    let tokens = dir.path().join("tokens.toml").display().to_string();
    let created = run(Command::new(binary("coil-controller")?)
        .args(["create-token", "tester", "--role", "admin"])
        .args(["--tokens", &tokens]))?;
    let token = String::from_utf8(created.stdout)?;
    let address = free_address()?;
    let mut controller = start(&["--listen", &address, "--tokens", &tokens])?;
    // What the examples in the description speak of.
    controller.coilctl("pool create default --subnet 10.64.0.0/16,10.67.0.0/16")?;
    let output = Command::new(schemathesis)
        .current_dir(dir.path())
        .env("NO_COLOR", "1")
        .args(["run", &format!("http://{address}/openapi.json"), "--checks", CHECKS, "--max-time", TIME])
        .args(["--header", &format!("Authorization: Bearer {}", token.trim()), "--continue-on-failure"])
        .output()
        .context("can't start schemathesis")?;
    ensure!(output.status.success(), "{}", text(&output));
    ensure!(controller.process()?.is_running()?, "the controller ended");
    let log = controller.log()?;
    ensure!(!log.contains(token.trim()), "the log has the token");
    ensure!(
        log.contains("who=\"token tester\"") || log.contains("token tester"),
        "nothing was changed: {log}"
    );
    Ok(())
}

#[test]
fn as_described_on_the_embedded_store() -> Result<()> {
    explore(|args| Controller::standalone(Place::Here, args))
}

#[test]
fn as_described_on_etcd() -> Result<()> {
    let etcd = Etcd::start()?;
    explore(|args| Controller::serve_with(Place::Here, &etcd, args))
}
