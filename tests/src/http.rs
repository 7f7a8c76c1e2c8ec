//! An HTTP client over a Unix socket or TCP, which can also speak badly.

mod follow;

pub use follow::Follow;

use anyhow::{Context, Result, bail, ensure};
use serde::de::DeserializeOwned;
use serde_json::Value;
use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::time::Duration;

const TIMEOUT: Duration = Duration::from_secs(30);

/// Where a server listens. Each request is a connection of its own.
#[derive(Debug, Clone)]
pub enum Http {
    /// A Unix socket.
    Unix(PathBuf),
    /// A TCP address.
    Tcp(SocketAddr),
}

/// An answer.
#[derive(Debug, Clone)]
pub struct Reply {
    /// The status code.
    pub status: u16,
    /// The header fields, names in lower case.
    pub headers: Vec<(String, String)>,
    /// The body.
    pub body: Vec<u8>,
}

impl Reply {
    /// The first header field of that name, which is given in lower case.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str())
    }

    /// The body as JSON.
    pub fn json(&self) -> Result<Value> {
        self.parse()
    }

    /// The body as a JSON form of this type.
    pub fn parse<T: DeserializeOwned>(&self) -> Result<T> {
        serde_json::from_slice(&self.body).with_context(|| format!("not the JSON expected: {}", self.text()))
    }

    /// The body as text.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// This reply, if it has that status.
    pub fn expect(self, status: u16) -> Result<Self> {
        ensure!(self.status == status, "status {}, expected {status}: {}", self.status, self.text());
        Ok(self)
    }
}

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub enum Failure {
    /// Nothing was sent.
    #[error("{0:#}")]
    NotSent(anyhow::Error),
    /// The connection broke before an answer came.
    #[error("{0:#}")]
    Broken(anyhow::Error),
    /// No answer came in time.
    #[error("{0:#}")]
    TimedOut(anyhow::Error),
}

trait Stream: Read + Write {
    fn end_writing(&self) -> std::io::Result<()>;
}

impl Stream for UnixStream {
    fn end_writing(&self) -> std::io::Result<()> {
        self.shutdown(Shutdown::Write)
    }
}

impl Stream for TcpStream {
    fn end_writing(&self) -> std::io::Result<()> {
        self.shutdown(Shutdown::Write)
    }
}

impl Http {
    /// GET.
    pub fn get(&self, path: &str) -> Result<Reply> {
        self.send("GET", path, b"")
    }

    /// POST of a JSON body.
    pub fn post(&self, path: &str, body: &Value) -> Result<Reply> {
        self.send("POST", path, body.to_string().as_bytes())
    }

    /// Any method without a body, with a bearer token.
    pub fn send_as(&self, token: &str, method: &str, path: &str) -> Result<Reply> {
        let head = format!(
            "{method} {path} HTTP/1.1\r\nHost: test\r\nConnection: close\r\nAuthorization: Bearer {token}\r\n\r\n"
        );
        self.raw(head.as_bytes()).with_context(|| format!("{method} {path}"))
    }

    /// DELETE.
    pub fn delete(&self, path: &str) -> Result<Reply> {
        self.send("DELETE", path, b"")
    }

    /// Any method with any body. Only the path must be fit for a request line.
    pub fn send(&self, method: &str, path: &str, body: &[u8]) -> Result<Reply> {
        self.raw(&[head(method, path, body).as_bytes(), body].concat())
            .with_context(|| format!("{method} {path}"))
    }

    /// Sends any bytes and reads one answer. A server may refuse before it has read everything, so that
    /// writing fails; its answer still counts.
    pub fn raw(&self, request: &[u8]) -> Result<Reply> {
        self.try_raw(request).map_err(|failure| match failure {
            Failure::NotSent(error) | Failure::Broken(error) | Failure::TimedOut(error) => error,
        })
    }

    /// As [`send`](Self::send), and tells what can be said of a request that got no answer.
    pub fn try_send(&self, method: &str, path: &str, body: &[u8]) -> Result<Reply, Failure> {
        self.try_raw(&[head(method, path, body).as_bytes(), body].concat())
    }

    fn try_raw(&self, request: &[u8]) -> Result<Reply, Failure> {
        let mut stream = self.connect().map_err(Failure::NotSent)?;
        let written = stream.write_all(request).context("can't send the request");
        let mut bytes = Vec::new();
        let read = read_until_closed(&mut *stream, &mut bytes);
        let timed_out = read.as_ref().is_err_and(|error| error.kind() == ErrorKind::WouldBlock);
        parse(&bytes).map_err(|error| {
            let error = written.and(read.context("can't read the answer")).err().unwrap_or(error);
            if timed_out { Failure::TimedOut(error) } else { Failure::Broken(error) }
        })
    }

