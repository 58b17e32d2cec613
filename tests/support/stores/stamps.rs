//! The versions of a store whose versions are stamps. The specification does not foresee them: what must
//! be true of each is checked here, and the entry then compared as one of a store without versions.

use std::collections::BTreeMap;

use plimsoll::entry::{Entry, Key, Version};

/// What the stamps were so far.
#[derive(Default)]
pub struct Stamps {
    /// The greatest, as text: stamps sort as their writes do.
    greatest: String,
    /// What is known of the version of a key's last write.
    last: BTreeMap<Key, Known>,
}

enum Known {
    Is(Version),
    /// It was not told; it is greater than this one.
    Above(String),
}

impl Stamps {
    /// A write has answered with an entry. Its stamp is above all that were seen.
    pub fn written(&mut self, entry: Entry) -> Result<Entry, String> {
        let Some(text) = text_of(entry.version) else { return Ok(entry) };
        if text <= self.greatest {
            return Err(format!("WRONG version: {text} is not above {}", self.greatest));
        }
        self.last.insert(entry.key.clone(), Known::Is(entry.version));
        self.greatest = text;
        Ok(unversioned(entry))
    }

    /// A write was done that has not answered with its version.
    pub fn written_untold(&mut self, key: &Key) {
        self.last.insert(key.clone(), Known::Above(self.greatest.clone()));
    }

    /// A read has found an entry. It has the version of the key's last write.
    pub fn read(&mut self, entry: Entry) -> Result<Entry, String> {
        let Some(text) = text_of(entry.version) else { return Ok(entry) };
        match self.last.get(&entry.key) {
            Some(Known::Is(version)) if *version == entry.version => {}
            Some(Known::Above(lower)) if text > *lower => {
                self.last.insert(entry.key.clone(), Known::Is(entry.version));
            }
            Some(Known::Is(version)) => {
                return Err(format!("WRONG version: {:?} was written as {version:?}", entry));
            }
            Some(Known::Above(_)) | None => return Err(format!("WRONG version of {entry:?}")),
        }
        self.greatest = text.max(std::mem::take(&mut self.greatest));
        Ok(unversioned(entry))
    }
}

fn text_of(version: Version) -> Option<String> {
    matches!(version, Version::Stamped { .. }).then(|| version.to_string())
}

fn unversioned(entry: Entry) -> Entry {
    Entry { version: Version::Unversioned, ..entry }
}
