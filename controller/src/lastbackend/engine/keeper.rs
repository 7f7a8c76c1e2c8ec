//! The loop that makes what runs match what is wanted, for as long as this controller has the lock. It looks at the
//! whole each time, and remembers nothing but what failed and when that is tried again.

use super::desired::Desired;
use super::lock::{Held, LockError};
use super::told::{News, Told, finish_namespace};
use super::wanted::Wanted;
use super::{Engine, EngineError, Pod, Step, plan, report};
use common::clock::now_nanos;
use common::error::chain;
use common::lastbackend::ServiceId;
use common::store::record::lastbackend::Namespace;
use common::store::{Revision, Store, StoreError};
use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{Semaphore, watch};
use tokio::task::{Id, JoinError, JoinSet};

/// How often the runtime is looked at, if nothing else is a reason to.
const PERIOD: Duration = Duration::from_secs(2);
/// Pause before the lock or the store is tried again.
const PAUSE: Duration = Duration::from_secs(1);
/// Pods made at once.
const STARTS: usize = 8;
/// Pods removed at once: most of that is waiting.
const REMOVALS: usize = 64;

/// A pod of a service: the service's `uid`, and the pod's number.
pub type PodKey = (String, u32);

/// Runs services.
pub struct Keeper {
    /// The store.
    pub store: Arc<dyn Store>,
    /// What runs them.
    pub engine: Arc<dyn Engine>,
    /// The machine.
    pub machine: String,
}

impl Keeper {
    /// Runs services until the controller ends, whenever no other engine does.
    pub async fn run(&self, mut ending: watch::Receiver<bool>) {
        let mut told_why = String::new();
        while !*ending.borrow() {
            match Held::take(&self.store, self.engine.kind(), &self.machine).await {
                Ok(Some(held)) => {
                    tracing::info!(
                        engine = self.engine.kind(),
                        owner = held.owner,
                        "this controller runs services"
                    );
                    self.hold(held, &mut ending).await;
                    continue;
                }
                Ok(None) => {}
                Err(error) => {
                    let why = chain(&error);
                    if why != told_why {
                        match error {
                            LockError::Elsewhere(_) => {
                                tracing::error!(error = why, "services are not run here");
                            }
                            LockError::Store(_) | LockError::Record(_) => {
                                tracing::warn!(error = why, "services are not run at the moment");
                            }
                        }
                        told_why = why;
                    }
                }
            }
            tokio::select! {
                () = tokio::time::sleep(PAUSE) => {}
                _ = ending.wait_for(|ending| *ending) => {}
            }
        }
    }

    /// Runs services until the lock is lost, or the controller ends.
    async fn hold(&self, mut held: Held, ending: &mut watch::Receiver<bool>) {
        let lost = held.renewed();
        let work = async {
            loop {
                let error = self.work(&mut held).await;
                tracing::warn!(error = chain(&error), "looking after the services starts over");
                tokio::time::sleep(PAUSE).await;
            }
        };
        tokio::select! {
            () = lost => return,
            () = work => {}
            _ = ending.wait_for(|ending| *ending) => {}
        }
        held.release().await;
    }

    /// Goes on until the store fails.
    async fn work(&self, held: &mut Held) -> StoreError {
        let store = self.store.as_ref();
        let (mut desired, told) = match tokio::try_join!(Desired::read(store), Told::read(store)) {
            Ok(read) => read,
            Err(error) => return error,
        };
        let mut round = Round::new(Arc::clone(&self.engine), told);
        loop {
            let next = match round.go(store, held, &desired).await {
                Ok(next) => next,
                Err(error) => return error,
            };
            tokio::select! {
                changed = desired.changed() => if let Err(error) = changed { return error },
                Some(done) = round.tasks.join_next_with_id() => round.done(done),
                () = tokio::time::sleep(next) => {}
            }
            while let Some(done) = round.tasks.try_join_next_with_id() {
                round.done(done);
            }
        }
    }
}

/// What failed, and when it is tried again.
pub struct Failed {
    /// What was tried.
    step: String,
    /// How often in a row.
    times: u32,
    /// When it is tried again, in nanoseconds since the Unix epoch.
    until: u64,
    /// Why.
    pub error: EngineError,
}

/// A service, and what runs of it.
struct Known<'a> {
    id: &'a ServiceId,
    uid: &'a str,
    revision: Revision,
    wanted: Arc<Wanted>,
    pods: Vec<Pod>,
}

