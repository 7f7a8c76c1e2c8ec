//! The redb database behind an embedded store: how it is made, opened, checked, and opened anew after a
//! failed write.

use super::checked::open_checked;
use super::tables;
use crate::store::StoreError;
use redb::backends::InMemoryBackend;
use redb::{Database, Error};
use std::fs::{File, OpenOptions};
use std::io::ErrorKind;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::{PoisonError, RwLock};

/// Memory for redb's page cache.
const CACHE: usize = 16 << 20;

/// A database that may be closed for a while.
pub(super) struct DatabaseFile {
    /// `None` if it lives in memory.
    path: Option<PathBuf>,
    database: RwLock<Option<Database>>,
}

impl DatabaseFile {
    /// The database in a file, which is made if it does not exist.
    pub(super) fn open(path: &Path) -> Result<Self, StoreError> {
        if !path.try_exists().map_err(|error| unreachable_file(path, error))? {
            create(path)?;
        }
        Ok(Self { path: Some(path.to_owned()), database: RwLock::new(Some(open(path)?)) })
    }

    /// An empty database in memory.
    pub(super) fn in_memory() -> Result<Self, StoreError> {
        let database = Database::builder()
            .set_cache_size(CACHE)
            .create_with_backend(InMemoryBackend::new())
            .map_err(Error::from)
            .and_then(|database| tables::initialise(&database).map(|outcome| outcome.map(|()| database)))
            .map_err(|error| StoreError::unavailable("no database can be made in memory", error))??;
        Ok(Self { path: None, database: RwLock::new(Some(database)) })
    }

    /// Does something with the database; it blocks.
    pub(super) fn with<T>(&self, work: impl FnOnce(&Database) -> Result<T, Error>) -> Result<T, StoreError> {
        let database = self.database.read().unwrap_or_else(PoisonError::into_inner);
        let Some(database) = database.as_ref() else {
            return Err(StoreError::unavailable(self.name(), Error::DatabaseClosed));
        };
        work(database).map_err(|error| StoreError::unavailable(self.name(), error))
    }

    /// Whether the database is open.
    pub(super) fn is_open(&self) -> bool {
        self.database.read().unwrap_or_else(PoisonError::into_inner).is_some()
    }

    /// Closes a database file; one in memory has nowhere to come back from, and stays.
    pub(super) fn close(&self) {
        if self.path.is_some() {
            self.database.write().unwrap_or_else(PoisonError::into_inner).take();
        }
    }

    /// Opens the file again.
    pub(super) fn reopen(&self) -> Result<(), StoreError> {
        if let Some(path) = &self.path {
            let mut database = self.database.write().unwrap_or_else(PoisonError::into_inner);
            if database.is_none() {
                *database = Some(open(path)?);
            }
        }
        Ok(())
    }

    fn name(&self) -> String {
        self.path.as_ref().map_or_else(|| "in memory".to_owned(), |path| path.display().to_string())
    }
}

/// Makes a database under another name and then gives it the right one, so that a file of that name is
/// complete, or was damaged later. The directory is locked meanwhile.
fn create(path: &Path) -> Result<(), StoreError> {
    let directory = match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    };
    let lock = File::open(directory).map_err(|error| unreachable_file(directory, error))?;
    lock.lock().map_err(|error| unreachable_file(directory, error))?;
    if path.exists() {
        return Ok(());
    }
    let mut unfinished = path.as_os_str().to_owned();
    unfinished.push(".new");
    let unfinished = PathBuf::from(unfinished);
    let file = OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(&unfinished)
        .map_err(|error| unreachable_file(&unfinished, error))?;
    let database = Database::builder().create_file(file).map_err(|error| unusable(&unfinished, error))?;
    tables::initialise(&database).map_err(|error| unusable(&unfinished, error))??;
    drop(database);
    std::fs::rename(&unfinished, path).map_err(|error| unreachable_file(path, error))?;
    lock.sync_all().map_err(|error| unreachable_file(directory, error))
}

fn open(path: &Path) -> Result<Database, StoreError> {
    let database = open_checked(path, CACHE).map_err(|error| unusable(path, error))?;
    tables::initialise(&database).map_err(|error| unusable(path, error))??;
    Ok(database)
}

fn unusable(path: &Path, error: impl Into<Error>) -> StoreError {
    let path_name = path.display();
    match error.into() {
        Error::DatabaseAlreadyOpen => StoreError::unavailable(
            format!("another process has {path_name} open"),
            Error::DatabaseAlreadyOpen,
        ),
        Error::Io(error) if !matches!(error.kind(), ErrorKind::InvalidData | ErrorKind::UnexpectedEof) => {
            unreachable_file(path, error)
        }
        error => damaged(path, error),
    }
}

fn unreachable_file(path: &Path, error: std::io::Error) -> StoreError {
    StoreError::unavailable(path.display().to_string(), error)
}

fn damaged(path: &Path, source: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> StoreError {
    StoreError::Refused {
        reason: format!("{} is damaged or not a store", path.display()),
        source: Some(source.into()),
    }
}
