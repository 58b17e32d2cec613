//! Pages of stores: what the kinds share.

#[cfg(feature = "node")]
use crate::entry::ListQuery;
use crate::entry::{Entry, Page};
#[cfg(feature = "node")]
use crate::policy::Rights;

/// A page of some entries.
pub(super) fn page_from(items: Vec<Entry>, has_more: bool) -> Page {
    let cursor = items.last().map_or_else(String::new, |last| last.key.to_string());
    Page { items, cursor, has_more }
}

/// A page of what may be read that is being filled from the pages of a node which does not know what
/// that is. So its items are one after the other as of one of those each.
#[cfg(feature = "node")]
pub(super) struct Filling<'a> {
    rights: &'a Rights,
    query: ListQuery,
    items: Vec<Entry>,
}

#[cfg(feature = "node")]
impl<'a> Filling<'a> {
    /// An empty one.
    pub fn new(query: &ListQuery, rights: &'a Rights) -> Self {
        Self { rights, query: query.clone(), items: Vec::new() }
    }

    /// What to ask for next.
    pub const fn query(&self) -> &ListQuery {
        &self.query
    }

    /// Takes a page that was asked for; gives the page that is wanted once it is full, or there is no
    /// more.
    pub fn take(&mut self, page: Page) -> Option<Page> {
        let has_more = page.has_more && !page.items.is_empty();
        self.query.after = page.cursor.into_bytes();
        let may_read = |entry: &Entry| self.rights.may_read(entry.key.as_str());
        self.items.extend(page.items.into_iter().filter(may_read));
        let wanted = self.query.items_max();
        if self.items.len() > wanted {
            self.items.truncate(wanted);
            return Some(page_from(std::mem::take(&mut self.items), true));
        }
        (!has_more).then(|| page_from(std::mem::take(&mut self.items), false))
    }
}
