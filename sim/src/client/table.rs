//! The table of operations: each method, with each option, in each way that it can end.
//!
//! A cell that no run of many ever fills is a blind spot: either something keeps the workload from it,
//! or it can't be. Cells that can't be say why; all others must be filled.

use std::fmt;

use plimsoll::error::ErrorKind;

/// What is called.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Method {
    /// Reads a value.
    Get,
    /// Reads an entry.
    Entry,
    /// Asks whether a key is there.
    Has,
    /// Reads a page.
    List,
    /// Writes without a condition.
    Set,
    /// Writes with options.
    Put,
    /// Deletes.
    Delete,
    /// Several writes at once.
    Transact,
    /// Opens a client session.
    OpenSession,
    /// Starts or resumes a watch.
    Watch,
    /// Asks again about a write of unknown outcome.
    Resolve,
}

/// With which option.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Variant {
    /// With none.
    Plain,
    /// With a time to live.
    Ttl,
    /// Only if the key is absent.
    IfAbsent,
    /// With the version that was seen last.
    LastVersion,
    /// With a version that was seen before another one.
    OldVersion,
    /// With a version of another epoch.
    ForeignVersion,
    /// Of a listing: after a cursor. Of a watch: after a revision.
    After,
}

/// How it ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Ending {
    /// As asked.
    Done,
    /// With an error of a kind, without effect.
    Failed(ErrorKind),
    /// Nobody knows.
    Unknown,
}

/// A cell of the table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cell {
    /// What is called.
    pub method: Method,
    /// With which option.
    pub variant: Variant,
    /// How it ends.
    pub ending: Ending,
}

const METHODS: [Method; 11] = [
    Method::Get,
    Method::Entry,
    Method::Has,
    Method::List,
    Method::Set,
    Method::Put,
    Method::Delete,
    Method::Transact,
    Method::OpenSession,
    Method::Watch,
    Method::Resolve,
];
const VARIANTS: [Variant; 7] = [
    Variant::Plain,
    Variant::Ttl,
    Variant::IfAbsent,
    Variant::LastVersion,
    Variant::OldVersion,
    Variant::ForeignVersion,
    Variant::After,
];
const ENDINGS: usize = 2 + ErrorKind::ALL.len();

/// How many cells there are.
pub(crate) const CELLS: usize = METHODS.len() * VARIANTS.len() * ENDINGS;

impl Cell {
    /// All cells that make sense: a method with an option that it has.
    pub fn all() -> impl Iterator<Item = Self> {
        METHODS.into_iter().flat_map(|method| {
            let variants = VARIANTS.into_iter().filter(move |variant| method.has(*variant));
            variants.flat_map(move |variant| {
                let failed = ErrorKind::ALL.into_iter().map(Ending::Failed);
                let endings = [Ending::Done, Ending::Unknown].into_iter().chain(failed);
                endings.map(move |ending| Self { method, variant, ending })
            })
        })
    }

    pub(crate) fn number(self) -> usize {
        let ending = match self.ending {
            Ending::Done => 0,
            Ending::Unknown => 1,
            Ending::Failed(kind) => {
                let position = ErrorKind::ALL.iter().position(|other| *other == kind);
                2 + position.expect("all kinds are listed")
            }
        };
        (self.method as usize * VARIANTS.len() + self.variant as usize) * ENDINGS + ending
    }

