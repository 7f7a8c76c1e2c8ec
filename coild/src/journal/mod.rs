//! The journal: what the node holds, on disk, so that nothing acknowledged is lost by a crash.
//!
//! A file of a fixed size, filled from the front: the state as it was when the file was made, then one line for
//! each commit ([`lines`]). A commit is one write into space that the file has already, and one sync. When the
//! file is full, a new one with the state of that time takes its place. A commit is durable when it returns, and
//! happens whole or not at all.

mod image;
mod lines;

use crate::state::{Change, Settings, State};
use image::Image;
use lines::{Damage, Header};
use nix::fcntl::{Flock, FlockArg};
use serde::{Deserialize, Serialize};
use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

/// Why the journal can't be used.
#[derive(Debug, thiserror::Error)]
pub enum JournalError {
    /// The file can't be opened, read or written.
    #[error("can't {what} the journal {path}")]
    Io {
        /// What failed.
        what: &'static str,
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// Another process uses the data directory.
    #[error("another process uses the data directory {0}")]
    InUse(PathBuf),
    /// The file is damaged: cut short, overwritten, or not what this program ever wrote.
    #[error("the journal {path} is damaged")]
    Damaged {
        /// The file.
        path: PathBuf,
        /// How.
        #[source]
        source: Damage,
    },
    /// A newer program wrote it.
    #[error("the journal has format {0}, and this program knows formats up to {known}", known = lines::FORMAT)]
    Newer(u32),
    /// An intact line is not what this program writes.
    #[error("the journal holds a line that this program does not understand")]
    Foreign(#[from] serde_json::Error),
    /// An intact line contradicts those before it.
    #[error("the journal names {0}, which it does not hold")]
    Unknown(String),
}

impl JournalError {
    /// Whether the file is damaged: cut short, overwritten, or not what this program ever wrote. A journal that
    /// is in use elsewhere, can't be read, or was written by a newer program is not damaged.
    pub fn is_damage(&self) -> bool {
        matches!(self, Self::Damaged { .. })
    }
}

/// One line of the file.
#[derive(Serialize, Deserialize)]
struct Commit<C> {
    /// The last sequence number that was given.
    sequence: u64,
    /// What changed, in order.
    changes: C,
}

/// The journal's file, open and locked.
pub struct Journal {
    path: PathBuf,
    /// Nobody else uses the directory while this is held.
    _lock: Flock<File>,
    file: File,
    /// Bytes in the file, the unused ones included.
    size: u64,
    /// Where the next line goes.
    end: u64,
    /// The number of the next line.
    line: u64,
    /// A commit failed, and what the disk has of it is not known: the next one goes into a new file.
    suspect: bool,
}

/// The least size of a file: room for some thousand commits.
const SIZE: u64 = 1 << 20;
/// Files are a multiple of this in size.
const PAGE: u64 = 4096;

impl Journal {
    /// Opens the journal, or makes an empty one; the directory is made too. Fails if another process has it open,
    /// or if a line of it is damaged. A line at the end that was never written whole was never acknowledged, and
    /// does not count.
    pub fn open(path: &Path) -> Result<Self, JournalError> {
        let failed = |what| move |source| JournalError::Io { what, path: path.to_owned(), source };
        let dir = path.parent().unwrap_or(Path::new("."));
        std::fs::create_dir_all(dir).map_err(failed("make the directory of"))?;
        let lock = File::open(dir).map_err(failed("lock"))?;
        let lock = Flock::lock(lock, FlockArg::LockExclusiveNonblock)
            .map_err(|_| JournalError::InUse(dir.to_owned()))?;
        let opened = OpenOptions::new().read(true).write(true).open(path);
        let file = match opened {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                write_file(path, &mut std::iter::empty(), 0).map_err(failed("make"))?.file
            }
            opened => opened.map_err(failed("open"))?,
        };
        let bytes = std::fs::read(path).map_err(failed("read"))?;
        let damaged = |source| JournalError::Damaged { path: path.to_owned(), source };
        let header = Header::read(&bytes).map_err(damaged)?;
        if header.format > lines::FORMAT {
            return Err(JournalError::Newer(header.format));
        }
        header.check_size(bytes.len()).map_err(damaged)?;
        let (mut end, mut line) = (header.len, 0);
        for read in lines::read(&bytes, header) {
            let read = read.map_err(damaged)?;
            (end, line) = (read.end, line + 1);
        }
        let (size, end) = (bytes.len() as u64, end as u64);
        Ok(Self { path: path.to_owned(), _lock: lock, file, size, end, line, suspect: false })
    }

    /// Reads all that was committed. Up to where the mirror has written is not journaled, so that every block
    /// counts as not mirrored since `now`, in milliseconds.
    pub fn load(&self, settings: Settings, now: u64) -> Result<State, JournalError> {
        let mut bytes = vec![0; usize::try_from(self.end).unwrap_or(usize::MAX)];
        self.file.read_exact_at(&mut bytes, 0).map_err(self.failed("read"))?;
        let damaged = |source| JournalError::Damaged { path: self.path.clone(), source };
        let header = Header::read(&bytes).map_err(damaged)?;
        let mut image = Image::default();
        for line in lines::read(&bytes, header) {
            let commit: Commit<Vec<Change>> = serde_json::from_slice(line.map_err(damaged)?.body)?;
            image.apply(commit)?;
        }
        Ok(image.into_state(settings, now))
    }

    /// Writes changes, all or none, durably. They have been made in `state` already.
    pub fn commit(&mut self, changes: &[Change], state: &State) -> Result<(), JournalError> {
        let commit = Commit { sequence: state.sequence(), changes };
        let mut text = Vec::with_capacity(512);
        lines::write(&mut text, self.line, &commit);
        let end = self.end + text.len() as u64;
        if self.suspect || end > self.size {
            return self.renew(state);
        }
        let written = self.file.write_all_at(&text, self.end).and_then(|()| self.file.sync_data());
        self.suspect = written.is_err();
        written.map_err(self.failed("write"))?;
        (self.end, self.line) = (end, self.line + 1);
        Ok(())
    }

    /// Puts a new file with all of the state in the place of the old one.
    fn renew(&mut self, state: &State) -> Result<(), JournalError> {
        // The new file may be in place already when this fails, and then has what was not acknowledged.
        self.suspect = true;
        let mut image = state.image();
        let fresh = write_file(&self.path, &mut image, state.sequence()).map_err(self.failed("renew"))?;
        (self.file, self.size, self.end, self.line) = (fresh.file, fresh.size, fresh.end, fresh.lines);
        self.suspect = false;
        Ok(())
    }

    fn failed(&self, what: &'static str) -> impl FnOnce(io::Error) -> JournalError {
        let path = self.path.clone();
        move |source| JournalError::Io { what, path, source }
    }
}

struct Fresh {
    file: File,
    size: u64,
    end: u64,
    lines: u64,
}

/// Makes a file with these changes, a line for each batch, and puts it at `path`, all or nothing. The space
/// behind them is filled, so that a commit changes nothing of the file but its content.
fn write_file(
    path: &Path,
    batches: &mut dyn Iterator<Item = Vec<Change>>,
    sequence: u64,
) -> io::Result<Fresh> {
    let mut text = Vec::new();
    let mut lines = 0;
    for changes in std::iter::once(Vec::new()).chain(batches) {
        lines::write(&mut text, lines, &Commit { sequence, changes });
        lines += 1;
    }
    let room = SIZE.max(text.len() as u64);
    let size = (text.len() as u64 + room).next_multiple_of(PAGE);
    let header = Header::write(size);
    let end = (header.len() + text.len()) as u64;
    let fresh = path.with_extension("new");
    let mut file = OpenOptions::new().read(true).write(true).create(true).truncate(true).open(&fresh)?;
    file.write_all(header.as_bytes())?;
    file.write_all(&text)?;
    drop(text);
    io::copy(&mut io::Read::take(io::repeat(0), size - end), &mut file)?;
    file.sync_all()?;
    std::fs::rename(&fresh, path)?;
    File::open(path.parent().unwrap_or(Path::new(".")))?.sync_all()?;
    Ok(Fresh { file, size, end, lines })
}

#[cfg(test)]
mod tests;
