//! Puts the plugin and a CNI configuration where the container runtime of a host looks for them, and takes them away.
//!
//! A runtime may call the plugin at any moment, and an older plugin may be running. So each file appears whole or not at
//! all, under its own name at once, and durably; the configuration, which makes the runtime call the plugin, comes last and
//! goes first.

use clap::Args;
use serde_json::Value;
use std::fs::{self, File, Permissions};
use std::io::{self, ErrorKind, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::str::FromStr;

/// Name of the plugin, which a configuration calls by its `type`.
const PLUGIN: &str = "coil";
/// Where the kernel's settings are.
const SYSCTLS: &str = "/proc/sys";

/// Where the files of a host are.
#[derive(Debug, Clone, Args)]
pub struct HostPaths {
    /// Directory where the container runtime looks for plugins
    #[arg(long, env = "COIL_CNI_BIN_DIR", value_name = "DIR", default_value = "/opt/cni/bin")]
    pub cni_bin_dir: PathBuf,
    /// Directory where the container runtime looks for CNI configurations
    #[arg(long, env = "COIL_CNI_CONF_DIR", value_name = "DIR", default_value = "/etc/cni/net.d")]
    pub cni_conf_dir: PathBuf,
    /// Name of the configuration's file there; a runtime takes the first by name
    #[arg(long, env = "COIL_CNI_CONF_NAME", value_name = "NAME", default_value = "10-coil.conflist")]
    pub cni_conf_name: FileName,
}

/// `coild install`
#[derive(Debug, Clone, Args)]
#[command(
    after_help = "Example:\n  coild install --plugin ./coil --cni-conf 10-coil.conflist\n\nIt may be run again at any \
                        time, also while containers start. coild itself is not started."
)]
pub struct Install {
    /// The host.
    #[command(flatten)]
    pub host: HostPaths,
    /// The plugin's program
    #[arg(long, env = "COIL_PLUGIN", value_name = "FILE", default_value = "/usr/local/bin/coil")]
    pub plugin: PathBuf,
    /// The CNI configuration: a list of plugins (`*.conflist`) in which coil is one, or the ipam of one
    #[arg(long, env = "COIL_CNI_CONF", value_name = "FILE")]
    pub cni_conf: PathBuf,
    /// Settings of the kernel that pods need, or `none`; several with commas between
    #[arg(
        long,
        env = "COIL_SYSCTLS",
        value_name = "NAME=VALUE",
        value_delimiter = ',',
        default_value = "net.ipv4.ip_forward=1,net.ipv6.conf.all.forwarding=1"
    )]
    pub sysctls: Vec<Sysctl>,
}

/// `coild uninstall`
#[derive(Debug, Clone, Args)]
#[command(
    after_help = "Containers that run keep their interfaces and addresses. New ones need another CNI configuration. The \
                        settings of the kernel stay as they are."
)]
pub struct Uninstall {
    /// The host.
    #[command(flatten)]
    pub host: HostPaths,
}

/// A name of a file that runtimes take for a list of plugins.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FileName(String);

impl FromStr for FileName {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let stem = text.strip_suffix(".conflist").ok_or("the name must end with .conflist")?;
        if stem.is_empty() || stem.starts_with('.') || text.contains(['/', '\0']) {
            return Err("not the name of a file that runtimes look at");
        }
        Ok(Self(text.to_owned()))
    }
}

/// A setting of the kernel, or none.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Sysctl {
    /// Sets nothing.
    None,
    /// Sets this.
    Set {
        /// Its parts: `net`, `ipv4`, `ip_forward`.
        name: Vec<String>,
        /// What it is set to.
        value: String,
    },
}

impl FromStr for Sysctl {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if text == "none" {
            return Ok(Self::None);
        }
        let (name, value) = text.split_once('=').ok_or("neither NAME=VALUE nor none")?;
        let name: Vec<String> = name.split('.').map(str::to_owned).collect();
        let is_plain = |part: &String| {
            !part.is_empty()
                && part.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-'))
        };
        if value.is_empty() || name.len() < 2 || !name.iter().all(is_plain) {
            return Err("not of the form net.ipv4.ip_forward=1");
        }
        Ok(Self::Set { name, value: value.to_owned() })
    }
}

