//! The Debian package: the same programs give the same one, it installs, and what it has is what the units say.

use anyhow::{Context, Result, ensure};
use coil_tests::binaries::binary;
use coil_tests::tools::{find, run, text};
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Command;

fn build(directory: &Path) -> Result<PathBuf> {
    find("dpkg-deb", "dpkg")?;
    find("strip", "binutils")?;
    let programs = binary("coild")?.parent().context("a program lies in a directory")?.to_owned();
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../scripts/build-deb");
    run(Command::new(script).arg(programs).arg(directory))?;
    let package = std::fs::read_dir(directory)?.next().context("a package")??.path();
    Ok(package)
}

/// Runs dpkg on a root of its own.
fn dpkg(root: &Path, arguments: &[&str]) -> Result<String> {
    let mut command = Command::new("dpkg");
    command.arg("--root").arg(root).args(["--force-script-chrootless", "--force-depends", "--log=/dev/null"]);
    Ok(text(&run(command.args(arguments))?))
}

#[test]
fn it_installs_and_goes_without_a_trace() -> Result<()> {
    let dir = tempfile::tempdir()?;
    let [first, second] = ["first", "second"].map(|name| build(&dir.path().join(name)));
    let (first, second) = (first?, second?);
    ensure!(std::fs::read(&first)? == std::fs::read(second)?, "two packages differ");

    let root = dir.path().join("root");
    std::fs::create_dir_all(root.join("var/lib/dpkg/updates"))?;
    std::fs::create_dir_all(root.join("var/lib/dpkg/info"))?;
    std::fs::write(root.join("var/lib/dpkg/status"), "")?;
    let package = first.to_str().context("a path")?;
    dpkg(&root, &["--install", package])?;
    for program in ["usr/bin/coild", "usr/bin/coil-controller", "usr/bin/coilctl"] {
        let output = run(Command::new(root.join(program)).arg("--version"))?;
        let said = text(&output);
        ensure!(said.contains(env!("CARGO_PKG_VERSION")), "{program}: {said}");
    }
    let version = run(Command::new(root.join("usr/lib/cni/coil"))
        .env("CNI_COMMAND", "VERSION")
        .stdin(std::process::Stdio::null()));
    ensure!(text(&version?).contains("supportedVersions"));
    // Each program and file that a unit starts with is there.
    let mut started = BTreeSet::new();
    for unit in std::fs::read_dir(root.join("lib/systemd/system"))? {
        let unit = std::fs::read_to_string(unit?.path())?;
        for line in unit.lines().filter_map(|line| line.strip_prefix("ExecStart=")) {
            let paths = line.split(' ').filter(|word| word.starts_with("/usr/") || word.starts_with("/etc/"));
            started.extend(paths.map(str::to_owned));
        }
    }
    ensure!(started.len() == 4, "{started:?}");
    for path in started {
        ensure!(root.join(path.trim_start_matches('/')).is_file(), "{path} is missing");
    }

    // Another version goes over it, and a configuration that was changed stays.
    std::fs::write(root.join("etc/coil/coild.toml"), "# mine\n")?;
    dpkg(&root, &["--force-confdef", "--install", package])?;
    assert_eq!(std::fs::read_to_string(root.join("etc/coil/coild.toml"))?, "# mine\n");
    dpkg(&root, &["--purge", "coil"])?;
    for gone in ["usr/bin/coild", "usr/lib/cni/coil", "etc/coil/coild.toml", "usr/share/doc/coil"] {
        ensure!(!root.join(gone).exists(), "{gone} is left");
    }
    Ok(())
}
