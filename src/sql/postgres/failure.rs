//! What goes wrong with PostgreSQL, as errors of the engine: the one place where its SQLSTATE codes
//! are judged.
//!
//! Three questions decide: who is at fault (the kind), whether trying again may help, and what a
//! write did to the table. The last one rests on what the protocol promises:
//!
//! 1. A statement is its own transaction. The server says that the statement is complete *before*
//!    it commits, and that it is ready *after*; we answer a write when it is ready.
//! 2. An error of severity ERROR, at any point, means that the transaction was rolled back.
//! 3. The end of a connection (FATAL, PANIC) that is announced before the statement was complete
//!    means the same. Announced after that, or not at all, it leaves the outcome unknown.

use std::error::Error as _;
use std::io;

use tokio_postgres::error::{DbError, Severity, SqlState};

use super::connection::Ending;
use crate::error::{Error, ErrorKind, Outcome};
use crate::sql::schema::schema_mismatch;

/// How far a statement had come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stage {
    /// A connection was being made.
    Connecting,
    /// The connection was there, the statement not sent.
    Unsent,
    /// It was sent; the server has said nothing of it.
    Sent,
    /// The server has begun with it.
    Begun,
    /// The server has said that it is complete; it may commit.
    Complete,
}

/// Why an access to a database failed.
#[derive(Debug)]
pub(super) struct Failure {
    cause: Cause,
    stage: Stage,
    is_in_transaction: bool,
}

#[derive(Debug)]
enum Cause {
    /// We say so.
    Engine(Error),
    /// The server says so.
    Server { code: SqlState, message: String, ends_connection: bool },
    /// The connection is gone, without a word of the server on it.
    Lost(String),
    /// The server could not be understood, or we could not.
    Protocol(String),
    /// The server can't do TLS as it is configured.
    Tls(String),
    /// The deadline passed, and the statement was canceled.
    Canceled,
    /// The deadline passed, and the server does not even say that it canceled the statement.
    Silent,
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Self::of(Cause::Engine(error), Stage::Unsent)
    }
}

impl Failure {
    /// What a client or a connection reports at a stage.
    pub(super) fn new(error: &tokio_postgres::Error, stage: Stage) -> Self {
        let cause = match error.as_db_error() {
            Some(error) => server_cause(error, stage),
            None if error.is_closed() => Cause::Lost("the server closed it".to_owned()),
            None => transport_cause(error),
        };
        Self::of(cause, stage)
    }

    /// The connection ended while a statement was under way; how it ended may tell more.
    pub(super) fn ended(ending: Ending, stage: Stage) -> Self {
        match ending {
            // Told to nobody, so while the server knew of no statement.
            Ending::Announced(error) => {
                let stage = if stage == Stage::Sent { Stage::Unsent } else { stage };
                Self::new(&error, stage)
            }
            Ending::Broken(reason) => Self::of(Cause::Lost(reason), stage),
        }
    }

    /// The deadline of a statement passed without an end, although it was canceled.
    pub(super) fn silent() -> Self {
        Self::of(Cause::Silent, Stage::Sent)
    }

    const fn of(cause: Cause, stage: Stage) -> Self {
        Self { cause, stage, is_in_transaction: false }
    }

    /// The same, in a transaction that was not ended: the connection is of no use to others.
    pub(super) fn in_transaction(self) -> Self {
        Self { is_in_transaction: true, ..self }
    }

    /// The same, after the deadline had passed and the statement was canceled for that.
    pub(super) fn after_cancel(self) -> Self {
        match &self.cause {
            Cause::Server { code, .. } if *code == SqlState::QUERY_CANCELED => {
                Self { cause: Cause::Canceled, ..self }
            }
            _ => self,
        }
    }

    /// Whether the connection is as good as before.
    pub(super) fn spares_connection(&self) -> bool {
        match &self.cause {
            _ if self.is_in_transaction => false,
            Cause::Engine(_) => true,
            Cause::Server { code, ends_connection, .. } => {
                let is_outdated = matches!(
                    judge(code),
                    // A server that became another one, a statement that it forgot, or damage.
                    Judgement::ReadOnly | Judgement::Outdated | Judgement::Corrupt | Judgement::Bug
                );
                !ends_connection && !is_outdated
            }
            Cause::Lost(_)
            | Cause::Protocol(_)
            | Cause::Tls(_)
            | Cause::Canceled
            | Cause::Silent => false,
        }
    }

    /// Whether the connection, kept from before, was at fault, and the same access on a new one
    /// is no second write.
    pub(super) fn is_stale(&self, is_write: bool) -> bool {
        match &self.cause {
            Cause::Server { ends_connection: true, .. } => {
                matches!(self.stage, Stage::Unsent | Stage::Sent)
            }
            Cause::Server { code, .. } => {
                judge(code) == Judgement::Outdated && self.stage == Stage::Sent
            }
            Cause::Lost(_) => !is_write || self.stage == Stage::Unsent,
            Cause::Engine(_)
            | Cause::Protocol(_)
            | Cause::Tls(_)
            | Cause::Canceled
            | Cause::Silent => false,
        }
    }

