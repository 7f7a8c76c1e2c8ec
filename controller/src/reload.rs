//! What is made from files, and made anew when they change or on SIGHUP. What can't be made leaves what was there.

use common::error::chain;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::Duration;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;
use tokio::time::MissedTickBehavior;

/// How often the files are looked at.
const PERIOD: Duration = Duration::from_secs(2);

/// Makes a value from files; the receiver has the last one that could be made. Fails if the first one can't. Must be
/// called in a runtime.
pub fn watch<T, E>(
    what: &'static str,
    files: Vec<PathBuf>,
    load: impl Fn() -> Result<T, E> + Send + 'static,
) -> Result<watch::Receiver<T>, E>
where
    T: Send + Sync + 'static,
    E: std::error::Error + Send,
{
    // Before the value is read: a change between the two is seen as one.
    let mut seen = stamps(&files);
    let (sender, receiver) = watch::channel(load()?);
    tokio::spawn(async move {
        let mut ticks = tokio::time::interval(PERIOD);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut told = signal(SignalKind::hangup()).ok();
        loop {
            let must = tokio::select! {
                _ = ticks.tick() => false,
                () = hangup(told.as_mut()) => true,
                () = sender.closed() => return,
            };
            let now = stamps(&files);
            if must || now != seen {
                seen = now;
                match load() {
                    Ok(value) => {
                        sender.send_replace(value);
                        tracing::info!(what, "read anew");
                    }
                    Err(error) => {
                        tracing::error!(
                            what,
                            error = chain(&error),
                            "can't be read anew: what was read before stays"
                        );
                    }
                }
            }
        }
    });
    Ok(receiver)
}

async fn hangup(told: Option<&mut tokio::signal::unix::Signal>) {
    match told {
        Some(told) => {
            told.recv().await;
        }
        None => std::future::pending().await,
    }
}

/// What changes with a file: it may be another one of the same name, or behind the same link.
type Stamp = Option<(u64, u64, i64, i64, u64)>;

fn stamps(files: &[PathBuf]) -> Vec<Stamp> {
    files.iter().map(|file| stamp(file)).collect()
}

fn stamp(file: &Path) -> Stamp {
    let file = std::fs::metadata(file).ok()?;
    Some((file.dev(), file.ino(), file.mtime(), file.mtime_nsec(), file.size()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_last_good_value_stays() {
        let dir = tempfile::tempdir().expect("directory");
        let file = dir.path().join("number");
        let path = file.clone();
        let load = move || {
            std::fs::read_to_string(&path)
                .and_then(|text| text.trim().parse::<u32>().map_err(std::io::Error::other))
        };
        std::fs::write(&file, "x").expect("written");
        assert!(watch("number", vec![file.clone()], load.clone()).is_err());
        std::fs::write(&file, "1").expect("written");
        let mut number = watch("number", vec![file.clone()], load).expect("read");
        assert_eq!(*number.borrow_and_update(), 1);
        std::fs::write(&file, "not a number").expect("written");
        std::fs::write(dir.path().join("new"), "2").expect("written");
        assert_eq!(*number.borrow(), 1);
        std::fs::rename(dir.path().join("new"), &file).expect("renamed");
        number.changed().await.expect("watched");
        assert_eq!(*number.borrow(), 2);
    }
}
