//! Keyspaces: the names that keep the keys of different stores in one engine apart.
//!
//! In configuration the field is called `namespace`. A name matches `^[a-z][a-z0-9._-]*$`, so it
//! never contains the NUL byte that separates it from the key inside the engine, and no prefix of
//! a key can reach into another keyspace.
#![deny(clippy::disallowed_types, clippy::disallowed_methods)]

use std::fmt;
use std::sync::Arc;

use crate::error::{Error, Result};
use crate::limits::KEYSPACE_BYTES_MAX;

/// The name of a keyspace; one that exists is valid. Cloning shares it.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Keyspace(Arc<str>);

impl Keyspace {
    /// Parses a name.
    ///
    /// # Errors
    /// `INVALID` unless it matches `^[a-z][a-z0-9._-]*$` and has at most [`KEYSPACE_BYTES_MAX`] bytes.
    pub fn new(name: &str) -> Result<Self> {
        Self::check(name)?;
        Ok(Self(name.into()))
    }

    /// Checks a name, as [`Keyspace::new`] does.
    pub(crate) fn check(name: &str) -> Result<()> {
        let is_allowed =
            |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || matches!(b, b'.' | b'_' | b'-');
        let starts_well = name.as_bytes().first().is_some_and(u8::is_ascii_lowercase);
        if !starts_well || !name.bytes().all(is_allowed) {
            return Err(Error::invalid(format!(
                "{name:?} is no namespace: it must start with a letter a to z, followed by \
                 letters, digits, '.', '_' or '-'"
            )));
        }
        if name.len() > KEYSPACE_BYTES_MAX {
            return Err(Error::invalid(format!(
                "the namespace has {} bytes, the limit is {KEYSPACE_BYTES_MAX}",
                name.len()
            ))
            .with_detail("limit", KEYSPACE_BYTES_MAX));
        }
        Ok(())
    }

    /// The name.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Keyspace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for Keyspace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_checked() {
        let longest = "a".repeat(KEYSPACE_BYTES_MAX);
        for good in ["a", "deploy", "a.b_c-9", &longest] {
            assert_eq!(Keyspace::new(good).expect("good").as_str(), good);
        }
        let too_long = "a".repeat(KEYSPACE_BYTES_MAX + 1);
        for bad in ["", "_sys", "9a", "A", "a b", "a\0b", "é", &too_long] {
            assert!(Keyspace::new(bad).is_err(), "{bad:?}");
        }
    }
}
