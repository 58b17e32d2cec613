//! What goes wrong in SQLite, as errors of the engine: the one place where its codes are judged.
//!
//! Three questions decide: who is at fault (the kind), whether trying again may help, and what a
//! write did to the table. A statement or transaction that failed was rolled back, so the outcome
//! is none; only a commit that failed in the middle of its input and output leaves it unknown,
//! because what reached the file may be taken up when the file is opened again.

use rusqlite::ErrorCode;

use crate::error::{Error, ErrorKind, Outcome};
use crate::sql::schema::schema_mismatch;

/// Why an access to a database failed.
#[derive(Debug)]
pub(super) enum Failure {
    /// SQLite says so.
    Sqlite(rusqlite::Error),
    /// Another thread of this process uses the only connection.
    InUse,
    /// We say so.
    Engine(Error),
}

impl From<rusqlite::Error> for Failure {
    fn from(error: rusqlite::Error) -> Self {
        Self::Sqlite(error)
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Self::Engine(error)
    }
}

impl Failure {
    /// Whether waiting may help: somebody holds a lock.
    pub(super) fn is_busy(&self) -> bool {
        match self {
            Self::Sqlite(error) => judge(error).0 == Judgement::Locked,
            Self::InUse => true,
            Self::Engine(_) => false,
        }
    }

    /// Whether the statement alone is at fault: the transaction around it stands.
    pub(super) fn is_refusal(&self) -> bool {
        match self {
            Self::Sqlite(error) => {
                matches!(judge(error).0, Judgement::Refused | Judgement::Unprepared)
            }
            Self::InUse | Self::Engine(_) => false,
        }
    }

    /// Whether the connection is as good as before. Else it is closed, and the next one starts
    /// from what the file then holds.
    pub(super) fn spares_connection(&self) -> bool {
        let is_full =
            |error: &rusqlite::Error| error.sqlite_error_code() == Some(ErrorCode::DiskFull);
        match self {
            Self::Sqlite(error) => self.is_busy() || self.is_refusal() || is_full(error),
            Self::InUse | Self::Engine(_) => true,
        }
    }

    /// The error of a read, or of a write that was not committed.
    pub(super) fn into_error(self, database: &str) -> Error {
        match self {
            Self::Engine(error) => error,
            Self::InUse => locked(database, "another thread uses it"),
            Self::Sqlite(error) => to_error(&error, database),
        }
    }

    /// The error of a commit.
    pub(super) fn into_commit_error(self, database: &str) -> Error {
        let outcome = match &self {
            Self::Sqlite(error) if may_be_committed(error) => Outcome::Unknown,
            Self::Sqlite(_) | Self::InUse | Self::Engine(_) => Outcome::None,
        };
        let error = self.into_error(database);
        match (outcome, error.kind()) {
            (Outcome::Unknown, ErrorKind::Internal | ErrorKind::Unavailable) => {
                error.with_outcome(Outcome::Unknown)
            }
            _ => error.or_outcome(Outcome::None),
        }
    }
}

/// What an SQLite code means for the caller.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Judgement {
    /// Somebody holds a lock: try again.
    Locked,
    /// The machine lacks something, for now: try again.
    Unable,
    /// The file can't be written until somebody changes that.
    ReadOnly,
    /// The file can't be opened until somebody changes that.
    Closed,
    /// The table does not take this row.
    Refused,
    /// The statement does not fit the tables.
    Unprepared,
    /// The file is damaged, or no database.
    Corrupt,
    /// A bug of ours, or of SQLite.
    Bug,
}

fn judge(error: &rusqlite::Error) -> (Judgement, Option<i32>) {
    use rusqlite::Error as E;
    let error = match error {
        E::SqliteFailure(error, _) | E::SqlInputError { error, .. } => error,
        E::InvalidPath(_) | E::NulError(_) => return (Judgement::Closed, None),
        _ => return (Judgement::Bug, None),
    };
    let judgement = match error.code {
        ErrorCode::DatabaseBusy
        | ErrorCode::DatabaseLocked
        | ErrorCode::FileLockingProtocolFailed => Judgement::Locked,
        ErrorCode::OutOfMemory
        | ErrorCode::SystemIoFailure
        | ErrorCode::DiskFull
        | ErrorCode::OperationInterrupted
        | ErrorCode::OperationAborted => Judgement::Unable,
        ErrorCode::ReadOnly => Judgement::ReadOnly,
        ErrorCode::CannotOpen
        | ErrorCode::PermissionDenied
        | ErrorCode::NoLargeFileSupport
        | ErrorCode::AuthorizationForStatementDenied => Judgement::Closed,
        ErrorCode::ConstraintViolation | ErrorCode::TypeMismatch | ErrorCode::TooBig => {
            Judgement::Refused
        }
        ErrorCode::SchemaChanged | ErrorCode::Unknown => Judgement::Unprepared,
        ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase => Judgement::Corrupt,
        ErrorCode::InternalMalfunction
        | ErrorCode::NotFound
        | ErrorCode::ApiMisuse
        | ErrorCode::ParameterOutOfRange
        | _ => Judgement::Bug,
    };
    (judgement, Some(error.extended_code))
}

