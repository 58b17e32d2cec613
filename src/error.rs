//! The one error type: who is at fault, whether to retry, and what happened to the state.
//!
//! Every error has a kind and a message; errors of writes also carry an [`Outcome`]. The details
//! are a small table of named values, the same in Rust, Lua and on the command line.
//!
//! Invariant: [`Error::retryable`] is true only if the outcome is not [`Outcome::Unknown`], so the
//! ordinary retry loop never applies a write twice.
#![deny(clippy::disallowed_types, clippy::disallowed_methods)]

use std::collections::BTreeMap;
use std::fmt;

use crate::value::Value;

/// Short for a result with the engine's error.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// What kind of failure an error is. The set is closed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ErrorKind {
    /// The key, store or entry does not exist.
    NotFound,
    /// A write that requires absence met a present key.
    AlreadyExists,
    /// The caller's arguments or configuration are wrong; trying again gives the same.
    Invalid,
    /// A policy denies the operation.
    PermissionDenied,
    /// The store cannot serve now: full, closed, no quorum, database down.
    Unavailable,
    /// A bug or corrupted data.
    Internal,
    /// The caller gave the operation up.
    Canceled,
    /// The version that a conditional write names is not the current one.
    Conflict,
    /// The deadline of the operation passed.
    Timeout,
    /// Too many operations at once.
    RateLimited,
    /// No kind was given (errors made by scripts).
    Unknown,
}

impl ErrorKind {
    /// All kinds, in the order of the documentation.
    pub const ALL: [Self; 11] = [
        Self::NotFound,
        Self::AlreadyExists,
        Self::Invalid,
        Self::PermissionDenied,
        Self::Unavailable,
        Self::Internal,
        Self::Canceled,
        Self::Conflict,
        Self::Timeout,
        Self::RateLimited,
        Self::Unknown,
    ];

    /// The kind's string, as `err:kind()` answers it; empty for [`ErrorKind::Unknown`].
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::NotFound => "NotFound",
            Self::AlreadyExists => "AlreadyExists",
            Self::Invalid => "Invalid",
            Self::PermissionDenied => "PermissionDenied",
            Self::Unavailable => "Unavailable",
            Self::Internal => "Internal",
            Self::Canceled => "Canceled",
            Self::Conflict => "Conflict",
            Self::Timeout => "Timeout",
            Self::RateLimited => "RateLimited",
            Self::Unknown => "",
        }
    }

    /// The name of the kind's constant in Lua, such as `NOT_FOUND`.
    #[must_use]
    pub const fn constant(self) -> &'static str {
        match self {
            Self::NotFound => "NOT_FOUND",
            Self::AlreadyExists => "ALREADY_EXISTS",
            Self::Invalid => "INVALID",
            Self::PermissionDenied => "PERMISSION_DENIED",
            Self::Unavailable => "UNAVAILABLE",
            Self::Internal => "INTERNAL",
            Self::Canceled => "CANCELED",
            Self::Conflict => "CONFLICT",
            Self::Timeout => "TIMEOUT",
            Self::RateLimited => "RATE_LIMITED",
            Self::Unknown => "UNKNOWN",
        }
    }

    /// Whether an operation that failed with this kind may succeed if it is simply tried again.
    const fn is_transient(self) -> bool {
        matches!(self, Self::Unavailable | Self::Conflict | Self::Timeout | Self::RateLimited)
    }
}

/// What a failed write did to the store.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Outcome {
    /// Nothing: the store is as it was.
    None,
    /// The write may have been applied, now or later.
    Unknown,
}

impl Outcome {
    /// The outcome's string in `details.outcome`: `none` or `unknown`.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Unknown => "unknown",
        }
    }
}

/// Named values that explain an error, in order of their names.
pub type Details = BTreeMap<String, Value>;

/// An error of the engine. Cheap to move; cloning copies message and details.
#[derive(Clone, PartialEq)]
pub struct Error(Box<Inner>);

#[derive(Clone, PartialEq)]
struct Inner {
    kind: ErrorKind,
    message: String,
    outcome: Option<Outcome>,
    /// `None`: as the kind says.
    retryable: Option<bool>,
    details: Details,
}

impl Error {
    /// An error of a kind, without details or outcome.
    pub fn new(kind: ErrorKind, message: impl Into<String>) -> Self {
        let message = message.into();
        Self(Box::new(Inner {
            kind,
            message,
            outcome: None,
            retryable: None,
            details: Details::new(),
        }))
    }

