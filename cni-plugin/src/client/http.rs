//! HTTP/1.1 replies, read off any byte stream. Whatever the bytes are, reading ends, takes bounded memory, and
//! gives a reply or an error (RFC 9112).

use std::io::{self, Read};

/// How long the status line and the fields may be together.
const HEAD_LIMIT: usize = 16 * 1024;
/// How long a body may be.
const BODY_LIMIT: usize = 4 * 1024 * 1024;
const FIELDS: usize = 64;

/// A reply.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Response {
    /// The status code.
    pub status: u16,
    /// The body, decoded.
    pub body: Vec<u8>,
}

/// Why bytes are not a reply.
#[derive(Debug, thiserror::Error)]
pub enum HttpError {
    /// The stream failed.
    #[error("can't read the reply")]
    Read(#[from] io::Error),
    /// The stream ended before the reply did.
    #[error("the reply ends in the middle")]
    Truncated,
    /// The head is not HTTP.
    #[error("the reply is not HTTP: {0}")]
    Head(httparse::Error),
    /// A field is given twice with different values, or can't be understood.
    #[error("the reply has a bad {0} field")]
    Field(&'static str),
    /// The body's chunks are malformed.
    #[error("the reply has a malformed chunk")]
    Chunk,
    /// Part of the reply is longer than is sensible.
    #[error("the {0} of the reply is too long")]
    TooLong(&'static str),
}

enum Framing {
    Length(usize),
    Chunked,
    UntilEnd,
}

struct Head {
    length: usize,
    status: u16,
    framing: Framing,
}

/// Reads one final reply; interim ones are skipped.
pub fn read_response(stream: &mut impl Read) -> Result<Response, HttpError> {
    let mut input = Input { stream, bytes: Vec::with_capacity(1024), at: 0 };
    loop {
        let head = read_head(&mut input)?;
        input.at += head.length;
        if (100..200).contains(&head.status) {
            input.bytes.drain(..input.at);
            input.at = 0;
            continue;
        }
        let body = match head.framing {
            _ if matches!(head.status, 204 | 304) => Vec::new(),
            Framing::Length(length) => input.take(length)?.to_vec(),
            Framing::Chunked => read_chunks(&mut input)?,
            Framing::UntilEnd => read_to_end(&mut input)?,
        };
        return Ok(Response { status: head.status, body });
    }
}

/// The stream with what was read of it so far.
struct Input<'a, R> {
    stream: &'a mut R,
    bytes: Vec<u8>,
    /// What stands before is used up.
    at: usize,
}

impl<R: Read> Input<'_, R> {
    fn rest(&self) -> &[u8] {
        &self.bytes[self.at..]
    }

    /// Reads more; `false` at the end of the stream.
    fn fill(&mut self) -> io::Result<bool> {
        let old = self.bytes.len();
        self.bytes.resize(old + 4096, 0);
        let read = loop {
            match self.stream.read(&mut self.bytes[old..]) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                other => break other,
            }
        };
        self.bytes.truncate(old + *read.as_ref().unwrap_or(&0));
        read.map(|read| read > 0)
    }

    fn fill_or_fail(&mut self) -> Result<(), HttpError> {
        if self.fill()? { Ok(()) } else { Err(HttpError::Truncated) }
    }

    fn take(&mut self, length: usize) -> Result<&[u8], HttpError> {
        while self.rest().len() < length {
            self.fill_or_fail()?;
        }
        self.at += length;
        Ok(&self.bytes[self.at - length..self.at])
    }
}

fn read_head(input: &mut Input<'_, impl Read>) -> Result<Head, HttpError> {
    loop {
        if let Some(head) = parse_head(input.rest())? {
            return Ok(head);
        }
        if input.rest().len() > HEAD_LIMIT {
            return Err(HttpError::TooLong("head"));
        }
        input.fill_or_fail()?;
    }
}

/// `None` if more bytes are needed.
fn parse_head(bytes: &[u8]) -> Result<Option<Head>, HttpError> {
    let mut fields = [httparse::EMPTY_HEADER; FIELDS];
    let mut response = httparse::Response::new(&mut fields);
    let httparse::Status::Complete(length) = response.parse(bytes).map_err(HttpError::Head)? else {
        return Ok(None);
    };
    let status = response.code.ok_or(HttpError::Head(httparse::Error::Status))?;
    Ok(Some(Head { length, status, framing: framing(response.headers)? }))
}

