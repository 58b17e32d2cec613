//! Keys qualified by their keyspace: the keys of the machine's one ordered map.
//!
//! The bytes are the keyspace, a NUL byte, the key. Neither part contains a NUL byte, so keys of a
//! keyspace stand together, in their own order, and no prefix reaches from one into another.
#![deny(clippy::disallowed_types, clippy::disallowed_methods)]

use std::cmp::Ordering;
use std::fmt;
use std::sync::Arc;

use equivalent::{Comparable, Equivalent};

use crate::codec::{DecodeError, Reader};
use crate::entry::Key;
use crate::keyspace::Keyspace;

/// A key within a keyspace. Order: by keyspace, then by key, bytewise. Cloning shares it.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct QualifiedKey(Arc<str>);

impl QualifiedKey {
    /// The key of a keyspace.
    #[must_use]
    pub fn new(keyspace: &Keyspace, key: &Key) -> Self {
        let (keyspace, key) = (keyspace.as_str(), key.as_str());
        let mut bytes = String::with_capacity(keyspace.len() + 1 + key.len());
        bytes.push_str(keyspace);
        bytes.push('\0');
        bytes.push_str(key);
        Self(bytes.into())
    }

    /// The name of the keyspace.
    #[must_use]
    pub fn keyspace(&self) -> &str {
        self.parts().0
    }

    /// The key.
    #[must_use]
    pub fn key(&self) -> &str {
        self.parts().1
    }

    /// The key as its own type.
    #[must_use]
    pub fn to_key(&self) -> Key {
        Key::new(self.key()).expect("made from a key")
    }

    /// Both parts with the NUL byte between them.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        self.0.as_bytes()
    }

    /// Reads what [`QualifiedKey::as_bytes`] wrote with its length in front.
    pub(crate) fn read(reader: &mut Reader) -> Result<Self, DecodeError> {
        let bytes = reader.bytes("a key")?;
        let parse = |bytes: &[u8]| {
            let text = std::str::from_utf8(bytes).ok()?;
            let (keyspace, key) = text.split_once('\0')?;
            Keyspace::check(keyspace).and_then(|()| Key::check(key)).ok()?;
            Some(Self(text.into()))
        };
        parse(&bytes).ok_or(reader.error("a key"))
    }

    fn parts(&self) -> (&str, &str) {
        self.0.split_once('\0').expect("a NUL byte separates the parts")
    }
}

impl fmt::Debug for QualifiedKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (keyspace, key) = self.parts();
        write!(f, "{keyspace}/{key}")
    }
}

/// A place in the order of qualified keys, for lookups and ranges without an allocation.
/// The key part may be any bytes: a prefix, a cursor, nothing.
#[derive(Clone, Copy, Debug)]
pub struct KeyRef<'a> {
    /// The name of the keyspace.
    pub keyspace: &'a str,
    /// The bytes of the key.
    pub key: &'a [u8],
}

impl<'a> KeyRef<'a> {
    /// The place of a key.
    #[must_use]
    pub fn new(keyspace: &'a Keyspace, key: &'a Key) -> Self {
        Self { keyspace: keyspace.as_str(), key: key.as_str().as_bytes() }
    }
}

impl Equivalent<QualifiedKey> for KeyRef<'_> {
    fn equivalent(&self, other: &QualifiedKey) -> bool {
        self.compare(other) == Ordering::Equal
    }
}

impl Comparable<QualifiedKey> for KeyRef<'_> {
    fn compare(&self, other: &QualifiedKey) -> Ordering {
        let keyspace = self.keyspace.as_bytes();
        let other = other.as_bytes();
        let shared = keyspace.len().min(other.len());
        keyspace[..shared].cmp(&other[..shared]).then_with(|| match other.get(shared) {
            Some(0) => self.key.cmp(&other[shared + 1..]),
            // The other's keyspace goes on where ours has ended, or has ended before.
            Some(_) => Ordering::Less,
            None => Ordering::Greater,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reference_stands_where_its_key_stands() {
        let keyspaces = ["a", "a.b", "a0", "ab", "b"];
        let keys = ["a", "a0", "b", "\u{1}", "é", "ab"];
        let mut all: Vec<(&str, &str)> = Vec::new();
        for keyspace in keyspaces {
            all.extend(keys.iter().map(|key| (keyspace, *key)));
        }
        let qualified = |(keyspace, key): (&str, &str)| {
            QualifiedKey::new(&Keyspace::new(keyspace).unwrap(), &Key::new(key).unwrap())
        };
        for &one in &all {
            for &other in &all {
                let reference = KeyRef { keyspace: one.0, key: one.1.as_bytes() };
                assert_eq!(
                    reference.compare(&qualified(other)),
                    qualified(one).cmp(&qualified(other))
                );
                assert_eq!(
                    qualified(one).cmp(&qualified(other)),
                    one.cmp(&other),
                    "{one:?} {other:?}"
                );
            }
        }
    }
}
