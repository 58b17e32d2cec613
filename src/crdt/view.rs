//! What a replica shows, in the words of those who read it.
//!
//! A reader brings its own instant, and looks at a clone: a page is one atomic read.
#![deny(clippy::disallowed_types, clippy::disallowed_methods)]

use std::sync::Arc;

use super::lww::Entry;
use super::replica::{Refusal, Replica};
use super::stamp::Stamp;
use crate::clock::UnixMillis;
use crate::codec::{DecodeError, Reader, Writer};
use crate::kv::{KeyPage, PageQuery, QualifiedKey};
use crate::value::Encoded;

/// What a key shows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Shown {
    /// The value.
    pub value: Encoded,
    /// The stamp of its write, which is its version.
    pub stamp: Stamp,
    /// The instant from which it is gone.
    pub deadline: Option<UnixMillis>,
}

impl Replica {
    /// What a key shows, if it does, at an instant of the reader's physical clock.
    ///
    /// # Errors
    /// If this incarnation does not serve.
    pub fn shown(&self, key: &QualifiedKey, wall: UnixMillis) -> Result<Option<Shown>, Refusal> {
        Ok(self.get(key, wall)?.and_then(|entry| Shown::of(entry)))
    }

    /// One page of what is shown at an instant, of those keys only that a filter lets through.
    ///
    /// # Errors
    /// If this incarnation does not serve.
    pub fn page(
        &self,
        query: PageQuery<'_>,
        wall: UnixMillis,
        admits: impl Fn(&str) -> bool,
    ) -> Result<KeyPage<Shown>, Refusal> {
        let entries = self.range(query.start(), wall)?;
        let walk = entries.filter_map(|(key, entry)| {
            let bytes = entry.bytes.as_ref()?;
            Some((key, Some((entry, bytes))))
        });
        Ok(query.fill(walk, admits, |(entry, bytes): (&Arc<Entry>, &Encoded)| {
            let shown = Shown::new(entry, bytes);
            (shown, bytes.len())
        }))
    }
}

impl Shown {
    fn of(entry: &Entry) -> Option<Self> {
        Some(Self::new(entry, entry.bytes.as_ref()?))
    }

    fn new(entry: &Entry, value: &Encoded) -> Self {
        let deadline = entry.register.val.deadline;
        Self { value: value.clone(), stamp: entry.stamp(), deadline }
    }

    /// Appends it.
    pub fn encode(&self, writer: &mut Writer) {
        writer.bytes(self.value.as_bytes());
        self.stamp.encode(writer);
        writer.optional(self.deadline.map(|deadline| deadline.0));
    }

    /// What [`Shown::encode`] wrote. The value is a slice of what is read.
    ///
    /// # Errors
    /// If the bytes are none.
    pub fn decode(reader: &mut Reader) -> Result<Self, DecodeError> {
        let value = reader.bytes("a value")?;
        let value = Encoded::from_bytes(value).map_err(|_| reader.error("a value"))?;
        let stamp = Stamp::decode(reader)?;
        let deadline = reader.optional("a deadline")?.map(UnixMillis);
        Ok(Self { value, stamp, deadline })
    }
}
