//! The manifests for Kubernetes, as kubectl builds them: objects that Kubernetes knows, with no field that it does not,
//! which refer to what there is, and set nothing that the programs don't read.
#![allow(clippy::expect_used, reason = "a test fails by panicking")]

use anyhow::{Context, Result, bail, ensure};
use coil_tests::binaries::binary;
use coil_tests::strict::parsed;
use coil_tests::tools::{find, run, text};
use k8s_openapi::api::apps::v1::{DaemonSet, Deployment};
use k8s_openapi::api::core::v1::{ConfigMap, Container, Namespace, PodSpec, Service, ServiceAccount};
use k8s_openapi::api::networking::v1::NetworkPolicy;
use k8s_openapi::api::policy::v1::PodDisruptionBudget;
use k8s_openapi::api::rbac::v1::{ClusterRole, ClusterRoleBinding};
use serde::de::Deserialize;
use serde_json::Value;
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Secrets that an operator makes.
const SECRETS: [&str; 2] = ["coil-etcd", "coil-controller"];

fn manifests() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../manifests/kubernetes")
}

fn build(overlay: &str) -> Result<Vec<Value>> {
    find("kubectl", "kubernetes-client")?;
    let built = run(Command::new("kubectl").arg("kustomize").arg(manifests().join(overlay)))?;
    let built = text(&built);
    let objects = serde_yaml_ng::Deserializer::from_str(&built).map(Value::deserialize);
    Ok(objects.collect::<Result<_, _>>()?)
}

/// What the objects of an overlay say together.
#[derive(Default)]
struct Seen {
    named: BTreeSet<(String, String)>,
    pods: Vec<PodSpec>,
    settings: BTreeSet<String>,
}

impl Seen {
    fn add(&mut self, object: &Value) -> Result<()> {
        let kind = object["kind"].as_str().context("a kind")?;
        let name = object["metadata"]["name"].as_str().context("a name")?;
        match kind {
            "Namespace" => parsed::<Namespace>(object).map(drop)?,
            "ServiceAccount" => parsed::<ServiceAccount>(object).map(drop)?,
            "Service" => parsed::<Service>(object).map(drop)?,
            "NetworkPolicy" => parsed::<NetworkPolicy>(object).map(drop)?,
            "PodDisruptionBudget" => parsed::<PodDisruptionBudget>(object).map(drop)?,
            "ClusterRole" => parsed::<ClusterRole>(object).map(drop)?,
            "ClusterRoleBinding" => parsed::<ClusterRoleBinding>(object).map(drop)?,
            "ConfigMap" => {
                let data = parsed::<ConfigMap>(object)?.data.unwrap_or_default();
                self.settings.extend(data.into_keys().filter(|key| key.starts_with("COIL_")));
            }
            "DaemonSet" => self
                .pods
                .push(parsed::<DaemonSet>(object)?.spec.and_then(|spec| spec.template.spec).context("pods")?),
            "Deployment" => self.pods.push(
                parsed::<Deployment>(object)?.spec.and_then(|spec| spec.template.spec).context("pods")?,
            ),
            other => bail!("an object of kind {other}"),
        }
        self.named.insert((kind.to_owned(), name.to_owned()));
        Ok(())
    }

    fn has(&self, kind: &str, name: &str) -> Result<()> {
        let there = self.named.contains(&(kind.to_owned(), name.to_owned()));
        ensure!(there || kind == "Secret" && SECRETS.contains(&name), "there is no {kind} {name}");
        Ok(())
    }

    fn check_pod(&self, pod: &PodSpec) -> Result<()> {
        self.has("ServiceAccount", pod.service_account_name.as_deref().context("a service account")?)?;
        let volumes = pod.volumes.as_deref().unwrap_or_default();
        for volume in volumes {
            if let Some(map) = &volume.config_map {
                self.has("ConfigMap", &map.name)?;
            }
            if let Some(secret) = &volume.secret {
                self.has("Secret", secret.secret_name.as_deref().context("a secret")?)?;
            }
        }
        for container in pod.init_containers.iter().flatten().chain(&pod.containers) {
            let mounted = container.volume_mounts.iter().flatten().map(|mount| mount.name.as_str());
            let known: BTreeSet<&str> = volumes.iter().map(|volume| volume.name.as_str()).collect();
            for volume in mounted {
                ensure!(known.contains(volume), "{}: no volume {volume}", container.name);
            }
            self.check_container(container).with_context(|| container.name.clone())?;
        }
        Ok(())
    }

    /// Every variable is one that the program reads, and every command one that it has.
    fn check_container(&self, container: &Container) -> Result<()> {
        let command = container.command.as_deref().context("a command")?;
        let (program, words) = command.split_first().context("a program")?;
        let program = Path::new(program).file_name().and_then(|name| name.to_str()).context("a name")?;
        let subcommand: Vec<&String> = words.iter().take_while(|word| !word.starts_with('-')).collect();
        let help = run(Command::new(binary(program)?).args(&subcommand).arg("--help"))?;
        // However it is wrapped.
        let help = text(&help).split_whitespace().collect::<Vec<_>>().join(" ");
        for flag in words.iter().filter(|word| word.starts_with("--")) {
            ensure!(help.contains(flag.as_str()), "{program} has no flag {flag}");
        }
        let mut set: BTreeSet<&str> = container.env.iter().flatten().map(|env| env.name.as_str()).collect();
        for source in container.env_from.iter().flatten() {
            let map = source.config_map_ref.as_ref().context("a ConfigMap")?;
            self.has("ConfigMap", &map.name)?;
            set.extend(self.settings.iter().map(String::as_str));
        }
        for variable in set {
            ensure!(
                help.contains(&format!("[env: {variable}=")),
                "{program} {subcommand:?} does not read {variable}"
            );
        }
        let context = container.security_context.as_ref().context("a security context")?;
        ensure!(context.read_only_root_filesystem == Some(true), "it may write to its root");
        let limits = container.resources.as_ref().and_then(|resources| resources.limits.as_ref());
        ensure!(limits.is_some_and(|limits| limits.contains_key("memory")), "it has no limit of memory");
        Ok(())
    }
}

