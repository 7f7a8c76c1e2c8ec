//! Flags win over the environment, the environment over the TOML file, the file over defaults.

use anyhow::{Result, ensure};
use coil_tests::binaries::binary;
use coil_tests::cluster::Cluster;
use coil_tests::http::Http;
use coil_tests::place::Place;
use coil_tests::process::Process;
use coil_tests::tools::directory;
use coil_tests::tools::{run, text};
use coil_tests::wait::wait_until;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

struct Case<'a> {
    file: Option<&'a Path>,
    env: Option<&'a Path>,
    flag: Option<&'a Path>,
}

/// Starts coild with its socket given in several places; answers which of them it serves.
fn served(cluster: &Cluster, dir: &Path, case: &Case) -> Result<PathBuf> {
    let toml = dir.join("coild.toml");
    let endpoint = cluster.etcd.endpoint();
    let socket = case.file.map(|socket| format!("socket = '{}'", socket.display())).unwrap_or_default();
    let text = format!("node-name = 'n1'\netcd-endpoints = ['{endpoint}']\nroute-table = 'none'\n{socket}\n");
    std::fs::write(&toml, text)?;
    let mut command = Command::new(binary("coild")?);
    command.arg("--config").arg(&toml).arg("--data-dir").arg(dir.join("data"));
    if let Some(socket) = case.env {
        command.env("COIL_SOCKET", socket);
    }
    if let Some(socket) = case.flag {
        command.arg("--socket").arg(socket);
    }
    let mut process = Process::start("coild", Place::Here, &mut command, &dir.join("log"))?;
    let candidates: Vec<&Path> = [case.file, case.env, case.flag].into_iter().flatten().collect();
    let mut found = PathBuf::new();
    let serves = |socket: &Path| Http::Unix(socket.to_owned()).get("/healthz").is_ok();
    let looked = wait_until("coild to serve on one of the sockets", Duration::from_secs(20), || {
        ensure!(process.is_running()?, "coild ended: {}", process.story());
        let serving = candidates.iter().find(|socket| serves(socket));
        found = serving.map(|socket| socket.to_path_buf()).unwrap_or_default();
        Ok(serving.is_some())
    });
    looked?;
    process.terminate()?;
    Ok(found)
}

#[test]
fn flags_environment_file() -> Result<()> {
    let cluster = Cluster::start("--subnet 10.64.0.0/16")?;
    let dir = directory()?;
    let [file, env, flag] = ["file", "env", "flag"].map(|name| dir.path().join(format!("{name}.sock")));
    let (file, env, flag) = (file.as_path(), env.as_path(), flag.as_path());
    let all = Case { file: Some(file), env: Some(env), flag: Some(flag) };
    assert_eq!(served(&cluster, dir.path(), &all)?, flag);
    assert_eq!(served(&cluster, dir.path(), &Case { flag: None, ..all })?, env);
    assert_eq!(served(&cluster, dir.path(), &Case { flag: None, env: None, ..all })?, file);
    Ok(())
}

#[test]
fn mistakes_are_named() -> Result<()> {
    let dir = directory()?;
    let toml = dir.path().join("coild.toml");
    std::fs::write(&toml, "soket = '/tmp/x'\n")?;
    for (args, mention) in [
        (vec!["--config", toml.to_str().unwrap_or_default()], "soket"),
        (vec!["--config", "/nonexistent.toml"], "/nonexistent.toml"),
        (vec!["--node-name", "a/b", "--etcd-endpoints", "http://127.0.0.1:1"], "a/b"),
        (
            vec!["--node-name", "a", "--etcd-endpoints", "http://127.0.0.1:1", "--cooldown", "soon"],
            "--cooldown",
        ),
        (
            vec!["--node-name", "a", "--etcd-endpoints", "http://127.0.0.1:1", "--listen", "0.0.0.0:1"],
            "loopback",
        ),
        (
            vec!["--node-name", "a", "--etcd-endpoints", "http://127.0.0.1:1", "--cri-socket", "c.sock"],
            "--cri-socket",
        ),
        (vec!["--dance"], "--dance"),
    ] {
        let output = Command::new(binary("coild")?).args(&args).output()?;
        ensure!(matches!(output.status.code(), Some(1 | 2)), "{args:?}: {}", output.status);
        ensure!(text(&output).contains(mention), "{args:?}: {:?} does not mention {mention}", text(&output));
    }
    Ok(())
}

#[test]
fn every_program_explains_itself() -> Result<()> {
    for name in ["coil", "coild", "coil-controller", "coilctl"] {
        let help = text(&run(Command::new(binary(name)?).arg("--help"))?);
        assert!(help.len() > 400, "{name} --help teaches nothing: {help}");
        let version = text(&run(Command::new(binary(name)?).arg("--version"))?);
        assert!(version.starts_with(&format!("{name} {}", env!("CARGO_PKG_VERSION"))), "{version}");
    }
    Ok(())
}

#[test]
fn loopback_tcp_serves_the_same() -> Result<()> {
    let cluster = Cluster::start("--subnet 10.64.0.0/16")?;
    let address = coil_tests::controller::free_address()?;
    let coild = cluster.coild("n1", &["--listen", &address])?;
    let given = coild.allocate("c1")?;
    let status = Http::Tcp(address.parse()?).get("/status")?.expect(200)?.json()?;
    assert_eq!(status["pods"]["c1"], given);
    Ok(())
}
