//! A host on which a document is followed: a machine of the test's own, with directories of its own where programs are
//! installed and configured, the repository as it is after `make build`, and stand-ins for what it lacks: systemd, a
//! cluster of Kubernetes, and tools that other tests run.

use crate::binaries::binary;
use crate::guide::{Guide, Step, script};
use crate::machine::Machine;
use crate::runtime::plugin_directory;
use crate::tools::{find, run, text};
use anyhow::{Context, Result, ensure};
use std::fs::{self, Permissions};
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;

const SYSTEMCTL: &str = include_str!("systemctl");
const KUBECTL: &str = include_str!("kubectl");
/// Of these, a document only says that they are called.
const CALLED: &str = "#!/bin/sh\nexit 0\n";
const PING: &str = "#!/bin/sh\nexec busybox ping \"$@\"\n";
const ETCD: &str = "[Service]\nExecStart=/usr/bin/etcd --data-dir /var/lib/etcd/default\n";
/// Tells which command ended a script.
const FAILED: &str = "trap 'echo \"failed: $BASH_COMMAND\" >&2' ERR";
/// A directory for files of its own, though the test's directory lies in it.
const TEMPORARY: &str = "mount --bind DIR /mnt && mount -t tmpfs -o mode=1777 tmpfs /tmp && mkdir -p DIR && mount --bind /mnt DIR";
/// Directories that are empty at first.
const EMPTY: [&str; 4] = ["/usr/local/bin", "/opt", "/var/lib", "/var/log"];

/// A host.
#[derive(Debug)]
pub struct Host {
    /// The machine that it is.
    pub machine: Machine,
    work: PathBuf,
}

impl Host {
    /// Makes one, with an etcd that runs if it is said so.
    pub fn new(etcd: bool) -> Result<Self> {
        let machine = Machine::start()?;
        let work = machine.dir().join("coil");
        let host = Self { machine, work };
        for dir in EMPTY {
            host.machine.run(&format!("mount -t tmpfs -o mode=755 tmpfs {dir}"))?;
        }
        let dir = host.machine.dir().display().to_string();
        run(host.machine.command("sh").args(["-c", &TEMPORARY.replace("DIR", &dir)]))?;
        let etc = host.machine.dir().join("etc").display().to_string();
        host.machine.run(&format!("cp -a /etc {etc}"))?;
        host.machine.run(&format!("mount --bind {etc} /etc"))?;
        for dir in ["/etc/cni", "/etc/coil"] {
            host.machine.run(&format!("rm -rf {dir}"))?;
        }
        host.machine.run("mkdir -p /etc/systemd/system /etc/cni/net.d /opt/cni /var/lib/cni")?;
        fs::write(host.machine.file("/etc/systemd/system/etcd.service"), ETCD)?;
        host.repository()?;
        host.tools()?;
        if etcd {
            find("etcd", "etcd-server")?;
            host.shell("systemctl start etcd")?;
        }
        Ok(host)
    }

    /// What there is after `make build`.
    fn repository(&self) -> Result<()> {
        let target = self.work.join("target/release");
        fs::create_dir_all(&target)?;
        for program in ["coil", "coild", "coil-controller", "coilctl"] {
            symlink(binary(program)?, target.join(program))?;
        }
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..").canonicalize()?;
        symlink(root.join("manifests"), self.work.join("manifests"))?;
        // Debian has the standard plugins elsewhere than a runtime looks by default.
        let plugins = plugin_directory(self.machine.dir())?;
        self.machine.run(&format!("cp -a {} /opt/cni/bin", plugins.display()))?;
        self.machine.run("rm /opt/cni/bin/coil").map(drop)
    }

    fn tools(&self) -> Result<()> {
        let tools = self.tool_directory();
        fs::create_dir_all(&tools)?;
        for (name, text) in [
            ("systemctl", SYSTEMCTL),
            ("kubectl", KUBECTL),
            ("ping", PING),
            ("make", CALLED),
            ("ctr", CALLED),
        ] {
            self.tool(name, text)?;
        }
        Ok(())
    }

    fn tool_directory(&self) -> PathBuf {
        self.machine.dir().join("tools")
    }

    /// Puts a program before those of the machine.
    pub fn tool(&self, name: &str, text: &str) -> Result<()> {
        let file = self.tool_directory().join(name);
        fs::write(&file, text)?;
        Ok(fs::set_permissions(file, Permissions::from_mode(0o755))?)
    }

    /// The directory in which a document is followed.
    pub fn work(&self) -> &Path {
        &self.work
    }

    /// Follows sections of a document, one after the other, all in one shell; answers what was printed.
    pub fn follow(&self, document: &str, sections: &[&str]) -> Result<String> {
        let guide = Guide::read(document)?;
        let mut lines = String::new();
        for section in sections {
            for step in guide.steps(section)? {
                match step {
                    Step::File(path, text) => {
                        let path = self.machine.file(path);
                        fs::create_dir_all(path.parent().context("a file lies in a directory")?)?;
                        fs::write(path, text)?;
                    }
                    Step::Shell(block) => {
                        lines += &script(block, &self.machine.dir().join("background.log"))?;
                    }
                }
            }
        }
        self.shell(&lines).with_context(|| format!("{document}: {sections:?}"))
    }

    /// Runs lines in bash, until one fails; answers what was printed.
    pub fn shell(&self, lines: &str) -> Result<String> {
        let file = self.machine.dir().join("lines");
        let path = format!("{}:/usr/local/bin:{}", self.tool_directory().display(), std::env::var("PATH")?);
        let real = find("kubectl", "kubernetes-client")?;
        let lines = format!("{FAILED}\ncd {}\n{lines}", self.work.display());
        fs::write(&file, lines)?;
        let mut command: Command = self.machine.command("env");
        command.arg(format!("PATH={path}")).arg(format!("REAL_KUBECTL={}", real.display()));
        command.args(["ETCDCTL_API=3", "COIL_NODE_NAME=node-a", "HOME=/root"]);
        let output = run(command.args(["bash", "-euo", "pipefail"]).arg(&file))?;
        Ok(text(&output))
    }

    /// Puts the programs where all find them.
    pub fn install(&self) -> Result<()> {
        self.shell("install target/release/coil* /usr/local/bin/").map(drop)
    }

    /// A file of the host.
    pub fn read(&self, path: &str) -> Result<String> {
        let file = self.machine.file(path);
        let text = fs::read_to_string(&file).with_context(|| path.to_owned())?;
        ensure!(!text.is_empty(), "{path} is empty");
        Ok(text)
    }
}
