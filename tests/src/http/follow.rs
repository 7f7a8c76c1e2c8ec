//! An answer that goes on: its body is read piece by piece.

use super::{Http, Stream, head};
use anyhow::{Context, Result, ensure};
use std::io::{ErrorKind, Read};
use std::time::{Duration, Instant};

/// A body that is sent as it comes. Dropped, the client is gone.
pub struct Follow {
    stream: Box<dyn Stream>,
    /// What was read and is no whole chunk yet.
    raw: Vec<u8>,
    /// The body that nobody has taken yet.
    body: Vec<u8>,
    ended: bool,
}

impl Http {
    /// Asks for something that has no end, or only much later.
    pub fn follow(&self, path: &str) -> Result<Follow> {
        let mut stream = self.connect()?;
        stream.write_all(head("GET", path, b"").as_bytes())?;
        let mut follow = Follow { stream, raw: Vec::new(), body: Vec::new(), ended: false };
        let end = loop {
            let end = follow.raw.windows(4).position(|window| window == b"\r\n\r\n");
            match end {
                Some(end) => break end,
                None => ensure!(follow.fill()?, "the answer has no head"),
            }
        };
        let head = String::from_utf8(follow.raw.drain(..end + 4).collect())?;
        ensure!(head.starts_with("HTTP/1.1 200 "), "{head}{}", String::from_utf8_lossy(&follow.raw));
        ensure!(head.to_lowercase().contains("transfer-encoding: chunked"), "{head}");
        Ok(follow)
    }
}

impl Follow {
    /// The next line, with its end; nothing at the end of the body.
    pub fn line(&mut self) -> Result<Option<String>> {
        loop {
            if let Some(end) = self.body.iter().position(|byte| *byte == b'\n') {
                return Ok(Some(String::from_utf8(self.body.drain(..=end).collect())?));
            }
            if self.ended || !self.next()? {
                ensure!(self.body.is_empty(), "half a line: {:?}", String::from_utf8_lossy(&self.body));
                return Ok(None);
            }
        }
    }

    /// Reads to the end, which must come in time.
    pub fn rest(mut self, within: Duration) -> Result<String> {
        let (deadline, mut all) = (Instant::now() + within, String::new());
        while let Some(line) = self.line()? {
            all += &line;
            ensure!(Instant::now() < deadline, "it goes on for longer than {within:?}");
        }
        Ok(all)
    }

    /// Adds a chunk to the body; false if it was the last one, or the connection broke.
    fn next(&mut self) -> Result<bool> {
        loop {
            if let Some(end) = self.raw.windows(2).position(|window| window == b"\r\n") {
                let size = usize::from_str_radix(std::str::from_utf8(&self.raw[..end])?.trim(), 16)?;
                if self.raw.len() >= end + 4 + size {
                    self.body.extend_from_slice(&self.raw[end + 2..end + 2 + size]);
                    self.raw.drain(..end + 4 + size);
                    self.ended = size == 0;
                    return Ok(size > 0);
                }
            }
            if !self.fill()? {
                self.ended = true;
                return Ok(false);
            }
        }
    }

    fn fill(&mut self) -> Result<bool> {
        let mut bytes = [0; 8192];
        match self.stream.read(&mut bytes) {
            Ok(0) => Ok(false),
            Ok(count) => {
                self.raw.extend_from_slice(&bytes[..count]);
                Ok(true)
            }
            Err(error) if error.kind() == ErrorKind::ConnectionReset => Ok(false),
            Err(error) => Err(error).context("nothing comes any more"),
        }
    }
}
