//! coild's REST API under hostile input: methods, paths, bodies, characters.

use crate::rest::failure;
use anyhow::{Context, Result};
use coil_tests::cluster::Cluster;
use coil_tests::coild::request;
use serde_json::json;
use std::fmt::Write as _;
use std::io::Write as _;
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

const POOL: &str = "--subnet 10.64.0.0/16";

#[test]
fn wrong_methods_and_paths() -> Result<()> {
    let cluster = Cluster::start(POOL)?;
    let coild = cluster.coild("n1", &[])?;
    let http = coild.http();
    for (path, methods) in [
        ("/ip", ["GET", "PUT", "DELETE", "PATCH"]),
        ("/status", ["POST", "PUT", "DELETE", "PATCH"]),
        ("/ip/ns/pod/id", ["POST", "PUT", "PATCH", "BREW"]),
        ("/gc", ["GET", "PUT", "DELETE", "PATCH"]),
        ("/metrics", ["POST", "PUT", "DELETE", "PATCH"]),
    ] {
        for method in methods {
            failure(&http.send(method, path, b"{}")?, 405).with_context(|| format!("{method} {path}"))?;
        }
    }
    for path in
        ["/", "/ip/", "/ip/ns", "/ip/ns/pod", "/ip/ns/pod/id/more", "/statusx", "/Status", "/v1", "//"]
    {
        failure(&http.get(path)?, 404).with_context(|| path.to_owned())?;
    }
    for path in
        ["/ip//pod/id", "/ip/ns//id", "/ip/ns/pod/", "/ip/ns/pod/%ff", "/ip/ns/pod/id?interface=a%2fb"]
    {
        failure(&http.get(path)?, 400).with_context(|| path.to_owned())?;
        failure(&http.delete(path)?, 400).with_context(|| path.to_owned())?;
    }
    Ok(())
}

#[test]
fn malformed_bodies_change_nothing() -> Result<()> {
    let cluster = Cluster::start("--subnet 10.64.0.0/16 --subnet fd00:64::/64")?;
    let coild = cluster.coild("n1", &[])?;
    let deep = "[".repeat(100_000);
    let mut bodies: Vec<Vec<u8>> =
        ["", " ", "null", "[]", "1", "\"text\"", "{", "{}", "{}}", "{\"a\":}", &deep]
            .map(|text| text.as_bytes().to_vec())
            .to_vec();
    bodies.push(b"{\"pod-namespace\": \"\xff\", \"pod-name\": \"p\", \"container-id\": \"c\"}".to_vec());
    bodies.push([request("c").to_string().as_bytes(), b"x"].concat());
    for field in ["pod-namespace", "pod-name", "container-id"] {
        for wrong in [json!(""), json!(1), json!(null), json!([]), json!({}), json!("a\u{0}b"), json!("a\nb")]
        {
            let mut body = request("c");
            body[field] = wrong;
            bodies.push(body.to_string().into_bytes());
        }
        let mut body = request("c");
        body.as_object_mut().context("an object")?.remove(field);
        bodies.push(body.to_string().into_bytes());
    }
    for (field, wrong) in [
        ("address-type", json!("ipv5")),
        ("address-type", json!("")),
        ("address-type", json!(4)),
        ("address-types", json!("ipv4")),
        ("address-types", json!(["ipv4", "x"])),
        ("interface", json!("a/b")),
        ("interface", json!("sixteen-letters-")),
        ("interface", json!("")),
        ("pool", json!("Upper")),
        ("pool", json!("../x")),
        ("address", json!("10.64.0.256")),
        ("address", json!("fd00::1")),
        ("address", json!("192.0.2.1")),
        ("addresses", json!(["10.64.0.1", "10.64.0.2"])),
    ] {
        let mut body = request("c");
        body[field] = wrong;
        bodies.push(body.to_string().into_bytes());
    }
    for body in bodies {
        let reply = coild.http().send("POST", "/ip", &body)?;
        let start = String::from_utf8_lossy(&body[..body.len().min(120)]).into_owned();
        failure(&reply, 400).with_context(|| format!("POST {start}"))?;
    }
    assert!(coild.status()?.attachments.is_empty());
    Ok(())
}

