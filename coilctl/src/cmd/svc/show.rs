//! What is printed of services.

use crate::cmd::ns::to_seconds;
use crate::table::{Table, plain};
use common::wire::lastbackend::{PodView, ServiceView};
use std::io::{self, Write};

pub(super) fn list(out: &mut dyn Write, all: &[ServiceView]) -> io::Result<()> {
    let mut table = Table::new(&["NAME", "STATE", ">RUNNING", ">REPLICAS", ">MEMORY", "IMAGE", "STATUS"]);
    for service in all {
        let images: Vec<String> = service.spec.iter().map(|spec| plain(&spec.image)).collect();
        table.row(vec![
            plain(&service.meta.name),
            plain(&service.state.state),
            service.state.replicas.running.to_string(),
            service.meta.replicas.to_string(),
            format!("{} MiB", service.state.resources.memory),
            images.join(", "),
            plain(&service.state.status),
        ]);
    }
    table.write(out, "services; `coilctl svc create --help` shows how one is made")
}

pub(super) fn one(out: &mut dyn Write, service: &ServiceView) -> io::Result<()> {
    let (meta, state) = (&service.meta, &service.state);
    writeln!(out, "Namespace:    {}", plain(&meta.namespace))?;
    writeln!(out, "Name:         {}", plain(&meta.name))?;
    writeln!(out, "Description:  {}", plain(&meta.description))?;
    if let Some(pool) = &meta.pool {
        writeln!(out, "Pool:         {}", plain(pool))?;
    }
    writeln!(out, "State:        {}", plain(&state.state))?;
    if !state.status.is_empty() {
        writeln!(out, "Status:       {}", plain(&state.status))?;
    }
    writeln!(out, "Running:      {} of {}", state.replicas.running, meta.replicas)?;
    writeln!(out, "Memory:       {} MiB", state.resources.memory)?;
    writeln!(out, "Created:      {}", to_seconds(&meta.created))?;
    for spec in &service.spec {
        writeln!(out, "\nSpec {}, revision {}", plain(&spec.meta.id), spec.meta.revision)?;
        writeln!(out, "  Image:       {}", plain(&spec.image))?;
        for (name, value) in [("Entrypoint: ", &spec.entrypoint), ("Command:    ", &spec.command)] {
            if !value.is_empty() {
                writeln!(out, "  {name} {}", plain(value))?;
            }
        }
        writeln!(out, "  Memory:      {} MiB", spec.memory)?;
        for line in spec.env.iter().flatten() {
            writeln!(out, "  Environment: {}", plain(line))?;
        }
        for port in &spec.ports {
            let protocol = format!("{:?}", port.protocol).to_lowercase();
            let published =
                if port.published { format!(", the machine's {}", port.external) } else { String::new() };
            writeln!(out, "  Port:        {}/{protocol}{published}", port.internal)?;
        }
    }
    if service.pods.is_empty() {
        return Ok(());
    }
    writeln!(out)?;
    pods(out, &service.pods)
}

fn pods(out: &mut dyn Write, pods: &[PodView]) -> io::Result<()> {
    let mut table = Table::new(&["POD", "STATE", "ADDRESS", ">RESTARTS", "CONTAINERS", "STATUS"]);
    for pod in pods {
        let addresses: Vec<String> = pod.addresses.iter().map(ToString::to_string).collect();
        let containers: Vec<String> = pod
            .containers
            .iter()
            .map(|container| plain(container.id.get(..12).unwrap_or(&container.id)))
            .collect();
        let restarts: u32 = pod.containers.iter().map(|container| container.restarts).sum();
        table.row(vec![
            plain(&pod.meta.name),
            pod.state.state.word().to_owned(),
            addresses.join(", "),
            restarts.to_string(),
            containers.join(", "),
            plain(&pod.state.status),
        ]);
    }
    table.write(out, "pods")
}