    /// Why the cell can't be filled, if it can't.
    #[must_use]
    pub fn excluded(self) -> Option<&'static str> {
        use ErrorKind as Kind;
        match self.ending {
            Ending::Done => match self.variant {
                Variant::ForeignVersion => Some("no entry has a version of another epoch"),
                Variant::OldVersion => Some("only if answers came in another order"),
                _ => None,
            },
            Ending::Unknown => match self.method {
                Method::Resolve => Some("it stays unknown: that is no end"),
                Method::OpenSession => Some("a session left over is evicted: none is unknown"),
                method if method.is_read() => Some("a read has no effect"),
                _ => None,
            },
            Ending::Failed(kind) => match kind {
                Kind::NotFound if self.finds_nothing() => None,
                Kind::AlreadyExists if self.variant == Variant::IfAbsent => None,
                Kind::Conflict if self.has_version() => None,
                Kind::NotFound | Kind::AlreadyExists | Kind::Conflict
                    if self.method == Method::Resolve =>
                {
                    Some("counted as the end of the write that it is about")
                }
                Kind::NotFound | Kind::AlreadyExists | Kind::Conflict => {
                    Some("it does not depend on the state of the key")
                }
                Kind::Unavailable | Kind::Timeout if self.method == Method::Resolve => {
                    Some("it stays unknown: that is no end")
                }
                Kind::Unavailable | Kind::Timeout => None,
                Kind::Invalid if (self.method, self.variant) == (Method::Watch, Variant::After) => {
                    Some("only after 8,192 revisions, or in another epoch")
                }
                Kind::Invalid => Some("arguments are judged before anything is asked"),
                Kind::RateLimited => Some("only with thousands of operations at once"),
                Kind::PermissionDenied => Some("permissions are judged above the engine"),
                Kind::Canceled => Some("nothing is cancelled here"),
                Kind::Internal => Some("that would be a bug"),
                Kind::Unknown => Some("the engine gives every error a kind"),
            },
        }
    }

    fn finds_nothing(self) -> bool {
        matches!(self.method, Method::Get | Method::Entry) || self.has_version()
    }

    fn has_version(self) -> bool {
        matches!(self.variant, Variant::LastVersion | Variant::OldVersion | Variant::ForeignVersion)
            && self.method != Method::Resolve
    }
}

impl Method {
    const fn is_read(self) -> bool {
        matches!(self, Self::Get | Self::Entry | Self::Has | Self::List | Self::Watch)
    }

    const fn has(self, variant: Variant) -> bool {
        match (self, variant) {
            (Self::Set, Variant::Plain | Variant::Ttl) => true,
            (Self::Put, Variant::After | Variant::Plain | Variant::Ttl) => false,
            (Self::Put, _) => true,
            (Self::Delete, Variant::Ttl | Variant::IfAbsent | Variant::After) => false,
            (Self::Transact, Variant::Ttl | Variant::After) => false,
            (Self::Delete | Self::Transact, _) => true,
            (Self::List | Self::Watch, Variant::Plain | Variant::After) => true,
            (_, variant) => matches!(variant, Variant::Plain),
        }
    }
}

impl fmt::Display for Cell {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let method = match self.method {
            Method::Get => "get",
            Method::Entry => "entry",
            Method::Has => "has",
            Method::List => "list",
            Method::Set => "set",
            Method::Put => "put",
            Method::Delete => "delete",
            Method::Transact => "transact",
            Method::OpenSession => "open session",
            Method::Watch => "watch",
            Method::Resolve => "resolve",
        };
        let variant = match self.variant {
            Variant::Plain => "",
            Variant::Ttl => " with ttl",
            Variant::IfAbsent => " if absent",
            Variant::LastVersion => " if at the last version",
            Variant::OldVersion => " if at an old version",
            Variant::ForeignVersion => " if at a foreign version",
            Variant::After => " after",
        };
        match self.ending {
            Ending::Done => write!(f, "{method}{variant}: done"),
            Ending::Unknown => write!(f, "{method}{variant}: unknown"),
            Ending::Failed(kind) => write!(f, "{method}{variant}: {}", kind.constant()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_cell_has_a_number_of_its_own() {
        let numbers: std::collections::BTreeSet<_> = Cell::all().map(Cell::number).collect();
        assert_eq!(numbers.len(), Cell::all().count());
        assert!(numbers.iter().all(|number| *number < CELLS));
        assert!(Cell::all().filter(|cell| cell.excluded().is_none()).count() > 80);
    }
}
