//! Ids of registry entries: `namespace:name`.

use std::borrow::Borrow;
use std::fmt;
use std::sync::Arc;

use crate::error::{Error, Result};
use crate::limits::ENTRY_ID_PART_BYTES_MAX;

/// The id of a registry entry, such as `app:cache`; one that exists is valid. Cloning shares it.
///
/// Namespace and name each start with a letter, a digit or `_`, followed by those, `.` or `-`, and
/// have at most [`ENTRY_ID_PART_BYTES_MAX`] bytes.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct EntryId(Arc<str>);

impl EntryId {
    /// Parses `namespace:name`.
    ///
    /// # Errors
    /// `INVALID` if it has another form.
    pub fn parse(id: &str) -> Result<Self> {
        let Some((namespace, name)) = id.split_once(':') else {
            return Err(Error::invalid(format!(
                "{id:?} is no entry id: write it as namespace:name, such as app:cache"
            )));
        };
        Self::new(namespace, name)
    }

    /// The id of a name in a namespace.
    ///
    /// # Errors
    /// `INVALID` if one of them has another form.
    pub fn new(namespace: &str, name: &str) -> Result<Self> {
        check_part("namespace", namespace)?;
        check_part("name", name)?;
        Ok(Self(format!("{namespace}:{name}").into()))
    }

    /// The id as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// Checks a `namespace` or a `name`; `what` says which.
pub(super) fn check_part(what: &str, part: &str) -> Result<()> {
    let is_inner = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'.' | b'-');
    let starts_well = part.bytes().next().is_some_and(|b| b.is_ascii_alphanumeric() || b == b'_');
    if !starts_well || !part.bytes().all(is_inner) {
        return Err(Error::invalid(format!(
            "{part:?} is no {what} of an entry: it starts with a letter, a digit or '_', followed \
             by those, '.' or '-'"
        )));
    }
    if part.len() > ENTRY_ID_PART_BYTES_MAX {
        return Err(Error::invalid(format!(
            "the {what} has {} bytes, the limit is {ENTRY_ID_PART_BYTES_MAX}; shorten it",
            part.len()
        ))
        .with_detail("limit", ENTRY_ID_PART_BYTES_MAX)
        .with_detail("actual", part.len()));
    }
    Ok(())
}

/// An id is found in a map by its text; both have the same order.
impl Borrow<str> for EntryId {
    fn borrow(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for EntryId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for EntryId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_checked() {
        let longest = "a".repeat(ENTRY_ID_PART_BYTES_MAX);
        let long_id = format!("{longest}:{longest}");
        for good in ["app:cache", "a:b", "app.sub:my-store_1", "_x:0", "A:B", &long_id] {
            assert_eq!(EntryId::parse(good).expect(good).as_str(), good);
        }
        let too_long = format!("app:{longest}a");
        let bad =
            ["", ":", "cache", "app:", ":cache", "a:b:c", "a b:c", "-a:b", "a:.b", "a:\u{e9}"];
        for bad in bad.iter().chain([&too_long.as_str()]) {
            assert!(EntryId::parse(bad).is_err(), "{bad:?}");
        }
    }
}
