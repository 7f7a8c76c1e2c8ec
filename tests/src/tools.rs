//! Programs that a test needs, and the Debian package that has them.

use anyhow::{Context, Result, bail};
use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use tempfile::TempDir;

/// Where Debian keeps the standard CNI plugins.
pub const CNI_PLUGINS: &str = "/usr/lib/cni";

/// Path of a program, or an error that names the package to install. `sbin` directories are searched too, as
/// an ordinary user's `PATH` lacks them.
pub fn find(program: &str, package: &str) -> Result<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let sbin = ["/usr/local/sbin", "/usr/sbin", "/sbin"].map(PathBuf::from);
    std::env::split_paths(&path)
        .chain(sbin)
        .map(|dir| dir.join(program))
        .find(|file| file.is_file())
        .with_context(|| format!("{program} is missing: apt-get install {package}"))
}

/// Path of one of Debian's CNI plugins.
pub fn cni_plugin(name: &str) -> Result<PathBuf> {
    let file = Path::new(CNI_PLUGINS).join(name);
    if !file.is_file() {
        bail!("{} is missing: apt-get install containernetworking-plugins", file.display());
    }
    Ok(file)
}

/// Path of one of the Python programs that `make deps` installs into the target directory.
pub fn python_tool(program: &str) -> Result<PathBuf> {
    let here = std::env::current_exe()?;
    let mut files = here.ancestors().map(|dir| dir.join("python/bin").join(program));
    files.find(|file| file.is_file()).with_context(|| format!("{program} is missing: make deps"))
}

/// Fails unless the test runs as root, which it needs for namespaces.
pub fn need_root() -> Result<()> {
    if !nix::unistd::geteuid().is_root() {
        bail!("this test makes network namespaces and must run as root: use `make test`, or sudo -E");
    }
    Ok(())
}

/// A temporary directory, removed when dropped, whose name tells where it comes from.
pub fn directory() -> std::io::Result<TempDir> {
    tempfile::Builder::new().prefix("coil-test-").tempdir()
}

/// Runs a command to its end; a failure carries what it printed.
pub fn run(command: &mut Command) -> Result<Output> {
    let output = command.output().with_context(|| format!("can't start {}", show(command)))?;
    if !output.status.success() {
        bail!("{} ended with {}\n{}", show(command), output.status, text(&output));
    }
    Ok(output)
}

/// The command as one would type it.
pub fn show(command: &Command) -> String {
    std::iter::once(command.get_program())
        .chain(command.get_args())
        .map(OsStr::to_string_lossy)
        .collect::<Vec<_>>()
        .join(" ")
}

/// Everything that a command printed.
pub fn text(output: &Output) -> String {
    let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    format!("{out}{err}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_missing_tool_names_its_package() {
        assert!(find("sh", "dash").is_ok());
        let error = find("no-such-program", "some-package").expect_err("missing");
        assert!(error.to_string().contains("apt-get install some-package"), "{error}");
    }

    #[test]
    fn a_failed_command_tells_what_it_printed() {
        let error = run(Command::new("sh").args(["-c", "echo oh; exit 3"])).expect_err("exit 3");
        let text = error.to_string();
        assert!(text.contains("exit status: 3") && text.contains("oh"), "{text}");
    }
}