    /// Whether the other connections are probably no better: the server is gone, or is not the one
    /// that it was.
    pub(super) fn concerns_server(&self) -> bool {
        match &self.cause {
            Cause::Lost(_) | Cause::Silent => true,
            Cause::Server { code, ends_connection, .. } => {
                *ends_connection || judge(code) == Judgement::ReadOnly
            }
            Cause::Engine(_) | Cause::Protocol(_) | Cause::Tls(_) | Cause::Canceled => false,
        }
    }

    /// The error of an access to `database`.
    pub(super) fn into_error(self, database: &dyn std::fmt::Display, is_write: bool) -> Error {
        let outcome = self.outcome();
        let error = match self.cause {
            Cause::Engine(error) => error,
            Cause::Server { code, message, ends_connection } => {
                let judgement = if ends_connection { Judgement::Down } else { judge(&code) };
                server_error(judgement, code.code(), &message, database)
            }
            Cause::Lost(reason) if self.stage == Stage::Connecting => Error::unavailable(format!(
                "{database} is out of reach: {reason}; see that the server runs, and that \
                     host and port are its own"
            )),
            Cause::Lost(reason) => {
                Error::unavailable(format!("the connection to {database} was lost: {reason}"))
            }
            Cause::Protocol(reason) if self.stage == Stage::Connecting => Error::invalid(format!(
                "port: what answers for {database} is no PostgreSQL server: {reason}; correct host \
                 and port"
            ))
            .with_detail("field", "port"),
            Cause::Protocol(reason) => Error::internal(format!("{database}: {reason}")),
            Cause::Tls(reason) => config_error("sslmode", database, &reason),
            Cause::Canceled => Error::timeout(format!(
                "{database} did not finish the statement within statement_timeout; it was canceled"
            )),
            Cause::Silent => Error::timeout(format!(
                "{database} did not answer within statement_timeout, nor to the cancellation"
            )),
        };
        match outcome {
            Outcome::Unknown if is_write => error.with_outcome(Outcome::Unknown),
            Outcome::Unknown | Outcome::None => error,
        }
    }

    /// What a write did that failed so.
    fn outcome(&self) -> Outcome {
        let may_be_committed = match &self.cause {
            Cause::Engine(_) | Cause::Tls(_) | Cause::Canceled => false,
            Cause::Server { code, ends_connection, .. } => {
                *code == SqlState::T_R_STATEMENT_COMPLETION_UNKNOWN
                    || *ends_connection && self.stage == Stage::Complete
            }
            Cause::Lost(_) | Cause::Protocol(_) | Cause::Silent => {
                !matches!(self.stage, Stage::Connecting | Stage::Unsent)
            }
        };
        if may_be_committed { Outcome::Unknown } else { Outcome::None }
    }
}

fn server_cause(error: &DbError, stage: Stage) -> Cause {
    // While a connection is made every error ends it, and the code tells why.
    let ends_connection =
        stage != Stage::Connecting && error.parsed_severity() != Some(Severity::Error);
    Cause::Server {
        code: error.code().clone(),
        message: error.message().to_owned(),
        ends_connection,
    }
}

/// What lies beneath an error that is not the server's.
fn transport_cause(error: &tokio_postgres::Error) -> Cause {
    let Some(source) = error.source() else {
        return Cause::Protocol(error.to_string());
    };
    let is_handshake = error.to_string().contains("TLS");
    let Some(io) = source.downcast_ref::<io::Error>() else {
        // What is left are TLS that the server has not, and a password that it did not get.
        return match is_handshake {
            true => Cause::Tls(source.to_string()),
            false => Cause::Server {
                code: SqlState::INVALID_AUTHORIZATION_SPECIFICATION,
                message: source.to_string(),
                ends_connection: false,
            },
        };
    };
    let is_refused = io.get_ref().is_some_and(|inner| inner.is::<rustls::Error>());
    let is_nonsense = matches!(io.kind(), io::ErrorKind::InvalidInput | io::ErrorKind::InvalidData);
    match (is_handshake, is_refused || is_nonsense) {
        (true, true) => Cause::Tls(io.to_string()),
        (false, true) => Cause::Protocol(io.to_string()),
        (_, false) => Cause::Lost(io.to_string()),
    }
}

