//! Digests: 128-bit sums of hashes, kept while the machine changes.
//!
//! The digest of a set is the wrapping sum of the hashes of its elements, so adding and removing
//! one cost O(1) and the order does not matter. It finds divergence, by accident or by a bug; it is
//! no protection against someone who forges values.
#![deny(clippy::disallowed_types, clippy::disallowed_methods)]

use std::fmt;

use xxhash_rust::xxh3::{xxh3_64_with_seed, xxh3_128_with_seed};

use super::key::QualifiedKey;
use crate::clock::UnixMillis;
use crate::entry::Version;
use crate::mutant::mutant;
use crate::value::Encoded;

/// A digest of a set.
#[derive(Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Digest(pub u128);

impl Digest {
    /// The hash of bytes of one kind; kinds keep equal bytes of different things apart.
    pub(super) fn of(kind: u64, bytes: &[u8]) -> Self {
        Self(xxh3_128_with_seed(bytes, kind))
    }

    /// The digest with an element added.
    pub(super) const fn plus(self, hash: Self) -> Self {
        Self(self.0.wrapping_add(hash.0))
    }

    /// The digest with an element removed.
    pub(super) const fn minus(self, hash: Self) -> Self {
        Self(self.0.wrapping_sub(hash.0))
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", self.0)
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// The hash of an entry: of its key, version, deadline and value.
pub(super) fn entry_hash(
    key: &QualifiedKey,
    value: &Encoded,
    version: Version,
    deadline: Option<UnixMillis>,
) -> Digest {
    let (epoch, revision) = match version {
        Version::Unversioned | Version::Stamped { .. } => (0, 0),
        Version::Numbered { epoch, revision } => (epoch, revision),
    };
    let deadline = match deadline {
        _ if mutant!("digest forgets the deadline") => 0,
        None => 0,
        Some(deadline) => deadline.0.wrapping_add(1),
    };
    let mut head = [0; 24];
    head[..8].copy_from_slice(&epoch.to_be_bytes());
    head[8..16].copy_from_slice(&revision.to_be_bytes());
    head[16..].copy_from_slice(&deadline.to_be_bytes());
    let seed = xxh3_64_with_seed(key.as_bytes(), xxh3_64_with_seed(&head, 0));
    Digest::of(seed, value.as_bytes())
}
