//! The journal: what the node holds, on disk, so that nothing acknowledged is lost by a crash.
//!
//! Tables: `meta` (text → text), `pools` (name → pool), `blocks` (lease key → token and standing), `slots` (lease
//! key + offset → holder or resting time). A commit is durable when it returns, and happens whole or not at all.

use crate::state::{BlockId, Change, Holder, Settings, Standing, State};
use common::ipam::Pool;
use common::name::PoolName;
use common::store::embedded::open_checked;
use common::store::record::{self, Allocation, RecordError};
use common::store::{Revision, keys};
use redb::{Database, ReadableDatabase, ReadableTable, Table, TableDefinition, WriteTransaction};
use serde::{Deserialize, Serialize};
use std::cell::Cell;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

const META: TableDefinition<&str, &str> = TableDefinition::new("meta");
const POOLS: TableDefinition<&str, &[u8]> = TableDefinition::new("pools");
const BLOCKS: TableDefinition<&str, &[u8]> = TableDefinition::new("blocks");
const SLOTS: TableDefinition<&str, &[u8]> = TableDefinition::new("slots");

const SEQUENCE: &str = "sequence";
const BOOT: &str = "boot";
const COMPLETE: &str = "complete";

/// Why the journal can't be used.
#[derive(Debug, thiserror::Error)]
pub enum JournalError {
    /// The directory or file can't be used.
    #[error("can't use the journal {path}")]
    Open {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: Box<redb::Error>,
    },
    /// Reading or writing failed.
    #[error("the journal can't be read or written")]
    Storage(#[source] Box<redb::Error>),
    /// A record is not what it should be.
    #[error("the journal holds a record that this program does not understand")]
    Record(#[from] RecordError),
    /// A key is not what it should be.
    #[error("the journal holds a malformed key {0:?}")]
    Key(String),
}

impl JournalError {
    /// Whether the file is damaged: cut short, overwritten, or not what this program ever wrote. A journal that
    /// is in use elsewhere, can't be read, or was written by a newer program is not damaged.
    pub fn is_damage(&self) -> bool {
        match self {
            Self::Open { source, .. } | Self::Storage(source) => match source.as_ref() {
                redb::Error::Corrupted(_) | redb::Error::RepairAborted => true,
                redb::Error::Io(error) => {
                    matches!(
                        error.kind(),
                        std::io::ErrorKind::InvalidData | std::io::ErrorKind::UnexpectedEof
                    )
                }
                _ => false,
            },
            Self::Record(RecordError::Malformed { .. }) | Self::Key(_) => true,
            Self::Record(RecordError::Newer { .. }) => false,
        }
    }
}

macro_rules! storage {
    ($($error:ident),*) => {$(
        impl From<redb::$error> for JournalError {
            fn from(error: redb::$error) -> Self {
                Self::Storage(Box::new(error.into()))
            }
        }
    )*};
}

storage!(CommitError, StorageError, TableError, TransactionError);

#[derive(Serialize, Deserialize)]
struct BlockRecord {
    prefix: u8,
    token: Revision,
    standing: StandingRecord,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
enum StandingRecord {
    Open,
    Quarantined,
    Fenced,
}

#[derive(Serialize, Deserialize)]
#[serde(untagged)]
enum Slot {
    Held(Box<Allocation>),
    Resting {
        #[serde(rename = "r")]
        freed_at: u64,
    },
}

/// The journal's file, open and locked.
pub struct Journal {
    database: Database,
    path: PathBuf,
    /// Sequence numbers up to this one are noted as given.
    reserved: Cell<u64>,
}

impl Journal {
    /// Opens the journal, or makes an empty one. Fails if another process has it open.
    pub fn open(path: &Path) -> Result<Self, JournalError> {
        let failed =
            |source: redb::Error| JournalError::Open { path: path.to_owned(), source: Box::new(source) };
        if let Some(parent) = path.parent() {
            std::fs::create_dir_all(parent).map_err(|error| failed(redb::Error::Io(error)))?;
        }
        // What is there must be intact as a whole: nothing may be given from what a damaged page says.
        let database = match std::fs::metadata(path) {
            Ok(meta) if meta.len() > 0 => open_checked(path, CACHE),
            _ => Database::builder().set_cache_size(CACHE).create(path),
        };
        let database = database.map_err(|error| failed(error.into()))?;
        let journal = Self { database, path: path.to_owned(), reserved: Cell::new(0) };
        // An existing journal is opened without a write, so that it can be read while the disk is full.
        if !journal.has_tables()? {
            let txn = journal.database.begin_write()?;
            txn.open_table(META)?;
            txn.open_table(POOLS)?;
            txn.open_table(BLOCKS)?;
            txn.open_table(SLOTS)?;
            txn.commit()?;
        }
        Ok(journal)
    }

    fn has_tables(&self) -> Result<bool, JournalError> {
        match self.database.begin_read()?.open_table(META) {
            Ok(_) => Ok(true),
            Err(redb::TableError::TableDoesNotExist(_)) => Ok(false),
            Err(error) => Err(error.into()),
        }
    }

    /// The file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The boot id that was noted last.
    pub fn boot(&self) -> Result<Option<String>, JournalError> {
        self.meta(BOOT)
    }

    fn meta(&self, key: &str) -> Result<Option<String>, JournalError> {
        let txn = self.database.begin_read()?;
        Ok(txn.open_table(META)?.get(key)?.map(|value| value.value().to_owned()))
    }

    /// Reads all that the node holds. Up to where the mirror has written is not journaled, so that every block
    /// counts as not mirrored since `now`, in milliseconds.
    pub fn load(&self, settings: Settings, now: u64) -> Result<State, JournalError> {
        let sequence = self.meta(SEQUENCE)?.and_then(|text| text.parse().ok()).unwrap_or(0);
        self.reserved.set(sequence);
        let mut state = State::new(settings, sequence);
        let txn = self.database.begin_read()?;
        let mut pools = BTreeMap::new();
        for entry in txn.open_table(POOLS)?.iter()? {
            let (key, value) = entry?;
            let name = PoolName::new(key.value()).map_err(|_| JournalError::Key(key.value().to_owned()))?;
            pools.insert(name, record::decode::<Pool>(key.value(), value.value())?);
        }
        state.restore_pools(pools);
        if self.meta(COMPLETE)?.is_some() {
            state.restore_complete();
        }
        let slots = txn.open_table(SLOTS)?;
        for entry in txn.open_table(BLOCKS)?.iter()? {
            let (key, value) = entry?;
            let block: BlockRecord = record::decode(key.value(), value.value())?;
            let id = parse_block(key.value(), &block)?;
            let standing = match block.standing {
                StandingRecord::Open => Standing::Open,
                StandingRecord::Quarantined => Standing::Quarantined,
                StandingRecord::Fenced => Standing::Fenced,
            };
            state.insert_block(id.clone(), block.token, standing);
            load_slots(&slots, &id, &mut state)?;
        }
        state.touch_all(now);
        Ok(state)
    }

    /// Writes changes, all or none, durably. `sequence` is the last number that was given; numbers are reserved
    /// ahead, so that most commits need not write it, and after a restart they go on behind the reserved ones.
    pub fn commit(&self, changes: &[Change], sequence: u64) -> Result<(), JournalError> {
        let txn = self.database.begin_write()?;
        write(&txn, changes)?;
        if sequence <= self.reserved.get() {
            return Ok(txn.commit()?);
        }
        let reserved = sequence.saturating_add(RESERVE);
        txn.open_table(META)?.insert(SEQUENCE, reserved.to_string().as_str())?;
        txn.commit()?;
        self.reserved.set(reserved);
        Ok(())
    }
}

/// How many sequence numbers are reserved at once.
const RESERVE: u64 = 1_024;
/// Pages of the file that are kept in memory: enough for the upper levels and what is hot.
const CACHE: usize = 4 << 20;

fn parse_block(key: &str, block: &BlockRecord) -> Result<BlockId, JournalError> {
    keys::parse_lease(key, |family| family.bits().saturating_sub(block.prefix))
        .map(|(pool, unit)| BlockId { pool, unit })
        .ok_or_else(|| JournalError::Key(key.to_owned()))
}

fn load_slots(
    slots: &impl ReadableTable<&'static str, &'static [u8]>,
    id: &BlockId,
    state: &mut State,
) -> Result<(), JournalError> {
    let (from, to) = slot_range(id);
    for entry in slots.range(from.as_str()..to.as_str())? {
        let (key, value) = entry?;
        let key = key.value();
        let offset = key.get(from.len()..).and_then(|hex| u32::from_str_radix(hex, 16).ok());
        let offset = offset.ok_or_else(|| JournalError::Key(key.to_owned()))?;
        match record::decode(key, value.value())? {
            Slot::Held(allocation) => {
                state.restore_holder(id, offset, Box::new(Holder::of_record(*allocation)));
            }
            Slot::Resting { freed_at } => state.restore_resting(id, offset, freed_at),
        }
    }
    Ok(())
}

/// Writes changes. Only tables that change are opened, as each one costs a page or two to be written and synced.
fn write(txn: &WriteTransaction, changes: &[Change]) -> Result<(), JournalError> {
    if changes.iter().any(Change::is_about_blocks) {
        write_blocks(&mut txn.open_table(BLOCKS)?, changes)?;
    }
    for change in changes {
        match change {
            Change::Pools(pools) => write_pools(txn, pools)?,
            Change::Boot(boot) => {
                txn.open_table(META)?.insert(BOOT, boot.as_str())?;
            }
            Change::Complete => {
                txn.open_table(META)?.insert(COMPLETE, "1")?;
            }
            Change::PutBlock { .. }
            | Change::RemoveBlock(_)
            | Change::Hold(..)
            | Change::Rest(..)
            | Change::Clear(..) => {}
        }
    }
    write_slots(&mut txn.open_table(SLOTS)?, changes)
}

type ByteTable<'txn> = Table<'txn, &'static str, &'static [u8]>;

fn write_blocks(blocks: &mut ByteTable<'_>, changes: &[Change]) -> Result<(), JournalError> {
    for change in changes {
        if let Change::PutBlock { id, token, standing } = change {
            let standing = match standing {
                Standing::Open => StandingRecord::Open,
                Standing::Quarantined => StandingRecord::Quarantined,
                Standing::Fenced => StandingRecord::Fenced,
            };
            let block = BlockRecord { prefix: id.unit.net().prefix_len(), token: *token, standing };
            blocks.insert(block_key(id).as_str(), &*record::encode(&block))?;
        } else if let Change::RemoveBlock(id) = change {
            blocks.remove(block_key(id).as_str())?;
        }
    }
    Ok(())
}

fn write_slots(slots: &mut ByteTable<'_>, changes: &[Change]) -> Result<(), JournalError> {
    for change in changes {
        match change {
            Change::RemoveBlock(id) => {
                let (from, to) = slot_range(id);
                slots.retain_in(from.as_str()..to.as_str(), |_, _| false)?;
            }
            Change::Hold(id, offset, holder) => {
                let slot = Slot::Held(Box::new(holder.to_record(*offset)));
                slots.insert(slot_key(id, *offset).as_str(), &*record::encode(&slot))?;
            }
            Change::Rest(id, offset, freed_at) => {
                let slot = Slot::Resting { freed_at: *freed_at };
                slots.insert(slot_key(id, *offset).as_str(), &*record::encode(&slot))?;
            }
            Change::Clear(id, offset) => {
                slots.remove(slot_key(id, *offset).as_str())?;
            }
            Change::PutBlock { .. } | Change::Pools(_) | Change::Boot(_) | Change::Complete => {}
        }
    }
    Ok(())
}

fn write_pools(txn: &WriteTransaction, pools: &BTreeMap<PoolName, Pool>) -> Result<(), JournalError> {
    let mut table = txn.open_table(POOLS)?;
    table.retain(|_, _| false)?;
    for (name, pool) in pools {
        table.insert(name.as_str(), &*record::encode(pool))?;
    }
    Ok(())
}

fn block_key(id: &BlockId) -> String {
    keys::lease(&id.pool, id.unit)
}

fn slot_key(id: &BlockId, offset: u32) -> String {
    format!("{}/{offset:04x}", block_key(id))
}

fn slot_range(id: &BlockId) -> (String, String) {
    let key = block_key(id);
    (format!("{key}/"), format!("{key}0"))
}

#[cfg(test)]
mod tests;
