//! Who held which address when, written down for whoever asks later ([`common::history`]).
//!
//! It is written after what happened is durable in the journal, off the path of an ADD, and not synced: a crash of the
//! machine may cost its last lines, which the next start makes up for by telling what is held.

use crate::allocator::Worker;
use crate::state::{BlockId, Change, Holder, State};
use common::error::chain;
use common::history::{Event, FILE, Holder as Told, Holding, Line};
use common::name::NodeName;
use jiff::Timestamp;
use std::fs::{File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::net::IpAddr;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;
use tokio::sync::mpsc;
use tokio::task;

/// Files that are kept, the one that is written to among them.
const FILES: u64 = 8;
/// Batches that may wait to be written; what comes then is not written down.
const QUEUE: usize = 4_096;
/// For how long lines are gathered before they are written.
const GATHER: Duration = Duration::from_millis(200);

/// Where the allocator tells what was committed.
#[derive(Debug)]
pub struct Scribe(mpsc::Sender<Vec<Line>>);

impl Scribe {
    /// Something was committed at a time, in milliseconds.
    pub fn tell(&self, changes: &[Change], now: u64) {
        let Ok(time) = timestamp(now) else { return };
        let lines: Vec<Line> = changes.iter().filter_map(event).map(|event| Line { time, event }).collect();
        if !lines.is_empty() && self.0.try_send(lines).is_err() {
            tracing::warn!("the disk is too slow for the history of addresses: some of it is missing");
        }
    }
}

/// Writes the history.
#[derive(Debug)]
pub struct History {
    lines: mpsc::Receiver<Vec<Line>>,
    files: Files,
}

impl History {
    /// The history of what a worker will do, which begins with what is held. `size` is how many bytes are kept.
    pub fn of(worker: Worker, node: NodeName, dir: PathBuf, size: u64, now: u64) -> (Worker, Self) {
        let (sender, lines) = mpsc::channel(QUEUE);
        let mut first = Vec::new();
        if let Ok(time) = timestamp(now) {
            let held = worker.state().into_iter().flat_map(State::allocations);
            let held = held.filter(|(_, _, holder)| !holder.conflict);
            let events =
                held.filter_map(|(id, address, holder)| holding(id, address, holder)).map(Event::Held);
            first.extend(
                std::iter::once(Event::Start { node }).chain(events).map(|event| Line { time, event }),
            );
        }
        // The queue is empty.
        let _ = sender.try_send(first);
        (worker.told_to(Scribe(sender)), Self { lines, files: Files { dir, most: size / FILES, open: None } })
    }

    /// Writes until the worker is gone.
    pub async fn run(mut self) {
        let (mut batches, mut failed) = (Vec::new(), false);
        while self.lines.recv_many(&mut batches, QUEUE).await > 0 {
            let lines: Vec<Line> = batches.drain(..).flatten().collect();
            let mut files = self.files;
            let written = task::spawn_blocking(move || {
                let outcome = files.write(&lines);
                (files, outcome)
            });
            let Ok((files, outcome)) = written.await else { return };
            self.files = files;
            match outcome {
                Err(error) if !failed => {
                    let dir = self.files.dir.display();
                    tracing::warn!(error = %chain(&error), %dir, "can't write the history of addresses");
                    failed = true;
                }
                Err(_) => {}
                Ok(()) => failed = false,
            }
            if !self.lines.is_closed() {
                tokio::time::sleep(GATHER).await;
            }
        }
    }
}

fn timestamp(millis: u64) -> Result<Timestamp, jiff::Error> {
    Timestamp::from_millisecond(i64::try_from(millis).unwrap_or(i64::MAX))
}

/// What a change means for who holds an address.
fn event(change: &Change) -> Option<Event> {
    match change {
        Change::Hold(id, offset, holder) if holder.conflict => {
            Some(Event::Foreign { address: id.unit.address(*offset)? })
        }
        Change::Hold(id, offset, holder) => holding(id, id.unit.address(*offset)?, holder).map(Event::Given),
        Change::Rest(id, offset, _) => Some(Event::Freed { address: id.unit.address(*offset)? }),
        Change::RemoveBlock(id) => Some(Event::Gone { block: id.unit.net() }),
        _ => None,
    }
}

fn holding(id: &BlockId, address: IpAddr, holder: &Holder) -> Option<Holding> {
    let told = Told {
        pool: id.pool.clone(),
        namespace: holder.namespace.clone(),
        pod: holder.pod.clone(),
        container: holder.attachment.container_id.clone(),
        interface: holder.attachment.interface.clone(),
        since: timestamp(holder.since).ok()?,
    };
    Some(Holding { address, holder: told })
}

/// The files of the history.
#[derive(Debug)]
struct Files {
    dir: PathBuf,
    /// Bytes after which a file is set aside.
    most: u64,
    /// The file that is written to, and its length.
    open: Option<(File, u64)>,
}

impl Files {
    fn write(&mut self, lines: &[Line]) -> io::Result<()> {
        let mut text = Vec::new();
        for line in lines {
            serde_json::to_writer(&mut text, line)?;
            text.push(b'\n');
        }
        let (mut file, length) = match self.open.take() {
            Some((_, length)) if length >= self.most => {
                self.set_aside()?;
                open(&self.dir)?
            }
            Some(open) => open,
            None => open(&self.dir)?,
        };
        file.write_all(&text)?;
        self.open = Some((file, length + text.len() as u64));
        Ok(())
    }

    /// `history.jsonl` becomes `history.jsonl.1`, and so on; the oldest goes.
    fn set_aside(&self) -> io::Result<()> {
        let file = |number: u64| match number {
            0 => self.dir.join(FILE),
            number => self.dir.join(format!("{FILE}.{number}")),
        };
        for number in (0..FILES - 1).rev() {
            match std::fs::rename(file(number), file(number + 1)) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                _ => {}
            }
        }
        Ok(())
    }
}