/// What goes on from one look to the next.
struct Round {
    engine: Arc<dyn Engine>,
    told: Told,
    tasks: JoinSet<Result<(), EngineError>>,
    /// The steps that are being taken.
    busy: HashMap<PodKey, Step>,
    tokens: HashMap<Id, PodKey>,
    failed: HashMap<PodKey, Failed>,
    /// What was computed of records that have not changed since.
    wanted: HashMap<ServiceId, (Revision, Namespace, Arc<Wanted>)>,
    starts: Arc<Semaphore>,
    removals: Arc<Semaphore>,
    looked: bool,
}

impl Round {
    fn new(engine: Arc<dyn Engine>, told: Told) -> Self {
        Self {
            engine,
            told,
            tasks: JoinSet::new(),
            busy: HashMap::new(),
            tokens: HashMap::new(),
            failed: HashMap::new(),
            wanted: HashMap::new(),
            starts: Arc::new(Semaphore::new(STARTS)),
            removals: Arc::new(Semaphore::new(REMOVALS)),
            looked: false,
        }
    }

    /// Looks, tells, and begins what is to be done. Answers how long to wait for the next look.
    async fn go(
        &mut self,
        store: &dyn Store,
        held: &mut Held,
        desired: &Desired,
    ) -> Result<Duration, StoreError> {
        self.remove_empty_namespaces(store, desired).await?;
        if self.looked && desired.services.is_empty() && self.told.is_empty() && self.busy.is_empty() {
            // Nothing runs, and nothing is wanted.
            return Ok(Duration::from_hours(1));
        }
        let pods = match self.engine.pods(&held.owner).await {
            Ok(pods) => pods,
            Err(error) => {
                held.tell(Some(error.to_string())).await?;
                return Ok(PERIOD);
            }
        };
        held.tell(None).await?;
        self.looked = true;
        self.engine.tidy(&pods).await;
        let mut of_services: BTreeMap<String, Vec<Pod>> = BTreeMap::new();
        for pod in pods {
            of_services.entry(pod.uid.clone()).or_default().push(pod);
        }
        let known = self.services(desired, &mut of_services);
        self.forget(&known);
        let news = known.iter().filter(|one| self.told.knows(one.id, one.uid) || one.wanted.replicas > 0);
        let news = news.map(|one| {
            let run = report::run(one.uid, &one.wanted, &one.pods, &self.busy, &self.failed);
            News { id: one.id.clone(), revision: one.revision, run }
        });
        let news: Vec<News> = news.collect();
        self.told.tell(store, held, news).await?;
        let (now, mut next) = (now_nanos(), None::<u64>);
        for Known { id, uid, revision, wanted, pods } in known {
            if wanted.replicas == 0 && pods.is_empty() && !self.busy.keys().any(|(busy, _)| busy == uid) {
                self.finish(store, held, id, revision).await?;
            } else if self.told.knows(id, uid) {
                let busy = |index| self.busy.contains_key(&(uid.to_owned(), index));
                let (steps, then) = plan::plan(&wanted, &pods, &busy, now);
                next = earlier(next, then);
                for step in steps {
                    next = earlier(next, self.begin(&held.owner, step, now));
                }
            }
        }
        // Of services that are not there any more.
        for pod in of_services.into_values().flatten().filter(|pod| !desired.is_unreadable(&pod.service)) {
            next = earlier(next, self.begin(&held.owner, Step::Remove(pod), now));
        }
        Ok(next.map_or(PERIOD, |next| Duration::from_nanos(next.saturating_sub(now)).min(PERIOD)))
    }

