//! `coilctl apply`: makes what files describe, and changes what exists to match.
//!
//! * [`manifest`]: the files
//! * [`pool`], [`namespace`], [`platform`]: what differs, and the requests that change it

mod manifest;
mod namespace;
mod platform;
mod pool;

use crate::client::{Client, Target};
use crate::exit::Failure;
use crate::output::Output;
use clap::Args;
use hyper::{Method, StatusCode};
use manifest::Manifest;
use serde::de::DeserializeOwned;
use serde::{Serialize, Serializer};
use std::fmt::Display;
use std::io::{self, Read, Write};

/// Make the pools, namespaces and services that a file describes, and change those that exist to match.
///
/// The file has YAML documents, separated by `---`, each with a `kind`: `Pool`, `NamespacePool`, `ServicePool`,
/// `Namespace` or `Service`. They are dealt with in their order. Nothing is changed if the file is malformed; what it does not mention stays as it is.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  coilctl apply -f pools.yaml --dry-run\n  coilctl apply -f - <<EOF\n  kind: NamespacePool\n  \
                  namespace: team\n  name: web\n  subnet: 192.168.1.0/24\n  start: 192.168.1.5\n  end: 192.168.1.24\n  gateway: \
                  192.168.1.1\n  vlan: 100\n  EOF\n\nExit codes besides those of all commands: 6 for a dry run that finds \
                  differences."
)]
pub(crate) struct Apply {
    /// The file; `-` is the standard input
    #[arg(short, long, value_name = "FILE")]
    filename: String,
    /// Change nothing, and show what would be changed
    #[arg(long)]
    dry_run: bool,
}

/// What a document and the controller differ in, and how that is changed.
struct Planned {
    /// What it is about, for a person.
    what: String,
    exists: bool,
    differences: Vec<Difference>,
    requests: Vec<Request>,
}

/// A field that is not as it should be.
#[derive(Debug, Serialize)]
struct Difference {
    field: String,
    /// As it is; absent if there is nothing yet.
    #[serde(skip_serializing_if = "Option::is_none")]
    before: Option<String>,
    after: String,
}

struct Request {
    method: Method,
    target: Target,
    body: Option<serde_json::Value>,
}

/// What was done with a document, or would be.
#[derive(Serialize)]
struct Done {
    object: String,
    #[serde(serialize_with = "word")]
    action: Action,
    differences: Vec<Difference>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Action {
    Create,
    Change,
    Nothing,
}

impl Action {
    fn word(self) -> &'static str {
        match self {
            Self::Create => "created",
            Self::Change => "changed",
            Self::Nothing => "unchanged",
        }
    }
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde's form")]
fn word<S: Serializer>(action: &Action, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(action.word())
}

impl Planned {
    fn new(what: String) -> Self {
        Self { what, exists: true, differences: Vec::new(), requests: Vec::new() }
    }

    /// Notes what a field is, and is to be; says whether that is not the same.
    fn differs(&mut self, field: &str, before: &dyn Display, after: &dyn Display) -> bool {
        let (before, after) = (before.to_string(), after.to_string());
        let differs = before != after;
        if differs {
            self.differences.push(Difference { field: field.to_owned(), before: Some(before), after });
        }
        differs
    }

    /// Refuses a difference in a field that never changes.
    fn must_be(&self, field: &str, before: &dyn Display, after: &dyn Display) -> Result<(), Failure> {
        let (before, after) = (before.to_string(), after.to_string());
        if before == after {
            return Ok(());
        }
        let what = &self.what;
        Err(Failure::Usage(format!(
            "{what}: {field} is {before}, and can't be changed to {after}: delete the pool and apply the file again"
        )))
    }

    fn request(&mut self, method: Method, target: Target, body: Option<serde_json::Value>) {
        self.requests.push(Request { method, target, body });
    }

    /// It does not exist, and is made by this request.
    fn create(mut self, target: Target, body: &impl Serialize) -> Result<Self, Failure> {
        self.exists = false;
        let body = json(body)?;
        for (field, after) in body.as_object().into_iter().flatten() {
            let after = after.as_str().map_or_else(|| after.to_string(), str::to_owned);
            self.differences.push(Difference { field: field.clone(), before: None, after });
        }
        self.request(Method::POST, target, Some(body));
        Ok(self)
    }

