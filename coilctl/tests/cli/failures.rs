//! How commands fail: the text, and the exit code.

use crate::fixture::{Controller, coilctl, text};
use std::io::{Read, Write};
use std::net::TcpListener;
use std::process::Stdio;

#[test]
fn what_the_controller_refuses_is_1() {
    let controller = Controller::start();
    controller.ok("pool create default --subnet 10.64.0.0/16");
    controller.register("node-a", true);
    controller.lease("node-a", "default", "10.64.0.0", &[]);
    for (line, reason) in [
        ("pool create default --subnet 10.65.0.0/16", "pool default exists already"),
        ("pool create b --subnet 10.64.1.0/24", "overlaps 10.64.0.0/16 of pool default"),
        ("pool create b --subnet 10.65.0.1/24", "did you mean 10.65.0.0/24"),
        ("pool show b", "there is no pool b; `coilctl pool list`"),
        (
            "pool delete default",
            "1 block is leased by node-a in pool default: run `coilctl pool disable default`",
        ),
        ("pool remove-subnet default 10.64.0.0/16", "is the last subnet"),
        ("node show b", "there is no node b"),
        ("node remove node-a", "node node-a is alive"),
        ("block list --node b", "there is no node b"),
        ("address show 10.9.9.9", "10.9.9.9 is in no pool"),
        ("address free 10.64.0.1", "nobody holds 10.64.0.1"),
    ] {
        let error = controller.fails(1, line);
        assert!(error.starts_with("coilctl: ") && error.contains(reason), "{line}: {error}");
        assert_eq!(error.lines().count(), 1, "{error}");
    }
}

#[test]
fn wrong_usage_is_2() {
    let controller = Controller::start();
    for (line, reason) in [
        ("", "Usage: coilctl"),
        ("pool", "Usage: coilctl pool"),
        ("pool create", "<POOL>"),
        ("pool create default", "--subnet <CIDR>"),
        ("pool create Default --subnet 10.0.0.0/8", "pool name \"Default\" is malformed"),
        ("pool create default --subnet 10.0.0.0", "invalid value '10.0.0.0' for '--subnet"),
        ("pool create default --subnet 10.0.0.0/8 --block-size 300", "--block-size"),
        ("address show 10.0.0", "invalid IP address"),
        ("pool lisst", "unrecognized subcommand 'lisst'"),
        ("-o xml pool list", "possible values: table, json, yaml"),
        ("--timeout 5 pool list", "a time is a number with ms, s or m"),
        ("--server ftp://h pool list", "it starts with https://, http:// or unix:"),
        (
            "--config /nowhere/coilctl.toml pool list",
            "can't read the configuration file /nowhere/coilctl.toml",
        ),
    ] {
        let error = controller.fails(2, line);
        assert!(error.contains(reason), "{line}: {error}");
    }
}

#[test]
fn an_unreachable_controller_is_3() {
    let directory = tempfile::tempdir().expect("directory");
    let port =
        TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr()).expect("free").port();
    for server in [format!("unix:{}/none", directory.path().display()), format!("http://127.0.0.1:{port}")] {
        let output = coilctl().args(["--server", &server, "pool", "list"]).output().expect("started");
        let error = text(&output.stderr);
        assert_eq!(output.status.code(), Some(3), "{error}");
        assert!(error.contains(&format!("can't reach the controller at {server}: ")), "{error}");
        assert!(error.contains("--server or COIL_SERVER"), "{error}");
    }
}

#[test]
fn a_controller_that_does_not_answer_is_3() {
    let listener = TcpListener::bind("127.0.0.1:0").expect("free");
    let server = format!("http://{}", listener.local_addr().expect("address"));
    let output = coilctl()
        .args(["--server", &server, "--timeout", "200ms", "pool", "list"])
        .output()
        .expect("started");
    assert_eq!(output.status.code(), Some(3));
    assert!(text(&output.stderr).contains("no answer within 200ms"), "{}", text(&output.stderr));
}

#[test]
fn what_is_no_controller_is_4() {
    for answer in [
        "HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhello",
        "HTTP/1.1 404 Not Found\r\ncontent-length: 9\r\n\r\nnot found",
        "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}",
        "220 mail.example ESMTP\r\n",
    ] {
        let listener = TcpListener::bind("127.0.0.1:0").expect("free");
        let server = format!("http://{}", listener.local_addr().expect("address"));
        let peer = std::thread::spawn(move || {
            let (mut stream, _) = listener.accept().expect("connection");
            let mut request = [0; 1024];
            let _ = stream.read(&mut request).expect("request");
            stream.write_all(answer.as_bytes()).expect("answered");
        });
        let output = coilctl().args(["--server", &server, "pool", "list"]).output().expect("started");
        assert_eq!(output.status.code(), Some(4), "{answer}: {}", text(&output.stderr));
        assert!(text(&output.stderr).contains("Is it a coil-controller"), "{}", text(&output.stderr));
        peer.join().expect("peer");
    }
}

#[test]
fn accepted_but_not_done_is_5() {
    let controller = Controller::start();
    controller.ok("pool create default --subnet 10.64.0.0/16");
    controller.register("node-b", false);
    controller.lease("node-b", "default", "10.64.0.0", &[3]);
    let error = controller.fails(5, "address free 10.64.0.3");
    assert!(error.contains("node node-b is not alive: it will free 10.64.0.3 when it is back"), "{error}");
}

#[test]
fn the_server_comes_from_flags_environment_and_file() {
    let controller = Controller::start();
    let file = controller.dir.path().join("coilctl.toml");
    std::fs::write(&file, format!("server = '{}'\noutput = 'json'\n", controller.server())).expect("written");
    let run = |command: &mut std::process::Command| {
        let output = command.args(["pool", "list"]).output().expect("started");
        (output.status.code(), text(&output.stdout))
    };
    assert_eq!(run(coilctl().arg("--config").arg(&file)), (Some(0), "[]\n".to_owned()));
    assert_eq!(run(coilctl().env("COIL_CONFIG", &file)), (Some(0), "[]\n".to_owned()));
    let (code, table) = run(coilctl().env("COIL_SERVER", controller.server()));
    assert!(code == Some(0) && table.starts_with("no pools"), "{table}");
    let none = format!("unix:{}/none", controller.dir.path().display());
    assert_eq!(run(coilctl().env("COIL_CONFIG", &file).env("COIL_SERVER", &none)).0, Some(3));
    let mut flags = coilctl();
    flags.env("COIL_SERVER", &none).args(["--server", &controller.server(), "-o", "yaml"]);
    assert_eq!(run(&mut flags), (Some(0), "[]\n".to_owned()));
}

#[test]
fn a_reader_that_has_seen_enough_is_no_failure() {
    let controller = Controller::start();
    controller.ok("pool create default --subnet 10.0.0.0/8");
    controller.register("node-a", true);
    for block in 0..64_u32 {
        let first = std::net::Ipv4Addr::from_bits(0x0a00_0000 + block * 16).to_string();
        controller.lease("node-a", "default", &first, &(0..16).collect::<Vec<_>>());
    }
    let mut child = coilctl()
        .args(["--server", &controller.server(), "address", "list"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("started");
    drop(child.stdout.take());
    let output = child.wait_with_output().expect("ended");
    assert_eq!((output.status.code(), text(&output.stderr).as_str()), (Some(0), ""));
}
