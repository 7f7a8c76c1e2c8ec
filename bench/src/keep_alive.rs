//! Clients of coild that keep their connection, and load of many of them at once.

use crate::samples::Samples;
use anyhow::{Context, Result, ensure};
use coil_tests::coild::{path, request};
use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout};
use serde_json::Value;
use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::{Duration, Instant};

const TIMEOUT: Duration = Duration::from_secs(30);

/// A connection over which one request follows the other.
#[derive(Debug)]
pub(crate) struct KeepAlive {
    stream: UnixStream,
    reply: Reply,
}

impl KeepAlive {
    /// Connects to coild's socket.
    pub(crate) fn connect(socket: &Path) -> Result<Self> {
        let stream =
            UnixStream::connect(socket).with_context(|| format!("can't connect to {}", socket.display()))?;
        stream.set_read_timeout(Some(TIMEOUT))?;
        stream.set_write_timeout(Some(TIMEOUT))?;
        Ok(Self { stream, reply: Reply::default() })
    }

    /// Sends a request and answers the body of the reply, whose status must be 200.
    pub(crate) fn exchange(&mut self, request: &[u8]) -> Result<&[u8]> {
        self.send(request)?;
        loop {
            if let Some(head) = self.receive()? {
                return Ok(&self.reply.0[head..]);
            }
        }
    }

    fn send(&mut self, request: &[u8]) -> Result<()> {
        self.reply.0.clear();
        Ok(self.stream.write_all(request)?)
    }

    /// Reads a piece of the reply. Answers the length of its head once it is whole.
    fn receive(&mut self) -> Result<Option<usize>> {
        let mut piece = [0; PIECE];
        let count = self.stream.read(&mut piece)?;
        self.reply.push(&piece[..count])
    }
}

const PIECE: usize = 4096;

/// A reply, as far as it has come.
#[derive(Debug, Default)]
struct Reply(Vec<u8>);

impl Reply {
    /// What was read, which is nothing when the connection was closed. Answers the length of the head once the reply
    /// is whole; its status must be 200.
    fn push(&mut self, piece: &[u8]) -> Result<Option<usize>> {
        ensure!(!piece.is_empty(), "the connection was closed");
        self.0.extend_from_slice(piece);
        let Some(length) = reply_length(&self.0)? else { return Ok(None) };
        ensure!(self.0.len() <= length.head + length.body, "more than one reply");
        if self.0.len() < length.head + length.body {
            return Ok(None);
        }
        ensure!(self.0.starts_with(b"HTTP/1.1 200 "), "refused: {}", String::from_utf8_lossy(&self.0));
        Ok(Some(length.head))
    }
}

struct Length {
    head: usize,
    body: usize,
}

fn reply_length(bytes: &[u8]) -> Result<Option<Length>> {
    let Some(end) = bytes.windows(4).position(|window| window == b"\r\n\r\n") else { return Ok(None) };
    let head = std::str::from_utf8(&bytes[..end])?;
    let fields = head.lines().filter_map(|line| line.split_once(':'));
    let length = fields.clone().find(|(name, _)| name.eq_ignore_ascii_case("content-length"));
    let (_, length) = length.with_context(|| format!("a reply without length: {head}"))?;
    Ok(Some(Length { head: end + 4, body: length.trim().parse()? }))
}

/// The bytes of `POST /ip` for a container.
pub(crate) fn post(container: &str) -> Vec<u8> {
    post_of(&request(container))
}

/// The bytes of `POST /ip` with a body.
pub(crate) fn post_of(body: &Value) -> Vec<u8> {
    let body = body.to_string();
    let length = body.len();
    format!("POST /ip HTTP/1.1\r\nHost: coild\r\nContent-Length: {length}\r\n\r\n{body}").into_bytes()
}

/// The bytes of `DELETE /ip/…` for a container.
pub(crate) fn delete(container: &str) -> Vec<u8> {
    delete_of(&path(container))
}

/// The bytes of `DELETE` of a path.
pub(crate) fn delete_of(path: &str) -> Vec<u8> {
    format!("DELETE {path} HTTP/1.1\r\nHost: coild\r\n\r\n").into_bytes()
}

/// A container id like those of the runtimes: 64 hexadecimal digits, and different for different numbers.
pub(crate) fn container_id(client: usize, number: usize) -> String {
    format!("{client:032x}{number:032x}")
}

/// What clients saw that came and went for a time.
#[derive(Debug, Default)]
pub(crate) struct Churn {
    /// Times of the POSTs.
    pub(crate) posts: Samples,
    /// Times of the DELETEs.
    pub(crate) deletes: Samples,
    /// Time from the first request to the last reply.
    pub(crate) elapsed: Duration,
}

impl Churn {
    /// Requests that were answered, in a second.
    pub(crate) fn rate(&self) -> f64 {
        let count = u32::try_from(self.posts.len() + self.deletes.len()).unwrap_or(u32::MAX);
        f64::from(count) / self.elapsed.as_secs_f64()
    }
}

