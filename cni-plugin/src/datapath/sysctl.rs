//! Settings under `/proc/sys/net`. They are those of the namespace that the thread is in.

use std::io;
use std::path::PathBuf;

/// A setting that could not be made.
#[derive(Debug, thiserror::Error)]
#[error("can't set {path} to {value}")]
pub struct SysctlError {
    path: PathBuf,
    value: &'static str,
    source: io::Error,
}

/// Sets `/proc/sys/net/<name>` if it has another value. Read first, since it may be read-only and right.
pub(super) fn ensure(name: &str, value: &'static str) -> Result<(), SysctlError> {
    let path = PathBuf::from(format!("/proc/sys/net/{name}"));
    let set = || {
        let now = std::fs::read_to_string(&path)?;
        if now.trim() == value { Ok(()) } else { std::fs::write(&path, value) }
    };
    set().map_err(|source| SysctlError { path: path.clone(), value, source })
}

/// As [`ensure`], but content where the kernel has no such setting, as without IPv6. Says whether it has.
pub(super) fn ensure_if_there(name: &str, value: &'static str) -> Result<bool, SysctlError> {
    match ensure(name, value) {
        Err(error) if error.source.kind() == io::ErrorKind::NotFound => Ok(false),
        result => result.map(|()| true),
    }
}