/// Opens the file to write to. A last line that is not whole is ended, so that the next one is.
fn open(dir: &Path) -> io::Result<(File, u64)> {
    std::fs::DirBuilder::new().recursive(true).mode(0o700).create(dir)?;
    let path = dir.join(FILE);
    let mut file = OpenOptions::new().create(true).read(true).append(true).mode(0o600).open(path)?;
    let length = file.metadata()?.len();
    if length > 0 {
        file.seek(SeekFrom::End(-1))?;
        let mut last = [0];
        file.read_exact(&mut last)?;
        if last != *b"\n" {
            file.write_all(b"\n")?;
        }
    }
    Ok((file, length))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(second: i64) -> Line {
        let address = "10.1.2.3".parse().expect("address");
        Line { time: Timestamp::from_second(second).expect("time"), event: Event::Freed { address } }
    }

    fn files(dir: &Path, most: u64) -> Files {
        Files { dir: dir.to_owned(), most, open: None }
    }

    #[test]
    fn files_are_set_aside_and_the_oldest_goes() {
        let dir = tempfile::tempdir().expect("directory");
        let dir = dir.path().join("history");
        let mut writer = files(&dir, 1);
        for second in 0..20 {
            writer.write(&[line(second)]).expect("written");
        }
        let mut names: Vec<String> = std::fs::read_dir(&dir)
            .expect("directory")
            .map(|file| file.expect("file").file_name().into_string().expect("text"))
            .collect();
        names.sort();
        let expected = (0..8).map(|n| if n == 0 { FILE.to_owned() } else { format!("{FILE}.{n}") });
        assert_eq!(names, expected.collect::<Vec<_>>());
        let oldest = std::fs::read_to_string(dir.join("history.jsonl.7")).expect("read");
        assert_eq!(oldest.trim_end(), serde_json::to_string(&line(12)).expect("JSON"));
    }

    #[test]
    fn a_torn_line_spoils_no_other() {
        let dir = tempfile::tempdir().expect("directory");
        std::fs::write(dir.path().join(FILE), "{\"time\":").expect("written");
        files(dir.path(), 1 << 20).write(&[line(1), line(2)]).expect("written");
        let text = std::fs::read_to_string(dir.path().join(FILE)).expect("read");
        let read: Vec<Option<Line>> = text.lines().map(|line| serde_json::from_str(line).ok()).collect();
        assert_eq!(read, [None, Some(line(1)), Some(line(2))]);
    }
}
