//! A look at what is wanted and what runs, and the steps between the two. It is at the whole each time, and remembers
//! nothing but what failed and when that is tried again.

use super::desired::Desired;
use super::lock::Held;
use super::told::{News, Told, finish_namespace};
use super::wanted::Wanted;
use super::{Engine, EngineError, Look, Running, Step, Unit, report};
use common::clock::now_nanos;
use common::lastbackend::ServiceId;
use common::store::record::lastbackend::Namespace;
use common::store::{Revision, Store, StoreError};
use std::collections::{BTreeMap, HashMap, HashSet};
use std::future::pending;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::Semaphore;
use tokio::task::{Id, JoinError, JoinSet};

/// How often the runtime is looked at, if nothing else is a reason to.
const PERIOD: Duration = Duration::from_secs(2);
/// Steps at once that make something.
const STARTS: usize = 8;
/// Steps at once that remove something: most of that is waiting.
const REMOVALS: usize = 64;

/// A step that is being taken.
pub(super) struct Doing {
    goal: String,
    /// Whether it takes something away.
    pub(super) removes: bool,
}

/// What failed, and when it is tried again.
pub(super) struct Failed {
    /// What was tried.
    goal: String,
    /// How often in a row.
    times: u32,
    /// When it is tried again, in nanoseconds since the Unix epoch.
    until: u64,
    /// Why.
    pub(super) error: EngineError,
}

/// A service, and what runs of it.
struct Known<'a> {
    id: &'a ServiceId,
    revision: Revision,
    wanted: Arc<Wanted>,
    running: Running,
}

/// What goes on from one look to the next.
pub(super) struct Round {
    engine: Arc<dyn Engine>,
    told: Told,
    tasks: JoinSet<Result<(), EngineError>>,
    /// The steps that are being taken.
    busy: HashMap<Unit, Doing>,
    tokens: HashMap<Id, Unit>,
    failed: HashMap<Unit, Failed>,
    /// What was computed of records that have not changed since.
    wanted: HashMap<ServiceId, (Revision, Namespace, Arc<Wanted>)>,
    starts: Arc<Semaphore>,
    removals: Arc<Semaphore>,
    /// Whether there was nothing to do, and nothing has changed since.
    rests: bool,
}

