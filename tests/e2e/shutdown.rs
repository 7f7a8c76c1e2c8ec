//! SIGTERM under load: no request is cut off, and the mirror is up to date afterwards.

use anyhow::{Context, Result, bail, ensure};
use coil_tests::client::Client;
use coil_tests::cluster::{Cluster, held};
use coil_tests::history::Answer;
use nix::sys::signal::Signal;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::os::unix::net::UnixStream;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

const CLIENTS: usize = 8;

#[test]
fn no_request_is_cut_off() -> Result<()> {
    let cluster = Cluster::start("--subnet 10.64.0.0/16")?;
    let mut coild = cluster.coild("n1", &["--log", "warn"])?;
    let (history, answers) = (cluster.history()?, AtomicUsize::new(0));
    let client = Client::new(&coild, &history);
    std::thread::scope(|scope| -> Result<()> {
        let (client, answers) = (&client, &answers);
        let add_until_closed = move |number: usize| -> Result<()> {
            for n in 0.. {
                match client.add(&format!("c{number}-{n}"), &["ipv4"])? {
                    Answer::Given(_) => answers.fetch_add(1, Ordering::Relaxed),
                    Answer::Refused | Answer::Broken => return Ok(()),
                    other => bail!("{other:?}"),
                };
            }
            Ok(())
        };
        let clients: Vec<_> = (0..CLIENTS).map(|n| scope.spawn(move || add_until_closed(n))).collect();
        let enough = || Ok(answers.load(Ordering::Relaxed) > 100);
        coil_tests::wait::wait_until("load", Duration::from_secs(20), enough)?;
        let status = coild.stop()?;
        ensure!(status.success(), "{status}");
        for client in clients {
            client.join().map_err(|_| anyhow::anyhow!("a client panicked"))??;
        }
        Ok(())
    })?;
    let mirror = cluster.mirror("n1")?;
    coild.run()?;
    let status = coild.status()?;
    assert_eq!(mirror, held(&status), "the mirror was not flushed");
    client.status()?;
    history.check()?;
    // A request whose connection was refused has not happened.
    let answers = answers.into_inner();
    ensure!(status.pods.len() == answers, "an address was given without an answer");
    Ok(())
}

#[test]
fn the_socket_is_for_root_alone_unless_a_group_is_named() -> Result<()> {
    let cluster = Cluster::start("--subnet 10.64.0.0/16")?;
    let mut coild = cluster.coild("n1", &[])?;
    let socket = std::fs::metadata(coild.socket())?;
    assert!(socket.file_type().is_socket());
    assert_eq!(socket.mode() & 0o777, 0o600);
    coild.stop()?;
    let mut grouped = cluster.node("n2")?.with(&["--socket-group", "daemon"]);
    grouped.run()?;
    let socket = std::fs::metadata(grouped.socket())?;
    assert_eq!((socket.mode() & 0o777, socket.gid()), (0o660, 1));
    Ok(())
}

#[test]
fn a_socket_left_behind_is_replaced_and_a_live_one_is_not() -> Result<()> {
    let cluster = Cluster::start("--subnet 10.64.0.0/16")?;
    let mut coild = cluster.coild("n1", &[])?;
    coild.kill()?;
    assert!(coild.socket().exists());
    coild.run()?;
    let socket = coild.socket().display().to_string();
    let mut other = cluster.node("n2")?.with(&["--log", "info"]);
    std::os::unix::fs::symlink(&socket, other.socket())?;
    let status = other.spawn()?.wait(Duration::from_secs(20))?;
    assert!(!status.success(), "two daemons on one socket");
    UnixStream::connect(coild.socket()).context("the first one's socket is gone")?;
    coild.signal(Signal::SIGINT)?;
    assert!(coild.process()?.wait(Duration::from_secs(20))?.success());
    Ok(())
}
