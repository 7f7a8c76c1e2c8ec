//! Services: made, shown, changed and removed.

use super::activity::{self, Of};
use super::view::{self, Seen};
use super::{Platform, PlatformError, Stored, audited, engine_key, new_id, only, rules, stored};
use crate::audit;
use crate::auth::Caller;
use common::clock::now_nanos;
use common::lastbackend::{Name, ServiceId};
use common::store::record::{self, lastbackend::Service};
use common::store::retry::{Attempts, seed};
use common::store::{Compare, KeyRange, Op, Txn, keys::lastbackend as keys};
use common::wire::lastbackend::{ActivityView, CreateService, ServiceView, UpdateService};

impl Platform {
    /// Makes a service, unless its name is taken in the namespace.
    pub async fn create_service(
        &self,
        who: &Caller,
        namespace: &str,
        body: &CreateService,
    ) -> Result<ServiceView, PlatformError> {
        let namespace =
            Name::new(namespace).map_err(|error| PlatformError::bad("namespace", error.to_string()))?;
        let (name, record) = new_service(body, now_nanos())?;
        let id = ServiceId { namespace, name };
        let mut attempts = Attempts::new(seed(&id));
        while let Err(error) = self.try_create_service(who, &id, &record).await {
            attempts.after(error).await?;
        }
        audit::changed(who, &format!("service {id}: created"), &(), &audited(&record));
        Ok(view::new_service(&id, &record))
    }

    async fn try_create_service(
        &self,
        who: &Caller,
        id: &ServiceId,
        record: &Service,
    ) -> Result<(), PlatformError> {
        let ranges = [KeyRange::key(keys::namespace(&id.namespace)), KeyRange::key(keys::service(id))];
        let read = self.store.snapshot(&ranges).await?.ranges;
        let namespace: Option<Stored<record::lastbackend::Namespace>> = only(&read[0])?;
        // To one that is being removed, nothing is added.
        let namespace = namespace.filter(|namespace| !namespace.record.removing);
        let namespace = namespace.ok_or_else(|| PlatformError::UnknownNamespace(id.namespace.to_string()))?;
        if !read[1].is_empty() {
            return Err(PlatformError::ServiceExists(id.clone()));
        }
        let key = keys::service(id);
        let txn = Txn::new()
            .when(Compare::ModRevision(keys::namespace(&id.namespace), namespace.revision))
            .when(Compare::Absent(key.clone()))
            .then(Op::Put(key, record::encode(record)));
        let (of, done) = (Of(&id.namespace, None), format!("service {} created", id.name));
        let txn = activity::note(self.store.as_ref(), txn, of, who, done, now_nanos()).await?;
        self.store.txn(txn).await?;
        Ok(())
    }

    /// A service.
    pub async fn service(&self, id: &ServiceId) -> Result<ServiceView, PlatformError> {
        let ranges = [KeyRange::key(keys::service(id)), KeyRange::key(keys::run(id)), engine_key()];
        let read = self.store.snapshot(&ranges).await?.ranges;
        let record = only(&read[0])?.ok_or_else(|| unknown(id))?.record;
        let run = only(&read[1])?.map(|run| run.record);
        let engine = only(&read[2])?.map(|engine| engine.record);
        Ok(view::service(id, &record, &Seen { run, engine }))
    }

    /// The services of a namespace, by name.
    pub async fn services(&self, namespace: &str) -> Result<Vec<ServiceView>, PlatformError> {
        let Ok(namespace) = Name::new(namespace) else { return Ok(Vec::new()) };
        let ranges = [keys::services(&namespace), keys::runs(&namespace), engine_key()];
        let read = self.store.snapshot(&ranges).await?.ranges;
        let mut seen = Seen { run: None, engine: only(&read[2])?.map(|engine| engine.record) };
        let mut runs = read[1].iter().peekable();
        let mut views = Vec::with_capacity(read[0].len());
        for entry in &read[0] {
            let Some(id) = keys::parse_service(&entry.key) else { continue };
            // Both are in the order of the names.
            let key = keys::run(&id);
            while runs.next_if(|run| run.key < key).is_some() {}
            let run = runs.next_if(|run| run.key == key);
            seen.run = run.map(stored).transpose()?.map(|run| run.record);
            views.push(view::service(&id, &stored(entry)?.record, &seen));
        }
        Ok(views)
    }

    /// Changes a service, and answers it as it then is.
    pub async fn update_service(
        &self,
        who: &Caller,
        id: &ServiceId,
        body: &UpdateService,
    ) -> Result<ServiceView, PlatformError> {
        rules::no_template(body.template.as_deref())?;
        self.change(who, id, |service, now| {
            let mut done = Vec::new();
            if let Some(description) = &body.description {
                let description = rules::text("description", description)?;
                done.extend((description != service.description).then(|| "description changed".to_owned()));
                service.description = description;
            }
            if let Some(replicas) = body.replicas {
                let replicas = rules::number("replicas", replicas, &rules::REPLICAS)?;
                let before = std::mem::replace(&mut service.replicas, replicas);
                done.extend((before != replicas).then(|| format!("scaled from {before} to {replicas}")));
            }
            if let Some(pool) = &body.pool {
                let pool = rules::pool("serviceIPPool", pool)?;
                done.extend((pool != service.pool).then(|| "serviceIPPool changed".to_owned()));
                service.pool = pool;
            }
            if let (Some(spec), Some(first)) = (&body.spec, service.specs.first_mut()) {
                *first = rules::changed_spec(first, spec, new_id(), now)?;
                done.push(format!("spec {} changed to {}", first.parent, first.id));
            }
            Ok(done.join(", "))
        })
        .await
    }

