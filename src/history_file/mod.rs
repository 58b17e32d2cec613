//! Histories in files: JSON lines that a person can read and a program can write without a library.
//!
//! `docs/design/history.md` describes every field. A file is the header [`HEADER`] and then one
//! object a line: a call, a delivery or a step of upkeep, in any order. [`read`] is strict: what it
//! does not know is an error with its line, because a misspelt field would quietly change what is
//! checked. What [`write`](fn@write) writes, it reads back exactly.
//!
//! No judging: a history that contradicts itself is read like any other.

mod fields;
mod read;
mod write;

pub use read::read;
pub use write::{call_line, write};

/// The first line of a file.
pub const HEADER: &str = r#"{"plimsoll_history":1}"#;
