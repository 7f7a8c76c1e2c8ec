//! The step from what there is of a service to what is wanted: pure.

use super::follow::Key;
use super::marks;
use crate::lastbackend::engine::wanted::Wanted;
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::Service;
use kube::core::ObjectMeta;
use std::sync::Arc;

/// What there is of a service besides its pods.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Parts<'a> {
    pub(super) deployment: Option<&'a Deployment>,
    pub(super) service: Option<&'a Service>,
}

/// What is to be done for a service.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Action {
    /// Its objects are made, or changed.
    Apply(Arc<Wanted>),
    /// Its objects are deleted.
    Delete(Doomed),
}

/// Objects that are to be deleted, each by its key and its `uid`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Doomed {
    pub(super) deployment: Option<(Key, String)>,
    pub(super) service: Option<(Key, String)>,
}

/// What is to be done for a service that is wanted, or that nobody knows. `fresh` says that its objects were applied not
/// long ago: what somebody else has changed since is put right by and by.
pub(super) fn plan(wanted: Option<&Arc<Wanted>>, parts: Parts<'_>, fresh: bool) -> Option<Action> {
    let Some(wanted) = wanted.filter(|wanted| wanted.replicas > 0) else {
        let doomed = Doomed {
            deployment: parts.deployment.and_then(|object| doomed(&object.metadata)),
            service: parts.service.and_then(|object| doomed(&object.metadata)),
        };
        return (doomed != Doomed::default()).then_some(Action::Delete(doomed));
    };
    let is_going = |meta: &ObjectMeta| meta.deletion_timestamp.is_some();
    let goes = parts.deployment.is_some_and(|object| is_going(&object.metadata))
        || parts.service.is_some_and(|object| is_going(&object.metadata));
    let right = is_right(wanted, parts.deployment)
        && parts.service.is_some_and(|service| has_shape(wanted, &service.metadata));
    // Until what goes is gone, nothing takes its name.
    (!(goes || right && fresh)).then(|| Action::Apply(Arc::clone(wanted)))
}

/// Whether a Deployment is what is wanted, as far as it says so.
pub(super) fn is_right(wanted: &Wanted, deployment: Option<&Deployment>) -> bool {
    deployment.is_some_and(|deployment| {
        let replicas = deployment.spec.as_ref().and_then(|spec| spec.replicas);
        has_shape(wanted, &deployment.metadata)
            && replicas.and_then(|count| u32::try_from(count).ok()) == Some(wanted.replicas)
    })
}

/// Whether an object was made of the present specs.
pub(super) fn has_shape(wanted: &Wanted, meta: &ObjectMeta) -> bool {
    marks::read(meta).is_some_and(|marks| marks.shape == wanted.shape())
}

fn doomed(meta: &ObjectMeta) -> Option<(Key, String)> {
    let key = (meta.namespace.clone()?, meta.name.clone()?);
    meta.uid.clone().filter(|_| meta.deletion_timestamp.is_none()).map(|uid| (key, uid))
}

#[cfg(test)]
mod tests {
    use super::super::objects;
    use super::*;
    use common::lastbackend::{Name, ServiceId};
    use common::store::record::lastbackend as records;
    use serde_json::{from_value, json};

    fn wanted(replicas: u32, spec: &str, removing: bool) -> Arc<Wanted> {
        let spec = json!({
            "id": spec, "parent": "", "revision": 0, "created": 0, "updated": 0, "memory": 32, "entrypoint": "",
            "command": "", "image": "i", "env": null, "ports": [],
        });
        let service = json!({
            "uid": "u", "description": "", "replicas": replicas, "created": 0, "updated": 0, "specs": [spec],
            "removing": removing,
        });
        let service: records::Service = from_value(service).expect("a service");
        let namespace =
            from_value(json!({"description": "", "created": 0, "updated": 0})).expect("a namespace");
        let name = |text| Name::new(text).expect("a name");
        let id = ServiceId { namespace: name("demo"), name: name("web") };
        Arc::new(Wanted::of(&id, &service, &namespace))
    }

    /// What there is when something was wanted.
    fn made(wanted: &Wanted) -> (Deployment, Service) {
        let objects = objects::of("o", wanted).expect("objects");
        let (mut deployment, mut service) = (objects.deployment, objects.service);
        deployment.metadata.uid = Some("d".to_owned());
        service.metadata.uid = Some("s".to_owned());
        (deployment, service)
    }

    fn word(
        wanted: Option<&Arc<Wanted>>,
        there: &(Option<Deployment>, Option<Service>),
        fresh: bool,
    ) -> String {
        let parts = Parts { deployment: there.0.as_ref(), service: there.1.as_ref() };
        match plan(wanted, parts, fresh) {
            None => String::new(),
            Some(Action::Apply(_)) => "apply".to_owned(),
            Some(Action::Delete(doomed)) => {
                let uids = [doomed.deployment, doomed.service].into_iter().flatten().map(|(_, uid)| uid);
                format!("delete {}", uids.collect::<String>())
            }
        }
    }

    #[test]
    fn what_differs_is_applied() {
        let three = wanted(3, "a", false);
        let (deployment, service) = made(&three);
        let both = (Some(deployment.clone()), Some(service.clone()));
        assert_eq!(word(Some(&three), &both, true), "");
        assert_eq!(word(Some(&three), &both, false), "apply", "from time to time");
        assert_eq!(word(Some(&wanted(2, "a", false)), &both, true), "apply", "scaled");
        assert_eq!(word(Some(&wanted(3, "b", false)), &both, true), "apply", "changed");
        for lacking in [(None, Some(service)), (Some(deployment.clone()), None), (None, None)] {
            assert_eq!(word(Some(&three), &lacking, true), "apply");
        }
        let (mut scaled, service) = made(&three);
        scaled.spec.as_mut().expect("a spec").replicas = Some(1);
        assert_eq!(word(Some(&three), &(Some(scaled), Some(service)), true), "apply", "by somebody else");
    }

    #[test]
    fn what_is_not_wanted_is_deleted_once() {
        let (mut deployment, service) = made(&wanted(3, "a", false));
        let (gone, both) = (wanted(3, "a", true), (Some(deployment.clone()), Some(service.clone())));
        assert_eq!(word(Some(&gone), &both, true), "delete ds");
        assert_eq!(word(None, &both, true), "delete ds", "a stray");
        assert_eq!(word(Some(&gone), &(None, Some(service.clone())), true), "delete s");
        assert_eq!(word(Some(&gone), &(None, None), true), "");
        deployment.metadata.deletion_timestamp =
            Some(from_value(json!("2026-01-01T00:00:00Z")).expect("a time"));
        let going = (Some(deployment), Some(service));
        assert_eq!(word(Some(&gone), &going, true), "delete s");
        assert_eq!(word(Some(&wanted(3, "a", false)), &going, true), "", "its name is not free yet");
    }
}
