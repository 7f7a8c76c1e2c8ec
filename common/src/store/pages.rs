//! Ranges that are read to their end, page by page.

use super::{Entry, KeyRange, Page, Store, StoreError};

/// Entries of a page when all of a range is wanted.
const SIZE: usize = 1_000;

/// The pages of a range, one after the other, each as of a revision of its own.
#[derive(Debug)]
pub struct Pages<'a, S: ?Sized> {
    store: &'a S,
    /// What has not been read yet.
    rest: Option<KeyRange>,
    size: usize,
}

impl<'a, S: Store + ?Sized> Pages<'a, S> {
    /// Nothing is read yet; a page has `size` items at most.
    pub fn of(store: &'a S, range: KeyRange, size: usize) -> Self {
        Self { store, rest: Some(range), size }
    }

    /// The entries of the next page; `None` after the last one. After an error the same page is asked for again.
    pub async fn next(&mut self) -> Result<Option<Page<Entry>>, StoreError> {
        let Some(range) = &self.rest else { return Ok(None) };
        let page = self.store.list(range, self.size).await?;
        self.rest = page.last_of_more().map(|last| range.after(&last.key));
        Ok(Some(page))
    }

    /// The keys of the next page, without their values.
    pub async fn next_keys(&mut self) -> Result<Option<Page<String>>, StoreError> {
        let Some(range) = &self.rest else { return Ok(None) };
        let page = self.store.list_keys(range, self.size).await?;
        self.rest = page.last_of_more().map(|last| range.after(last));
        Ok(Some(page))
    }
}

/// All entries of a range, read in pages; the revision is that of the first one.
pub async fn list_all<S: Store + ?Sized>(store: &S, range: &KeyRange) -> Result<Page<Entry>, StoreError> {
    let mut all = store.list(range, SIZE).await?;
    if let Some(last) = all.last_of_more() {
        let mut pages = Pages::of(store, range.after(&last.key), SIZE);
        while let Some(page) = pages.next().await? {
            all.items.extend(page.items);
        }
        all.more = false;
    }
    Ok(all)
}