fn framing(fields: &[httparse::Header<'_>]) -> Result<Framing, HttpError> {
    let mut framing = Framing::UntilEnd;
    for field in fields {
        if field.name.eq_ignore_ascii_case("transfer-encoding") {
            if !field.value.eq_ignore_ascii_case(b"chunked") || !matches!(framing, Framing::UntilEnd) {
                return Err(HttpError::Field("Transfer-Encoding"));
            }
            framing = Framing::Chunked;
        } else if field.name.eq_ignore_ascii_case("content-length") {
            let length = content_length(field.value).ok_or(HttpError::Field("Content-Length"))?;
            match framing {
                Framing::UntilEnd => framing = Framing::Length(length),
                Framing::Length(other) if other == length => {}
                _ => return Err(HttpError::Field("Content-Length")),
            }
        }
    }
    match framing {
        Framing::Length(length) if length > BODY_LIMIT => Err(HttpError::TooLong("body")),
        framing => Ok(framing),
    }
}

fn content_length(value: &[u8]) -> Option<usize> {
    let digits = !value.is_empty() && value.iter().all(u8::is_ascii_digit);
    std::str::from_utf8(value).ok().filter(|_| digits)?.parse().ok()
}

fn read_chunks(input: &mut Input<'_, impl Read>) -> Result<Vec<u8>, HttpError> {
    let mut body = Vec::new();
    loop {
        let size = read_chunk_size(input)?;
        if size == 0 {
            skip_trailer(input)?;
            return Ok(body);
        }
        if size > BODY_LIMIT - body.len() {
            return Err(HttpError::TooLong("body"));
        }
        body.extend_from_slice(input.take(size)?);
        if input.take(2)? != b"\r\n" {
            return Err(HttpError::Chunk);
        }
        input.bytes.drain(..input.at);
        input.at = 0;
    }
}

fn read_chunk_size(input: &mut Input<'_, impl Read>) -> Result<usize, HttpError> {
    loop {
        match httparse::parse_chunk_size(input.rest()).map_err(|_| HttpError::Chunk)? {
            httparse::Status::Complete((length, size)) => {
                input.at += length;
                return usize::try_from(size).map_err(|_| HttpError::TooLong("body"));
            }
            httparse::Status::Partial if input.rest().len() > HEAD_LIMIT => return Err(HttpError::Chunk),
            httparse::Status::Partial => input.fill_or_fail()?,
        }
    }
}

/// Skips the fields after the last chunk and the empty line that ends them.
fn skip_trailer(input: &mut Input<'_, impl Read>) -> Result<(), HttpError> {
    loop {
        let end = input.rest().windows(2).position(|pair| pair == b"\r\n");
        match end {
            Some(0) => return Ok(()),
            Some(end) => input.at += end + 2,
            None if input.rest().len() > HEAD_LIMIT => return Err(HttpError::TooLong("trailer")),
            None => input.fill_or_fail()?,
        }
    }
}

fn read_to_end(input: &mut Input<'_, impl Read>) -> Result<Vec<u8>, HttpError> {
    while input.fill()? {
        if input.rest().len() > BODY_LIMIT {
            return Err(HttpError::TooLong("body"));
        }
    }
    Ok(input.rest().to_vec())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// A stream that gives at most `step` bytes at once.
    struct Trickle<'a> {
        bytes: &'a [u8],
        step: usize,
    }

    impl Read for Trickle<'_> {
        fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
            let length = self.step.min(buffer.len()).min(self.bytes.len());
            let (now, later) = self.bytes.split_at(length);
            buffer[..length].copy_from_slice(now);
            self.bytes = later;
            Ok(length)
        }
    }

    fn read(bytes: &[u8]) -> Result<Response, String> {
        let whole = read_response(&mut &bytes[..]).map_err(|error| error.to_string());
        let trickled = read_response(&mut Trickle { bytes, step: 1 }).map_err(|error| error.to_string());
        assert_eq!(whole, trickled, "the result depends on how the bytes arrive");
        whole
    }

    #[test]
    fn three_framings() {
        for bytes in [
            "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello and more",
            "HTTP/1.1 200 OK\r\ncontent-length: 5\r\nContent-Length: 5\r\n\r\nhello",
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: Chunked\r\n\r\n2;x=y\r\nhe\r\n3\r\nllo\r\n0\r\nA: b\r\n\r\n",
            "HTTP/1.0 200 OK\r\n\r\nhello",
            "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello",
        ] {
            assert_eq!(
                read(bytes.as_bytes()),
                Ok(Response { status: 200, body: b"hello".to_vec() }),
                "{bytes}"
            );
        }
        let empty = read(b"HTTP/1.1 204 No Content\r\nContent-Length: 5\r\n\r\n").expect("no body");
        assert_eq!((empty.status, empty.body.len()), (204, 0));
    }

    #[test]
    fn hostile_replies() {
        let long_field = format!("HTTP/1.1 200 OK\r\nA: {}\r\n\r\n", "x".repeat(HEAD_LIMIT + 4096));
        let many_fields = format!("HTTP/1.1 200 OK\r\n{}\r\n", "A: b\r\n".repeat(FIELDS + 1));
        let long_chunks = format!(
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n10\r\n{}\r\n{:x}\r\n",
            "x".repeat(16),
            BODY_LIMIT
        );
        for (bytes, message) in [
            ("", "the reply ends in the middle"),
            ("HTTP/1.1 200 OK\r\n", "the reply ends in the middle"),
            ("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhell", "the reply ends in the middle"),
            ("SSH-2.0-OpenSSH_9.2\r\n\r\n", "the reply is not HTTP"),
            ("HTTP/1.1 2000 OK\r\n\r\n", "the reply is not HTTP"),
            ("HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n", "the reply has a bad Content-Length"),
            ("HTTP/1.1 200 OK\r\nContent-Length: +5\r\n\r\nhello", "the reply has a bad Content-Length"),
            (
                "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\nhello!",
                "the reply has a bad Content-",
            ),
            (
                "HTTP/1.1 200 OK\r\nContent-Length: 99999999999999999999\r\n\r\n",
                "the reply has a bad Content-Length",
            ),
            ("HTTP/1.1 200 OK\r\nContent-Length: 99999999\r\n\r\n", "the body of the reply is too long"),
            ("HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip\r\n\r\n", "the reply has a bad Transfer-Encoding"),
            (
                "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n",
                "the reply has a bad Transfer-Encoding",
            ),
            (
                "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
                "the reply has a malformed chunk",
            ),
            (
                "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhello",
                "the reply has a malformed chunk",
            ),
            (
                "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhe\r\n0\r\n",
                "the reply ends in the middle",
            ),
            (
                "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nffffffffffffffff\r\n",
                "the body of the reply is too long",
            ),
            (&long_field, "the head of the reply is too long"),
            (&many_fields, "the reply is not HTTP: too many headers"),
            (&long_chunks, "the body of the reply is too long"),
        ] {
            let error = read(bytes.as_bytes()).expect_err(message);
            assert!(error.starts_with(message), "{error}");
        }
    }

    #[test]
    fn endless_streams_end() {
        struct Endless<'a>(&'a [u8], usize);
        impl Read for Endless<'_> {
            fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
                let byte = |at: usize| self.0[at % self.0.len()];
                buffer.iter_mut().enumerate().for_each(|(offset, slot)| *slot = byte(self.1 + offset));
                self.1 += buffer.len();
                Ok(buffer.len())
            }
        }
        for bytes in ["x", "HTTP/1.1 100 Continue\r\nA: b\r\n", "HTTP/1.1 200 OK\r\n\r\n", "\r\n"] {
            read_response(&mut Endless(bytes.as_bytes(), 0)).expect_err("endless");
        }
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic(bytes in prop::collection::vec(any::<u8>(), 0..256)) {
            let _ = read(&bytes);
        }

        #[test]
        fn no_damage_makes_it_panic(at in 0usize..90, byte: u8, cut in 0usize..90) {
            let mut bytes =
                b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2;x=y\r\nhe\r\n3\r\nllo\r\n0\r\nA: b\r\n\r\n".to_vec();
            if let Some(slot) = bytes.get_mut(at) {
                *slot = byte;
            }
            bytes.truncate(bytes.len() - cut.min(bytes.len()));
            let _ = read(&bytes);
        }

        #[test]
        fn chunks_say_what_the_length_says(parts in prop::collection::vec(prop::collection::vec(any::<u8>(), 1..64), 0..8)) {
            let whole = parts.concat();
            let mut chunked = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n".to_vec();
            for part in &parts {
                chunked.extend(format!("{:x}\r\n", part.len()).bytes().chain(part.iter().copied()).chain(*b"\r\n"));
            }
            chunked.extend(b"0\r\n\r\n");
            let mut plain = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", whole.len()).into_bytes();
            plain.extend(&whole);
            prop_assert_eq!(read(&chunked), Ok(Response { status: 200, body: whole.clone() }));
            prop_assert_eq!(read(&plain), Ok(Response { status: 200, body: whole }));
        }
    }
}
