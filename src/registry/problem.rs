//! Problems of a configuration: where, in which field, what, and what to do about it.
//!
//! Reading a configuration does not end at its first problem. Problems are collected, and all that
//! do not follow from each other become one [`Error`] with a line for each.

use std::fmt;
use std::panic::Location;
use std::sync::Arc;

use crate::error::Error;
use crate::value::Value;

/// A place in a text, both counted from 1; columns count characters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Position {
    pub(super) line: usize,
    pub(super) column: usize,
}

impl Position {
    /// The place of a byte in a text.
    pub(super) fn of_byte(text_before: &str) -> Self {
        let line_start = text_before.rfind('\n').map_or(0, |newline| newline + 1);
        Self {
            line: 1 + text_before.bytes().filter(|byte| *byte == b'\n').count(),
            column: 1 + text_before[line_start..].chars().count(),
        }
    }
}

/// The place of a call in Rust.
impl From<&Location<'_>> for Position {
    fn from(location: &Location<'_>) -> Self {
        let place = |number: u32| usize::try_from(number).unwrap_or(usize::MAX);
        Self { line: place(location.line()), column: place(location.column()) }
    }
}

/// The way from the top of a file to a field, such as `entries[2].cleanup_interval`; items count
/// from 0. The path of the top is empty.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct FieldPath(String);

impl FieldPath {
    pub(super) fn field(&self, name: &str) -> Self {
        let is_simple = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-');
        if name.is_empty() || !name.bytes().all(is_simple) {
            return Self(format!("{}[{name:?}]", self.0));
        }
        let dot = if self.0.is_empty() { "" } else { "." };
        Self(format!("{}{dot}{name}", self.0))
    }

    pub(super) fn item(&self, index: usize) -> Self {
        Self(format!("{}[{index}]", self.0))
    }
}

/// Where something stands in a configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Origin {
    pub(super) file: Arc<str>,
    /// None for what concerns a file as a whole.
    pub(super) position: Option<Position>,
    pub(super) path: FieldPath,
}

impl Origin {
    /// The origin of what concerns a file as a whole.
    pub(super) fn of_file(file: &Arc<str>) -> Self {
        Self { file: file.clone(), position: None, path: FieldPath::default() }
    }
}

/// `file:line:column`.
impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.file)?;
        self.position.map_or(Ok(()), |at| write!(f, ":{}:{}", at.line, at.column))
    }
}

/// What is wrong and what to do about it, wherever it stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Refusal {
    message: String,
    /// The limit that was passed.
    limit: Option<i64>,
}

impl Refusal {
    pub(super) fn new(message: impl Into<String>) -> Self {
        Self { message: message.into(), limit: None }
    }

    pub(super) fn over_limit(limit: usize, message: impl Into<String>) -> Self {
        Self { message: message.into(), limit: i64::try_from(limit).ok() }
    }
}

impl From<String> for Refusal {
    fn from(message: String) -> Self {
        Self::new(message)
    }
}

impl From<&str> for Refusal {
    fn from(message: &str) -> Self {
        Self::new(message)
    }
}

impl From<Error> for Refusal {
    fn from(error: Error) -> Self {
        Self {
            message: error.message().to_owned(),
            limit: error.detail("limit").and_then(Value::as_integer),
        }
    }
}

/// One problem.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Problem {
    pub(super) origin: Origin,
    refusal: Refusal,
}

impl Problem {
    pub(super) fn new(origin: Origin, refusal: impl Into<Refusal>) -> Self {
        Self { origin, refusal: refusal.into() }
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: ", self.origin)?;
        if !self.origin.path.0.is_empty() {
            write!(f, "{}: ", self.origin.path.0)?;
        }
        f.write_str(&self.refusal.message)
    }
}

/// One error for all problems, by file and position; its details are those of the first.
///
/// # Panics
/// If there is no problem.
pub(super) fn into_error(mut problems: Vec<Problem>) -> Error {
    problems.sort_by(|a, b| {
        let place = |problem: &Problem| (problem.origin.file.clone(), problem.origin.position);
        place(a).cmp(&place(b))
    });
    let first = problems.first().expect("the caller has found a problem");
    let message = match &*problems {
        [only] => only.to_string(),
        _ => {
            let shown = &problems[..problems.len().min(SHOWN_MAX)];
            let mut message = format!("the configuration has {} problems:", problems.len());
            for problem in shown {
                message.push_str(&format!("\n  {problem}"));
            }
            if shown.len() < problems.len() {
                message.push_str("\n  and more; correct these first");
            }
            message
        }
    };
    let mut error = Error::invalid(message).with_detail("file", &*first.origin.file);
    if let Some(position) = first.origin.position {
        error = error.with_detail("line", position.line).with_detail("column", position.column);
    }
    if !first.origin.path.0.is_empty() {
        error = error.with_detail("field", first.origin.path.0.as_str());
    }
    if let Some(limit) = first.refusal.limit {
        error = error.with_detail("limit", limit);
    }
    error
}

/// Most problems that an error lists.
const SHOWN_MAX: usize = 20;

#[cfg(test)]
mod tests {
    use super::*;

    fn problem(line: usize) -> Problem {
        let path = FieldPath::default().field("entries").item(2).field("max_size");
        let position = Some(Position { line, column: 7 });
        Problem::new(Origin { file: "app.yaml".into(), position, path }, "is wrong")
    }

    #[test]
    fn an_error_names_every_problem_and_details_the_first() {
        let one = into_error(vec![problem(3)]);
        assert_eq!(one.message(), "app.yaml:3:7: entries[2].max_size: is wrong");
        assert_eq!(one.detail("line"), Some(&3_usize.into()));
        assert_eq!(one.detail("field"), Some(&"entries[2].max_size".into()));
        let many = (1..=30).rev().map(problem).collect();
        let many = into_error(many);
        assert!(many.message().starts_with("the configuration has 30 problems:\n  app.yaml:1:7:"));
        assert!(many.message().ends_with(
            "app.yaml:20:7: entries[2].max_size: is wrong\n  and more; correct these first"
        ));
    }

    #[test]
    fn positions_count_characters_from_one() {
        assert_eq!(Position::of_byte(""), Position { line: 1, column: 1 });
        assert_eq!(Position::of_byte("a\n\u{e9}\u{e9}"), Position { line: 2, column: 3 });
    }

    #[test]
    fn odd_names_are_quoted_in_paths() {
        let path = FieldPath::default().field("a b").field("").field("c");
        assert_eq!(path.0, "[\"a b\"][\"\"].c");
    }
}
