//! Which pods got no address lately, and what of that is to be told: pure.
//!
//! Each pod has one of a fixed number of slots, which are keys of the store: so a node never has more of them, however many
//! pods fail there, and however often it starts anew. A namespace has a part of the slots at most, so that others are told of
//! too.

use common::name::PodText;
use common::store::keys::REFUSALS;
use common::store::record::{Reason, Refused};

/// The longest message, in bytes: Events of Kubernetes have room for 1,024.
const MAX_MESSAGE: usize = 1_000;
/// Slots that one namespace may have.
const OF_NAMESPACE: usize = 16;
/// After so many milliseconds without another refusal, the next one is the first.
pub(super) const STREAK: u64 = 10 * 60 * 1_000;
/// Between two times that the same pod is told of, in milliseconds.
const AGAIN: u64 = 5 * 60 * 1_000;

/// A pod that got no address.
#[derive(Debug, Clone)]
pub struct Refusal {
    /// Its namespace.
    pub namespace: PodText,
    /// Its name.
    pub pod: PodText,
    /// Why.
    pub reason: Reason,
    /// The same, as the plugin is told.
    pub message: String,
}

#[derive(Debug)]
struct Row {
    refused: Refused,
    /// Whether this was told, and when.
    told: Option<u64>,
    /// Whether there is something new since.
    news: bool,
}

impl Row {
    fn is_over(&self, now: u64) -> bool {
        now.abs_diff(self.refused.last) > STREAK
    }

    fn is_due(&self, now: u64) -> bool {
        // Also after the clock was set back.
        self.news && self.told.is_none_or(|told| now.abs_diff(told) >= AGAIN)
    }
}

/// What is remembered of refusals. Times are milliseconds since the Unix epoch.
#[derive(Debug, Default)]
pub(super) struct Table {
    rows: Vec<Row>,
}

impl Table {
    /// Notes that a pod was refused. It is forgotten at once if there is no slot for it.
    pub(super) fn note(&mut self, refusal: Refusal, now: u64) {
        let Refusal { namespace, pod, reason, mut message } = refusal;
        message.truncate(message.floor_char_boundary(MAX_MESSAGE));
        let fresh = Refused { namespace, pod, reason, message, count: 1, first: now, last: now };
        let is_pod =
            |row: &&mut Row| row.refused.namespace == fresh.namespace && row.refused.pod == fresh.pod;
        if let Some(row) = self.rows.iter_mut().find(is_pod) {
            let goes_on = !row.is_over(now) && row.refused.reason == reason;
            let (count, first) =
                if goes_on { (row.refused.count.saturating_add(1), row.refused.first) } else { (1, now) };
            row.told = row.told.filter(|_| goes_on);
            row.refused = Refused { count, first, ..fresh };
            row.news = true;
            return;
        }
        let current = |row: &&Row| row.refused.namespace == fresh.namespace && !row.is_over(now);
        if self.rows.iter().filter(current).count() >= OF_NAMESPACE {
            return;
        }
        let row = Row { refused: fresh, told: None, news: true };
        if self.rows.len() < REFUSALS.into() {
            self.rows.push(row);
        } else if let Some(free) = self.rows.iter_mut().find(|row| row.is_over(now)) {
            *free = row;
        }
    }

    /// Whether there is something to be told.
    pub(super) fn is_due(&self, now: u64) -> bool {
        self.rows.iter().any(|row| row.is_due(now))
    }

    /// What is to be told, by slot.
    pub(super) fn due(&self, now: u64) -> Vec<(u8, Refused)> {
        let rows = (0..REFUSALS).zip(&self.rows).filter(|(_, row)| row.is_due(now));
        rows.map(|(slot, row)| (slot, row.refused.clone())).collect()
    }

    /// This was told.
    pub(super) fn told(&mut self, slots: &[(u8, Refused)], now: u64) {
        for (slot, refused) in slots {
            if let Some(row) = self.rows.get_mut(usize::from(*slot)) {
                row.told = Some(now);
                row.news = row.refused != *refused;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const START: u64 = 1_700_000_000_000;

    fn refusal(namespace: &str, pod: &str) -> Refusal {
        let text = |text: &str| PodText::new(text).expect("text");
        let (namespace, pod) = (text(namespace), text(pod));
        Refusal { namespace, pod, reason: Reason::NoFreeAddress, message: "full".to_owned() }
    }

    fn counts(due: &[(u8, Refused)]) -> Vec<(u8, &str, u32, u64)> {
        due.iter().map(|(slot, one)| (*slot, one.pod.as_str(), one.count, one.first - START)).collect()
    }

    #[test]
    fn a_pod_is_told_at_once_and_then_seldom() {
        let mut table = Table::default();
        assert!(!table.is_due(START));
        table.note(refusal("ns", "a"), START);
        let due = table.due(START);
        assert_eq!(counts(&due), [(0, "a", 1, 0)]);
        // It was refused once more while it was told.
        table.note(refusal("ns", "a"), START + 1);
        table.told(&due, START + 2);
        table.note(refusal("ns", "a"), START + 3);
        assert!(!table.is_due(START + AGAIN));
        assert_eq!(counts(&table.due(START + 2 + AGAIN)), [(0, "a", 3, 0)]);
        table.told(&table.due(START + 2 + AGAIN), START + 2 + AGAIN);
        assert!(!table.is_due(START + 10 * AGAIN), "nothing is new");
        let other = Refusal { reason: Reason::NoUsablePool, ..refusal("ns", "a") };
        table.note(other, START + 3 + AGAIN);
        assert_eq!(counts(&table.due(START + 3 + AGAIN)), [(0, "a", 1, 3 + AGAIN)], "another reason is new");
    }

    #[test]
    fn what_was_long_ago_begins_anew() {
        let mut table = Table::default();
        table.note(refusal("ns", "a"), START);
        table.told(&table.due(START), START);
        let later = START + STREAK + 1;
        table.note(refusal("ns", "a"), later);
        assert_eq!(counts(&table.due(later)), [(0, "a", 1, STREAK + 1)]);
        // A clock that was set back by a day holds nothing up.
        table.told(&table.due(later), later);
        table.note(refusal("ns", "a"), later - 86_400_000);
        assert_eq!(table.due(later - 86_400_000).len(), 1);
    }

    #[test]
    fn slots_are_few_and_a_namespace_has_not_all_of_them() {
        let mut table = Table::default();
        for n in 0..1_000 {
            table.note(refusal("hostile", &format!("p{n}")), START);
        }
        assert_eq!(table.due(START).len(), OF_NAMESPACE);
        for namespace in ["b", "c", "d", "e"] {
            for n in 0..OF_NAMESPACE {
                table.note(refusal(namespace, &format!("p{n}")), START);
            }
        }
        let due = table.due(START);
        assert_eq!(due.len(), usize::from(REFUSALS));
        assert!(due.iter().all(|(_, one)| one.namespace.as_str() != "e"), "all slots are taken");
        table.told(&due, START);
        // Slots of pods that are refused no more are free again.
        let later = START + STREAK + 1;
        table.note(refusal("e", "p0"), later);
        assert_eq!(counts(&table.due(later)), [(0, "p0", 1, STREAK + 1)]);
    }

    #[test]
    fn messages_are_short() {
        let mut table = Table::default();
        table.note(Refusal { message: format!("x{}", "ü".repeat(1_000)), ..refusal("ns", "a") }, START);
        let message = &table.due(START)[0].1.message;
        assert_eq!((message.len(), message.chars().last()), (999, Some('ü')));
    }
}
