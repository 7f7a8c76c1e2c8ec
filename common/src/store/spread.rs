//! Pages of large ranges of which the keys end in random ids.
//!
//! etcd looks at all keys of a range, whatever the limit, so that the first page of a million keys would cost as much as
//! all of them. So a page is read in parts of the range, each asked for by itself. As random ids are spread evenly, the
//! keys of one part tell how wide the next has to be. Of other ids the pages are right too, and only slower.

use super::{Entry, KeyRange, Page, Revision, Store, StoreError};
use uuid::Uuid;

/// All that the first 32 bits of an id can be.
const ALL: u64 = 1 << 32;
/// The width of the first part: of a million keys it has about as many as a page.
const FIRST: u64 = ALL >> 12;
/// How many times wider than all before it a part is at most. One that follows a part without keys has few.
const GROWTH: u64 = 64;
/// A part is so many eighths of what is expected to suffice, so that the next one is seldom needed.
const EIGHTHS: u64 = 10;

/// The first `limit` entries of those keys of a range (`prefix`, then an id) that come after an id.
///
/// They are read one part after the other, so the page is not of one revision: what is made or removed meanwhile may be
/// missing or there. What was there all the time is there. The revision is the oldest one.
pub async fn list<S: Store + ?Sized>(
    store: &S,
    prefix: &str,
    after: Option<Uuid>,
    limit: usize,
) -> Result<Page<Entry>, StoreError> {
    let end = KeyRange::prefix(prefix).to;
    let mut parts = Parts::after(after);
    let mut from = after.map_or_else(|| prefix.to_owned(), |id| format!("{prefix}{id}\0"));
    let mut page = Page { items: Vec::new(), more: false, revision: Revision::MAX };
    // One more tells whether there are more.
    while let Some(part) = parts.next(limit + 1 - page.items.len()) {
        let to = if part == ALL { end.clone() } else { format!("{prefix}{part:08x}") };
        let range = KeyRange { from, to: to.clone() };
        let found = store.list(&range, limit + 1 - page.items.len()).await?;
        parts.had(found.items.len());
        page.revision = page.revision.min(found.revision);
        page.items.extend(found.items);
        if page.items.len() > limit {
            page.items.truncate(limit);
            page.more = true;
            break;
        }
        from = to;
    }
    Ok(page)
}

/// The parts of a range, as wide as what the last ones had makes sensible.
#[derive(Debug)]
struct Parts {
    /// Where the first part began, where the last one ended.
    start: u64,
    end: u64,
    /// How many keys there were in between.
    keys: u64,
}

impl Parts {
    fn after(id: Option<Uuid>) -> Self {
        let start = id.map_or(0, |id| u64::from(id.as_fields().0));
        Self { start, end: start, keys: 0 }
    }

    /// Where a part ends that begins at the end of the last one and is expected to have so many keys; `None` if that was the
    /// end of the range.
    fn next(&mut self, missing: usize) -> Option<u64> {
        if self.end == ALL {
            return None;
        }
        let before = self.end - self.start;
        let width = match (before, self.keys) {
            (0, _) => FIRST,
            (_, 0) => before * GROWTH,
            (_, keys) => {
                let missing = u64::try_from(missing).unwrap_or(ALL).min(ALL / EIGHTHS);
                // Below 2^64, as both factors are at most 2^32.
                let enough = missing * EIGHTHS * before / (8 * keys);
                enough.clamp(1, before * GROWTH)
            }
        };
        self.end = (self.end + width).min(ALL);
        Some(self.end)
    }

    /// How many keys the last part had, if not more than enough.
    fn had(&mut self, keys: usize) {
        self.keys += u64::try_from(keys).unwrap_or(ALL);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::hash::{DefaultHasher, Hash, Hasher};

    /// Reads a page of sorted heads of ids; answers what it has, how many parts were read, and how many keys etcd would
    /// have looked at.
    fn read(heads: &[u32], after: u32, limit: usize) -> (usize, usize, usize) {
        let id = Uuid::from_fields(after, 0, 0, &[0; 8]);
        let mut parts = Parts::after(Some(id));
        let (mut had, mut reads, mut looked_at, mut from) = (0, 0, 0, u64::from(after));
        while let Some(to) = parts.next(limit + 1 - had) {
            assert!(to > from, "a part without width");
            let below = |end: u64| heads.partition_point(|head| u64::from(*head) < end);
            let inside = below(to) - below(from);
            let told = inside.min(limit + 1 - had);
            parts.had(told);
            (had, reads, looked_at, from) = (had + told, reads + 1, looked_at + inside, to);
            if had > limit {
                break;
            }
        }
        (had, reads, looked_at)
    }

    #[test]
    fn a_page_looks_at_few_keys_in_few_parts() {
        let random = |seed: u32, number: u32| {
            let mut hasher = DefaultHasher::new();
            (seed, number).hash(&mut hasher);
            u32::try_from(hasher.finish() >> 32).expect("32 bits")
        };
        for seed in 0..3 {
            for total in [0, 1, 10, 250, 10_000, 1_000_000] {
                let mut heads: Vec<u32> = (0..total).map(|number| random(seed, number)).collect();
                heads.sort_unstable();
                for after in [0, 1 << 31, u32::MAX - (1 << 24)] {
                    let rest = heads.len() - heads.partition_point(|head| *head < after);
                    for limit in [1, 10, 200, 1_000] {
                        let (had, reads, looked_at) = read(&heads, after, limit);
                        assert_eq!(had, rest.min(limit + 1));
                        let told = format!("{limit} of {total}: {looked_at} looked at in {reads} parts");
                        assert!(reads <= 8 && looked_at <= 4 * limit + 1_000, "{told}");
                    }
                }
            }
        }
    }

    proptest! {
        /// However the ids are spread, a page has all that there is, and ends.
        #[test]
        fn no_key_is_passed_over(
            heads in prop::collection::vec(prop_oneof![any::<u32>(), 0x0190_0000..0x0190_0100_u32], 0..300),
            after in prop_oneof![any::<u32>(), Just(0), Just(u32::MAX)],
            limit in 0..400_usize,
        ) {
            let mut heads = heads;
            heads.sort_unstable();
            let rest = heads.len() - heads.partition_point(|head| *head < after);
            let (had, reads, _) = read(&heads, after, limit);
            prop_assert_eq!(had, rest.min(limit + 1));
            prop_assert!(reads < 1_000, "{} parts", reads);
        }
    }
}
