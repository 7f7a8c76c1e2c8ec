//! Opens redb databases so that damage to the file is found then, and is an error.
//!
//! By itself redb trusts a file that was closed in order, and checks the pages of another one only. What it
//! reads from a damaged page may then be wrong, or make it panic. It is told here that no file was closed in
//! order, and then checks every page against the checksums before it uses any.

use redb::backends::FileBackend;
use redb::{BackendError, Builder, Database, DatabaseError, StorageBackend};
use std::fs::OpenOptions;
use std::io;
use std::ops::Bound;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// Where a redb file has its flags (redb's file format 3).
const FLAGS: u64 = 9;
/// The last commit is on the disk as a whole: redb sets it when it closes a file.
const WHOLE: u8 = 4;

/// Opens an existing database and checks all of it. A file that was closed in order must be intact; of one
/// that was not, the last commit is dropped if it was not finished.
pub fn open_checked(path: &Path, cache: usize) -> Result<Database, DatabaseError> {
    let file = OpenOptions::new().read(true).write(true).open(path)?;
    if file.metadata()?.len() == 0 {
        return Err(io::Error::new(io::ErrorKind::UnexpectedEof, "the file is empty").into());
    }
    let was_whole = Arc::new(AtomicBool::new(false));
    let backend = Distrustful { file: FileBackend::new(file)?, was_whole: Arc::clone(&was_whole) };
    Builder::new()
        .set_cache_size(cache)
        .set_repair_callback(move |repair| {
            // Between its start and half of it, redb tells that the last commit is damaged, and is about to
            // go back to the one before.
            if was_whole.load(Ordering::Relaxed) && (0.1..0.5).contains(&repair.progress()) {
                repair.abort();
            }
        })
        .create_with_backend(backend)
}

/// A file which says that it was not closed in order.
#[derive(Debug)]
struct Distrustful {
    file: FileBackend,
    was_whole: Arc<AtomicBool>,
}

impl StorageBackend for Distrustful {
    fn len(&self) -> io::Result<u64> {
        self.file.len()
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        self.file.read(offset, out)?;
        let flags = FLAGS.checked_sub(offset).and_then(|at| out.get_mut(usize::try_from(at).ok()?));
        if let Some(flags) = flags.filter(|flags| **flags & WHOLE != 0) {
            *flags &= !WHOLE;
            self.was_whole.store(true, Ordering::Relaxed);
        }
        Ok(())
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.file.set_len(len)
    }

    fn sync_data(&self) -> io::Result<()> {
        self.file.sync_data()
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        self.file.write(offset, data)
    }

    fn close(&self) -> io::Result<()> {
        self.file.close()
    }

    fn try_lock_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<bool, BackendError> {
        self.file.try_lock_range(start, end)
    }

    fn try_lock_shared_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<bool, BackendError> {
        self.file.try_lock_shared_range(start, end)
    }

    fn lock_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<(), BackendError> {
        self.file.lock_range(start, end)
    }

    fn lock_shared_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<(), BackendError> {
        self.file.lock_shared_range(start, end)
    }

    fn unlock_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<(), BackendError> {
        self.file.unlock_range(start, end)
    }

    fn query_lock_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<bool, BackendError> {
        self.file.query_lock_range(start, end)
    }
}