impl Round {
    pub(super) fn new(engine: Arc<dyn Engine>, told: Told) -> Self {
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
            rests: false,
        }
    }

    /// Something has changed.
    pub(super) fn wake(&mut self) {
        self.rests = false;
    }

    /// Waits until a step is done; for ever if none is being taken.
    pub(super) async fn step_done(&mut self) {
        match self.tasks.join_next_with_id().await {
            Some(done) => self.done(done),
            None => pending().await,
        }
        while let Some(done) = self.tasks.try_join_next_with_id() {
            self.done(done);
        }
    }

    /// Looks, tells, and begins what is to be done. Answers how long to wait for the next look.
    pub(super) async fn go(
        &mut self,
        store: &dyn Store,
        held: &mut Held,
        desired: &Desired,
    ) -> Result<Duration, StoreError> {
        self.remove_empty_namespaces(store, desired).await?;
        if self.rests && desired.services.is_empty() && self.told.is_empty() && self.busy.is_empty() {
            return Ok(Duration::from_hours(1));
        }
        let running = match self.engine.look(&held.owner).await {
            Ok(running) => running,
            Err(error) => {
                held.tell(Some(error.to_string())).await?;
                return Ok(PERIOD);
            }
        };
        held.tell(None).await?;
        let mut running: BTreeMap<String, Running> =
            running.into_iter().map(|running| (running.uid.clone(), running)).collect();
        let known = self.services(desired, &mut running);
        self.forget(&known, desired);
        self.tell(store, held, &known).await?;
        let mut services = Vec::new();
        for Known { id, revision, wanted, running } in known {
            let gone = wanted.replicas == 0 && running.pods.is_empty() && !running.has_more;
            if gone && !self.busy.keys().any(|unit| unit.service() == Some(wanted.uid())) {
                self.finish(store, held, id, revision).await?;
            } else if self.told.knows(id, wanted.uid()) {
                services.push((wanted, running));
            }
        }
        let strays = running.into_values().filter(|stray| !desired.is_unreadable(&stray.service)).collect();
        let now = now_nanos();
        let look = Look {
            owner: &held.owner,
            services,
            strays,
            has_namespace: &|name| desired.has_namespace(name),
            busy: &|unit| self.busy.contains_key(unit),
            now,
        };
        let plan = Arc::clone(&self.engine).plan(&look);
        self.rests = plan.steps.is_empty() && look.services.is_empty() && look.strays.is_empty();
        let mut next = plan.next;
        for step in plan.steps {
            next = next.into_iter().chain(self.begin(step, now)).min();
        }
        Ok(next.map_or(PERIOD, |next| Duration::from_nanos(next.saturating_sub(now)).min(PERIOD)))
    }

    /// The services with what there is of each, which is taken out of `running`. A service of a namespace that is not
    /// known yet is left alone, and so is what runs of it: the two are told in any order.
    fn services<'a>(
        &mut self,
        desired: &'a Desired,
        running: &mut BTreeMap<String, Running>,
    ) -> Vec<Known<'a>> {
        let mut known = Vec::new();
        for (id, (service, revision)) in &desired.services {
            let running = running.remove(&service.uid).unwrap_or_default();
            let Some(namespace) = desired.namespaces.get(&id.namespace) else { continue };
            let same = self.wanted.get(id).filter(|(at, of, _)| at == revision && of == namespace);
            let wanted = if let Some((.., wanted)) = same {
                Arc::clone(wanted)
            } else {
                let wanted = Arc::new(Wanted::of(id, service, namespace));
                self.wanted.insert(id.clone(), (*revision, namespace.clone(), Arc::clone(&wanted)));
                wanted
            };
            known.push(Known { id, revision: *revision, wanted, running });
        }
        known
    }

    /// Forgets what concerns what is neither there nor wanted.
    fn forget(&mut self, known: &[Known<'_>], desired: &Desired) {
        let services: HashMap<&str, &Known<'_>> = known.iter().map(|one| (one.wanted.uid(), one)).collect();
        self.failed.retain(|unit, _| match unit {
            Unit::Pod(uid, index) => services.get(uid.as_str()).is_some_and(|one| {
                *index < one.wanted.replicas || one.running.pods.iter().any(|pod| pod.index == *index)
            }),
            Unit::Service(uid) => services.contains_key(uid.as_str()),
            Unit::Namespace(name) => !desired.has_namespace(name),
        });
        if self.wanted.len() > known.len() {
            let ids: HashSet<&ServiceId> = known.iter().map(|one| one.id).collect();
            self.wanted.retain(|id, _| ids.contains(id));
        }
    }

    /// Tells what was seen. Of a service that has nothing and is to have nothing, there is nothing to tell.
    async fn tell(&mut self, store: &dyn Store, held: &Held, known: &[Known<'_>]) -> Result<(), StoreError> {
        let told = |one: &&Known<'_>| self.told.knows(one.id, one.wanted.uid()) || one.wanted.replicas > 0;
        let news = known.iter().filter(told).map(|Known { id, revision, wanted, running }| {
            let run = report::run(wanted, &running.pods, &self.busy, &self.failed);
            News { id: (*id).clone(), revision: *revision, run }
        });
        let news: Vec<News> = news.collect();
        self.told.tell(store, held, news).await
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

    /// Begins a step, unless one of that unit is being taken. Answers when it may be tried again, if it failed before.
    fn begin(&mut self, step: Step, now: u64) -> Option<u64> {
        let Step { unit, goal, removes, work } = step;
        if self.busy.contains_key(&unit) {
            return None;
        }
        match self.failed.get(&unit) {
            Some(failed) if failed.goal != goal => drop(self.failed.remove(&unit)),
            Some(failed) if failed.until > now => return Some(failed.until),
            _ => {}
        }
        let permits = Arc::clone(if removes { &self.removals } else { &self.starts });
        let task = self.tasks.spawn(async move {
            // It is never closed.
            let _permit = permits.acquire().await;
            work.await
        });
        self.tokens.insert(task.id(), unit.clone());
        self.busy.insert(unit, Doing { goal, removes });
        None
    }

    /// A step has come to its end.
    fn done(&mut self, done: Result<(Id, Result<(), EngineError>), JoinError>) {
        let (id, outcome) = match done {
            Ok(done) => done,
            Err(error) => (error.id(), Err(EngineError::Refused("it was cut short by a fault".to_owned()))),
        };
        let Some(unit) = self.tokens.remove(&id) else { return };
        let Some(Doing { goal, .. }) = self.busy.remove(&unit) else { return };
        match outcome {
            Ok(()) => drop(self.failed.remove(&unit)),
            Err(error) => {
                let before = self.failed.remove(&unit).filter(|failed| failed.goal == goal);
                let times = before.map_or(0, |failed| failed.times) + 1;
                let pause = Duration::from_secs(1 << times.min(6)).min(Duration::from_mins(1)) / 2;
                tracing::warn!(?unit, %error, again_in = ?pause, "a step towards what is wanted failed");
                let until = now_nanos() + u64::try_from(pause.as_nanos()).unwrap_or(u64::MAX);
                self.failed.insert(unit, Failed { goal, times, until, error });
            }
        }
    }
}
