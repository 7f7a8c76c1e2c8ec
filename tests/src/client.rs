//! A client of a node whose questions and answers are recorded.

use crate::coild::{Coild, path};
use crate::history::{Answer, Call, History, Moment};
use crate::http::{Failure, Http, Reply};
use anyhow::{Result, bail};
use common::wire::node::{AddressReply, CollectReply, ReleaseReply, StatusReply};
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

/// The CNI network of all containers of recorded clients.
const NETWORK: &str = "net";

/// A client of one node.
#[derive(Debug, Clone)]
pub struct Client<'a> {
    node: String,
    http: Http,
    history: &'a History,
}

/// What the client learned of an answer; it is recorded already. An answer that no node may give is an error.
pub type Outcome = Result<Answer>;

impl<'a> Client<'a> {
    /// A client of this node, which need not run yet.
    pub fn new(coild: &Coild, history: &'a History) -> Self {
        Self { node: coild.node().to_owned(), http: coild.http(), history }
    }

    /// The node that it asks.
    pub fn node(&self) -> &str {
        &self.node
    }

    /// Asks for an address of each of these families (`ipv4`, `ipv6`).
    pub fn add(&self, container: &str, families: &[&str]) -> Outcome {
        self.ask(container, &body(container, families))
    }

    /// Asks for this address and no other.
    pub fn add_exactly(&self, container: &str, address: IpAddr) -> Outcome {
        let mut body = body(container, &[]);
        body["address"] = json!(address);
        self.ask(container, &body)
    }

    fn ask(&self, container: &str, body: &Value) -> Outcome {
        let question = self.history.asked(&self.node, Call::Add(container.to_owned()));
        let reply = self.http.try_send("POST", "/ip", body.to_string().as_bytes());
        self.note(question, &reply, |reply| {
            Ok(match reply.status {
                200 => Answer::Given(given(reply)?),
                409 => Answer::Taken,
                // Nothing is free, or it could not be made durable.
                500 | 503 => Answer::Refused,
                408 => Answer::GaveUp,
                status => bail!("POST for {container}: {status} {}", reply.text()),
            })
        })
    }

    /// Frees what a container holds.
    pub fn del(&self, container: &str) -> Outcome {
        let question = self.history.asked(&self.node, Call::Del(container.to_owned()));
        let reply = self.http.try_send("DELETE", &path(container), b"");
        self.note(question, &reply, |reply| {
            Ok(match reply.status {
                200 => Answer::Freed(reply.parse::<ReleaseReply>()?.addresses),
                500 => Answer::Refused,
                408 => Answer::GaveUp,
                status => bail!("DELETE for {container}: {status} {}", reply.text()),
            })
        })
    }

    /// Asks what a container holds.
    pub fn check(&self, container: &str) -> Outcome {
        let question = self.history.asked(&self.node, Call::Check(container.to_owned()));
        let reply = self.http.try_send("GET", &path(container), b"");
        self.note(question, &reply, |reply| {
            Ok(match reply.status {
                200 => Answer::Given(given(reply)?),
                404 => Answer::Seen(BTreeMap::new()),
                408 | 500 => Answer::Refused,
                status => bail!("GET for {container}: {status} {}", reply.text()),
            })
        })
    }

    /// Says that of all containers only these are left.
    pub fn collect(&self, valid: &BTreeSet<String>) -> Outcome {
        let question = self.history.asked(&self.node, Call::Collect(valid.clone()));
        let valid: Vec<Value> =
            valid.iter().map(|container| json!({"container-id": container, "interface": "eth0"})).collect();
        let body = json!({"network": NETWORK, "valid-attachments": valid});
        let reply = self.http.try_send("POST", "/gc", body.to_string().as_bytes());
        self.note(question, &reply, |reply| {
            Ok(match reply.status {
                200 => Answer::Freed(reply.parse::<CollectReply>()?.freed),
                500 => Answer::Refused,
                408 => Answer::GaveUp,
                status => bail!("POST /gc: {status} {}", reply.text()),
            })
        })
    }

    /// Asks who holds what.
    pub fn status(&self) -> Outcome {
        let question = self.history.asked(&self.node, Call::Status);
        let reply = self.http.try_send("GET", "/status", b"");
        self.note(question, &reply, |reply| {
            Ok(match reply.status {
                200 => Answer::Seen(seen(&reply.parse()?)),
                408 | 500 => Answer::Refused,
                status => bail!("GET /status: {status} {}", reply.text()),
            })
        })
    }

    /// Sends an ADD, or the beginning of one, and goes away.
    pub fn vanish(&self, container: &str, bytes: usize) -> Outcome {
        let question = self.history.asked(&self.node, Call::Add(container.to_owned()));
        let body = body(container, &["ipv4"]).to_string();
        let head = format!("POST /ip HTTP/1.1\r\nHost: test\r\nContent-Length: {}\r\n\r\n", body.len());
        let request = [head.as_bytes(), body.as_bytes()].concat();
        let answer = match self.http.send_and_leave(&request[..bytes.min(request.len())]) {
            Err(Failure::NotSent(_)) => Answer::Refused,
            _ => Answer::GaveUp,
        };
        self.history.answered(question, answer.clone());
        Ok(answer)
    }

    fn note(
        &self,
        question: Moment,
        reply: &Result<Reply, Failure>,
        read: impl FnOnce(&Reply) -> Result<Answer>,
    ) -> Outcome {
        let answer = match reply {
            Ok(reply) => read(reply),
            Err(Failure::NotSent(_)) => Ok(Answer::Refused),
            Err(Failure::Broken(_)) => Ok(Answer::Broken),
            Err(Failure::TimedOut(_)) => Ok(Answer::GaveUp),
        };
        self.history.answered(question, answer.as_ref().cloned().unwrap_or(Answer::GaveUp));
        answer
    }
}

fn body(container: &str, families: &[&str]) -> Value {
    json!({
        "pod-namespace": "ns", "pod-name": container, "container-id": container, "network": NETWORK,
        "address-types": families,
    })
}

fn given(reply: &Reply) -> Result<Vec<IpAddr>> {
    let reply: AddressReply = reply.parse()?;
    Ok(reply.addresses.into_iter().map(|given| given.address).collect())
}

/// Who holds what, by container.
fn seen(status: &StatusReply) -> BTreeMap<String, Vec<IpAddr>> {
    let mut held: BTreeMap<String, Vec<IpAddr>> = BTreeMap::new();
    for attachment in &status.attachments {
        held.entry(attachment.container_id.as_str().to_owned()).or_default().push(attachment.address);
    }
    held
}
