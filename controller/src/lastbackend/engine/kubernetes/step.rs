//! Objects are applied and deleted. Each step may be taken again from its beginning, wherever it was cut short.

use super::marks;
use super::objects;
use super::plan::{Doomed, has_shape, is_right};
use super::{Kubernetes, Watched};
use crate::lastbackend::engine::EngineError;
use crate::lastbackend::engine::wanted::Wanted;
use common::fault;
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::{Namespace, Service};
use kube::api::{DeleteParams, Patch, PatchParams, Preconditions};
use kube::{Api, Resource, ResourceExt};
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::fmt::Debug;
use std::time::Duration;
use tokio::time::Instant;

/// Who applies, for the API server.
const MANAGER: &str = "coil-controller";
/// How often an object is read again that somebody else changes at the same time.
const ATTEMPTS: u32 = 3;
/// How long to wait until what was done is seen.
const SEEN: Duration = Duration::from_secs(5);

/// How an object was applied.
enum Outcome {
    Applied,
    /// Somebody changed it at the same time.
    Conflict(EngineError),
}

impl Kubernetes {
    /// Makes the objects of a service, or changes them to what is wanted.
    pub(super) async fn apply(&self, watched: &Watched, wanted: &Wanted) -> Result<(), EngineError> {
        let objects = objects::of(&watched.owner, wanted)?;
        let namespace = objects.namespace.name_any();
        self.ensure_namespace(&watched.owner, objects.namespace).await?;
        fault::point("engine.namespace.applied");
        let services: Api<Service> = Api::namespaced(self.client.clone(), &namespace);
        self.apply_object(&services, &watched.owner, Some(wanted.uid()), objects.service).await?;
        fault::point("engine.service.applied");
        let deployments: Api<Deployment> = Api::namespaced(self.client.clone(), &namespace);
        let key = (namespace, objects.deployment.name_any());
        self.apply_object(&deployments, &watched.owner, Some(wanted.uid()), objects.deployment).await?;
        fault::point("engine.deployment.applied");
        self.applied().insert(wanted.uid().to_owned(), Instant::now());
        let right = |service: Option<&Service>| service.is_some_and(|one| has_shape(wanted, &one.metadata));
        watched.services.until(SEEN, &key, right).await;
        watched.deployments.until(SEEN, &key, |deployment| is_right(wanted, deployment)).await;
        Ok(())
    }

    /// Sees that there is a Namespace for services. One that was there before must allow them.
    async fn ensure_namespace(&self, owner: &str, wanted: Namespace) -> Result<(), EngineError> {
        let all: Api<Namespace> = Api::all(self.client.clone());
        let name = wanted.name_any();
        let what = format!("get Namespace {name}");
        let Some(there) = self.call.of(&what, all.get_metadata_opt(&name)).await? else {
            return self.apply_object(&all, owner, None, wanted).await;
        };
        if there.metadata.deletion_timestamp.is_some() {
            Err(EngineError::Refused(format!("Namespace {name} is being removed")))
        } else if marks::is_of(&there.metadata, owner, None) || marks::allows_services(&there.metadata) {
            Ok(())
        } else {
            Err(EngineError::Refused(format!(
                "Namespace {name} was not made for services: they run in it once it has the label coil/services=allowed"
            )))
        }
    }

    /// Applies an object, unless there is one of its name that is not ours.
    async fn apply_object<K>(
        &self,
        api: &Api<K>,
        owner: &str,
        uid: Option<&str>,
        object: K,
    ) -> Result<(), EngineError>
    where
        K: Resource<DynamicType = ()> + Clone + Serialize + DeserializeOwned + Debug,
    {
        let mut attempt = 1;
        loop {
            match self.try_apply(api, owner, uid, object.clone()).await? {
                Outcome::Applied => return Ok(()),
                Outcome::Conflict(error) if attempt == ATTEMPTS => return Err(error),
                Outcome::Conflict(_) => attempt += 1,
            }
        }
    }