    /// The services with the pods that they have, which are taken out of `pods`. A service of a namespace that is not
    /// known yet is left alone, and so are its pods: the two are told in any order.
    fn services<'a>(
        &mut self,
        desired: &'a Desired,
        pods: &mut BTreeMap<String, Vec<Pod>>,
    ) -> Vec<Known<'a>> {
        let mut known = Vec::new();
        for (id, (service, revision)) in &desired.services {
            let pods = pods.remove(&service.uid).unwrap_or_default();
            let Some(namespace) = desired.namespaces.get(&id.namespace) else { continue };
            let same = self.wanted.get(id).filter(|(at, of, _)| at == revision && of == namespace);
            let wanted = if let Some((.., wanted)) = same {
                Arc::clone(wanted)
            } else {
                let wanted = Arc::new(Wanted::of(id, service, namespace));
                self.wanted.insert(id.clone(), (*revision, namespace.clone(), Arc::clone(&wanted)));
                wanted
            };
            known.push(Known { id, uid: &service.uid, revision: *revision, wanted, pods });
        }
        known
    }

    /// Forgets what concerns pods that are neither there nor wanted.
    fn forget(&mut self, known: &[Known<'_>]) {
        let services: HashMap<&str, &Known<'_>> = known.iter().map(|one| (one.uid, one)).collect();
        self.failed.retain(|(uid, index), _| {
            let service = services.get(uid.as_str());
            service.is_some_and(|one| {
                *index < one.wanted.replicas || one.pods.iter().any(|pod| pod.index == *index)
            })
        });
        if self.wanted.len() > known.len() {
            let ids: HashSet<&ServiceId> = known.iter().map(|one| one.id).collect();
            self.wanted.retain(|id, _| ids.contains(id));
        }
    }

    /// Deletes a service that is to go and has no pods.
    async fn finish(
        &mut self,
        store: &dyn Store,
        held: &Held,
        id: &ServiceId,
        revision: Revision,
    ) -> Result<(), StoreError> {
        match self.told.finish(store, held, id, revision).await {
            // It was changed: the next look will tell.
            Err(StoreError::Conflict) => Ok(()),
            outcome => outcome,
        }
    }

    async fn remove_empty_namespaces(&self, store: &dyn Store, desired: &Desired) -> Result<(), StoreError> {
        for (name, _) in desired.namespaces.iter().filter(|(_, namespace)| namespace.removing) {
            if !desired.services.keys().any(|id| id.namespace == *name) {
                finish_namespace(store, name).await?;
            }
        }
        Ok(())
    }

    /// Begins a step, unless one of that pod is being taken. Answers when it may be tried again, if it failed before.
    fn begin(&mut self, owner: &str, step: Step, now: u64) -> Option<u64> {
        let key = (step.pod().0.to_owned(), step.pod().1);
        if self.busy.contains_key(&key) {
            return None;
        }
        match self.failed.get(&key) {
            Some(failed) if failed.step != name(&step) => drop(self.failed.remove(&key)),
            Some(failed) if failed.until > now => return Some(failed.until),
            _ => {}
        }
        let permits = Arc::clone(if matches!(step, Step::Start(..)) { &self.starts } else { &self.removals });
        let (engine, owner, taken) = (Arc::clone(&self.engine), owner.to_owned(), step.clone());
        let task = self.tasks.spawn(async move {
            // It is never closed.
            let _permit = permits.acquire().await;
            engine.take(&owner, &taken).await
        });
        self.tokens.insert(task.id(), key.clone());
        self.busy.insert(key, step);
        None
    }

    /// A step has come to its end.
    fn done(&mut self, done: Result<(Id, Result<(), EngineError>), JoinError>) {
        let (id, outcome) = match done {
            Ok(done) => done,
            Err(error) => (error.id(), Err(EngineError::Refused("it was cut short by a fault".to_owned()))),
        };
        let Some(key) = self.tokens.remove(&id) else { return };
        let Some(step) = self.busy.remove(&key) else { return };
        match outcome {
            Ok(()) => drop(self.failed.remove(&key)),
            Err(error) => {
                let before = self.failed.remove(&key).filter(|failed| failed.step == name(&step));
                let times = before.map_or(0, |failed| failed.times) + 1;
                let pause = Duration::from_secs(1 << times.min(6)).min(Duration::from_mins(1)) / 2;
                tracing::warn!(pod = ?key, %error, again_in = ?pause, "a step towards what is wanted failed");
                let until = now_nanos() + u64::try_from(pause.as_nanos()).unwrap_or(u64::MAX);
                self.failed.insert(key, Failed { step: name(&step), times, until, error });
            }
        }
    }
}

/// What is the same for a step that is tried again.
fn name(step: &Step) -> String {
    match step {
        Step::Start(pod, _) => pod.shape.clone(),
        Step::Remove(_) => "remove".to_owned(),
    }
}

fn earlier(a: Option<u64>, b: Option<u64>) -> Option<u64> {
    a.into_iter().chain(b).min()
}
