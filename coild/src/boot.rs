//! What a reboot leaves of the allocations in the journal: those of which a sandbox is still there.

use crate::cri::Listing;
use crate::journal::{Journal, JournalError};
use crate::sandboxes;
use crate::state::{Holder, State};
use common::clock;
use std::fmt;

/// What the journal notes of the boot: `<boot id>`, or `<boot id> <sequence>` as long as it is undecided which of the
/// allocations up to that number outlived the boot before.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Boot {
    /// The kernel's boot id.
    pub id: String,
    /// The last allocation of the boot before, if what became of those is undecided.
    pub undecided: Option<u64>,
}

impl Boot {
    /// Reads a note.
    pub fn parse(note: &str) -> Self {
        let undecided = note.rsplit_once(' ').and_then(|(id, last)| Some((id, last.parse().ok()?)));
        match undecided {
            Some((id, last)) => Self { id: id.to_owned(), undecided: Some(last) },
            None => Self { id: note.to_owned(), undecided: None },
        }
    }

    /// The boot with this id, when nothing about the boot before is open any more.
    pub fn decided(id: impl Into<String>) -> Self {
        Self { id: id.into(), undecided: None }
    }
}

impl fmt::Display for Boot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.undecided {
            Some(last) => write!(f, "{} {last}", self.id),
            None => f.write_str(&self.id),
        }
    }
}

/// Frees what was given before a reboot that is not in the journal yet, and notes it. With `ask_runtime` a container
/// runtime has a say in it too. It may answer only later, so that nothing is freed, and the reboot is noted as
/// undecided.
pub fn settle(
    journal: &mut Journal,
    mut state: State,
    boot: &str,
    ask_runtime: bool,
) -> Result<(State, Boot), JournalError> {
    let last = match state.boot().map(Boot::parse) {
        Some(noted) if noted.id == boot => match noted.undecided {
            Some(last) if !ask_runtime => last,
            _ => return Ok((state, noted)),
        },
        _ => state.sequence(),
    };
    let survives = |holder: &Holder| survives(holder, last, &Listing::default());
    let all_survive = state.allocations().all(|(_, _, holder)| survives(holder));
    let undecided = (ask_runtime && !all_survive).then_some(last);
    if undecided.is_none() {
        let freed = state.free_stale(survives, clock::now_millis());
        if freed > 0 {
            tracing::info!(freed, "the machine was rebooted: freed what its containers held");
        }
    }
    let noted = Boot { id: boot.to_owned(), undecided };
    state.set_boot(noted.to_string());
    let changes = state.take_changes();
    journal.commit(&changes, &state)?;
    Ok((state, noted))
}

/// Whether an allocation is not of the boot that ended with the allocation `last`, or its sandbox outlived that boot: it
/// runs, as its runtime says, or its network namespace has a name and is there.
pub fn survives(holder: &Holder, last: u64, listing: &Listing) -> bool {
    // What is set aside was never a container's.
    holder.sequence > last
        || holder.conflict
        || listing.runs(&holder.attachment.container_id)
        || holder.netns.as_deref().is_some_and(sandboxes::survives_reboot)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::state::{BlockId, Settings, Standing};
    use common::ipam::{Pool, Unit};
    use common::name::{ContainerId, IfName, PodText, PoolName};
    use common::store::record::Allocation;
    use std::time::Duration;

    const SETTINGS: Settings = Settings { cooldown: Duration::ZERO, low_water: 1 };

    fn record(offset: u32, container: &str, netns: Option<&str>) -> Allocation {
        Allocation {
            offset,
            sequence: offset.into(),
            container: ContainerId::new(container).expect("valid"),
            interface: IfName::eth0(),
            namespace: PodText::new("n").expect("valid"),
            pod: PodText::new("p").expect("valid"),
            network: None,
            netns: netns.map(str::to_owned),
            since: 0,
            conflict: false,
        }
    }

    /// A journal of boot `a`, with an allocation that has lost its namespace and one in a directory that stays.
    fn journal(dir: &tempfile::TempDir) -> (Journal, State) {
        let mut journal = Journal::open(&dir.path().join("journal")).expect("journal");
        let mut state = State::new(SETTINGS, 0);
        let unit = Unit::containing("10.0.0.0".parse().expect("address"), 4);
        let id = BlockId { pool: PoolName::default_pool().into(), unit };
        let held = vec![record(1, "goes", Some("/nonexistent/ns")), record(2, "stays", dir.path().to_str())];
        state.add_block(&id, 7, Standing::Open, &Pool::of_subnets(vec![unit.net()]), held, 0);
        state.set_boot("a".to_owned());
        let changes = state.take_changes();
        journal.commit(&changes, &state).expect("committed");
        (journal, state)
    }

    fn containers(state: &State) -> Vec<String> {
        state.attachments().iter().map(|attachment| attachment.container_id.to_string()).collect()
    }

    #[test]
    fn notes_are_read_as_written() {
        for undecided in [None, Some(0), Some(1042)] {
            let boot = Boot { id: "b1a7c6de-2a52".to_owned(), undecided };
            assert_eq!(Boot::parse(&boot.to_string()), boot);
        }
        assert_eq!(Boot::parse("a b"), Boot::decided("a b"));
    }

    #[test]
    fn without_a_runtime_a_reboot_is_decided_at_once() {
        let dir = tempfile::tempdir().expect("directory");
        let (mut journal, state) = journal(&dir);
        let (state, boot) = settle(&mut journal, state, "a", false).expect("settled");
        assert_eq!((containers(&state).len(), boot), (2, Boot::decided("a")));
        let (state, boot) = settle(&mut journal, state, "b", false).expect("settled");
        assert_eq!((containers(&state), boot), (vec!["stays".to_owned()], Boot::decided("b")));
        assert_eq!(journal.load(SETTINGS, 0).expect("read").boot(), Some("b"));
        assert_eq!(containers(&journal.load(SETTINGS, 0).expect("loaded")), ["stays"]);
    }

    #[test]
    fn with_a_runtime_it_stays_undecided_until_that_has_answered() {
        let dir = tempfile::tempdir().expect("directory");
        let (mut journal, state) = journal(&dir);
        let last = state.sequence();
        let (mut state, boot) = settle(&mut journal, state, "b", true).expect("settled");
        assert_eq!((containers(&state).len(), boot.undecided), (2, Some(last)));
        // What is given from now on is of the new boot, whatever the next start finds of its namespace.
        let id = state.leases().into_keys().next().expect("a block");
        let new = Allocation { sequence: last + 1, ..record(3, "new", None) };
        assert!(state.hold_recorded(&id, new, 0));
        let changes = state.take_changes();
        journal.commit(&changes, &state).expect("committed");
        let (state, again) = settle(&mut journal, state, "b", true).expect("settled");
        assert_eq!((containers(&state).len(), &again), (3, &boot));
        // It is asked no more: the namespaces alone decide.
        let (state, boot) = settle(&mut journal, state, "b", false).expect("settled");
        assert_eq!(
            (containers(&state), boot),
            (vec!["new".to_owned(), "stays".to_owned()], Boot::decided("b"))
        );
    }
}
