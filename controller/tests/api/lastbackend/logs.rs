//! The output of containers.

use crate::engine::OneLog;
use crate::fixture::Api;
use axum::body::Body;
use axum::http::Request;
use common::server::Peer;
use common::store::Store;
use controller::api::Context;
use controller::auth::Authentication;
use controller::lastbackend::Platform;
use http_body_util::BodyExt;
use std::io::Write;
use std::sync::Arc;
use std::sync::atomic::Ordering;

/// Reads until there is this text, and answers all that came.
async fn until(body: &mut Body, text: &str) -> String {
    let mut got = String::new();
    while !got.contains(text) {
        let frame = body.frame().await.expect("goes on").expect("sent");
        got += std::str::from_utf8(frame.data_ref().expect("data")).expect("text");
    }
    got
}

/// Follows a log that grows, is set aside, and ends.
#[tokio::test]
async fn output_is_sent_as_it_comes() {
    let dir = tempfile::tempdir().expect("directory");
    let path = dir.path().join("0.log");
    let write = |text: &str| {
        let mut file = std::fs::File::options().create(true).append(true).open(&path).expect("opened");
        writeln!(file, "2016-10-06T00:17:09.669794202Z stdout F {text}").expect("written");
    };
    let engine = Arc::new(OneLog { container: "c1", path: path.clone(), ended: false.into() });
    let store: Arc<dyn Store> = Api::new().await.store;
    let (end, ending) = tokio::sync::watch::channel(false);
    let platform = Platform::new(Arc::clone(&store)).with_engine(engine.clone(), ending);
    let api = Api::of(Context::new(store, Authentication::default()).with_platform(platform));
    api.demo().await;
    let open = async |query: &str| {
        let uri = format!("/namespace/demo/service/web/logs{query}");
        let request = Request::get(uri).body(Body::empty()).expect("request");
        let response = api.send(Peer::Process { uid: 0, gid: 0, pid: None }, request).await;
        assert_eq!(response.status(), 200);
        response.into_body()
    };
    write("one");
    let mut readers = [open("").await, open("?pod=web-0&container=c1").await];
    for reader in &mut readers {
        assert_eq!(until(reader, "one").await, "one\n");
    }
    write("two");
    std::fs::rename(&path, dir.path().join("0.log.1")).expect("set aside");
    write("three");
    for reader in &mut readers {
        assert_eq!(until(reader, "three").await, "two\nthree\n");
    }
    let all = open("?follow=false").await.collect().await.expect("ends").to_bytes();
    assert_eq!(all, "one\ntwo\nthree\n");
    write("last words");
    engine.ended.store(true, Ordering::SeqCst);
    let [first, second] = readers;
    assert_eq!(first.collect().await.expect("ends").to_bytes(), "last words\n");
    drop(second);
    assert_eq!(Arc::strong_count(&engine), 2, "nobody follows it any more");
    engine.ended.store(false, Ordering::SeqCst);
    let endless = open("").await;
    end.send(true).expect("somebody listens");
    endless.collect().await.expect("the controller ends");
}
