//! The names of members, of their lives, and of writes.
//!
//! An author is a member in one of its incarnations. A stamp says when an author wrote: stamps are in
//! one total order, and no two writes have the same. A dot says which of an author's writes it was,
//! counted from 1. Of one author, later dots have later stamps.
#![deny(clippy::disallowed_types, clippy::disallowed_methods)]

use std::fmt;

use crate::codec::{DecodeError, Reader, Writer};
use crate::entry::{StampVersion, Version};
use crate::hlc::HybridTime;

/// A member of the cluster.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct MemberId(pub u64);

/// A life of a member, between a start without all that it had said and the next such start: the
/// number of the start with which it began.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Incarnation(pub u64);

/// A member in one of its incarnations.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Author {
    /// The member.
    pub member: MemberId,
    /// Its incarnation.
    pub incarnation: Incarnation,
}

/// When a write happened: its place in the total order of all writes.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Stamp {
    /// The time that its author's hybrid clock gave it.
    pub time: HybridTime,
    /// Who wrote: orders what has one time.
    pub author: Author,
}

/// The name of a write: its author, and which of the author's writes it was.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Dot {
    /// Who wrote.
    pub author: Author,
    /// Counted from 1.
    pub counter: u64,
}

impl Author {
    pub(super) fn encode(self, writer: &mut Writer) {
        writer.fixed(self.member.0);
        writer.unsigned(self.incarnation.0);
    }

    pub(super) fn decode(reader: &mut Reader) -> Result<Self, DecodeError> {
        let member = MemberId(reader.fixed("a member")?);
        let incarnation = Incarnation(reader.unsigned("an incarnation")?);
        Ok(Self { member, incarnation })
    }
}

impl Dot {
    /// Reads a counter. The greatest number is none, so that one can be added to each.
    pub(super) fn decode_counter(reader: &mut Reader) -> Result<u64, DecodeError> {
        match reader.unsigned("a counter")? {
            0 | u64::MAX => Err(reader.error("a counter from 1, below the greatest number")),
            counter => Ok(counter),
        }
    }
}

impl Stamp {
    /// Appends it.
    pub fn encode(self, writer: &mut Writer) {
        self.time.encode(writer);
        self.author.encode(writer);
    }

    /// What [`Stamp::encode`] wrote.
    ///
    /// # Errors
    /// If the bytes are none.
    pub fn decode(reader: &mut Reader) -> Result<Self, DecodeError> {
        Ok(Self { time: HybridTime::decode(reader)?, author: Author::decode(reader)? })
    }
}

/// As users see it.
impl From<Stamp> for Version {
    fn from(Stamp { time, author: Author { member, incarnation } }: Stamp) -> Self {
        Self::Stamped(StampVersion::new(time, member.0, incarnation.0))
    }
}

impl fmt::Display for Author {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:x}.{}", self.member.0, self.incarnation.0)
    }
}

impl fmt::Debug for Author {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl fmt::Debug for Stamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}@{}", self.time, self.author)
    }
}

impl fmt::Debug for Dot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}#{}", self.author, self.counter)
    }
}
