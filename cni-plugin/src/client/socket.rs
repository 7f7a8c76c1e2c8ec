//! One request and its reply over a unix socket, within a time.

use super::ClientError;
use super::http::{self, HttpError, Response};
use common::fault;
use nix::sys::socket::{self, AddressFamily, SockFlag, SockType, UnixAddr, sockopt};
use nix::sys::time::TimeVal;
use std::io::{self, Read, Write};
use std::os::fd::AsRawFd;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::{Duration, Instant};

/// Sends a message and reads the reply.
pub(super) fn exchange(path: &Path, timeout: Duration, message: &[u8]) -> Result<Response, ClientError> {
    let end = Instant::now() + timeout;
    fault::point("request.before");
    let mut stream = connect(path, timeout).map_err(|source| match source.kind() {
        io::ErrorKind::WouldBlock => timed_out(path, timeout),
        _ => ClientError::Unreachable { socket: path.to_owned(), source },
    })?;
    // A server that refuses a request may close before it has read all of it; its reply is there all the same.
    let sent = stream.write_all(message);
    let mut timed = Timed { stream, end, reads: 0 };
    let failure = match (http::read_response(&mut timed), sent) {
        (Ok(response), _) => {
            fault::point("request.after");
            return Ok(response);
        }
        (Err(_), Err(error)) => HttpError::Read(error),
        (Err(error), Ok(())) => error,
    };
    match failure {
        HttpError::Read(error)
            if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut) =>
        {
            Err(timed_out(path, timeout))
        }
        source => Err(ClientError::Broken { socket: path.to_owned(), source }),
    }
}

fn timed_out(path: &Path, timeout: Duration) -> ClientError {
    ClientError::TimedOut { socket: path.to_owned(), timeout }
}

/// Connects with a time-out, which the standard library has for TCP only: a listener whose queue is full makes a
/// plain connect wait for ever.
pub(super) fn connect(path: &Path, timeout: Duration) -> io::Result<UnixStream> {
    let socket = socket::socket(AddressFamily::Unix, SockType::Stream, SockFlag::SOCK_CLOEXEC, None)?;
    let time =
        TimeVal::new(timeout.as_secs().try_into().unwrap_or(i64::MAX), i64::from(timeout.subsec_micros()));
    socket::setsockopt(&socket, sockopt::SendTimeout, &time)?;
    socket::setsockopt(&socket, sockopt::ReceiveTimeout, &time)?;
    socket::connect(socket.as_raw_fd(), &UnixAddr::new(path)?)?;
    Ok(UnixStream::from(socket))
}

/// A stream whose reads all together end at a time, however slowly the bytes arrive.
struct Timed {
    stream: UnixStream,
    end: Instant,
    reads: u32,
}

impl Read for Timed {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        // The first read has the socket's own time-out, which saves a system call in the usual case of one read.
        if self.reads > 0 {
            let left = self.end.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Err(io::ErrorKind::TimedOut.into());
            }
            self.stream.set_read_timeout(Some(left))?;
        }
        self.reads += 1;
        self.stream.read(buffer)
    }
}