    fn action(&self) -> Action {
        match (self.exists, self.requests.is_empty()) {
            (false, _) => Action::Create,
            (true, false) => Action::Change,
            (true, true) => Action::Nothing,
        }
    }
}

impl Apply {
    pub(crate) async fn run(self, client: &Client, output: Output) -> Result<(), Failure> {
        let malformed = |error: String| Failure::Usage(format!("{}: {error}", self.filename));
        let text = self.read().map_err(|error| malformed(error.to_string()))?;
        let manifests = manifest::parse(&text).map_err(malformed)?;
        if manifests.is_empty() {
            return Err(Failure::Usage(format!("{} has no document", self.filename)));
        }
        let mut done = Vec::new();
        let outcome = self.apply_all(client, &manifests, &mut done).await;
        output.print(&done, |out| write(out, &done, self.dry_run))?;
        outcome?;
        let differs = done.iter().any(|done| done.action != Action::Nothing);
        if self.dry_run && differs { Err(Failure::Differs) } else { Ok(()) }
    }

    fn read(&self) -> io::Result<String> {
        if self.filename == "-" {
            let mut text = String::new();
            io::stdin().read_to_string(&mut text)?;
            return Ok(text);
        }
        std::fs::read_to_string(&self.filename)
    }

    /// Deals with one document after the other; those dealt with are in `done`.
    async fn apply_all(
        &self,
        client: &Client,
        manifests: &[Manifest],
        done: &mut Vec<Done>,
    ) -> Result<(), Failure> {
        for manifest in manifests {
            let planned = match manifest {
                Manifest::Pool(pool) => pool::plan(client, pool).await?,
                Manifest::NamespacePool(pool) => namespace::plan_namespace_pool(client, pool).await?,
                Manifest::ServicePool(pool) => namespace::plan_service_pool(client, pool).await?,
                Manifest::Namespace(namespace) => platform::plan_namespace(client, namespace).await?,
                Manifest::Service(service) => platform::plan_service(client, service).await?,
            };
            let action = planned.action();
            let Planned { what, differences, requests, .. } = planned;
            for Request { method, target, body } in requests.into_iter().filter(|_| !self.dry_run) {
                let sent = client.send::<_, serde_json::Value>(method, target, body.as_ref()).await;
                sent.map_err(|failure| failure.about(&what))?;
            }
            done.push(Done { object: what, action, differences });
        }
        Ok(())
    }
}

/// What there is at a path, if there is anything.
async fn find<T: DeserializeOwned>(client: &Client, target: Target) -> Result<Option<T>, Failure> {
    match client.get(target).await {
        Ok(found) => Ok(Some(found)),
        Err(Failure::Refused { status: StatusCode::NOT_FOUND, .. }) => Ok(None),
        Err(failure) => Err(failure),
    }
}

fn json(body: &impl Serialize) -> Result<serde_json::Value, Failure> {
    serde_json::to_value(body).map_err(|error| Failure::Usage(error.to_string()))
}

/// Adds that a pool is disabled, or enabled, if it says which and is not. `target` is where that is done.
fn disable(planned: &mut Planned, now: bool, wanted: Option<bool>, target: Target) {
    let Some(wanted) = wanted else { return };
    if planned.differs("disabled", &now, &wanted) {
        planned.request(if wanted { Method::PUT } else { Method::DELETE }, target, None);
    }
}

fn write(out: &mut dyn Write, done: &[Done], dry_run: bool) -> io::Result<()> {
    for Done { object, action, differences } in done {
        let would = if dry_run && *action != Action::Nothing { "would be " } else { "" };
        writeln!(out, "{object}: {would}{}", action.word())?;
        for Difference { field, before, after } in differences {
            match before {
                Some(before) => writeln!(out, "  {field}: {before} -> {after}")?,
                None => writeln!(out, "  {field}: {after}")?,
            }
        }
    }
    Ok(())
}
