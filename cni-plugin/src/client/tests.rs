use super::*;
use nix::sys::socket::{AddressFamily, Backlog, SockFlag, SockType, UnixAddr, bind, listen, socket};
use std::io::{Read, Write};
use std::os::fd::AsRawFd;
use std::os::unix::net::UnixListener;
use std::thread::JoinHandle;

/// A listener that answers its one connection with some bytes, and says what it was sent.
fn answering(reply: &'static [u8]) -> (tempfile::TempDir, PathBuf, JoinHandle<String>) {
    let dir = tempfile::tempdir().expect("directory");
    let path = dir.path().join("c.sock");
    let listener = UnixListener::bind(&path).expect("bind");
    let thread = std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().expect("accept");
        let mut request = Vec::new();
        let mut buffer = [0; 4096];
        while !complete(&request) {
            let read = stream.read(&mut buffer).expect("read");
            assert!(read > 0, "the request ends in the middle");
            request.extend_from_slice(&buffer[..read]);
        }
        stream.write_all(reply).expect("write");
        String::from_utf8(request).expect("UTF-8")
    });
    (dir, path, thread)
}

fn complete(request: &[u8]) -> bool {
    let text = String::from_utf8_lossy(request);
    let Some((head, body)) = text.split_once("\r\n\r\n") else { return false };
    let length = head.lines().find_map(|line| line.strip_prefix("Content-Length: "));
    body.len() >= length.map_or(0, |length| length.parse().expect("number"))
}

fn attachment() -> AttachmentPath {
    AttachmentPath {
        namespace: PodText::new("my team/ü").expect("valid"),
        pod: PodText::new("..").expect("valid"),
        container_id: ContainerId::new("50%+a~b").expect("valid"),
        interface: IfName::new("net?1").expect("valid"),
    }
}

const SECOND: Duration = Duration::from_secs(1);

#[test]
fn paths_are_encoded() {
    let (_dir, path, thread) = answering(b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n");
    assert_eq!(Coild::new(&path, SECOND).release(&attachment()).expect("404 is done"), None);
    let request = thread.join().expect("server");
    let line = "DELETE /ip/my%20team%2F%C3%BC/../50%25%2Ba~b?interface=net%3F1 HTTP/1.1\r\n";
    assert!(request.starts_with(line), "{request}");
}

#[test]
fn addresses_are_read() {
    let (_dir, path, thread) = answering(
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n\
          8c\r\n{\"address\":\"10.0.0.5\",\"prefix\":32,\"pool\":\"default\",\"status\":200,\"extra\":1,\
          \"addresses\":[{\"address\":\"10.0.0.5\",\"prefix\":32,\"pool\":\"default\"}]}\r\n0\r\n\r\n",
    );
    let reply = Coild::new(&path, SECOND).lookup(&attachment()).expect("reply").expect("held");
    assert_eq!(reply.addresses, [reply.first]);
    assert!(thread.join().expect("server").starts_with("GET /ip/"));
}

#[test]
fn refusals_carry_the_text_of_coild() {
    let text = |reply: &'static [u8]| {
        let (_dir, path, thread) = answering(reply);
        let error = Coild::new(&path, SECOND).ready(&Family::BOTH, Some(&PoolName::default_pool()));
        let request = thread.join().expect("server");
        assert!(request.starts_with("GET /readyz?address-type=ipv4,ipv6&pool=default HTTP/1.1"), "{request}");
        error.expect_err("refused").to_string()
    };
    let reply = b"HTTP/1.1 503 x\r\nContent-Length: 33\r\n\r\n{\"error\":\"pool x: \",\"status\":503}";
    assert_eq!(text(reply), "coild: pool x: ");
    assert_eq!(text(b"HTTP/1.1 502 x\r\n\r\nBad Gateway\n"), "coild: HTTP status 502: Bad Gateway");
}

#[test]
fn failures_name_the_socket() {
    let dir = tempfile::tempdir().expect("directory");
    let path = dir.path().join("none.sock");
    let error = Coild::new(&path, SECOND).release(&attachment()).expect_err("nobody there");
    assert!(matches!(&error, ClientError::Unreachable { socket, .. } if *socket == path), "{error:?}");
    let long = PathBuf::from(format!("/{}", "x".repeat(200)));
    let error = Coild::new(&long, SECOND).release(&attachment()).expect_err("too long");
    assert!(matches!(error, ClientError::Unreachable { .. }), "{error:?}");
    let (_dir, path, thread) = answering(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n[]");
    let error = Coild::new(&path, SECOND).release(&attachment()).expect_err("not the API");
    assert!(error.to_string().starts_with("the reply of coild to DELETE /ip/"), "{error}");
    thread.join().expect("server");
    let (_dir, path, thread) = answering(b"");
    let error = Coild::new(&path, SECOND).release(&attachment()).expect_err("no reply");
    assert!(matches!(error, ClientError::Broken { source: HttpError::Truncated, .. }), "{error:?}");
    thread.join().expect("server");
}

#[test]
fn silence_and_full_queues_time_out() {
    let dir = tempfile::tempdir().expect("directory");
    let path = dir.path().join("c.sock");
    let listener = socket(AddressFamily::Unix, SockType::Stream, SockFlag::empty(), None).expect("socket");
    bind(listener.as_raw_fd(), &UnixAddr::new(&path).expect("address")).expect("bind");
    listen(&listener, Backlog::new(1).expect("backlog")).expect("listen");
    let short = Duration::from_millis(30);
    // Nobody accepts: the first connections wait in the queue, one finds no room in it.
    let mut waiting = Vec::new();
    let refused = loop {
        match super::socket::connect(&path, short) {
            Ok(stream) => waiting.push(stream),
            Err(error) => break error,
        }
    };
    assert_eq!((refused.kind(), waiting.len()), (io::ErrorKind::WouldBlock, 2));
    let error = Coild::new(&path, short).release(&attachment()).expect_err("nobody answers");
    assert!(matches!(error, ClientError::TimedOut { .. }), "{error:?}");
    let quiet = dir.path().join("quiet.sock");
    let _quiet = UnixListener::bind(&quiet).expect("bind");
    let error = Coild::new(&quiet, short).release(&attachment()).expect_err("nobody answers");
    assert!(matches!(error, ClientError::TimedOut { .. }), "{error:?}");
}