/// For how long clients come and go.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Until {
    /// Until all together have taken that many addresses.
    Taken(usize),
    /// Until the time is over.
    Over(Duration),
}

/// Lets clients, all at once and each over its own connection, take an address and give it back, again and again.
/// They share a thread: what they take of the processors is not what is measured.
pub(crate) fn churn(socket: &Path, clients: usize, until: Until) -> Result<Churn> {
    let is_over = |taken: usize, elapsed: Duration| match until {
        Until::Taken(count) => taken * clients >= count,
        Until::Over(time) => elapsed >= time,
    };
    let epoll = Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC)?;
    let mut all = Vec::with_capacity(clients);
    for number in 0..clients {
        let client = Client::connect(socket, number)?;
        // As in a client that waits for its reply, nothing wakes the thread because there is room for a request.
        epoll.add(&client.connection.stream, EpollEvent::new(EpollFlags::EPOLLIN, number as u64))?;
        all.push(client);
    }
    let start = Instant::now();
    all.iter_mut().try_for_each(Client::post)?;
    let (mut busy, mut ready) = (clients, vec![EpollEvent::empty(); clients]);
    while busy > 0 {
        let count = epoll.wait(&mut ready, EpollTimeout::try_from(TIMEOUT)?)?;
        ensure!(count > 0, "no reply");
        for event in &ready[..count] {
            let client = &mut all[usize::try_from(event.data())?];
            busy -= usize::from(client.go_on(|taken| is_over(taken, start.elapsed()))?);
        }
    }
    let mut seen = Churn { elapsed: start.elapsed(), ..Churn::default() };
    for client in all {
        seen.posts.append(client.posts);
        seen.deletes.append(client.deletes);
    }
    Ok(seen)
}

/// One that comes and goes.
struct Client {
    number: usize,
    connection: KeepAlive,
    /// When the last request was sent.
    sent: Instant,
    posts: Samples,
    deletes: Samples,
}

impl Client {
    fn connect(socket: &Path, number: usize) -> Result<Self> {
        let connection = KeepAlive::connect(socket)?;
        let (posts, deletes) = (Samples::new(), Samples::new());
        Ok(Self { number, connection, sent: Instant::now(), posts, deletes })
    }

    fn post(&mut self) -> Result<()> {
        self.send(&post(&container_id(self.number, self.deletes.len())))
    }

    fn send(&mut self, request: &[u8]) -> Result<()> {
        self.sent = Instant::now();
        self.connection.send(request)
    }

    /// Reads what has come, and sends the next request if that was all of a reply. Answers whether this was its last one.
    fn go_on(&mut self, is_over: impl Fn(usize) -> bool) -> Result<bool> {
        if self.connection.receive()?.is_none() {
            return Ok(false);
        }
        let time = self.sent.elapsed();
        if self.posts.len() == self.deletes.len() {
            self.posts.push(time);
            let container = container_id(self.number, self.deletes.len());
            self.send(&delete(&container))?;
            return Ok(false);
        }
        self.deletes.push(time);
        if is_over(self.deletes.len()) {
            return Ok(true);
        }
        self.post()?;
        Ok(false)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::net::UnixListener;

    /// Answers each connection with these bytes, in the pieces given.
    fn serve(pieces: &'static [&'static [u8]]) -> Result<(tempfile::TempDir, std::path::PathBuf)> {
        let dir = tempfile::tempdir()?;
        let socket = dir.path().join("socket");
        let listener = UnixListener::bind(&socket)?;
        std::thread::spawn(move || {
            let (mut stream, _) = listener.accept().expect("a client");
            for piece in pieces {
                assert!(stream.read(&mut [0; 4096]).expect("a request") > 0);
                stream.write_all(piece).expect("a reply");
            }
        });
        Ok((dir, socket))
    }

    #[test]
    fn one_request_follows_the_other() -> Result<()> {
        const REPLIES: [&[u8]; 2] = [
            b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}",
            b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\ntrue",
        ];
        let (_dir, socket) = serve(&REPLIES)?;
        let mut connection = KeepAlive::connect(&socket)?;
        assert_eq!(connection.exchange(&post("a"))?, b"{}");
        assert_eq!(connection.exchange(&delete("a"))?, b"true");
        Ok(())
    }

    #[test]
    fn a_refusal_is_an_error() -> Result<()> {
        let (_dir, socket) = serve(&[b"HTTP/1.1 503 No\r\nContent-Length: 4\r\n\r\nfull"])?;
        let error = KeepAlive::connect(&socket)?.exchange(&post("a")).expect_err("refused").to_string();
        assert!(error.contains("503") && error.contains("full"), "{error}");
        Ok(())
    }

    #[test]
    fn ids_differ_and_look_like_a_runtimes() {
        assert_eq!(container_id(1, 2).len(), 64);
        assert_ne!(container_id(1, 2), container_id(2, 1));
    }
}
