//! The format of the journal's file. A header says how long the file is; then come numbered lines with a
//! checksum, and zeros to the end. Pure.
//!
//! ```text
//! coil-journal 1 0000000000102000 5f6b91aa
//! c3a7e012 0000007d 0 {"sequence":7,"changes":[{"hold":["default/10.64.0.0/28",3,{…}]}]}
//! ```
//!
//! The fields of a line are the checksum (CRC-32 of all that follows it), the length from the first byte to the
//! line feed, the number of the line in the file, and the body, which has no line feed.
//!
//! A line that was acknowledged is never dropped. What a crash leaves of the last write is told from damage by
//! what disks promise: a sector of 512 bytes is written as a whole or not at all, and no byte of a line is 0. So
//! an unfinished line lacks a whole sector; any other line with a wrong checksum was written, and damaged later.

use serde::Serialize;
use std::ops::Range;

/// The format that this program writes.
pub(super) const FORMAT: u32 = 1;

const NAME: &str = "coil-journal";
const SECTOR: usize = 512;
/// Checksum, length and the spaces behind them.
const PREFIX: usize = 18;

/// How a file is damaged.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Damage {
    /// The first line is no header.
    #[error("it does not begin with a header")]
    Header,
    /// The file does not have the size that its header tells.
    #[error("it has {found} bytes and not {expected}")]
    Size {
        /// What the header tells.
        expected: u64,
        /// What the file has.
        found: u64,
    },
    /// A line is not as it was written.
    #[error("the line at byte {0} is not as it was written")]
    Line(usize),
}

/// The file's first line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Header {
    pub(super) format: u32,
    /// Bytes of the header itself.
    pub(super) len: usize,
    /// Bytes of the file.
    size: u64,
}

impl Header {
    /// The header of a file of `size` bytes.
    pub(super) fn write(size: u64) -> String {
        let text = format!("{NAME} {FORMAT} {size:016x}");
        format!("{text} {:08x}\n", crc32fast::hash(text.as_bytes()))
    }

    pub(super) fn read(bytes: &[u8]) -> Result<Self, Damage> {
        let len = bytes.iter().take(SECTOR).position(|byte| *byte == b'\n').ok_or(Damage::Header)? + 1;
        let text = std::str::from_utf8(&bytes[..len - 1]).map_err(|_| Damage::Header)?;
        let (text, checksum) = text.rsplit_once(' ').ok_or(Damage::Header)?;
        if format!("{:08x}", crc32fast::hash(text.as_bytes())) != checksum {
            return Err(Damage::Header);
        }
        let fields: Vec<&str> = text.split(' ').collect();
        let [NAME, format, size] = fields[..] else { return Err(Damage::Header) };
        let format = format.parse().map_err(|_| Damage::Header)?;
        let size = u64::from_str_radix(size, 16).map_err(|_| Damage::Header)?;
        Ok(Self { format, len, size })
    }

    /// Whether the file is whole.
    pub(super) fn check_size(&self, found: usize) -> Result<(), Damage> {
        let found = found as u64;
        if found == self.size { Ok(()) } else { Err(Damage::Size { expected: self.size, found }) }
    }
}

/// Appends a line.
pub(super) fn write(out: &mut Vec<u8>, number: u64, body: &impl Serialize) {
    let start = out.len();
    out.extend_from_slice(&[b' '; PREFIX]);
    out.extend_from_slice(format!("{number} ").as_bytes());
    serde_json::to_writer(&mut *out, body)
        .unwrap_or_else(|error| unreachable!("a change always has a JSON form: {error}"));
    out.push(b'\n');
    let length = format!("{:08x} ", out.len() - start);
    out[start + 9..start + PREFIX].copy_from_slice(length.as_bytes());
    let checksum = format!("{:08x} ", crc32fast::hash(&out[start + 9..]));
    out[start..start + 9].copy_from_slice(checksum.as_bytes());
}

/// A line that is as it was written.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Line<'a> {
    pub(super) body: &'a [u8],
    /// Where the next one begins.
    pub(super) end: usize,
}

/// The lines of a file, up to the first that was never written whole.
pub(super) fn read(bytes: &[u8], header: Header) -> impl Iterator<Item = Result<Line<'_>, Damage>> {
    let mut at = header.len;
    let mut numbers = 0..;
    std::iter::from_fn(move || {
        let number = numbers.next()?;
        match parse(bytes, at) {
            Some((found, line)) if found == number => {
                at = line.end;
                Some(Ok(line))
            }
            None if is_unfinished(bytes, at) => None,
            _ => {
                let damage = Damage::Line(at);
                at = bytes.len();
                Some(Err(damage))
            }
        }
    })
}

fn hex(bytes: &[u8]) -> Option<usize> {
    usize::from_str_radix(std::str::from_utf8(bytes).ok()?, 16).ok()
}