    /// Makes a change in one transaction with its activity. `change` says what was done; nothing if it says nothing.
    pub(super) async fn change(
        &self,
        who: &Caller,
        id: &ServiceId,
        change: impl Fn(&mut Service, u64) -> Result<String, PlatformError> + Send + Sync,
    ) -> Result<ServiceView, PlatformError> {
        let mut attempts = Attempts::new(seed(id));
        loop {
            match self.try_change(who, id, &change).await {
                Ok(()) => return self.service(id).await,
                Err(error) => attempts.after(error).await?,
            }
        }
    }

    async fn try_change(
        &self,
        who: &Caller,
        id: &ServiceId,
        change: &(impl Fn(&mut Service, u64) -> Result<String, PlatformError> + Send + Sync),
    ) -> Result<(), PlatformError> {
        let Stored { record: before, revision } = self.find_service(id).await?;
        let (mut after, now) = (before.clone(), now_nanos());
        let done = change(&mut after, now)?;
        if before == after {
            return Ok(());
        }
        after.updated = now;
        let key = keys::service(id);
        let txn = Txn::new()
            .when(Compare::ModRevision(key.clone(), revision))
            .then(Op::Put(key, record::encode(&after)));
        let of = Of(&id.namespace, Some(&id.name));
        let txn = activity::note(self.store.as_ref(), txn, of, who, done.clone(), now).await?;
        self.store.txn(txn).await?;
        audit::changed(who, &format!("service {id}: {done}"), &audited(&before), &audited(&after));
        Ok(())
    }

    /// Removes a service. One with pods stays until they are gone.
    pub async fn remove_service(&self, who: &Caller, id: &ServiceId) -> Result<(), PlatformError> {
        let mut attempts = Attempts::new(seed(id));
        let before = loop {
            match self.try_remove_service(who, id).await {
                Ok(before) => break before,
                Err(error) => attempts.after(error).await?,
            }
        };
        if let Some(before) = before {
            audit::changed(who, &format!("service {id}: removed"), &audited(&before), &());
        }
        Ok(())
    }

    /// Answers what it was, unless it was being removed already.
    async fn try_remove_service(
        &self,
        who: &Caller,
        id: &ServiceId,
    ) -> Result<Option<Service>, PlatformError> {
        let store = self.store.as_ref();
        let (key, run) = (keys::service(id), keys::run(id));
        let read = store.snapshot(&[KeyRange::key(key.clone()), KeyRange::key(run.clone())]).await?.ranges;
        let Stored { record, revision }: Stored<Service> = only(&read[0])?.ok_or_else(|| unknown(id))?;
        let txn = Txn::new().when(Compare::ModRevision(key.clone(), revision));
        let txn = if read[1].is_empty() {
            let txn = txn.when(Compare::Absent(run)).then(Op::Delete(key));
            activity::forget(store, txn, Of(&id.namespace, Some(&id.name))).await?
        } else if record.removing {
            return Ok(None);
        } else {
            txn.then(Op::Put(key, record::encode(&Service { removing: true, ..record.clone() })))
        };
        let (of, done) = (Of(&id.namespace, None), format!("service {} removed", id.name));
        store.txn(activity::note(store, txn, of, who, done, now_nanos()).await?).await?;
        Ok(Some(record))
    }

    /// What was done to a service, the last first.
    pub async fn service_activity(
        &self,
        namespace: &str,
        name: &str,
    ) -> Result<Vec<ActivityView>, PlatformError> {
        let id = self.must_exist(namespace, name).await?;
        activity::list(self.store.as_ref(), Of(&id.namespace, Some(&id.name))).await
    }

    /// The service, if it exists; else which of namespace and service does not.
    pub(super) async fn must_exist(&self, namespace: &str, name: &str) -> Result<ServiceId, PlatformError> {
        let found = match service_id(namespace, name) {
            Ok(id) => self.find_service(&id).await.map(|_| id),
            Err(error) => Err(error),
        };
        if matches!(found, Err(PlatformError::UnknownService(..))) {
            self.find_namespace(namespace).await?;
        }
        found
    }

    pub(super) async fn find_service(&self, id: &ServiceId) -> Result<Stored<Service>, PlatformError> {
        stored(&self.store.get(&keys::service(id)).await?.ok_or_else(|| unknown(id))?)
    }
}

/// The service of that name in a namespace, which need not exist.
pub fn service_id(namespace: &str, name: &str) -> Result<ServiceId, PlatformError> {
    let unknown = |_| PlatformError::UnknownService(namespace.to_owned(), name.to_owned());
    Ok(ServiceId {
        namespace: Name::new(namespace).map_err(unknown)?,
        name: Name::new(name).map_err(unknown)?,
    })
}

fn unknown(id: &ServiceId) -> PlatformError {
    PlatformError::UnknownService(id.namespace.to_string(), id.name.to_string())
}

/// The record of a new service, and its name.
fn new_service(body: &CreateService, now: u64) -> Result<(Name, Service), PlatformError> {
    let given = body.name.as_deref().map(|name| rules::name(Some(name))).transpose()?;
    let image = rules::image_of(body)?;
    let name = match given {
        Some(name) => name,
        None => rules::name(Some(rules::name_of_image(&image)))?,
    };
    let replicas = body.replicas.map_or(Ok(1), |count| rules::number("replicas", count, &rules::REPLICAS))?;
    let spec = rules::new_spec(&body.spec.clone().unwrap_or_default(), image, new_id(), now)?;
    let record = Service {
        uid: new_id(),
        description: rules::text("description", body.description.as_deref().unwrap_or_default())?,
        replicas,
        pool: rules::pool("serviceIPPool", body.pool.as_deref().unwrap_or_default())?,
        region: rules::text("region", body.region.as_deref().unwrap_or_default())?,
        created: now,
        updated: now,
        specs: vec![spec],
        removing: false,
    };
    Ok((name, record))
}
