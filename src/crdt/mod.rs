//! The CRDT engine.
#![deny(clippy::disallowed_types, clippy::disallowed_methods)]

mod lww;
mod stamp;
mod trie;
mod vector;

pub use lww::{Content, Entry, LwwMap, Merged, Standing};
pub use stamp::{Author, Dot, Incarnation, MemberId, Stamp};
pub use trie::{FANOUT, Look, Path, Trie, Walk};
pub use vector::Coverage;
