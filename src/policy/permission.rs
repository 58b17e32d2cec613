//! What policies give or refuse: the permissions of a store, and what each is asked about.
#![deny(clippy::disallowed_types, clippy::disallowed_methods)]

use std::fmt;

/// A permission, as the `actions` of a policy name it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Permission {
    /// Acquire the store.
    Get,
    /// Ask what the store is and supports.
    Info,
    /// Read a key: its value, version and deadline, its changes, and whether a condition holds.
    KeyGet,
    /// Write a key.
    KeySet,
    /// Delete a key, and learn whether it was there.
    KeyDelete,
    /// Learn whether a key is there.
    KeyHas,
    /// List keys by prefix, of those that may be read.
    KeyList,
}

impl Permission {
    /// All permissions, in the order of the documentation.
    pub const ALL: [Self; 7] = [
        Self::Get,
        Self::Info,
        Self::KeyGet,
        Self::KeySet,
        Self::KeyDelete,
        Self::KeyHas,
        Self::KeyList,
    ];

    /// The permission's string, such as `store.key.get`.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Get => "store.get",
            Self::Info => "store.info",
            Self::KeyGet => "store.key.get",
            Self::KeySet => "store.key.set",
            Self::KeyDelete => "store.key.delete",
            Self::KeyHas => "store.key.has",
            Self::KeyList => "store.key.list",
        }
    }
}

impl fmt::Display for Permission {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// What a question is about within its resource: the attributes that conditions see.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Subject<'a> {
    /// The resource as a whole: neither `key` nor `prefix`.
    Whole,
    /// A key.
    Key(&'a str),
    /// A key that is not known yet: the question is whether any key may be allowed.
    SomeKey,
    /// All keys with a prefix, which may end within a character.
    Prefix(&'a [u8]),
}
