//! Pages: which entries of an ordered walk make one, and where the walk begins.
//!
//! A page is filled from one state: whoever walks brings a clone. It ends at the number of items that
//! was asked for, or once its keys and values have [`PAGE_BYTES_MAX`]; only `has_more` tells the end.
#![deny(clippy::disallowed_types, clippy::disallowed_methods)]

use std::ops::Bound;

use super::key::{KeyRef, QualifiedKey};
use crate::entry::ListQuery;
use crate::limits::PAGE_BYTES_MAX;
use crate::mutant::mutant;

/// One page of a listing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyPage<T> {
    /// The entries, in key order.
    pub items: Vec<(QualifiedKey, T)>,
    /// Whether entries follow.
    pub has_more: bool,
}

/// What is asked of a keyspace.
#[derive(Clone, Copy, Debug)]
pub struct PageQuery<'a> {
    /// The keyspace.
    pub keyspace: &'a str,
    /// Prefix, cursor and limit.
    pub query: &'a ListQuery,
}

impl<'a> PageQuery<'a> {
    /// Where the walk begins.
    #[must_use]
    pub fn start(self) -> Bound<KeyRef<'a>> {
        let Self { keyspace, query } = self;
        if query.after.is_empty() || query.after < query.prefix {
            return Bound::Included(KeyRef { keyspace, key: &query.prefix });
        }
        let after = KeyRef { keyspace, key: &query.after };
        if mutant!("page starts at the cursor") {
            return Bound::Included(after);
        }
        Bound::Excluded(after)
    }

    /// The page of a walk from there on, over all keyspaces. An entry of none shows nothing. Keys that
    /// `admits` does not let through are passed over before they count: the page is the same as if
    /// there were no others. It costs what it passes over.
    pub fn fill<'b, S: Copy, T>(
        self,
        walk: impl Iterator<Item = (&'b QualifiedKey, Option<S>)>,
        admits: impl Fn(&str) -> bool,
        item: impl Fn(S) -> (T, usize),
    ) -> KeyPage<T> {
        let Self { keyspace, query } = self;
        let mut page = KeyPage::default();
        let (mut bytes, mut skipped) = (0, 0);
        let key_start = keyspace.len() + 1;
        let wanted = [keyspace.as_bytes(), b"\0", &query.prefix].concat();
        for (key, shown) in walk {
            let is_wanted = key.as_bytes().starts_with(&wanted)
                || mutant!("prefix escapes the keyspace")
                    && key.key().as_bytes().starts_with(&query.prefix);
            if !is_wanted {
                break;
            }
            let Some(shown) = shown else {
                skipped += usize::from(mutant!("expired rows count towards the page limit"));
                continue;
            };
            if !admits(key.key()) && !mutant!("listing shows what may not be read") {
                skipped += usize::from(mutant!("denied keys count towards the page limit"));
                page.has_more |= mutant!("denied keys make a page have more");
                continue;
            }
            if page.items.len() + skipped >= query.items_max() || bytes >= PAGE_BYTES_MAX {
                page.has_more = true;
                break;
            }
            let (shown, value_bytes) = item(shown);
            bytes += key.as_bytes().len() - key_start + value_bytes;
            page.items.push((key.clone(), shown));
        }
        page
    }
}

/// An empty page, which is the last.
impl<T> Default for KeyPage<T> {
    fn default() -> Self {
        Self { items: Vec::new(), has_more: false }
    }
}
