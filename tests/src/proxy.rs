//! A TCP proxy that makes a network slow: what it receives it passes on after a while.

use anyhow::{Context, Result};
use std::io::{Read, Write};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

/// A proxy for one server on this machine, which ends when dropped.
#[derive(Debug)]
pub struct Proxy {
    address: SocketAddr,
    over: Arc<AtomicBool>,
}

impl Proxy {
    /// Starts a proxy for the server at this URL; every byte takes this long, in either direction.
    pub fn start(url: &str, delay: Duration) -> Result<Self> {
        let server: SocketAddr = url.strip_prefix("http://").context("a plain URL")?.parse()?;
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
        let (address, over) = (listener.local_addr()?, Arc::new(AtomicBool::new(false)));
        let ended = Arc::clone(&over);
        std::thread::spawn(move || {
            for client in listener.incoming().flatten() {
                if ended.load(Ordering::Relaxed) {
                    return;
                }
                // A client whose server is away sees its connection end.
                let _ = TcpStream::connect(server).and_then(|server| join(&client, &server, delay));
            }
        });
        Ok(Self { address, over })
    }

    /// Where it listens.
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.over.store(true, Ordering::Relaxed);
        // Wakes the thread that accepts.
        let _ = TcpStream::connect(self.address);
    }
}

fn join(client: &TcpStream, server: &TcpStream, delay: Duration) -> std::io::Result<()> {
    for stream in [client, server] {
        stream.set_nodelay(true)?;
    }
    pass(client.try_clone()?, server.try_clone()?, delay);
    pass(server.try_clone()?, client.try_clone()?, delay);
    Ok(())
}

/// Passes on what one side sends to the other, until one of them closes.
fn pass(mut from: TcpStream, to: TcpStream, delay: Duration) {
    let (queue, late) = channel();
    std::thread::spawn(move || deliver(&late, to));
    std::thread::spawn(move || {
        let mut bytes = [0; 16 << 10];
        while let Ok(count @ 1..) = from.read(&mut bytes) {
            if queue.send((Instant::now() + delay, bytes[..count].to_vec())).is_err() {
                return;
            }
        }
    });
}

#[expect(clippy::disallowed_methods, reason = "a slow network is made of time")]
fn deliver(late: &Receiver<(Instant, Vec<u8>)>, mut to: TcpStream) {
    for (due, bytes) in late {
        std::thread::sleep(due.saturating_duration_since(Instant::now()));
        if to.write_all(&bytes).is_err() {
            break;
        }
    }
    let _ = to.shutdown(Shutdown::Both);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_arrive_late_and_whole() -> Result<()> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
        let delay = Duration::from_millis(50);
        let proxy = Proxy::start(&format!("http://{}", listener.local_addr()?), delay)?;
        let mut client = TcpStream::connect(proxy.address)?;
        let (mut server, _) = listener.accept()?;
        let start = Instant::now();
        client.write_all(b"hello")?;
        let mut bytes = [0; 5];
        server.read_exact(&mut bytes)?;
        assert_eq!(&bytes, b"hello");
        assert!(start.elapsed() >= delay);
        drop(client);
        assert_eq!(server.read(&mut bytes)?, 0, "the end comes through");
        Ok(())
    }
}
