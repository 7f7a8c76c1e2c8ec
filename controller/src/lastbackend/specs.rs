//! The specs of a service: the containers that each of its pods has.

use super::{Platform, PlatformError, new_id, rules};
use crate::auth::Caller;
use common::lastbackend::ServiceId;
use common::store::record::lastbackend::Service;
use common::wire::lastbackend::{ServiceView, SpecBody};

impl Platform {
    /// Adds a container to the pods of a service.
    pub async fn add_spec(
        &self,
        who: &Caller,
        id: &ServiceId,
        body: &SpecBody,
    ) -> Result<ServiceView, PlatformError> {
        self.change(who, id, |service, now| {
            if service.specs.len() >= rules::MAX_SPECS {
                let reason = format!("the service has {} of them, which is the most", rules::MAX_SPECS);
                return Err(PlatformError::bad("spec", reason));
            }
            let image = rules::image_of(&of_image(body))?;
            let spec = rules::new_spec(body, image, new_id(), now)?;
            let done = format!("spec {} added", spec.id);
            service.specs.push(spec);
            Ok(done)
        })
        .await
    }

    /// Changes a container of the pods of a service, which gets another id.
    pub async fn update_spec(
        &self,
        who: &Caller,
        id: &ServiceId,
        spec: &str,
        body: &SpecBody,
    ) -> Result<ServiceView, PlatformError> {
        self.change(who, id, |service, now| {
            let at = find(id, service, spec)?;
            service.specs[at] = rules::changed_spec(&service.specs[at], body, new_id(), now)?;
            Ok(format!("spec {spec} changed to {}", service.specs[at].id))
        })
        .await
    }

    /// Takes a container out of the pods of a service.
    pub async fn remove_spec(&self, who: &Caller, id: &ServiceId, spec: &str) -> Result<(), PlatformError> {
        self.change(who, id, |service, _| {
            let at = find(id, service, spec)?;
            if service.specs.len() == 1 {
                return Err(PlatformError::bad(
                    "spec",
                    "it is the last one of the service: remove the service",
                ));
            }
            service.specs.remove(at);
            Ok(format!("spec {spec} removed"))
        })
        .await
        .map(|_| ())
    }
}

fn find(id: &ServiceId, service: &Service, spec: &str) -> Result<usize, PlatformError> {
    let found = service.specs.iter().position(|one| one.id == spec);
    found.ok_or_else(|| PlatformError::UnknownSpec(id.clone(), spec.to_owned()))
}

/// A spec's image is checked as a service's is.
fn of_image(spec: &SpecBody) -> common::wire::lastbackend::CreateService {
    common::wire::lastbackend::CreateService { image: spec.image.clone(), ..Default::default() }
}