fn to_error(error: &rusqlite::Error, database: &str) -> Error {
    let (judgement, code) = judge(error);
    let mapped = match judgement {
        Judgement::Locked => locked(database, error),
        Judgement::Unable => Error::unavailable(format!("{database} can't serve now: {error}")),
        Judgement::ReadOnly => Error::unavailable(format!(
            "{database} can't be written: {error}; check the permissions of the file and its folder"
        ))
        .with_retryable(false),
        Judgement::Closed => Error::unavailable(format!(
            "{database} can't be opened: {error}; check the path and its permissions"
        )),
        Judgement::Refused => {
            Error::invalid(format!("{database}: the table refuses the row: {error}"))
        }
        Judgement::Unprepared => {
            schema_mismatch(format!("{database}: the statement does not fit its tables: {error}"))
        }
        Judgement::Corrupt => Error::internal(format!(
            "{database} is damaged or no SQLite database: {error}; restore it from a backup"
        )),
        Judgement::Bug => Error::internal(format!("{database}: {error}")),
    };
    match code {
        Some(code) => mapped.with_detail("sqlite_code", code),
        None => mapped,
    }
}

fn locked(database: &str, reason: impl std::fmt::Display) -> Error {
    Error::unavailable(format!("{database} is locked: {reason}; try again"))
        .with_detail("reason", "locked")
}

/// Whether a commit that failed so may yet have reached the file as a whole.
fn may_be_committed(error: &rusqlite::Error) -> bool {
    match judge(error).0 {
        // The lock was not had, or the pages found no room: all was rolled back.
        Judgement::Locked | Judgement::ReadOnly | Judgement::Refused => false,
        Judgement::Unable => error.sqlite_error_code() != Some(ErrorCode::DiskFull),
        Judgement::Closed | Judgement::Unprepared | Judgement::Corrupt | Judgement::Bug => true,
    }
}

#[cfg(test)]
mod tests {
    use rusqlite::ffi;

    use super::*;

    /// Each SQLite code, with the kind, whether to retry, and the outcomes outside and at a commit.
    #[test]
    fn every_code_is_judged() {
        use ErrorKind::{Internal, Invalid, Unavailable};
        use Outcome::{None, Unknown};
        for (code, kind, retryable, at_commit) in [
            (ffi::SQLITE_BUSY, Unavailable, true, None),
            (ffi::SQLITE_BUSY_SNAPSHOT, Unavailable, true, None),
            (ffi::SQLITE_LOCKED, Unavailable, true, None),
            (ffi::SQLITE_PROTOCOL, Unavailable, true, None),
            (ffi::SQLITE_FULL, Unavailable, true, None),
            (ffi::SQLITE_NOMEM, Unavailable, true, Unknown),
            (ffi::SQLITE_IOERR_FSYNC, Unavailable, true, Unknown),
            (ffi::SQLITE_IOERR_WRITE, Unavailable, true, Unknown),
            (ffi::SQLITE_INTERRUPT, Unavailable, true, Unknown),
            (ffi::SQLITE_ABORT, Unavailable, true, Unknown),
            (ffi::SQLITE_READONLY, Unavailable, false, None),
            (ffi::SQLITE_READONLY_DBMOVED, Unavailable, false, None),
            (ffi::SQLITE_CANTOPEN, Unavailable, true, Unknown),
            (ffi::SQLITE_PERM, Unavailable, true, Unknown),
            (ffi::SQLITE_AUTH, Unavailable, true, Unknown),
            (ffi::SQLITE_NOLFS, Unavailable, true, Unknown),
            (ffi::SQLITE_CONSTRAINT_CHECK, Invalid, false, None),
            (ffi::SQLITE_MISMATCH, Invalid, false, None),
            (ffi::SQLITE_TOOBIG, Invalid, false, None),
            (ffi::SQLITE_ERROR, Internal, false, Unknown),
            (ffi::SQLITE_SCHEMA, Internal, false, Unknown),
            (ffi::SQLITE_CORRUPT, Internal, false, Unknown),
            (ffi::SQLITE_NOTADB, Internal, false, Unknown),
            (ffi::SQLITE_INTERNAL, Internal, false, Unknown),
            (ffi::SQLITE_NOTFOUND, Internal, false, Unknown),
            (ffi::SQLITE_MISUSE, Internal, false, Unknown),
            (ffi::SQLITE_RANGE, Internal, false, Unknown),
        ] {
            let failure =
                || Failure::Sqlite(rusqlite::Error::SqliteFailure(ffi::Error::new(code), None_));
            let error = failure().into_error("the database");
            assert_eq!((error.kind(), error.retryable()), (kind, retryable), "{code}");
            assert_eq!(error.outcome(), Option::None, "{code}");
            assert_eq!(error.detail("sqlite_code"), Some(&code.into()));
            let error = failure().into_commit_error("the database");
            assert_eq!(error.outcome(), Some(at_commit), "{code} at a commit");
            assert!(!error.retryable() || at_commit == None);
        }
    }

    #[expect(non_upper_case_globals, reason = "beside an outcome of the same name")]
    const None_: Option<String> = Option::None;
}
