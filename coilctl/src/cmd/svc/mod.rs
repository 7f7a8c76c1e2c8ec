//! `coilctl svc`
//!
//! * [`spec`]: the flags that say what its containers are
//! * [`show`]: what is printed

mod show;
mod spec;

use crate::client::{Client, Target};
use crate::exit::Failure;
use crate::output::Output;
use crate::table::plain;
use crate::watch::Watch;
use clap::{Args, Subcommand};
use common::wire::lastbackend::{Count, CreateService, ServiceView, UpdateService};
use hyper::Method;
use spec::Spec;

/// Services: containers that run in a namespace.
#[derive(Debug, Subcommand)]
pub(crate) enum Service {
    /// Make a service
    Create(Create),
    /// List the services of a namespace
    List(List),
    /// Show a service, and what runs of it
    Show(Show),
    /// Change a service; its pods are replaced one after the other
    Update(Update),
    /// Give a service more pods, or fewer
    Scale(Scale),
    /// Print the output of a container
    Logs(Logs),
    /// Remove a service; it stays until its pods are gone
    Rm(Name),
}

/// Which service.
#[derive(Debug, Args)]
pub(crate) struct Name {
    /// Namespace of the service
    namespace: String,
    /// Name of the service
    name: String,
}

/// Make a service.
#[derive(Debug, Args)]
#[command(
    after_help = "Example:\n  coilctl svc create demo web --image docker.io/library/busybox:1 --replicas 3 --entrypoint 'busybox \
                  httpd' --command '-f -p 80'"
)]
pub(crate) struct Create {
    #[command(flatten)]
    name: Name,
    /// How many pods it is to have
    #[arg(long, value_name = "COUNT", default_value_t = 1)]
    replicas: i64,
    /// What it is for
    #[arg(long, value_name = "TEXT")]
    description: Option<String>,
    /// The service pool that its pods have their addresses from
    #[arg(long, value_name = "SVCPOOL")]
    pool: Option<String>,
    #[command(flatten)]
    spec: Spec,
}

/// List the services of a namespace.
#[derive(Debug, Args)]
pub(crate) struct List {
    /// The namespace
    namespace: String,
    #[command(flatten)]
    watch: Watch,
}

/// Show a service.
#[derive(Debug, Args)]
pub(crate) struct Show {
    #[command(flatten)]
    name: Name,
    #[command(flatten)]
    watch: Watch,
}

/// Change a service.
#[derive(Debug, Args)]
#[command(
    after_help = "Example:\n  coilctl svc update demo web --command '-f -p 8080'\n\nWhat is not given stays."
)]
pub(crate) struct Update {
    #[command(flatten)]
    name: Name,
    /// What it is for
    #[arg(long, value_name = "TEXT")]
    description: Option<String>,
    /// The service pool that its pods have their addresses from; empty for none
    #[arg(long, value_name = "SVCPOOL")]
    pool: Option<String>,
    #[command(flatten)]
    spec: Spec,
}

/// Give a service more pods, or fewer.
#[derive(Debug, Args)]
pub(crate) struct Scale {
    #[command(flatten)]
    name: Name,
    /// How many pods it is to have
    #[arg(value_name = "COUNT", allow_negative_numbers = true)]
    replicas: i64,
}

/// Print the output of a container.
#[derive(Debug, Args)]
pub(crate) struct Logs {
    #[command(flatten)]
    name: Name,
    /// Go on until the container ends, or interrupted
    #[arg(short, long)]
    follow: bool,
    /// The pod; the first one if it is not given
    #[arg(long, value_name = "POD")]
    pod: Option<String>,
    /// Id of the container; the first one of the pod if it is not given
    #[arg(long, value_name = "ID")]
    container: Option<String>,
}

impl Service {
    pub(crate) async fn run(self, client: &Client, output: Output) -> Result<(), Failure> {
        match self {
            Self::Create(create) => create.run(client, output).await,
            Self::List(List { namespace, watch }) => {
                let target = || Target::root(&["namespace", &namespace, "service"]);
                let ask = async || client.get(target()).await;
                watch.show(output, ask, |out, all: &Vec<ServiceView>| show::list(out, all)).await
            }
            Self::Show(Show { name, watch }) => {
                watch.show(output, async || client.get(name.target(&[])).await, show::one).await
            }
            Self::Update(Update { name, description, pool, spec }) => {
                let spec = spec.is_given().then(|| spec.body());
                let body = UpdateService { description, pool, spec, ..UpdateService::default() };
                name.change(client, output, &body, "changed").await
            }
            Self::Scale(Scale { name, replicas }) => {
                let body = UpdateService { replicas: Some(Count(replicas)), ..UpdateService::default() };
                name.change(client, output, &body, &format!("scaled to {replicas}")).await
            }
            Self::Logs(logs) => {
                let target = logs.name.target(&["logs"]);
                let target = target.with("pod", logs.pod).with("container", logs.container);
                client.copy(target.with("follow", Some(logs.follow)), &mut std::io::stdout()).await
            }
            Self::Rm(name) => {
                client.remove(name.target(&[])).await?;
                let done = serde_json::json!({"removed": name.shown()});
                output.print(&done, |out| {
                    writeln!(out, "service {} is removed as soon as its pods are gone", name.shown())
                })
            }
        }
    }
}

impl Create {
    async fn run(self, client: &Client, output: Output) -> Result<(), Failure> {
        let body = CreateService {
            name: Some(self.name.name.clone()),
            description: self.description,
            replicas: Some(Count(self.replicas)),
            pool: self.pool,
            spec: Some(self.spec.body()),
            ..CreateService::default()
        };
        let target = Target::root(&["namespace", &self.name.namespace, "service"]);
        let (_, view): (_, ServiceView) = client.send(Method::POST, target, Some(&body)).await?;
        output.print(&view, |out| writeln!(out, "service {} created", self.name.shown()))
    }
}

impl Name {
    fn target(&self, rest: &[&str]) -> Target {
        Target::root(&[&["namespace", &self.namespace, "service", &self.name], rest].concat())
    }

    fn shown(&self) -> String {
        format!("{}/{}", plain(&self.namespace), plain(&self.name))
    }

    async fn change(
        &self,
        client: &Client,
        output: Output,
        body: &UpdateService,
        done: &str,
    ) -> Result<(), Failure> {
        let (_, view): (_, ServiceView) = client.send(Method::PUT, self.target(&[]), Some(body)).await?;
        output.print(&view, |out| writeln!(out, "service {} {done}", self.shown()))
    }
}
