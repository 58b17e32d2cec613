//! The kind `db.sql.postgres`.

use std::path::Path;
use std::time::Duration;

use super::fields::{Fields, Given};
use super::nodes::Nodes;
use super::problem::Refusal;
use crate::limits::POSTGRES_CONNECTIONS_MAX;
use crate::sql::postgres::TIMEOUT_MAX;
use crate::sql::{Password, PoolOptions, PostgresOptions, RootCertificates, SslMode};

/// Reads the fields of a `db.sql.postgres`; none if one that is required was reported.
pub(super) fn read(fields: &mut Fields<'_>, folder: &Path) -> Option<PostgresOptions> {
    let host = fields.required("host", "localhost", host);
    let port = fields.optional("port", |given| given.port(5432));
    let database = fields.required("database", "app", name);
    let username = fields.required("username", "app", name);
    let password = fields.secret("password").filter(|password| !password.is_empty());
    let password = password.map(|password| Password::new(&password));
    let pool = fields.optional_mapping("pool").map(read_pool);
    // Every field is read, whatever is wrong with another.
    let text = |field: &Option<String>| field.clone().unwrap_or_default();
    let mut options = PostgresOptions {
        password,
        pool: pool.unwrap_or_default(),
        ..PostgresOptions::new(&text(&host), &text(&database), &text(&username))
    };
    options.port = port.unwrap_or(options.port);
    if let Some(given) = fields.optional_mapping("options") {
        read_options(given, folder, &mut options);
    }
    host.and(database).and(username).map(|_| options)
}

fn read_pool(mut fields: Fields<'_>) -> PoolOptions {
    let default = PoolOptions::default();
    let max_open = fields.optional("max_open", connections).filter(|count| *count > 0);
    let max_open = max_open.unwrap_or(default.max_open);
    let max_idle = fields.optional("max_idle", |given| match connections(given)? {
        count if count > max_open => Err(Refusal::new(format!(
            "{count} is more than max_open, which is {max_open}; write at most as many"
        ))),
        count => Ok(count),
    });
    let max_lifetime = fields.optional("max_lifetime", |given| given.interval());
    fields.finish();
    PoolOptions {
        max_open,
        max_idle: max_idle.unwrap_or(max_open),
        max_lifetime: max_lifetime.unwrap_or(default.max_lifetime),
    }
}

fn read_options(mut fields: Fields<'_>, folder: &Path, options: &mut PostgresOptions) {
    let root = fields.optional("sslrootcert", |given| given.path(folder));
    let is_socket = options.is_unix_socket();
    let mut root_is_used = false;
    let ssl_mode = fields.optional("sslmode", |given| {
        let mut verified = |mode: fn(RootCertificates) -> SslMode| {
            root_is_used = true;
            let root = root.clone().ok_or("it needs the certificates to trust; add sslrootcert")?;
            Ok::<_, Refusal>(mode(RootCertificates(root)))
        };
        let mode = match given.text()? {
            "disable" => SslMode::Disable,
            "prefer" => SslMode::Prefer,
            "require" => SslMode::Require,
            "verify-ca" => verified(SslMode::VerifyCa)?,
            "verify-full" => verified(SslMode::VerifyFull)?,
            other => {
                return Err(Refusal::new(format!(
                    "{other:?} is unknown; write disable, prefer, require, verify-ca or verify-full"
                )));
            }
        };
        if is_socket && !matches!(mode, SslMode::Disable | SslMode::Prefer) {
            return Err(Refusal::new("a Unix socket has no TLS; write disable, or name a host"));
        }
        Ok(mode)
    });
    if root.is_some() && !root_is_used {
        let remedy = "the certificates are used by verify-ca and verify-full only; write one of them \
                      as sslmode, or remove sslrootcert";
        fields.report(&fields.origin().clone(), remedy);
    }
    options.ssl_mode = ssl_mode.unwrap_or_default();
    if let Some(timeout) = fields.optional("connect_timeout", timeout) {
        options.connect_timeout = timeout;
    }
    if let Some(timeout) = fields.optional("statement_timeout", timeout) {
        options.statement_timeout = timeout;
    }
    if let Some(name) = fields.optional("application_name", name) {
        options.application_name = name;
    }
    fields.finish();
}

/// The fields of a `db.sql.postgres`.
pub(super) fn write(options: &PostgresOptions, nodes: &mut Nodes) {
    nodes.text("host", &options.host);
    nodes.plain("port", options.port);
    nodes.text("database", &options.database);
    nodes.text("username", &options.username);
    if let Some(password) = &options.password {
        nodes.text("password", password.reveal());
    }
    let mut pool = nodes.nested();
    pool.plain("max_open", options.pool.max_open);
    pool.plain("max_idle", options.pool.max_idle);
    pool.interval("max_lifetime", options.pool.max_lifetime);
    nodes.mapping("pool", pool);
    let mut further = nodes.nested();
    let (ssl_mode, root) = match &options.ssl_mode {
        SslMode::Disable => ("disable", None),
        SslMode::Prefer => ("prefer", None),
        SslMode::Require => ("require", None),
        SslMode::VerifyCa(root) => ("verify-ca", Some(root)),
        SslMode::VerifyFull(root) => ("verify-full", Some(root)),
    };
    if let Some(RootCertificates(file)) = root {
        further.path("sslrootcert", file);
    }
    further.text("sslmode", ssl_mode);
    further.duration("connect_timeout", options.connect_timeout);
    further.duration("statement_timeout", options.statement_timeout);
    further.text("application_name", &options.application_name);
    nodes.mapping("options", further);
}

fn host(given: &Given<'_>) -> Result<String, Refusal> {
    let host = name(given)?;
    if host.contains("://") || host.contains(',') || host.contains(char::is_whitespace) {
        return Err(Refusal::new(format!(
            "{host:?} is no host; write one name, one address, or the folder of a Unix socket"
        )));
    }
    Ok(host)
}

fn name(given: &Given<'_>) -> Result<String, Refusal> {
    Ok(given.name()?.to_owned())
}

fn connections(given: &Given<'_>) -> Result<usize, Refusal> {
    match usize::try_from(given.count()?) {
        Ok(count) if count <= POSTGRES_CONNECTIONS_MAX => Ok(count),
        _ => Err(Refusal::over_limit(
            POSTGRES_CONNECTIONS_MAX,
            format!("too many connections; write {POSTGRES_CONNECTIONS_MAX} or fewer"),
        )),
    }
}

fn timeout(given: &Given<'_>) -> Result<Duration, Refusal> {
    match given.interval()? {
        None => Err(Refusal::new("a call has to end some time; write 1ms or longer")),
        Some(timeout) if timeout > TIMEOUT_MAX => Err(Refusal::new("too long; write 24h or less")),
        Some(timeout) => Ok(timeout),
    }
}
