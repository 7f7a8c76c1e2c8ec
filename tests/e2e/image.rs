//! The image: the same programs give the same one, and it runs under containerd.

use anyhow::{Context, Result, ensure};
use coil_tests::binaries::binary;
use coil_tests::containerd::Containerd;
use coil_tests::machine::Machine;
use coil_tests::plugin::main_config;
use coil_tests::tools::{find, run, text};
use serde_json::{Value, json};
use std::path::{Path, PathBuf};
use std::process::Command;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// Builds the image of the programs that are tested.
fn build(archive: &Path) -> Result<()> {
    find("buildah", "buildah")?;
    find("strip", "binutils")?;
    let programs = binary("coild")?.parent().context("a program lies in a directory")?.to_owned();
    run(Command::new(root().join("scripts/build-image")).arg(programs).arg(archive)).map(|_| ())
}

/// A JSON document in an archive.
fn member(archive: &Path, name: &str) -> Result<Value> {
    let output = run(Command::new("tar").arg("-xOf").arg(archive).arg(name))?;
    Ok(serde_json::from_slice(&output.stdout)?)
}

fn blob(archive: &Path, digest: &Value) -> Result<Value> {
    let digest = digest.as_str().and_then(|text| text.strip_prefix("sha256:")).context("a digest")?;
    member(archive, &format!("blobs/sha256/{digest}"))
}

#[test]
fn it_is_the_same_each_time_and_runs() -> Result<()> {
    let dir = tempfile::tempdir()?;
    let [first, second] = ["first", "second"].map(|name| dir.path().join(name));
    build(&first)?;
    build(&second)?;
    let index = member(&first, "index.json")?;
    ensure!(index["manifests"] == member(&second, "index.json")?["manifests"], "two images differ");
    let manifest = blob(&first, &index["manifests"][0]["digest"])?;
    ensure!(manifest["layers"].as_array().map(Vec::len) == Some(1), "{manifest}");
    let config = blob(&first, &manifest["config"]["digest"])?;
    let labels = &config["config"]["Labels"];
    ensure!(labels["org.opencontainers.image.version"] == env!("CARGO_PKG_VERSION"), "{labels}");
    ensure!(labels["org.opencontainers.image.licenses"] == "Apache-2.0", "{labels}");

    let machine = Machine::start()?;
    let network = json!({
        "cniVersion": "1.0.0", "name": "n", "plugins": [main_config(Path::new("/run/coild.sock"))]
    });
    let containerd = Containerd::start(&machine, &network)?;
    let image = format!("docker.io/library/coil:{}", env!("CARGO_PKG_VERSION"));
    let ctr = |arguments: &[&str]| {
        let mut ctr = machine.command("ctr");
        ctr.arg("--address").arg(containerd.socket()).args(["--namespace", "k8s.io"]).args(arguments);
        run(&mut ctr)
    };
    let archive = first.to_str().context("a path")?;
    ctr(&["images", "import", "--snapshotter", "native", "--base-name", "docker.io/library/coil", archive])?;
    for program in ["coil", "coild", "coil-controller", "coilctl"] {
        let path = format!("/usr/local/bin/{program}");
        let id = format!("version-of-{program}");
        let run = [
            "run",
            "--rm",
            "--snapshotter",
            "native",
            image.as_str(),
            id.as_str(),
            path.as_str(),
            "--version",
        ];
        let printed = text(&ctr(&run)?);
        ensure!(printed.contains(env!("CARGO_PKG_VERSION")), "{program}: {printed}");
    }
    Ok(())
}