    /// Sends any bytes, and closes the connection without waiting for anything.
    pub fn send_and_leave(&self, request: &[u8]) -> Result<(), Failure> {
        let mut stream = self.connect().map_err(Failure::NotSent)?;
        stream.write_all(request).map_err(|error| Failure::Broken(error.into()))
    }

    /// Sends any bytes, ends the sending side, and reads one answer if there is any.
    pub fn raw_and_close(&self, request: &[u8]) -> Result<Reply> {
        let mut stream = self.connect()?;
        stream.write_all(request)?;
        stream.end_writing()?;
        let mut bytes = Vec::new();
        read_until_closed(&mut *stream, &mut bytes)?;
        parse(&bytes)
    }

    fn connect(&self) -> Result<Box<dyn Stream>> {
        Ok(match self {
            Self::Unix(path) => {
                let stream = UnixStream::connect(path)
                    .with_context(|| format!("can't connect to {}", path.display()))?;
                stream.set_read_timeout(Some(TIMEOUT))?;
                stream.set_write_timeout(Some(TIMEOUT))?;
                Box::new(stream)
            }
            Self::Tcp(address) => {
                let stream =
                    TcpStream::connect(address).with_context(|| format!("can't connect to {address}"))?;
                stream.set_read_timeout(Some(TIMEOUT))?;
                stream.set_write_timeout(Some(TIMEOUT))?;
                Box::new(stream)
            }
        })
    }
}

fn head(method: &str, path: &str, body: &[u8]) -> String {
    format!(
        "{method} {path} HTTP/1.1\r\nHost: test\r\nConnection: close\r\nContent-Length: {}\r\n\r\n",
        body.len()
    )
}

fn read_until_closed(stream: &mut dyn Stream, bytes: &mut Vec<u8>) -> std::io::Result<()> {
    match stream.read_to_end(bytes) {
        Err(error) if error.kind() == ErrorKind::ConnectionReset && !bytes.is_empty() => Ok(()),
        other => other.map(|_| ()),
    }
}

fn parse(bytes: &[u8]) -> Result<Reply> {
    let end = bytes.windows(4).position(|window| window == b"\r\n\r\n");
    let end = end.with_context(|| format!("no answer but {:?}", String::from_utf8_lossy(bytes)))?;
    let head = std::str::from_utf8(&bytes[..end])?;
    let mut lines = head.split("\r\n");
    let line = lines.next().unwrap_or_default();
    let status = line.split(' ').nth(1).and_then(|code| code.parse().ok());
    let status = status.with_context(|| format!("not a status line: {line}"))?;
    let headers: Vec<(String, String)> = lines
        .filter_map(|line| line.split_once(':'))
        .map(|(name, value)| (name.to_lowercase(), value.trim().to_owned()))
        .collect();
    let rest = &bytes[end + 4..];
    let mut reply = Reply { status, headers, body: rest.to_vec() };
    if reply.header("transfer-encoding") == Some("chunked") {
        reply.body = unchunk(rest)?;
    } else if let Some(length) = reply.header("content-length") {
        let length: usize = length.parse()?;
        ensure!(rest.len() == length, "a body of {} bytes, announced were {length}", rest.len());
    }
    Ok(reply)
}

fn unchunk(mut rest: &[u8]) -> Result<Vec<u8>> {
    let mut body = Vec::new();
    loop {
        let Some(end) = rest.windows(2).position(|window| window == b"\r\n") else { bail!("a chunk is cut") };
        let size = std::str::from_utf8(&rest[..end])?.split(';').next().unwrap_or_default();
        let size = usize::from_str_radix(size.trim(), 16)?;
        if size == 0 {
            return Ok(body);
        }
        body.extend_from_slice(rest.get(end + 2..end + 2 + size).context("a chunk is cut")?);
        rest = rest.get(end + 4 + size..).context("a chunk is cut")?;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers() {
        let plain = parse(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nX-Y: z\r\n\r\n{}").expect("valid");
        assert_eq!((plain.status, plain.header("x-y"), plain.text().as_str()), (200, Some("z"), "{}"));
        let chunked = parse(
            b"HTTP/1.1 404 Not Found\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n1\r\nd\r\n0\r\n\r\n",
        );
        assert_eq!(chunked.expect("valid").text(), "abcd");
        for bad in ["", "HTTP/1.1 200 OK\r\n", "HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\n{}"] {
            assert!(parse(bad.as_bytes()).is_err(), "{bad}");
        }
    }
}