/// What the line at a place says of its length.
fn claimed_end(bytes: &[u8], at: usize) -> Option<usize> {
    at.checked_add(hex(bytes.get(at + 9..at + 17)?)?)
}

/// The line at a place with its number, if it is intact.
fn parse(bytes: &[u8], at: usize) -> Option<(u64, Line<'_>)> {
    let end = claimed_end(bytes, at)?;
    let line = bytes.get(at..end)?;
    let (checksum, rest) = line.split_at_checked(9)?;
    if checksum != format!("{:08x} ", crc32fast::hash(rest)).as_bytes() {
        return None;
    }
    let body = line.get(PREFIX..)?.strip_suffix(b"\n")?;
    let space = body.iter().position(|byte| *byte == b' ')?;
    let number = std::str::from_utf8(&body[..space]).ok()?.parse().ok()?;
    Some((number, Line { body: &body[space + 1..], end }))
}

/// Whether what stands behind the last intact line may be what a crash left of the next one, or nothing.
fn is_unfinished(bytes: &[u8], at: usize) -> bool {
    let Some(last) = bytes[at..].iter().rposition(|byte| *byte != 0).map(|last| at + last) else {
        return true;
    };
    let written = at..last + 1;
    let starts = written.clone().filter(|place| bytes[*place] == b'\n').map(|place| place + 1);
    if starts.into_iter().any(|start| parse(bytes, start).is_some()) {
        // There was one line at work at a time: what stands before an intact one was finished.
        return false;
    }
    lacks_a_sector(bytes, written.clone())
        || (written.end % SECTOR == 0 && bytes[last] != b'\n' && claimed_end(bytes, at) != Some(written.end))
}

fn lacks_a_sector(bytes: &[u8], written: Range<usize>) -> bool {
    let first = written.start / SECTOR;
    (first..=(written.end - 1) / SECTOR).any(|sector| {
        let part = (sector * SECTOR).max(written.start)..((sector + 1) * SECTOR).min(written.end);
        bytes[part].iter().all(|byte| *byte == 0)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const SIZE: usize = 8192;

    /// A file with lines of these lengths of text, and where each begins and ends.
    fn file(texts: &[usize]) -> (Vec<u8>, Vec<Range<usize>>) {
        let mut bytes = Header::write(SIZE as u64).into_bytes();
        let mut places = Vec::new();
        for (number, length) in (0..).zip(texts) {
            let start = bytes.len();
            write(&mut bytes, number, &"x".repeat(*length));
            places.push(start..bytes.len());
        }
        bytes.resize(SIZE, 0);
        (bytes, places)
    }

    /// How many lines a file has.
    fn count(bytes: &[u8]) -> Result<usize, Damage> {
        let header = Header::read(bytes)?;
        header.check_size(bytes.len())?;
        let lines: Result<Vec<_>, _> = read(bytes, header).collect();
        Ok(lines?.len())
    }

    #[test]
    fn every_flipped_bit_is_damage() {
        let (bytes, places) = file(&[10, 700, 0, 430]);
        let used = places.last().expect("lines").end;
        for place in 0..used + 600 {
            for bit in 0..8 {
                let mut damaged = bytes.clone();
                damaged[place] ^= 1 << bit;
                let count = count(&damaged);
                // Behind the lines nothing can be lost.
                assert!(count.is_err() || (place >= used && count == Ok(4)), "bit {bit} of byte {place}");
            }
        }
    }

    #[test]
    fn every_shorter_or_longer_file_is_damage() {
        let (bytes, places) = file(&[10, 700]);
        for length in 0..places[1].end + 10 {
            count(&bytes[..length]).expect_err(&format!("{length} bytes"));
        }
        count(&[&bytes[..], &[0]].concat()).expect_err("one byte more");
        assert_eq!(count(&bytes), Ok(2));
    }

    proptest! {
        /// Whatever sectors of the last line reached the disk: either all of it is there, or it does not count.
        #[test]
        fn an_unfinished_line_does_not_count(
            texts in prop::collection::vec(0_usize..1400, 1..5),
            sectors in prop::collection::vec(any::<bool>(), 16),
        ) {
            let (whole, places) = file(&texts);
            let last = places.last().expect("lines").clone();
            let mut bytes = whole.clone();
            let mut lost = false;
            for place in last.clone() {
                if !sectors[place / SECTOR] {
                    bytes[place] = 0;
                    lost = true;
                }
            }
            prop_assert_eq!(count(&bytes), Ok(texts.len() - usize::from(lost)));
        }

        #[test]
        fn no_bytes_make_it_panic(bytes in prop::collection::vec(any::<u8>(), 0..600)) {
            let _ = count(&bytes);
            let (mut file, places) = file(&[5]);
            let at = places[0].end;
            file[at..at + bytes.len()].copy_from_slice(&bytes);
            let _ = count(&file);
        }
    }
}