#[test]
fn errors_name_the_field() -> Result<()> {
    let cluster = Cluster::start(POOL)?;
    let coild = cluster.coild("n1", &[])?;
    for (field, wrong) in [
        ("pod-name", json!("")),
        ("container-id", json!(1)),
        ("address-type", json!("ipv5")),
        ("interface", json!("a/b")),
        ("pool", json!("Upper")),
        ("address", json!("10.65.0.1")),
    ] {
        let mut body = request("c");
        body[field] = wrong;
        let error = failure(&coild.http().post("/ip", &body)?, 400)?;
        assert!(error.contains(field), "{error:?} does not name {field}");
    }
    Ok(())
}

#[test]
fn huge_and_broken_requests_do_no_harm() -> Result<()> {
    let cluster = Cluster::start(POOL)?;
    let coild = cluster.coild("n1", &[])?;
    let http = coild.http();
    let huge = http.send("POST", "/ip", &vec![b' '; 8 << 20])?;
    assert!(matches!(huge.status, 400 | 413), "{}: {}", huge.status, huge.text());
    let mut long = request("c");
    long["pod-name"] = json!("x".repeat(100_000));
    failure(&http.post("/ip", &long)?, 400)?;
    let path = http.get(&format!("/ip/ns/pod/{}", "x".repeat(200_000)));
    assert!(path.is_err() || path.is_ok_and(|reply| matches!(reply.status, 400..=499)));
    for garbage in [
        "\r\n\r\n",
        "nonsense\r\n\r\n",
        "GET /status HTTP/9.9\r\n\r\n",
        "GET /status HTTP/1.1\r\n\r\n",
        "POST /ip HTTP/1.1\r\nHost: x\r\nContent-Length: -1\r\n\r\n",
        "POST /ip HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n{}",
        "POST /ip HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\nConnection: close\r\n\r\nzz\r\n",
        "\x16\x03\x01\x02\x00\x01\x00",
    ] {
        // Whatever it answers, or nothing: the next request must be served.
        let request = format!("{garbage}{}", "\r\n".repeat(2));
        if let Ok(reply) = http.raw_and_close(request.as_bytes()) {
            assert_ne!(reply.status / 100, 5, "{garbage:?}: {}", reply.text());
        }
        http.get("/healthz")?.expect(200)?;
    }
    assert!(coild.status()?.attachments.is_empty());
    Ok(())
}

#[test]
fn clients_that_say_nothing_hold_nobody_up() -> Result<()> {
    let cluster = Cluster::start(POOL)?;
    let coild = cluster.coild("n1", &[])?;
    let silent: Vec<UnixStream> =
        (0..300).map(|_| UnixStream::connect(coild.socket())).collect::<Result<_, _>>()?;
    for (n, mut stream) in silent.iter().enumerate() {
        // Some have begun a request that they never finish.
        stream.write_all(&b"POST /ip HTTP/1.1\r\nHost: x\r\nContent-Length: 99\r\n\r\n{"[..n % 51])?;
    }
    let start = Instant::now();
    for n in 0..20 {
        coild.allocate(&format!("c{n}"))?;
    }
    assert!(start.elapsed() < Duration::from_secs(5), "took {:?}", start.elapsed());
    drop(silent);
    assert_eq!(coild.status()?.pods.len(), 20);
    Ok(())
}

#[test]
fn any_text_can_name_a_pod() -> Result<()> {
    let cluster = Cluster::start(POOL)?;
    let coild = cluster.coild("n1", &[])?;
    let names = [
        "my pod",
        "50%",
        "%41",
        "a+b",
        "a/b",
        "a?b=c",
        "a#b",
        "..",
        ".",
        "ポッド",
        "\"quoted\"",
        "a&b",
        "ü\\",
    ];
    for name in names {
        let body = json!({"pod-namespace": name, "pod-name": name, "container-id": name});
        let given = coild.http().post("/ip", &body)?.expect(200).with_context(|| name.to_owned())?.json()?;
        let path = format!("/ip/{0}/{0}/{0}", encode(name));
        let found = coild.http().get(&path)?.expect(200).with_context(|| name.to_owned())?.json()?;
        assert_eq!(found["address"], given["address"], "{name}");
    }
    let status = coild.status()?;
    for name in names {
        assert!(status.pods.contains_key(name), "{name} did not come back as it was");
        let freed = coild.http().delete(&format!("/ip/{0}/{0}/{0}", encode(name)))?.expect(200)?.json()?;
        assert_ne!(freed["address"], json!(""), "{name}");
    }
    assert!(coild.status()?.attachments.is_empty());
    Ok(())
}

fn encode(text: &str) -> String {
    text.bytes().fold(String::new(), |mut path, byte| {
        let _ = write!(path, "%{byte:02X}");
        path
    })
}