/// Why a host could not be prepared.
#[derive(Debug, thiserror::Error)]
pub enum InstallError {
    /// A file can't be read, written or removed.
    #[error("can't {doing} {path}")]
    File {
        /// `read`, `write` or `remove`.
        doing: &'static str,
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The configuration would not lead a runtime to the plugin.
    #[error("{0}: {1}")]
    Configuration(PathBuf, String),
}

impl Install {
    /// Prepares the host.
    pub fn run(&self) -> Result<(), InstallError> {
        let plugin = read(&self.plugin)?;
        let configuration = read(&self.cni_conf)?;
        check(&configuration).map_err(|reason| InstallError::Configuration(self.cni_conf.clone(), reason))?;
        let HostPaths { cni_bin_dir, cni_conf_dir, cni_conf_name } = &self.host;
        put(cni_bin_dir, PLUGIN, 0o755, &plugin)?;
        for sysctl in &self.sysctls {
            sysctl.apply()?;
        }
        put(cni_conf_dir, &cni_conf_name.0, 0o644, &configuration)?;
        if let Some(first) = first_before(cni_conf_dir, &cni_conf_name.0) {
            tracing::warn!(
                file = %first.display(),
                "the container runtime takes this configuration, which comes first by name"
            );
        }
        Ok(())
    }
}

impl Uninstall {
    /// Takes away what [`Install::run`] has put there.
    pub fn run(&self) -> Result<(), InstallError> {
        let HostPaths { cni_bin_dir, cni_conf_dir, cni_conf_name } = &self.host;
        remove(cni_conf_dir, &cni_conf_name.0)?;
        remove(cni_bin_dir, PLUGIN)
    }
}

impl Sysctl {
    fn apply(&self) -> Result<(), InstallError> {
        let Self::Set { name, value } = self else { return Ok(()) };
        let path: PathBuf = Path::new(SYSCTLS).join(name.iter().collect::<PathBuf>());
        // What is set already may be in a place that can't be written to.
        if read(&path)?.trim_ascii() == value.as_bytes() {
            return Ok(());
        }
        fs::write(&path, value).map_err(failed("write", &path))?;
        tracing::info!(setting = name.join("."), value, "set");
        Ok(())
    }
}

/// A list of plugins of the CNI specification in which `coil` is a plugin, or the ipam of one.
fn check(configuration: &[u8]) -> Result<(), String> {
    let list: Value = serde_json::from_slice(configuration).map_err(|error| format!("not JSON: {error}"))?;
    for key in ["cniVersion", "name"] {
        if list[key].as_str().is_none_or(str::is_empty) {
            return Err(format!("{key}: missing, or not a text"));
        }
    }
    let plugins = list["plugins"].as_array().ok_or("plugins: missing, or not a list")?;
    let calls = |plugin: &Value| plugin["type"] == PLUGIN || plugin["ipam"]["type"] == PLUGIN;
    if plugins.iter().any(calls) { Ok(()) } else { Err(format!("plugins: none of them calls {PLUGIN}")) }
}

fn read(path: &Path) -> Result<Vec<u8>, InstallError> {
    fs::read(path).map_err(failed("read", path))
}

/// Puts a file into a directory, which is made if need be. Readers see the old one or the new one. One that is the same
/// already is left alone.
fn put(dir: &Path, name: &str, mode: u32, contents: &[u8]) -> Result<(), InstallError> {
    let path = dir.join(name);
    let is_there = || {
        let mode_of = |meta: fs::Metadata| meta.permissions().mode() & 0o7777;
        fs::symlink_metadata(&path).is_ok_and(|meta| meta.is_file() && mode_of(meta) == mode)
            && fs::read(&path).is_ok_and(|there| there == contents)
    };
    if is_there() {
        return Ok(());
    }
    write(dir, &path, mode, contents).map_err(failed("write", &path))?;
    tracing::info!(file = %path.display(), "installed");
    Ok(())
}

fn write(dir: &Path, path: &Path, mode: u32, contents: &[u8]) -> io::Result<()> {
    fs::create_dir_all(dir)?;
    // Runtimes look at no file of such a name.
    let mut fresh = tempfile::Builder::new().prefix(".coil-").suffix(".tmp").tempfile_in(dir)?;
    fresh.write_all(contents)?;
    fresh.as_file().set_permissions(Permissions::from_mode(mode))?;
    fresh.as_file().sync_all()?;
    // Closed before it is in its place: a program that is open for writing can't be run.
    fresh.into_temp_path().persist(path)?;
    File::open(dir)?.sync_all()
}

fn remove(dir: &Path, name: &str) -> Result<(), InstallError> {
    let path = dir.join(name);
    match fs::remove_file(&path) {
        Ok(()) => tracing::info!(file = %path.display(), "removed"),
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(failed("remove", &path)(error)),
    }
    File::open(dir).and_then(|dir| dir.sync_all()).map_err(failed("write", dir))
}

/// Another configuration that a runtime would take before this one.
fn first_before(dir: &Path, name: &str) -> Option<PathBuf> {
    let names = fs::read_dir(dir).ok()?.filter_map(|entry| entry.ok()?.file_name().into_string().ok());
    let is_configuration = |other: &String| {
        let ending = Path::new(other).extension().and_then(|ending| ending.to_str());
        matches!(ending, Some("conf" | "conflist" | "json"))
    };
    let first = names.filter(is_configuration).min()?;
    (*first < *name).then(|| dir.join(first))
}

fn failed(doing: &'static str, path: &Path) -> impl FnOnce(io::Error) -> InstallError + use<> {
    let path = path.to_owned();
    move |source| InstallError::File { doing, path, source }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::process::{Command, Stdio};
    use tempfile::TempDir;

    const CONFIGURATION: &str = r#"{"cniVersion":"1.0.0","name":"pods","plugins":[{"type":"coil"}]}"#;

    fn install(dir: &TempDir, plugin: &str, configuration: &str) -> Install {
        let file = |name: &str| dir.path().join(name);
        fs::write(file("coil"), plugin).expect("written");
        fs::write(file("conf"), configuration).expect("written");
        let host = HostPaths {
            cni_bin_dir: file("opt/cni/bin"),
            cni_conf_dir: file("etc/cni/net.d"),
            cni_conf_name: "10-coil.conflist".parse().expect("a name"),
        };
        Install { host, plugin: file("coil"), cni_conf: file("conf"), sysctls: vec![Sysctl::None] }
    }

    fn names(dir: &Path) -> Vec<String> {
        let entries = fs::read_dir(dir).expect("a directory");
        entries.map(|entry| entry.expect("read").file_name().into_string().expect("text")).collect()
    }

    #[test]
    fn from_nothing_to_installed_and_back() {
        let dir = tempfile::tempdir().expect("directory");
        let install = install(&dir, "#!/bin/sh\n", CONFIGURATION);
        install.run().expect("installed");
        let HostPaths { cni_bin_dir: bin, cni_conf_dir: conf, .. } = &install.host;
        assert_eq!((names(bin), names(conf)), (vec!["coil".to_owned()], vec!["10-coil.conflist".to_owned()]));
        let mode = |path: PathBuf| fs::metadata(path).expect("there").permissions().mode() & 0o777;
        assert_eq!((mode(bin.join("coil")), mode(conf.join("10-coil.conflist"))), (0o755, 0o644));
        install.run().expect("again");
        let uninstall = Uninstall { host: install.host.clone() };
        uninstall.run().expect("removed");
        assert!(names(bin).is_empty() && names(conf).is_empty());
        uninstall.run().expect("nothing is left to remove");
    }

    #[test]
    fn a_plugin_that_runs_is_replaced() {
        let dir = tempfile::tempdir().expect("directory");
        let first = install(&dir, "", CONFIGURATION);
        fs::copy("/bin/sleep", &first.plugin).expect("a program");
        first.run().expect("installed");
        let plugin = first.host.cni_bin_dir.join("coil");
        let mut running = Command::new(&plugin).arg("60").stdin(Stdio::null()).spawn().expect("it runs");
        install(&dir, "#!/bin/sh\nexit 7\n", CONFIGURATION).run().expect("replaced");
        assert_eq!(running.try_wait().expect("asked"), None);
        assert_eq!(Command::new(&plugin).status().expect("it runs").code(), Some(7));
        running.kill().expect("killed");
        running.wait().expect("ended");
    }

    #[test]
    fn without_a_good_configuration_nothing_is_changed() {
        let dir = tempfile::tempdir().expect("directory");
        for (text, part) in [
            ("{", "not JSON"),
            (r#"{"cniVersion":"1.0.0","plugins":[]}"#, "name: missing"),
            (r#"{"cniVersion":"1.0.0","name":"n","type":"coil"}"#, "plugins: missing"),
            (r#"{"cniVersion":"1.0.0","name":"n","plugins":[{"type":"ptp"}]}"#, "none of them calls coil"),
        ] {
            let error = install(&dir, "p", text).run().expect_err(text).to_string();
            assert!(error.contains(part), "{error}");
            assert!(!dir.path().join("opt").exists() && !dir.path().join("etc").exists());
        }
        let under = r#"{"cniVersion":"1.0.0","name":"n","plugins":[{"type":"ptp","ipam":{"type":"coil"}}]}"#;
        install(&dir, "p", under).run().expect("installed");
    }

    #[test]
    fn names_and_settings() {
        for bad in ["10-coil.conf", ".conflist", "../10.conflist", ".a.conflist", ""] {
            assert!(bad.parse::<FileName>().is_err(), "{bad}");
        }
        for bad in ["net", "net.=1", "a=1", "net.ipv4.ip_forward", "../x.y=1", "net..a=1", "net.a="] {
            assert!(bad.parse::<Sysctl>().is_err(), "{bad}");
        }
        let name = ["net", "ipv4", "ip_forward"].map(str::to_owned).to_vec();
        assert_eq!("net.ipv4.ip_forward=1".parse(), Ok(Sysctl::Set { name, value: "1".to_owned() }));
    }

    #[test]
    fn what_comes_first_by_name_is_told() {
        let dir = tempfile::tempdir().expect("directory");
        for name in ["20-x.conf", "05-other.conflist", "00-readme.txt"] {
            fs::write(dir.path().join(name), "").expect("written");
        }
        assert_eq!(first_before(dir.path(), "10-coil.conflist"), Some(dir.path().join("05-other.conflist")));
        assert_eq!(first_before(dir.path(), "01-coil.conflist"), None);
    }
}
