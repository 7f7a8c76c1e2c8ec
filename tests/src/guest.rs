//! A machine with a kernel of its own, for what the kernel outside lacks: qemu without any acceleration, Debian's kernel
//! for clouds, and an initial file system with busybox, `ip`, and the programs of the workspace. It has no disk and no
//! network, and ends with its story.

use crate::binaries::binary;
use crate::tools::{directory, find, run};
use anyhow::{Context, Result, bail, ensure};
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use tempfile::TempDir;

/// The kernel's modules that a guest loads, each after those it needs.
const MODULES: [&str; 7] = ["llc", "stp", "garp", "mrp", "8021q", "bridge", "veth"];
/// How long a story may take, in seconds: everything is emulated.
const LIMIT: &str = "300";

const INIT: &str = r#"#!/bin/busybox sh
/bin/busybox --install -s /bin
export PATH=/bin:/sbin
mount -t devtmpfs dev /dev
mount -t proc proc /proc
mount -t sysfs sys /sys
mount -t tmpfs tmpfs /run
mkdir -p /run/netns /tmp
exec >/dev/ttyS0 2>&1 </dev/null
for module in $(cat /modules/order); do insmod "/modules/$module.ko" || echo "guest: no module $module"; done
ip link set lo up
sh -eu /story
echo "guest: the story ended with $?"
poweroff -f
"#;

/// A guest that has not been started: its file system.
#[derive(Debug)]
pub struct Guest {
    root: TempDir,
    kernel: PathBuf,
}

impl Guest {
    /// One with `coil` and `coil-controller` in its `PATH`.
    pub fn new() -> Result<Self> {
        let (root, debian) = (directory()?, kernel_package()?);
        let guest = Self { root, kernel: only_file(&debian.join("boot"), "vmlinuz-")? };
        for dir in ["bin", "sbin", "dev", "proc", "sys", "run", "modules", "lib64", "tmp"] {
            fs::create_dir_all(guest.path(dir))?;
        }
        guest.add(&find("busybox", "busybox-static")?, "bin/busybox")?;
        let ip = find("ip", "iproute2")?;
        guest.add(&ip, "sbin/ip")?;
        guest.add_libraries(&ip)?;
        for program in ["coil", "coil-controller"] {
            guest.add(&binary(program)?, &format!("bin/{program}"))?;
            // What debuggers read is most of them, and has to be unpacked by an emulated processor.
            run(Command::new(find("strip", "binutils")?).arg(guest.path(&format!("bin/{program}"))))?;
        }
        let all = run(Command::new("find").arg(debian.join("lib/modules")).args(["-name", "*.ko"]))?;
        let all = String::from_utf8(all.stdout)?;
        for module in MODULES {
            let file = all.lines().find(|path| path.ends_with(&format!("/{module}.ko")));
            let file = file.with_context(|| format!("the kernel has no module {module}"))?;
            guest.add(Path::new(file), &format!("modules/{module}.ko"))?;
        }
        fs::write(guest.path("modules/order"), MODULES.join("\n"))?;
        guest.script("init", INIT)?;
        Ok(guest)
    }

    fn path(&self, inside: &str) -> PathBuf {
        self.root.path().join("root").join(inside)
    }

    /// Puts a copy of a file into the guest.
    fn add(&self, file: &Path, inside: &str) -> Result<()> {
        let to = self.path(inside);
        fs::create_dir_all(to.parent().context("a file lies in a directory")?)?;
        fs::copy(file, &to).with_context(|| format!("can't copy {}", file.display())).map(|_| ())
    }

    /// The libraries that a program is linked with, in the places where its loader looks for them.
    fn add_libraries(&self, program: &Path) -> Result<()> {
        let listed = String::from_utf8(run(Command::new(find("ldd", "libc-bin")?).arg(program))?.stdout)?;
        for library in listed.split_whitespace().filter(|word| word.starts_with('/')) {
            self.add(Path::new(library), library.trim_start_matches('/'))?;
        }
        Ok(())
    }

    fn script(&self, inside: &str, text: &str) -> Result<()> {
        fs::write(self.path(inside), text)?;
        Ok(fs::set_permissions(self.path(inside), fs::Permissions::from_mode(0o755))?)
    }

    /// Boots it, runs a story for `sh -eu` in it, and gives what the story printed. A story that fails, or does not end, is
    /// an error with all of that.
    pub fn run(self, story: &str) -> Result<String> {
        // Busybox would take its own `ip`, which knows no pairs.
        self.script("story", &format!("ip() {{ /sbin/ip \"$@\"; }}\n{story}"))?;
        let archive = self.root.path().join("initramfs");
        let busybox = find("busybox", "busybox-static")?;
        let pack = format!(
            "cd root && {0} find . | {0} cpio -o -H newc > {1}",
            busybox.display(),
            archive.display()
        );
        run(Command::new("sh").args(["-c", &pack]).current_dir(self.root.path()))?;
        let qemu = find("qemu-system-x86_64", "qemu-system-x86")?;
        let mut command = Command::new("timeout");
        command
            .arg(LIMIT)
            .arg(qemu)
            .args(["-accel", "tcg", "-cpu", "max", "-m", "1024", "-nic", "none", "-no-reboot"])
            .args(["-display", "none", "-monitor", "none", "-serial", "stdio"])
            .args(["-append", "console=ttyS0 quiet panic=-1"])
            .arg("-kernel")
            .arg(&self.kernel)
            .arg("-initrd")
            .arg(&archive)
            .stdin(Stdio::null());
        let output = command.output().context("can't start qemu")?;
        let text = String::from_utf8_lossy(&output.stdout).replace('\r', "");
        let errors = String::from_utf8_lossy(&output.stderr);
        ensure!(output.status.success(), "the guest ended with {}:\n{text}{errors}", output.status);
        ensure!(text.contains("guest: the story ended with 0\n"), "the story failed:\n{text}{errors}");
        Ok(text)
    }
}

/// Where `make deps` has unpacked Debian's kernel: into the target directory.
fn kernel_package() -> Result<PathBuf> {
    let here = std::env::current_exe()?;
    let mut places = here.ancestors().map(|dir| dir.join("guest-kernel"));
    places.find(|dir| dir.join("boot").is_dir()).context("the guest's kernel is missing: make deps")
}

fn only_file(dir: &Path, prefix: &str) -> Result<PathBuf> {
    for entry in fs::read_dir(dir)? {
        let entry = entry?;
        if entry.file_name().to_string_lossy().starts_with(prefix) {
            return Ok(entry.path());
        }
    }
    bail!("{} has no {prefix}*", dir.display())
}
