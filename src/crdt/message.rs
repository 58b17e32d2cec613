//! What replicas say to each other.
//!
//! All messages may be lost, repeated, reordered and late, also over restarts of both ends. `wire.rs`
//! writes them in bytes.
#![deny(clippy::disallowed_types, clippy::disallowed_methods)]

use std::sync::Arc;

use imbl::OrdMap;

use super::lww::Entry;
use super::rule::Image;
use super::stamp::{Author, Dot, MemberId};
use super::trie::{Look, Path};
use super::vector::Coverage;
use crate::clock::UnixMillis;
use crate::hlc::HybridTime;
use crate::kv::QualifiedKey;

/// A message on its way.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Envelope {
    /// Who sent it.
    pub from: Author,
    /// The sender's list of members: which agreement it is.
    pub epoch: u64,
    /// Whom it is for.
    pub to: MemberId,
    /// The sender's physical clock.
    pub wall: UnixMillis,
    /// What it says.
    pub body: Body,
}

/// What a message says.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Body {
    /// Writes, as soon as there are any.
    Push(Vec<Pushed>),
    /// What the sender covers.
    Digest(Box<Image>),
    /// A step of an exchange.
    Ask(Ask),
    /// What a server says to a step.
    Answer(Box<Answer>),
}

/// The newest write of a key.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Pushed {
    /// The key.
    pub key: QualifiedKey,
    /// What it holds.
    pub entry: Arc<Entry>,
    /// Other writes of the key that this one has superseded, in order: whoever holds this one covers
    /// them too.
    pub superseded: Vec<Dot>,
}

/// The name of an exchange: no two of a member have the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ExchangeId {
    /// The start of the member that asks.
    pub start: u64,
    /// Which of that start's exchanges it is.
    pub number: u64,
}

/// A step of an exchange. It may be said again and is answered anew.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Ask {
    /// Which exchange.
    pub exchange: ExchangeId,
    /// Which step of it.
    pub step: u64,
    /// What is asked.
    pub question: Question,
}

/// What a step asks for.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Question {
    /// What the server holds of writes that the asker had not when it began.
    Entries {
        /// What it had.
        known: Coverage,
        /// Only what stands after this key.
        after: Option<QualifiedKey>,
    },
    /// Where the tries differ from these hashes.
    Nodes(Vec<(Path, u128)>),
}

/// What a server says to a step: its state, and what was asked for.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Answer {
    /// Who asked, in the incarnation in which it did.
    pub asked_by: Author,
    /// Which exchange.
    pub exchange: ExchangeId,
    /// Which step of it.
    pub step: u64,
    /// The server's state.
    pub image: Image,
    /// The server's hybrid clock: no write that it covers is later.
    pub time: HybridTime,
    /// Of each author the last write that the server knows to have been dropped.
    pub collected: OrdMap<Author, u64>,
    /// How many entries the server has dropped.
    pub dropped: u64,
    /// What was asked for.
    pub reply: Reply,
}

/// What was asked for.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Reply {
    /// Entries in the order of their keys.
    Entries {
        /// The entries.
        entries: Vec<(QualifiedKey, Arc<Entry>)>,
        /// Whether no more follow.
        is_last: bool,
    },
    /// The nodes that differ.
    Nodes(Vec<(Path, Look)>),
}
