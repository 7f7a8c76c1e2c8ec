//! Whether a program is static and stripped, by its headers (ELF-64, little endian).

use anyhow::{Context, Result, ensure};
use std::path::Path;

/// Program header of the dynamic loader's path.
const INTERPRETER: u32 = 3;
/// Section header of the symbol table.
const SYMBOLS: u32 = 2;

/// What the headers say.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Program {
    /// Bytes in the file.
    pub(crate) size: usize,
    /// It needs no loader.
    pub(crate) is_static: bool,
    /// It has no symbol table.
    pub(crate) is_stripped: bool,
}

impl Program {
    /// Reads a program's headers.
    pub(crate) fn read(file: &Path) -> Result<Self> {
        let bytes = std::fs::read(file).with_context(|| format!("can't read {}", file.display()))?;
        Self::parse(&bytes).with_context(|| format!("{} is no ELF program", file.display()))
    }

    fn parse(bytes: &[u8]) -> Result<Self> {
        ensure!(bytes.starts_with(b"\x7fELF\x02\x01"), "not a 64-bit, little endian ELF file");
        let programs = Table { offset: long(bytes, 32)?, size: short(bytes, 54)?, count: short(bytes, 56)? };
        let sections = Table { offset: long(bytes, 40)?, size: short(bytes, 58)?, count: short(bytes, 60)? };
        Ok(Self {
            size: bytes.len(),
            is_static: !programs.has(bytes, 0, INTERPRETER)?,
            is_stripped: !sections.has(bytes, 4, SYMBOLS)?,
        })
    }
}

/// A table of headers.
struct Table {
    offset: usize,
    size: usize,
    count: usize,
}

impl Table {
    /// Whether a header has this type, which stands `at` bytes from its beginning.
    fn has(&self, bytes: &[u8], at: usize, kind: u32) -> Result<bool> {
        for index in 0..self.count {
            let start = index.checked_mul(self.size).and_then(|skip| skip.checked_add(self.offset));
            let start = start.and_then(|start| start.checked_add(at)).context("a header lies nowhere")?;
            if u32::from_le_bytes(part(bytes, start)?) == kind {
                return Ok(true);
            }
        }
        Ok(false)
    }
}

fn part<const N: usize>(bytes: &[u8], at: usize) -> Result<[u8; N]> {
    let part = bytes.get(at..).and_then(|rest| rest.first_chunk());
    part.copied().context("the file is cut")
}

fn short(bytes: &[u8], at: usize) -> Result<usize> {
    Ok(u16::from_le_bytes(part(bytes, at)?).into())
}

fn long(bytes: &[u8], at: usize) -> Result<usize> {
    Ok(u64::from_le_bytes(part(bytes, at)?).try_into()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tells_a_dynamic_program_from_this_one() -> Result<()> {
        let shell = Program::read(Path::new("/bin/sh"))?;
        assert!(!shell.is_static && shell.is_stripped, "{shell:?}");
        let this = Program::read(&std::env::current_exe()?)?;
        assert!(!this.is_stripped, "a test has symbols: {this:?}");
        Ok(())
    }

    #[test]
    fn refuses_what_is_no_program() {
        assert!(Program::parse(b"#!/bin/sh\n").is_err());
        assert!(Program::parse(b"\x7fELF\x02\x01 and then it ends").is_err());
    }
}
