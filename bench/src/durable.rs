//! The floor: a server that makes each request durable with one synced write and does nothing else, and a
//! program that asks it once. No plugin whose answers survive a crash can be faster.

use crate::samples::Samples;
use anyhow::{Context, Result};
use std::fs::File;
use std::io::{Read, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::time::Instant;
use tempfile::TempDir;

/// Value of `CNI_COMMAND` with which this program makes one round trip and ends.
pub(crate) const ROUND_TRIP: &str = "ROUND-TRIP";
/// What is asked, and answered: about as much as a plugin and coild say.
const MESSAGE: [u8; 256] = [b'x'; 256];
/// A page of a journal.
const PAGE: [u8; 4096] = [b'x'; 4096];

/// The socket, if this process is to make a round trip.
pub(crate) fn asked_for_round_trip() -> Option<PathBuf> {
    let command = std::env::var_os("CNI_COMMAND")?;
    if command == ROUND_TRIP { std::env::var_os("CNI_ARGS").map(PathBuf::from) } else { None }
}

/// Asks the server once and waits for its answer.
pub(crate) fn round_trip(socket: &Path) -> Result<()> {
    let mut stream = UnixStream::connect(socket)?;
    stream.write_all(&MESSAGE)?;
    let mut answer = MESSAGE;
    stream.read_exact(&mut answer)?;
    Ok(())
}

/// The server. It ends with this process.
#[derive(Debug)]
pub(crate) struct DurableServer(TempDir);

impl DurableServer {
    /// Starts it.
    pub(crate) fn start() -> Result<Self> {
        let server = Self(tempfile::tempdir()?);
        let listener = UnixListener::bind(server.socket())?;
        let mut file = File::create(server.0.path().join("journal"))?;
        std::thread::Builder::new().name("floor".to_owned()).spawn(move || {
            for stream in listener.incoming() {
                // The client tells what went wrong.
                let _ = stream.and_then(|stream| answer(stream, &mut file));
            }
        })?;
        Ok(server)
    }

    /// Its socket.
    pub(crate) fn socket(&self) -> PathBuf {
        self.0.path().join("socket")
    }
}

fn answer(mut stream: UnixStream, file: &mut File) -> std::io::Result<()> {
    let mut message = MESSAGE;
    stream.read_exact(&mut message)?;
    overwrite(file)?;
    stream.write_all(&message)
}

/// One durable write in place, as a journal does it once it has its size.
fn overwrite(file: &mut File) -> std::io::Result<()> {
    use std::os::unix::fs::FileExt;
    file.write_all_at(&PAGE, 0)?;
    file.sync_data()
}

/// Times of durable writes in a directory.
pub(crate) fn sync_times(dir: &Path, count: usize) -> Result<Samples> {
    let failed = || format!("can't write in {}", dir.display());
    let mut file = tempfile::tempfile_in(dir).with_context(failed)?;
    overwrite(&mut file).with_context(failed)?;
    let mut times = Samples::default();
    for _ in 0..count {
        let start = Instant::now();
        overwrite(&mut file).with_context(failed)?;
        times.push(start.elapsed());
    }
    Ok(times)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_round_trip_is_answered() -> Result<()> {
        let server = DurableServer::start()?;
        for _ in 0..3 {
            round_trip(&server.socket())?;
        }
        let journal = std::fs::read(server.0.path().join("journal"))?;
        assert_eq!(journal, PAGE);
        Ok(())
    }
}