/// What an SQLSTATE means for the caller.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Judgement {
    /// The server is down, or goes down: try again.
    Down,
    /// The server lacks something, for now: try again.
    Unable,
    /// Another transaction was in the way: try again.
    Contended,
    /// The statement took too long, for the server or for whoever canceled it.
    Canceled,
    /// The server takes no writes: a standby, until it is promoted.
    ReadOnly,
    /// The role or its password is wrong.
    Credentials,
    /// There is no such database.
    NoDatabase,
    /// The role may not do this.
    Denied,
    /// The table does not take this row.
    Refused,
    /// The statement does not fit the tables.
    Unprepared,
    /// The server has forgotten the statement, or its table has changed.
    Outdated,
    /// What is stored is damaged.
    Corrupt,
    /// A bug of ours, or of PostgreSQL.
    Bug,
}

/// Judges a code: single ones first, then by class, in the order of PostgreSQL's own list.
fn judge(code: &SqlState) -> Judgement {
    let class = code.code().get(..2).unwrap_or_default();
    match (class, code.code()) {
        (_, "40003") => Judgement::Down,
        (_, "25006") => Judgement::ReadOnly,
        (_, "25P03" | "25P04") => Judgement::Down,
        (_, "40002") => Judgement::Refused,
        (_, "42501") => Judgement::Denied,
        (_, "55P03") => Judgement::Contended,
        (_, "57014") => Judgement::Canceled,
        (_, "XX001" | "XX002") => Judgement::Corrupt,
        ("08" | "57", _) => Judgement::Down,
        ("53" | "55" | "58" | "F0" | "HV", _) => Judgement::Unable,
        ("40" | "72", _) => Judgement::Contended,
        ("28" | "0P", _) => Judgement::Credentials,
        ("3D", _) => Judgement::NoDatabase,
        ("0L" | "2B", _) => Judgement::Denied,
        ("0A" | "26", _) => Judgement::Outdated,
        ("3F" | "42", _) => Judgement::Unprepared,
        (
            "09" | "20" | "21" | "22" | "23" | "27" | "2D" | "2F" | "38" | "39" | "44" | "54"
            | "P0",
            _,
        ) => Judgement::Refused,
        ("00" | "01" | "02" | "03" | "0B" | "0F" | "0Z" | "24" | "25" | "34" | "3B" | "XX", _) => {
            Judgement::Bug
        }
        // Codes of their own are what triggers and functions raise.
        _ => Judgement::Refused,
    }
}

fn server_error(
    judgement: Judgement,
    code: &str,
    message: &str,
    database: &dyn std::fmt::Display,
) -> Error {
    let said = format!("{message} (SQLSTATE {code})");
    let error = match judgement {
        Judgement::Down | Judgement::Unable => {
            Error::unavailable(format!("{database} can't serve now: {said}"))
        }
        Judgement::Contended => Error::unavailable(format!(
            "{database}: another transaction was in the way: {said}; try again"
        ))
        .with_detail("reason", "contended"),
        Judgement::Canceled => Error::timeout(format!("{database} canceled the statement: {said}")),
        Judgement::ReadOnly => Error::unavailable(format!(
            "{database} can't be written: {said}; a standby can once it is promoted"
        ))
        .with_detail("reason", "read_only"),
        Judgement::Credentials => config_error("password", database, &said),
        Judgement::NoDatabase => config_error("database", database, &said),
        Judgement::Denied => Error::new(
            ErrorKind::PermissionDenied,
            format!("{database}: {said}; grant it to the role, or use another one"),
        ),
        Judgement::Refused => {
            Error::invalid(format!("{database}: the table refuses the row: {said}"))
        }
        Judgement::Unprepared | Judgement::Outdated => {
            schema_mismatch(format!("{database}: the statement does not fit its tables: {said}"))
        }
        Judgement::Corrupt => {
            Error::internal(format!("{database} is damaged: {said}; restore it from a backup"))
        }
        Judgement::Bug => Error::internal(format!("{database}: {said}")),
    };
    error.with_detail("sqlstate", code)
}

