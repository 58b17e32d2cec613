//! Histories in words, for those who read a counterexample. No parsing: this is for eyes only.
#![deny(clippy::disallowed_types, clippy::disallowed_methods)]

use std::fmt;

use super::{Answer, Call, DeleteRequest, Label, Observation, Outcome, PutRequest, Request};
use crate::check::spec::Refusal;
use crate::entry::{Condition, Entry, ListQuery, Operation, OperationResult, Page, Ttl, Version};

/// On one line: who, when, what, and how it ended.
impl fmt::Display for Call {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { id, client, node, called_at, .. } = self;
        write!(f, "call {id}, client {client} at node {node}, from {called_at} ")?;
        match (self.returned_at, &self.outcome) {
            (Some(at), Outcome::Ok(_) | Outcome::Failed(_)) => write!(f, "to {at}")?,
            (Some(at), Outcome::Unknown) => write!(f, "(given up at {at})")?,
            (None, _) => f.write_str("on")?,
        }
        write!(f, ": {} in {} -> {}", self.request, self.keyspace, self.outcome)?;
        self.label.map_or(Ok(()), |label| write!(f, " [{label}]"))
    }
}

impl fmt::Display for Label {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "index {}, log time {}", self.index, self.log_time.0)
    }
}

impl fmt::Display for Request {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Get(key) => write!(f, "get {key:?}"),
            Self::Entry(key) => write!(f, "entry {key:?}"),
            Self::Has(key) => write!(f, "has {key:?}"),
            Self::Put(put) => {
                let PutRequest { key, value, ttl, condition } = put.as_ref();
                write!(f, "put {key:?} = {value:?}{}{}", Lasting(*ttl), Provided(*condition))
            }
            Self::Delete(delete) => {
                let DeleteRequest { key, if_version } = delete.as_ref();
                let condition = if_version.map_or(Condition::None, Condition::Version);
                write!(f, "delete {key:?}{}", Provided(condition))
            }
            Self::List(query) => {
                let ListQuery { prefix, after, .. } = query.as_ref();
                let (prefix, after) = (prefix.escape_ascii(), after.escape_ascii());
                write!(f, "list \"{prefix}\" after \"{after}\", at most {}", query.items_max())
            }
            Self::Transact(operations) => {
                f.write_str("transact {")?;
                for (position, operation) in operations.iter().enumerate() {
                    f.write_str(if position == 0 { "" } else { "; " })?;
                    write_operation(f, operation)?;
                }
                f.write_str("}")
            }
        }
    }
}

fn write_operation(f: &mut fmt::Formatter<'_>, operation: &Operation) -> fmt::Result {
    let condition = Provided(operation.condition());
    match operation {
        Operation::Put { key, value, options } => {
            write!(f, "put {key:?} = {value:?}{}{condition}", Lasting(options.ttl))
        }
        Operation::Delete { key, .. } => write!(f, "delete {key:?}{condition}"),
        Operation::Check { key, .. } => write!(f, "check {key:?}{condition}"),
    }
}

/// A time to live, after what is written.
struct Lasting(Option<Ttl>);

impl fmt::Display for Lasting {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.map_or(Ok(()), |ttl| write!(f, " for {} ms", ttl.as_ms()))
    }
}

/// A condition, after what depends on it.
struct Provided(Condition);

impl fmt::Display for Provided {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Condition::None => Ok(()),
            Condition::Absent => f.write_str(" if absent"),
            Condition::Version(version) => write!(f, " if version {version}"),
        }
    }
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Ok(answer) => fmt::Display::fmt(answer, f),
            Self::Failed(refusal) => {
                let Refusal { kind, current, index } = refusal.as_ref();
                f.write_str(kind.constant())?;
                if let Some(index) = index {
                    write!(f, " of operation {index}")?;
                }
                current.map_or(Ok(()), |version| write!(f, " (version {version})"))
            }
            Self::Unknown => f.write_str("unknown"),
        }
    }
}

impl fmt::Display for Answer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Entry(observation) => fmt::Display::fmt(observation, f),
            Self::Present(is_present) => write!(f, "{is_present}"),
            Self::Page(page) => write_page(f, page),
            Self::Transacted(results) => {
                for (position, result) in results.iter().enumerate() {
                    f.write_str(if position == 0 { "" } else { "; " })?;
                    match result {
                        OperationResult::Put(entry) => write!(f, "version {}", entry.version)?,
                        OperationResult::Deleted(was_present) => write!(f, "{was_present}")?,
                        OperationResult::Checked => f.write_str("holds")?,
                    }
                }
                Ok(())
            }
        }
    }
}

impl fmt::Display for Observation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?} (version {}", self.value, self.version)?;
        if let Some(deadline) = self.expires_at {
            write!(f, ", until {}", deadline.0)?;
        }
        f.write_str(")")
    }
}

/// The first items of a page, and how many follow.
fn write_page(f: &mut fmt::Formatter<'_>, page: &Page) -> fmt::Result {
    f.write_str("[")?;
    for (position, Entry { key, value, version, .. }) in page.items.iter().enumerate() {
        if position == ITEMS_SHOWN {
            write!(f, ", and {} more", page.items.len() - ITEMS_SHOWN)?;
            break;
        }
        let separator = if position == 0 { "" } else { ", " };
        write!(f, "{separator}{key:?} = {value:?} (version {version})")?;
    }
    f.write_str(if page.has_more { ", …]" } else { "]" })
}

const ITEMS_SHOWN: usize = 8;

/// A version in a sentence: the lines of the calls below it give it in full.
pub(crate) struct Short(pub Version);

impl fmt::Display for Short {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Version::Unversioned => f.write_str("v0"),
            Version::Stamped { .. } => write!(f, "v{}", self.0),
            Version::Numbered { revision, .. } => write!(f, "v{revision}"),
        }
    }
}
