//! The recent changes, in memory, and those who watch them. A watcher pulls from the one history at its own
//! pace; nothing is buffered per watcher, and one that falls behind the history learns so.

use crate::store::{Event, KeyRange, Revision, StoreError, Watch};
use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::sync::{mpsc, watch};

const MAX_EVENTS: usize = 8_192;
const MAX_BYTES: usize = 8 << 20;
/// How many changes a watcher may have received and not taken.
const CHANNEL: usize = 128;

/// The changes of the last revisions. Clones share it.
#[derive(Clone)]
pub(super) struct History(Arc<Mutex<Recent>>);

/// What happened at one revision.
type Happened = (Revision, Arc<[Event]>);

struct Recent {
    revisions: VecDeque<Happened>,
    /// Changes at this revision and before it are gone.
    floor: Revision,
    events: usize,
    bytes: usize,
}

impl History {
    /// The history that starts behind a revision.
    pub(super) fn after(floor: Revision) -> Self {
        Self(Arc::new(Mutex::new(Recent { revisions: VecDeque::new(), floor, events: 0, bytes: 0 })))
    }

    /// Adds what happened at a revision; the oldest changes give way.
    pub(super) fn push(&self, revision: Revision, events: Vec<Event>) {
        let mut recent = self.lock();
        recent.events += events.len();
        recent.bytes += events.iter().map(size).sum::<usize>();
        recent.revisions.push_back((revision, events.into()));
        while recent.revisions.len() > 1 && (recent.events > MAX_EVENTS || recent.bytes > MAX_BYTES) {
            if let Some((gone, events)) = recent.revisions.pop_front() {
                recent.floor = gone;
                recent.events -= events.len();
                recent.bytes -= events.iter().map(size).sum::<usize>();
            }
        }
    }

    /// Forgets all changes up to a revision, as some of them are not known.
    pub(super) fn forget(&self, floor: Revision) {
        *self.lock() = Recent { revisions: VecDeque::new(), floor, events: 0, bytes: 0 };
    }

    /// The changes of some ranges from a revision on. `revision` tells which was committed last; the watch ends
    /// when its sender is gone.
    pub(super) fn watch(
        &self,
        ranges: Vec<KeyRange>,
        from: Revision,
        revision: watch::Receiver<Revision>,
    ) -> Watch {
        let (events, watch) = mpsc::channel(CHANNEL);
        tokio::spawn(follow(self.clone(), ranges, from.max(1), revision, events));
        watch
    }

    /// The changes from a revision on, a few at a time.
    fn from(&self, next: Revision) -> Result<Vec<Happened>, StoreError> {
        const AT_ONCE: usize = 64;
        let recent = self.lock();
        if next <= recent.floor {
            return Err(StoreError::Compacted(next));
        }
        let start = recent.revisions.partition_point(|(revision, _)| *revision < next);
        Ok(recent.revisions.range(start..).take(AT_ONCE).cloned().collect())
    }

    fn lock(&self) -> MutexGuard<'_, Recent> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

async fn follow(
    history: History,
    ranges: Vec<KeyRange>,
    mut next: Revision,
    mut revision: watch::Receiver<Revision>,
    watcher: mpsc::Sender<Result<Event, StoreError>>,
) {
    loop {
        revision.mark_unchanged();
        let batch = match history.from(next) {
            Ok(batch) => batch,
            Err(error) => {
                // A watcher that is gone needs no reason.
                let _ = watcher.send(Err(error)).await;
                return;
            }
        };
        let Some((last, _)) = batch.last() else {
            tokio::select! {
                changed = revision.changed() => if changed.is_err() { return },
                () = watcher.closed() => return,
            }
            continue;
        };
        next = last + 1;
        let is_in = |event: &&Event| ranges.iter().any(|range| range.contains(event.key()));
        for event in batch.iter().flat_map(|(_, events)| events.iter()).filter(is_in) {
            if watcher.send(Ok(event.clone())).await.is_err() {
                return;
            }
        }
    }
}

fn size(event: &Event) -> usize {
    match event {
        Event::Put(entry) => entry.key.len() + entry.value.len(),
        Event::Delete(key, _) => key.len(),
    }
}