/// The error of a configuration that the server does not accept.
fn config_error(field: &str, database: &dyn std::fmt::Display, reason: &str) -> Error {
    let remedy = match field {
        "sslmode" => "correct sslmode or sslrootcert, or the server's certificate",
        "database" => "correct the name, or create the database",
        _ => "check username and password, and who may log in",
    };
    Error::invalid(format!("{field}: {database} refuses the connection: {reason}; {remedy}"))
        .with_detail("field", field)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn server(code: &str, stage: Stage, ends_connection: bool) -> Failure {
        let code = SqlState::from_code(code);
        let cause = Cause::Server { code, message: "it says so".to_owned(), ends_connection };
        Failure::of(cause, stage)
    }

    const UNKNOWN: Option<Outcome> = Some(Outcome::Unknown);

    /// Each class of PostgreSQL's list, and each code that is judged by itself.
    #[test]
    fn every_class_is_judged() {
        use ErrorKind::{Internal, Invalid, PermissionDenied, Timeout, Unavailable};
        let table: &[(ErrorKind, bool, &[&str])] = &[
            (
                Unavailable,
                true,
                &[
                    "08006", "08P01", "25006", "25P03", "25P04", "40001", "40P01", "53000",
                    "53100", "53200", "53300", "53400", "55000", "55006", "55P03", "57000",
                    "57P01", "57P02", "57P03", "57P04", "57P05", "58000", "58030", "72000",
                    "F0000", "HV000",
                ],
            ),
            (Timeout, true, &["57014"]),
            (PermissionDenied, false, &["0L000", "2B000", "42501"]),
            (
                Invalid,
                false,
                &[
                    "09000", "0P000", "20000", "21000", "22001", "22003", "22021", "22P05",
                    "23502", "23505", "23514", "27000", "28000", "28P01", "2D000", "2F000",
                    "38000", "39000", "3D000", "40002", "44000", "54000", "P0001", "SHOP1",
                ],
            ),
            (
                Internal,
                false,
                &[
                    "00000", "01000", "02000", "03000", "0A000", "0B000", "0F000", "0Z000",
                    "24000", "25000", "25P02", "26000", "34000", "3B000", "3F000", "42000",
                    "42601", "42703", "42804", "42P01", "42P10", "XX000", "XX001", "XX002",
                ],
            ),
        ];
        for (kind, retryable, codes) in table {
            for code in *codes {
                let error = server(code, Stage::Begun, false).into_error(&"the database", true);
                assert_eq!((error.kind(), error.retryable()), (*kind, *retryable), "{code}");
                assert_eq!(error.detail("sqlstate"), Some(&(*code).into()));
                assert_eq!(error.outcome(), None, "rolled back: {code}");
            }
        }
    }

    #[test]
    fn the_outcome_of_a_write_follows_from_how_far_it_had_come() {
        use Stage::{Begun, Complete, Connecting, Sent, Unsent};
        let lost = |stage| Failure::of(Cause::Lost("gone".to_owned()), stage);
        let silent = |_| Failure::silent();
        let ended = |stage| server("57P01", stage, true);
        let unknown = |stage| server("40003", stage, false);
        type Make<'a> = &'a dyn Fn(Stage) -> Failure;
        let table: [(Make<'_>, &[Stage], &[Stage]); 4] = [
            (&lost, &[Connecting, Unsent], &[Sent, Begun, Complete]),
            (&silent, &[], &[Sent]),
            (&ended, &[Unsent, Sent, Begun], &[Complete]),
            (&unknown, &[], &[Complete]),
        ];
        for (make, certain, uncertain) in table {
            for stage in certain {
                let error = make(*stage).into_error(&"the database", true);
                assert_eq!((error.outcome(), error.retryable()), (None, true), "{stage:?}");
            }
            for stage in uncertain {
                let error = make(*stage).into_error(&"the database", true);
                assert_eq!(error.outcome(), Some(Outcome::Unknown), "{stage:?}: {error}");
                assert!(!error.retryable());
                let read = make(*stage).into_error(&"the database", false);
                assert_eq!((read.outcome(), read.retryable()), (None, true), "a read");
            }
        }
    }

    #[test]
    fn only_what_was_certainly_not_written_is_repeated() {
        use Stage::{Begun, Complete, Sent, Unsent};
        for (failure, read, write) in [
            (server("57P01", Unsent, true), true, true),
            (server("57P01", Sent, true), true, true),
            (server("57P01", Begun, true), false, false),
            (server("57P01", Complete, true), false, false),
            (server("0A000", Sent, false), true, true),
            (server("0A000", Unsent, false), false, false),
            (server("26000", Sent, false), true, true),
            (server("40001", Begun, false), false, false),
            (Failure::of(Cause::Lost(String::new()), Unsent), true, true),
            (Failure::of(Cause::Lost(String::new()), Sent), true, false),
            (Failure::of(Cause::Lost(String::new()), Complete), true, false),
            (Failure::silent(), false, false),
            (Error::invalid("no").into(), false, false),
        ] {
            assert_eq!(failure.is_stale(false), read, "{failure:?}");
            assert_eq!(failure.is_stale(true), write, "{failure:?}");
        }
    }

    /// An end of the connection is one of the server, whatever its code.
    #[test]
    fn what_ends_a_connection_spares_none() {
        for code in ["57P01", "XX000", "23505"] {
            let failure = server(code, Stage::Begun, true);
            assert!(!failure.spares_connection() && failure.concerns_server(), "{code}");
            let error = server(code, Stage::Complete, true).into_error(&"the database", true);
            assert_eq!(
                (error.kind(), error.outcome()),
                (ErrorKind::Unavailable, UNKNOWN),
                "{code}"
            );
        }
        assert!(server("23505", Stage::Begun, false).spares_connection());
        assert!(!server("25006", Stage::Begun, false).spares_connection());
    }
}
