//! Namespaces of services, and services.

use super::manifest::{Namespace, Service};
use super::{Planned, find, json};
use crate::client::{Client, Target};
use crate::exit::Failure;
use common::wire::lastbackend::{
    Count, CreateNamespace, CreateService, NamespaceView, PortBody, ServiceView, SpecBody, UpdateNamespace,
    UpdateService,
};
use hyper::Method;

/// What is to be done so that a namespace is as a file says.
pub(super) async fn plan_namespace(client: &Client, wanted: &Namespace) -> Result<Planned, Failure> {
    let target = || Target::root(&["namespace", &wanted.name]);
    let mut planned = Planned::new(format!("namespace {}", wanted.name));
    let (description, pool) = (wanted.description.clone(), wanted.pool.clone());
    let Some(NamespaceView { meta }) = find(client, target()).await? else {
        let body = CreateNamespace { name: Some(wanted.name.clone()), description, pool };
        return planned.create(Target::root(&["namespace"]), &body);
    };
    let body = UpdateNamespace {
        description: changed(&mut planned, "description", &meta.description, description),
        pool: changed(&mut planned, "pool", meta.pool.as_deref().unwrap_or_default(), pool),
    };
    if body != UpdateNamespace::default() {
        planned.request(Method::PUT, target(), Some(json(&body)?));
    }
    Ok(planned)
}

/// What is to be done so that a service is as a file says. Of one with several specs, the first is meant.
pub(super) async fn plan_service(client: &Client, wanted: &Service) -> Result<Planned, Failure> {
    let target = || Target::root(&["namespace", &wanted.namespace, "service", &wanted.name]);
    let mut planned = Planned::new(format!("service {}/{}", wanted.namespace, wanted.name));
    let Some(service) = find::<ServiceView>(client, target()).await? else {
        let body = CreateService {
            name: Some(wanted.name.clone()),
            description: wanted.description.clone(),
            replicas: wanted.replicas.map(Count),
            pool: wanted.pool.clone(),
            spec: Some(wanted_spec(wanted)),
            ..CreateService::default()
        };
        return planned.create(Target::root(&["namespace", &wanted.namespace, "service"]), &body);
    };
    let meta = &service.meta;
    let replicas = wanted.replicas.filter(|replicas| planned.differs("replicas", &meta.replicas, replicas));
    let body = UpdateService {
        description: changed(&mut planned, "description", &meta.description, wanted.description.clone()),
        replicas: replicas.map(Count),
        pool: changed(&mut planned, "pool", meta.pool.as_deref().unwrap_or_default(), wanted.pool.clone()),
        spec: changed_spec(&mut planned, &service, wanted),
        ..UpdateService::default()
    };
    if body != UpdateService::default() {
        planned.request(Method::PUT, target(), Some(json(&body)?));
    }
    Ok(planned)
}

/// The text, if it is given and differs.
fn changed(planned: &mut Planned, field: &str, before: &str, wanted: Option<String>) -> Option<String> {
    wanted.filter(|wanted| planned.differs(field, &before, wanted))
}

fn wanted_spec(wanted: &Service) -> SpecBody {
    SpecBody {
        memory: wanted.memory.map(Count),
        entrypoint: wanted.entrypoint.clone(),
        command: wanted.command.clone(),
        image: Some(wanted.image.clone()),
        env: wanted.env.clone(),
        ports: wanted.ports.clone(),
    }
}

/// The fields of the first spec that differ; nothing if none does, as each change replaces all pods.
fn changed_spec(planned: &mut Planned, service: &ServiceView, wanted: &Service) -> Option<SpecBody> {
    let before = service.spec.first()?;
    let memory = wanted.memory.filter(|memory| planned.differs("memory", &before.memory, memory));
    let env = wanted.env.clone().filter(|env| {
        let shown = |env: &[String]| env.join(" ");
        planned.differs("env", &shown(before.env.as_deref().unwrap_or_default()), &shown(env))
    });
    let ports = wanted.ports.clone().filter(|ports| {
        let known: Vec<String> = before
            .ports
            .iter()
            .map(|port| {
                let protocol = format!("{:?}", port.protocol).to_lowercase();
                shown_port(&protocol, port.internal.into(), port.external.into(), port.published)
            })
            .collect();
        let given: Vec<String> = ports.iter().map(given_port).collect();
        planned.differs("ports", &known.join(" "), &given.join(" "))
    });
    let body = SpecBody {
        memory: memory.map(Count),
        entrypoint: changed(planned, "entrypoint", &before.entrypoint, wanted.entrypoint.clone()),
        command: changed(planned, "command", &before.command, wanted.command.clone()),
        image: changed(planned, "image", &before.image, Some(wanted.image.clone())),
        env,
        ports,
    };
    (body != SpecBody::default()).then_some(body)
}

fn given_port(port: &PortBody) -> String {
    let internal = port.internal.map_or(0, |Count(internal)| internal);
    let external = port.external.map_or(internal, |Count(external)| external);
    shown_port(
        port.protocol.as_deref().unwrap_or("tcp"),
        internal,
        external,
        port.published.unwrap_or_default(),
    )
}

fn shown_port(protocol: &str, internal: i64, external: i64, published: bool) -> String {
    format!("{internal}:{external}/{protocol}{}", if published { "" } else { " (not published)" })
}