fn check_overlay(overlay: &str, objects: usize) -> Result<()> {
    let mut seen = Seen::default();
    for object in build(overlay)? {
        let name = object["metadata"]["name"].clone();
        seen.add(&object).with_context(|| format!("{} {name}", object["kind"]))?;
    }
    ensure!(seen.named.len() == objects, "{} objects: {:?}", seen.named.len(), seen.named);
    ensure!(!seen.pods.is_empty());
    seen.pods.iter().try_for_each(|pod| seen.check_pod(pod))
}

#[test]
fn with_etcd() -> Result<()> {
    check_overlay("etcd", 12)
}

/// What the controller uses, and nothing else: `group/resource verb`.
#[test]
fn the_controller_may_do_what_it_does() -> Result<()> {
    let roles = build("etcd")?.into_iter().filter(|object| object["kind"] == "ClusterRole");
    let mut may = BTreeSet::new();
    for role in roles {
        for rule in parsed::<ClusterRole>(&role)?.rules.unwrap_or_default() {
            ensure!(rule.non_resource_urls.is_none() && rule.resource_names.is_none());
            let (groups, resources) =
                (rule.api_groups.unwrap_or_default(), rule.resources.unwrap_or_default());
            for (group, resource) in
                groups.iter().flat_map(|group| resources.iter().map(move |one| (group, one)))
            {
                may.extend(rule.verbs.iter().map(|verb| format!("{group}/{resource} {verb}")));
            }
        }
    }
    let used = [
        "/events create",
        "/events patch",
        "/namespaces list",
        "/namespaces watch",
        "/nodes get",
        "/nodes list",
        "/nodes patch",
        "/nodes watch",
        "/pods get",
        "apps/statefulsets list",
    ];
    ensure!(may.iter().eq(used), "{may:?}");
    let controller = build("etcd")?.into_iter().find(|object| object["kind"] == "Deployment");
    let spec = &controller.context("a controller")?["spec"]["template"]["spec"];
    let taint = serde_json::json!([{"key": "coil.io/not-ready", "operator": "Exists"}]);
    ensure!(spec["tolerations"] == taint, "nobody would take the taint of the first node away");
    Ok(())
}

#[test]
fn with_services() -> Result<()> {
    check_overlay("services", 14)?;
    let engines = build("services")?.into_iter().filter(|object| object["kind"] == "Deployment");
    let engines = engines.map(|object| object["spec"]["template"]["spec"]["containers"][0]["env"].clone());
    let kubernetes = serde_json::json!({"name": "COIL_ENGINE", "value": "kubernetes"});
    let runs = |env: Value| env.as_array().is_some_and(|env| env.contains(&kubernetes));
    ensure!(engines.into_iter().all(runs), "the controller runs no services");
    Ok(())
}

#[test]
fn embedded() -> Result<()> {
    check_overlay("embedded", 5)
}

/// Each alert has a section that says what to do, and each section an alert.
#[test]
fn alerts_are_explained() -> Result<()> {
    let alerts = std::fs::read_to_string(manifests().join("monitoring/alerts.yaml"))?;
    let alerts: Value = serde_yaml_ng::from_str(&alerts)?;
    let rules = alerts["spec"]["groups"].as_array().into_iter().flatten();
    let rules = rules.flat_map(|group| group["rules"].as_array().into_iter().flatten());
    let named: BTreeSet<String> = rules.filter_map(|rule| Some(rule["alert"].as_str()?.to_owned())).collect();
    ensure!(named.len() > 10, "{named:?}");
    let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/operating.md");
    let page = std::fs::read_to_string(page)?;
    let (_, sections) = page.split_once("\n## Alerts\n").context("a section on alerts")?;
    let sections = sections.split("\n## ").next().unwrap_or_default().split("\n### ").skip(1);
    let sections: Vec<(&str, &str)> = sections.filter_map(|section| section.split_once('\n')).collect();
    let told: BTreeSet<String> = sections.iter().map(|(name, _)| (*name).to_owned()).collect();
    ensure!(told == named, "alerts and sections differ: {:?}", told.symmetric_difference(&named));
    for (name, text) in sections {
        ensure!(text.split_whitespace().count() >= 8, "{name}: {text:?} does not say what to do");
    }
    Ok(())
}

#[test]
fn what_kubernetes_does_not_know_is_noticed() {
    let object = serde_json::json!({
        "apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "a", "creationTimestamp": null},
        "automountServiceAccountToken": false,
    });
    parsed::<ServiceAccount>(&object).expect("known");
    let mut unknown = object.clone();
    unknown["metadata"]["nmae"] = "a".into();
    let error = format!("{:#}", parsed::<ServiceAccount>(&unknown).expect_err("unknown"));
    assert!(error.contains("metadata: nmae: no such field"), "{error}");
    let mut wrong = object;
    wrong["automountServiceAccountToken"] = "no".into();
    assert!(parsed::<ServiceAccount>(&wrong).is_err());
}
