//! The seam between the semantics of namespaces and what keeps the entries.
//!
//! The contract of a [`Backend`]:
//! 1. A namespace is told from every other by all its bytes, and so is a key in it.
//! 2. A write replaces the whole record, wholly or not at all, and is answered once it is done.
//! 3. A scan answers rows in the bytewise order of their names, each name once, none at or before
//!    `after`, and says where to go on if there may be more. It may be shorter than it was asked
//!    for, even empty, as long as it says so.
//! 4. Records that have expired may be answered or left out: the caller leaves them out. Those that
//!    have not are answered.
//! 5. An error of a write carries an outcome unless nothing was written.
//!
//! The answers are boxed futures, without a crate for it, so that the seam is an object and the
//! core has no runtime. A backend that never waits answers with [`ready`].
#![deny(clippy::disallowed_types, clippy::disallowed_methods)]

use std::pin::Pin;

use bytes::Bytes;

use crate::clock::UnixMillis;
use crate::error::Result;
use crate::mutant::mutant;

/// What a backend will answer.
pub type Answer<'a, T> = Pin<Box<dyn Future<Output = Result<T>> + Send + 'a>>;

/// What keeps the entries of namespaces. See the module's contract.
pub trait Backend: Send + Sync {
    /// The record of a key.
    fn read<'a>(
        &'a self,
        namespace: &'a [u8],
        key: &'a [u8],
        now: UnixMillis,
    ) -> Answer<'a, Option<Record>>;

    /// Writes a record that is present at `now`.
    fn write<'a>(
        &'a self,
        namespace: &'a [u8],
        key: &'a [u8],
        record: Record,
        now: UnixMillis,
    ) -> Answer<'a, ()>;

    /// Removes a record, if there is one.
    fn remove<'a>(&'a self, namespace: &'a [u8], key: &'a [u8]) -> Answer<'a, ()>;

    /// The next rows of a range.
    fn scan<'a>(
        &'a self,
        namespace: &'a [u8],
        range: &'a Range,
        now: UnixMillis,
    ) -> Answer<'a, Batch>;

    /// Finishes what is under way and gives resources back.
    fn close(&self) -> Pin<Box<dyn Future<Output = ()> + Send + '_>> {
        Box::pin(std::future::ready(()))
    }
}

/// What is kept under a key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    /// The value, every byte as it was put.
    pub value: Bytes,
    /// JSON text; a record of another program may hold anything.
    pub metadata: Option<Bytes>,
    /// The Unix second from which the record is absent.
    pub expiration: Option<i64>,
}

/// An entry of a listing: all but the value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Row {
    /// The key.
    pub name: Bytes,
    /// As in [`Record`].
    pub metadata: Option<Bytes>,
    /// As in [`Record`].
    pub expiration: Option<i64>,
}

/// The rows that a scan is asked for.
#[derive(Clone, Debug)]
pub struct Range {
    /// What their names start with, literally.
    pub prefix: Bytes,
    /// The name that they come after; it need not exist, nor start with the prefix.
    pub after: Option<Bytes>,
    /// How many are wanted.
    pub rows_max: usize,
}

impl Range {
    /// Whether a name lies in the range.
    #[must_use]
    pub fn contains(&self, name: &[u8]) -> bool {
        name.starts_with(&self.prefix) && self.after.as_ref().is_none_or(|after| name > after)
    }
}

/// Some rows of a range.
#[derive(Clone, Debug, Default)]
pub struct Batch {
    /// The rows.
    pub rows: Vec<Row>,
    /// Where to go on; none at the end of the range.
    pub more_after: Option<Bytes>,
}

/// Whether what has an expiration is present at an instant.
#[must_use]
pub fn is_present(expiration: Option<i64>, now: UnixMillis) -> bool {
    let now_seconds = i64::try_from(now.0 / 1_000).unwrap_or(i64::MAX);
    let slack = i64::from(mutant!("entry is present at its expiration"));
    expiration.is_none_or(|expiration| now_seconds < expiration.saturating_add(slack))
}

/// The answer of a backend that never waits.
pub fn ready<'a, T: Send + 'a>(answer: Result<T>) -> Answer<'a, T> {
    Box::pin(std::future::ready(answer))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_entry_is_absent_from_its_second_on() {
        for (expiration, now, expected) in [
            (None, u64::MAX, true),
            (Some(10), 9_999, true),
            (Some(10), 10_000, false),
            (Some(0), 0, false),
            (Some(-5), 0, false),
            (Some(i64::MAX), 4_000_000_000_000, true),
        ] {
            assert_eq!(is_present(expiration, UnixMillis(now)), expected, "{expiration:?} {now}");
        }
    }
}
