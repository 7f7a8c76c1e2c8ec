//! Tokens and TLS of the running controller, and their replacement while it runs.

use anyhow::{Context, Result, ensure};
use coil_tests::authority::Authority;
use coil_tests::binaries::binary;
use coil_tests::controller::{Controller, free_address};
use coil_tests::http::Http;
use coil_tests::place::Place;
use coil_tests::tools::{directory, run};
use coil_tests::wait::wait_until;
use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

const SOON: Duration = Duration::from_secs(20);

/// Makes a token as an operator does.
fn create_token(tokens: &Path, name: &str, role: &str) -> Result<String> {
    let mut command = Command::new(binary("coil-controller")?);
    let output = run(command.args(["create-token", name, "--role", role, "--tokens"]).arg(tokens))?;
    Ok(String::from_utf8(output.stdout)?.trim().to_owned())
}

fn status(http: &Http, method: &str, path: &str, token: &str) -> Result<u16> {
    Ok(http.send_as(token, method, path)?.status)
}

#[test]
fn tokens_come_and_go_while_it_runs() -> Result<()> {
    let dir = directory()?;
    let tokens = dir.path().join("tokens.toml");
    let viewer = create_token(&tokens, "viewer", "viewer")?;
    let address = free_address()?;
    let args = ["--listen", &address, "--tokens", &tokens.display().to_string(), "--log", "error"];
    let controller = Controller::standalone(Place::Here, &args)?;
    let http = Http::Tcp(address.parse()?);
    controller.coilctl("pool create default --subnet 10.64.0.0/16")?;
    ensure!(http.get("/v1/pools")?.status == 401, "nobody needs a token");
    ensure!(status(&http, "GET", "/v1/pools", &viewer)? == 200);
    ensure!(status(&http, "DELETE", "/v1/pools/default", &viewer)? == 403);

    let only_viewer = fs::read_to_string(&tokens)?;
    let admin = create_token(&tokens, "admin", "admin")?;
    wait_until("the new token to be known", SOON, || Ok(status(&http, "GET", "/v1/pools", &admin)? == 200))?;
    ensure!(status(&http, "DELETE", "/v1/pools/default", &admin)? == 200);
    let log = controller.log()?;
    let line = log.lines().find(|line| line.contains("pool default: deleted")).context("no audit line")?;
    for part in ["audit", "token admin", "request=", "before=", "10.64.0.0/16", "after=\"null\""] {
        ensure!(line.contains(part), "{part} is missing: {line}");
    }

    // A file that is wrong changes nothing; one without the token takes it back.
    fs::write(&tokens, "[[token]]\nname = \"x\"\n")?;
    wait_until("the wrong file to be noticed", SOON, || {
        Ok(controller.log()?.contains("can't be read anew"))
    })?;
    ensure!(status(&http, "GET", "/v1/pools", &admin)? == 200);
    fs::write(&tokens, only_viewer)?;
    wait_until("the token to be taken back", SOON, || Ok(status(&http, "GET", "/v1/pools", &admin)? == 401))?;
    ensure!(status(&http, "GET", "/v1/pools", &viewer)? == 200);
    let log = controller.log()?;
    ensure!(!log.contains(&viewer) && !log.contains(&admin), "a token is in the log");
    Ok(())
}

#[test]
fn certificates_are_replaced_while_it_runs() -> Result<()> {
    let (old, new) = (Authority::new()?, Authority::new()?);
    let dir = directory()?;
    let [cert, key, ca] = ["cert.pem", "key.pem", "ca.pem"].map(|name| dir.path().join(name));
    let install = |authority: &Authority| -> Result<()> {
        let (fresh_cert, fresh_key) = authority.sign("server", "servers")?;
        fs::copy(authority.ca(), &ca)?;
        fs::copy(fresh_cert, &cert)?;
        fs::copy(fresh_key, &key)?;
        Ok(())
    };
    install(&old)?;
    let address = free_address()?;
    let [c, k, a] = [&cert, &key, &ca].map(|path| path.display().to_string());
    let args = ["--listen", &address, "--tls-cert", &c, "--tls-key", &k, "--tls-client-ca", &a];
    let mut controller = Controller::standalone(Place::Here, &args)?;
    let list = |authority: &Authority, organization: &str| -> Result<(Option<i32>, String)> {
        let (cert, key) = authority.sign("client", organization)?;
        let mut command = Command::new(binary("coilctl")?);
        command.args(["--server", &format!("https://{address}"), "--ca"]).arg(authority.ca());
        let output = command.arg("--cert").arg(cert).arg("--key").arg(key).args(["pool", "list"]).output()?;
        Ok((output.status.code(), String::from_utf8_lossy(&output.stderr).into_owned()))
    };
    ensure!(list(&old, "coil:viewer")?.0 == Some(0));
    ensure!(list(&old, "coil:namespace:a")?.0 == Some(1));
    ensure!(list(&new, "coil:viewer")?.0 == Some(3));
    install(&new)?;
    controller.process()?.signal(nix::sys::signal::Signal::SIGHUP)?;
    wait_until("the new certificate to be shown", SOON, || {
        let (code, error) = list(&new, "coil:viewer")?;
        ensure!(code == Some(0), "{error}");
        Ok(true)
    })?;
    ensure!(list(&old, "coil:viewer")?.0 == Some(3), "the old authority is still trusted");
    Ok(())
}

#[test]
fn nothing_is_served_beyond_loopback_without_authentication_and_tls() -> Result<()> {
    let dir = directory()?;
    let tokens = dir.path().join("tokens.toml");
    create_token(&tokens, "a", "admin")?;
    for (args, reason) in [
        (&["--listen", "0.0.0.0:0"][..], "needs TLS"),
        (&["--listen", "[::]:0", "--tokens", &tokens.display().to_string()], "needs TLS"),
        (&["--listen", "0.0.0.0:0", "--tls-cert", "c", "--tls-key", "k"], "needs authentication"),
        (&["--tls-cert", "/none", "--tls-key", "/none"], "can't read certificates from /none"),
        (&["--tokens", "/none"], "can't read the file of tokens /none"),
    ] {
        let mut command = Command::new(binary("coil-controller")?);
        command.args(["standalone", "--route-table", "none", "--data-dir"]).arg(dir.path().join("data"));
        let output = command.arg("--socket").arg(dir.path().join("s")).args(args).output()?;
        let error = String::from_utf8_lossy(&output.stderr).into_owned();
        ensure!(output.status.code() == Some(1) && error.contains(reason), "{args:?}: {error}");
    }
    Ok(())
}