    /// [`ErrorKind::NotFound`].
    pub fn not_found(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::NotFound, message)
    }

    /// [`ErrorKind::NotFound`] for a key that must be present.
    #[must_use]
    pub fn absent(key: &str) -> Self {
        Self::not_found(format!("the key {key:?} is absent"))
    }

    /// [`ErrorKind::AlreadyExists`].
    pub fn already_exists(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::AlreadyExists, message)
    }

    /// [`ErrorKind::Invalid`].
    pub fn invalid(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::Invalid, message)
    }

    /// [`ErrorKind::PermissionDenied`].
    pub fn permission_denied(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::PermissionDenied, message)
    }

    /// [`ErrorKind::Unavailable`].
    pub fn unavailable(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::Unavailable, message)
    }

    /// [`ErrorKind::Conflict`].
    pub fn conflict(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::Conflict, message)
    }

    /// [`ErrorKind::Timeout`].
    pub fn timeout(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::Timeout, message)
    }

    /// [`ErrorKind::Internal`].
    pub fn internal(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::Internal, message)
    }

    /// Adds a named detail, replacing one of the same name. The outcome has its own method.
    #[must_use]
    pub fn with_detail(mut self, name: &str, value: impl Into<Value>) -> Self {
        debug_assert_ne!(name, "outcome", "the outcome is set by with_outcome");
        self.0.details.insert(name.to_owned(), value.into());
        self
    }

    /// States what the failed write did to the store.
    ///
    /// # Panics
    /// If `outcome` is unknown and the kind says that nothing was written.
    #[must_use]
    pub fn with_outcome(mut self, outcome: Outcome) -> Self {
        use ErrorKind::{Canceled, Internal, Timeout, Unavailable};
        assert!(
            outcome == Outcome::None
                || matches!(self.0.kind, Timeout | Unavailable | Canceled | Internal),
            "{:?} cannot have an unknown outcome",
            self.0.kind
        );
        self.0.outcome = Some(outcome);
        self.0.details.insert("outcome".to_owned(), outcome.as_str().into());
        self
    }

    /// States the outcome of a write where nothing deeper has stated it already.
    #[must_use]
    pub fn or_outcome(self, outcome: Outcome) -> Self {
        if self.0.outcome.is_some() { self } else { self.with_outcome(outcome) }
    }

    /// Overrides what the kind says about retrying (an unknown outcome still answers false).
    #[must_use]
    pub fn with_retryable(mut self, retryable: bool) -> Self {
        self.0.retryable = Some(retryable);
        self
    }

    /// Puts a context before the message.
    #[must_use]
    pub fn context(mut self, context: impl fmt::Display) -> Self {
        self.0.message = format!("{context}: {}", self.0.message);
        self
    }

    /// The kind.
    #[must_use]
    pub fn kind(&self) -> ErrorKind {
        self.0.kind
    }

    /// What went wrong, in a sentence without a final stop.
    #[must_use]
    pub fn message(&self) -> &str {
        &self.0.message
    }

    /// What a failed write did to the store; `None` for errors of reads.
    #[must_use]
    pub fn outcome(&self) -> Option<Outcome> {
        self.0.outcome
    }

    /// Whether trying again may succeed and is safe.
    #[must_use]
    pub fn retryable(&self) -> bool {
        let transient = self.0.retryable.unwrap_or(self.0.kind.is_transient());
        transient && self.0.outcome != Some(Outcome::Unknown)
    }

    /// Named values that explain the error; `outcome` is among them for writes.
    #[must_use]
    pub fn details(&self) -> &Details {
        &self.0.details
    }

    /// One named detail.
    #[must_use]
    pub fn detail(&self, name: &str) -> Option<&Value> {
        self.0.details.get(name)
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0.kind {
            ErrorKind::Unknown => f.write_str(&self.0.message),
            kind => write!(f, "{}: {}", kind.as_str(), self.0.message),
        }
    }
}

impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")?;
        if !self.0.details.is_empty() {
            write!(f, " {:?}", self.0.details)?;
        }
        Ok(())
    }
}

impl std::error::Error for Error {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_unknown_outcome_is_never_retryable() {
        for kind in [ErrorKind::Timeout, ErrorKind::Unavailable] {
            let error = Error::new(kind, "x");
            assert!(error.retryable());
            assert!(error.clone().with_outcome(Outcome::None).retryable());
            let unknown = error.with_retryable(true).with_outcome(Outcome::Unknown);
            assert!(!unknown.retryable());
            assert_eq!(unknown.detail("outcome"), Some(&"unknown".into()));
        }
    }

    #[test]
    #[should_panic(expected = "cannot have an unknown outcome")]
    fn a_refused_condition_has_a_known_outcome() {
        let _ = Error::conflict("x").with_outcome(Outcome::Unknown);
    }

    #[test]
    fn kinds_have_distinct_strings_and_constants() {
        let strings: std::collections::BTreeSet<_> =
            ErrorKind::ALL.iter().map(|k| (k.as_str(), k.constant())).collect();
        assert_eq!(strings.len(), ErrorKind::ALL.len());
    }
}