    /// One that is ours is changed whoever else has changed it, and no other that took its name since. One that is missing is
    /// made, unless somebody else makes one at the same time.
    async fn try_apply<K>(
        &self,
        api: &Api<K>,
        owner: &str,
        uid: Option<&str>,
        mut object: K,
    ) -> Result<Outcome, EngineError>
    where
        K: Resource<DynamicType = ()> + Clone + Serialize + DeserializeOwned + Debug,
    {
        let (kind, name) = (K::kind(&()), object.name_any());
        let there = self.call.of(&format!("get {kind} {name}"), api.get_metadata_opt(&name)).await?;
        let params = PatchParams::apply(MANAGER).validation_strict();
        let params = match there {
            None => params,
            Some(there) if marks::is_of(&there.metadata, owner, uid) => {
                object.meta_mut().uid = there.metadata.uid;
                params.force()
            }
            Some(_) => {
                return Err(EngineError::Refused(format!(
                    "there is a {kind} {name} in Kubernetes which is not of this service"
                )));
            }
        };
        let what = format!("apply {kind} {name}");
        match self.call.raw(&what, api.patch(&name, &params, &Patch::Apply(&object))).await? {
            Ok(_) => Ok(Outcome::Applied),
            Err(kube::Error::Api(status)) if status.code == 409 => {
                Ok(Outcome::Conflict(self.call.error(&what, kube::Error::Api(status))))
            }
            Err(error) => Err(self.call.error(&what, error)),
        }
    }

    /// Deletes the objects of a service; its pods go with the Deployment.
    pub(super) async fn delete(&self, watched: &Watched, doomed: &Doomed) -> Result<(), EngineError> {
        if let Some((key, uid)) = &doomed.deployment {
            let api: Api<Deployment> = Api::namespaced(self.client.clone(), &key.0);
            self.delete_object(&api, &key.1, uid).await?;
            fault::point("engine.deployment.deleted");
            let goes = |object: Option<&Deployment>| is_gone(object, uid);
            watched.deployments.until(SEEN, key, goes).await;
        }
        if let Some((key, uid)) = &doomed.service {
            let api: Api<Service> = Api::namespaced(self.client.clone(), &key.0);
            self.delete_object(&api, &key.1, uid).await?;
            watched.services.until(SEEN, key, |object| is_gone(object, uid)).await;
        }
        Ok(())
    }

    /// Deletes a Namespace with all that is in it.
    pub(super) async fn delete_namespace(
        &self,
        watched: &Watched,
        name: &str,
        uid: &str,
    ) -> Result<(), EngineError> {
        let api: Api<Namespace> = Api::all(self.client.clone());
        self.delete_object(&api, name, uid).await?;
        let key = (String::new(), name.to_owned());
        watched.namespaces.until(SEEN, &key, |object| is_gone(object, uid)).await;
        Ok(())
    }

    /// Deletes that very object. One that has gone, or whose name another one has, is deleted.
    async fn delete_object<K>(&self, api: &Api<K>, name: &str, uid: &str) -> Result<(), EngineError>
    where
        K: Resource<DynamicType = ()> + Clone + DeserializeOwned + Debug,
    {
        let only = Preconditions { uid: Some(uid.to_owned()), resource_version: None };
        let params = DeleteParams::background().preconditions(only);
        let what = format!("delete {} {name}", K::kind(&()));
        match self.call.raw(&what, api.delete(name, &params)).await? {
            Err(kube::Error::Api(status)) if matches!(status.code, 404 | 409) => Ok(()),
            outcome => outcome.map(|_| ()).map_err(|error| self.call.error(&what, error)),
        }
    }
}

/// Whether an object is not there any more, or on its way.
fn is_gone<K: ResourceExt>(object: Option<&K>, uid: &str) -> bool {
    object.is_none_or(|object| {
        object.meta().uid.as_deref() != Some(uid) || object.meta().deletion_timestamp.is_some()
    })
}
