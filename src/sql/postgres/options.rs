//! How a PostgreSQL database is reached, and how many connections it is given.

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use crate::limits::POSTGRES_CONNECTIONS_MAX;

/// How a PostgreSQL database is reached.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PostgresOptions {
    /// A name, an address, or the folder of a Unix socket (it starts with `/`).
    pub host: String,
    /// The port.
    pub port: u16,
    /// The name of the database.
    pub database: String,
    /// The role.
    pub username: String,
    /// The role's password, where the server asks for one.
    pub password: Option<Password>,
    /// Whether the connection is encrypted, and whom it trusts.
    pub ssl_mode: SslMode,
    /// How long a call may wait for a connection: for a free one, or for a new one. A day at most,
    /// like the next.
    pub connect_timeout: Duration,
    /// How long a statement may run.
    pub statement_timeout: Duration,
    /// What the server shows as the name of the program.
    pub application_name: String,
    /// How many connections there are.
    pub pool: PoolOptions,
}

impl PostgresOptions {
    /// The defaults: port 5432, no password, TLS if the server has it, five seconds for a
    /// connection, thirty for a statement.
    #[must_use]
    pub fn new(host: &str, database: &str, username: &str) -> Self {
        Self {
            host: host.to_owned(),
            port: 5432,
            database: database.to_owned(),
            username: username.to_owned(),
            password: None,
            ssl_mode: SslMode::default(),
            connect_timeout: Duration::from_secs(5),
            statement_timeout: Duration::from_secs(30),
            application_name: "plimsoll".to_owned(),
            pool: PoolOptions::default(),
        }
    }

    /// Whether the host is the folder of a Unix socket.
    #[must_use]
    pub fn is_unix_socket(&self) -> bool {
        self.host.starts_with('/')
    }

    /// The same, with what no pool and no timer takes cut to what they take.
    pub(super) fn within_limits(mut self) -> Self {
        self.pool.max_open = self.pool.max_open.clamp(1, POSTGRES_CONNECTIONS_MAX);
        self.connect_timeout = self.connect_timeout.min(TIMEOUT_MAX);
        self.statement_timeout = self.statement_timeout.min(TIMEOUT_MAX);
        self
    }
}

/// The longest wait for a connection, and for a statement.
pub const TIMEOUT_MAX: Duration = Duration::from_secs(24 * 60 * 60);

/// As errors name the database.
impl fmt::Display for PostgresOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the database {:?} on {}:{}", self.database, self.host, self.port)
    }
}

/// A password: shown nowhere.
#[derive(Clone, PartialEq, Eq)]
pub struct Password(Arc<str>);

impl Password {
    /// Takes a password.
    #[must_use]
    pub fn new(password: &str) -> Self {
        Self(password.into())
    }

    pub(crate) fn reveal(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Password {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Password(hidden)")
    }
}

/// Whether a connection is encrypted, and whom it trusts; the names are those of libpq.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum SslMode {
    /// Never encrypted.
    Disable,
    /// Encrypted if the server can; it is not checked who the server is.
    #[default]
    Prefer,
    /// Encrypted; it is not checked who the server is.
    Require,
    /// Encrypted; the server's certificate comes from a trusted authority.
    VerifyCa(RootCertificates),
    /// As [`SslMode::VerifyCa`], and the certificate is one for the host.
    VerifyFull(RootCertificates),
}

/// A file of trusted certificates, in PEM.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RootCertificates(pub PathBuf);

/// How many connections a database is given.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PoolOptions {
    /// Most connections at once, 1 to [`POSTGRES_CONNECTIONS_MAX`]; further calls wait.
    pub max_open: usize,
    /// Most connections that are kept while nobody uses them.
    pub max_idle: usize,
    /// How old a connection may be when it is taken into use; none means any age.
    pub max_lifetime: Option<Duration>,
}

/// Ten connections, all kept, none older than an hour.
impl Default for PoolOptions {
    fn default() -> Self {
        Self { max_open: 10, max_idle: 10, max_lifetime: Some(Duration::from_secs(60 * 60)) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_password_is_shown_nowhere() {
        let password = Some(Password::new("hunter2"));
        let options = PostgresOptions { password, ..PostgresOptions::new("db", "app", "me") };
        let shown = format!("{options} {options:?} {options:#?}");
        assert!(!shown.contains("hunter2"), "{shown}");
    }

    #[test]
    fn options_are_cut_to_what_the_pool_takes() {
        let pool = PoolOptions { max_open: 0, max_idle: 0, max_lifetime: Some(Duration::MAX) };
        let (connect_timeout, statement_timeout) = (Duration::MAX, Duration::MAX);
        let options = PostgresOptions::new("db", "app", "me");
        let options = PostgresOptions { pool, connect_timeout, statement_timeout, ..options };
        let cut = options.within_limits();
        assert_eq!((cut.pool.max_open, cut.connect_timeout), (1, TIMEOUT_MAX));
        assert_eq!(cut.statement_timeout, TIMEOUT_MAX);
    }
}
