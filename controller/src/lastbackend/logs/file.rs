//! A file that grows, and is set aside for another one when it is too long: `0.log` becomes `0.log.1`, and the runtime
//! goes on in a new `0.log`.

use super::line::Lines;
use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// Most bytes read at once.
const CHUNK: usize = 64 << 10;

/// Where the output of a container is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogFile {
    path: PathBuf,
    before: PathBuf,
}

impl LogFile {
    /// The file that the runtime writes to.
    pub fn new(path: &Path) -> Self {
        let mut before = path.as_os_str().to_owned();
        before.push(".1");
        Self { path: path.to_owned(), before: before.into() }
    }

    /// The file that the runtime writes to.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The file that was set aside.
    pub fn before(&self) -> &Path {
        &self.before
    }
}

/// Reads the output from the oldest file on.
#[derive(Debug)]
pub(super) struct Reader {
    log: LogFile,
    file: Option<File>,
    lines: Lines,
}

impl Reader {
    pub(super) fn open(log: &LogFile) -> Self {
        Self { log: log.clone(), file: None, lines: Lines::default() }
    }

    /// The output that follows; nothing if there is none at the moment.
    pub(super) fn read(&mut self) -> io::Result<Vec<u8>> {
        let mut bytes = vec![0; CHUNK];
        loop {
            let Some(file) = &mut self.file else {
                match self.first()? {
                    Some(file) => self.file = Some(file),
                    None => return Ok(Vec::new()),
                }
                continue;
            };
            let count = file.read(&mut bytes)?;
            if count > 0 {
                let output = self.lines.output(&bytes[..count]);
                if output.is_empty() {
                    continue;
                }
                return Ok(output);
            }
            // To a file that was set aside nothing more is written, once there is the one that follows.
            let Some(next) = self.next()? else { return Ok(Vec::new()) };
            let mut left = Vec::new();
            self.file.take().map(|mut file| file.read_to_end(&mut left)).transpose()?;
            self.file = Some(next);
            let mut output = self.lines.output(&left);
            output.extend(self.lines.end());
            if !output.is_empty() {
                return Ok(output);
            }
        }
    }

    fn first(&self) -> io::Result<Option<File>> {
        Ok(open(&self.log.before)?.or(open(&self.log.path)?))
    }

    /// The file that follows the one that was read to its end.
    fn next(&self) -> io::Result<Option<File>> {
        let Some(file) = &self.file else { return Ok(None) };
        let read = file.metadata()?.ino();
        let is = |other: &Option<File>| {
            Ok::<_, io::Error>(match other {
                Some(other) => other.metadata()?.ino() == read,
                None => false,
            })
        };
        let (before, current) = (open(&self.log.before)?, open(&self.log.path)?);
        // Set aside twice since: the one before comes next.
        Ok(if is(&current)? {
            None
        } else if before.is_none() || is(&before)? {
            current
        } else {
            before
        })
    }
}

fn open(path: &Path) -> io::Result<Option<File>> {
    match File::open(path) {
        Ok(file) => Ok(Some(file)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    fn add(path: &Path, lines: std::ops::Range<u32>) {
        let mut file = File::options().create(true).append(true).open(path).expect("opened");
        for line in lines {
            writeln!(file, "2016-10-06T00:17:09.669794202Z stdout F {line}").expect("written");
        }
    }

    fn read(reader: &mut Reader) -> String {
        let mut all = Vec::new();
        loop {
            match reader.read().expect("read") {
                bytes if bytes.is_empty() => return String::from_utf8(all).expect("text"),
                bytes => all.extend(bytes),
            }
        }
    }

    fn lines(lines: std::ops::Range<u32>) -> String {
        lines.flat_map(|line| [line.to_string(), "\n".to_owned()]).collect()
    }

    #[test]
    fn nothing_is_missed_when_files_are_set_aside() {
        let dir = tempfile::tempdir().expect("directory");
        let log = LogFile::new(&dir.path().join("0.log"));
        let set_aside = || std::fs::rename(log.path(), log.before()).expect("renamed");
        let mut early = Reader::open(&log);
        assert_eq!(read(&mut early), "", "there is no file yet");
        add(log.path(), 0..3);
        assert_eq!(read(&mut early), lines(0..3));
        // The runtime goes on in the old file until it is told.
        set_aside();
        add(log.before(), 3..5);
        assert_eq!(read(&mut early), lines(3..5));
        add(log.before(), 5..6);
        add(log.path(), 6..8);
        assert_eq!(read(&mut early), lines(5..8));
        let mut late = Reader::open(&log);
        assert_eq!(read(&mut late), lines(0..8), "from what was set aside on");
        // Twice while nobody read.
        add(log.path(), 8..9);
        set_aside();
        add(log.path(), 9..11);
        assert_eq!(read(&mut early), lines(8..11));
        set_aside();
        add(log.path(), 11..12);
        set_aside();
        add(log.path(), 12..13);
        assert_eq!(read(&mut late), lines(8..9) + &lines(11..13), "one file is gone for good");
    }
}
