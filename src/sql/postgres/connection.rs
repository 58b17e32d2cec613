//! A connection: one server process, its prepared statements, and the task that moves its bytes.
//!
//! One statement at a time. A connection whose statement did not come to its end, with an answer
//! that is understood, is never used again: the pool sees to that.

use std::collections::HashMap;
use std::pin::pin;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::StreamExt as _;
use tokio::task::JoinHandle;
use tokio_postgres::config::SslMode as WireSslMode;
use tokio_postgres::types::ToSql;
use tokio_postgres::{CancelToken, Client, Config, Row, Statement};

use super::failure::{Failure, Stage};
use super::options::{PostgresOptions, SslMode};
use super::tls::Tls;
use crate::limits::POSTGRES_STATEMENTS_MAX;

/// Makes connections.
#[derive(Clone)]
pub(super) struct Connector {
    config: Config,
    tls: Tls,
}

impl Connector {
    /// Reads the certificates that the options name.
    ///
    /// # Errors
    /// `INVALID`, naming the field.
    pub(super) fn new(options: &PostgresOptions) -> crate::error::Result<Self> {
        let mut config = Config::new();
        config
            .host(&options.host)
            .port(options.port)
            .dbname(&options.database)
            .user(&options.username)
            .application_name(&options.application_name)
            .connect_timeout(options.connect_timeout)
            .keepalives_idle(KEEPALIVE_IDLE)
            .ssl_mode(match options.ssl_mode {
                SslMode::Disable => WireSslMode::Disable,
                SslMode::Prefer => WireSslMode::Prefer,
                SslMode::Require | SslMode::VerifyCa(_) | SslMode::VerifyFull(_) => {
                    WireSslMode::Require
                }
            });
        if options.is_unix_socket() {
            config.ssl_mode(WireSslMode::Disable);
        }
        if let Some(password) = &options.password {
            config.password(password.reveal());
        }
        Ok(Self { config, tls: Tls::new(&options.ssl_mode)? })
    }

    /// Makes a connection, on the runtime that is to move its bytes.
    pub(super) async fn connect(&self) -> Result<Connection, Failure> {
        let connected = self.config.connect(self.tls.clone()).await;
        let (client, driver) = connected.map_err(|e| Failure::new(&e, Stage::Connecting))?;
        Ok(Connection {
            client,
            driver: Some(tokio::spawn(driver)),
            statements: HashMap::new(),
            opened: Instant::now(),
        })
    }

    /// Asks the server to cancel the statement that runs on a connection.
    pub(super) async fn cancel(&self, token: &CancelToken) {
        // It is answered by the statement's own end, if at all.
        let _ = token.cancel_query(self.tls.clone()).await;
    }
}

/// What came of a statement.
#[derive(Debug)]
pub(super) struct Answer {
    pub(super) rows: Vec<Row>,
    /// How many rows were read or written.
    pub(super) affected: u64,
}

/// How the task of a connection ended.
#[derive(Debug)]
pub(super) enum Ending {
    /// The server said that it would close the connection, while nothing was asked of it.
    Announced(tokio_postgres::Error),
    /// It was closed.
    Broken(String),
}

/// A connection to the server.
#[derive(Debug)]
pub(super) struct Connection {
    client: Client,
    /// Moves the bytes; none once its end was looked at.
    driver: Option<JoinHandle<Result<(), tokio_postgres::Error>>>,
    /// The prepared statements, by their text.
    statements: HashMap<Arc<str>, Statement>,
    opened: Instant,
}

impl Connection {
    /// Runs a statement to its end. It is prepared the first time.
    pub(super) async fn query(
        &mut self,
        text: &Arc<str>,
        parameters: &[&(dyn ToSql + Sync)],
    ) -> Result<Answer, Failure> {
        let statement = self.prepared(text).await?;
        let started = self.client.query_raw(&statement, parameters.iter().copied()).await;
        let mut rows = match started {
            Ok(rows) => pin!(rows),
            Err(error) => return Err(self.explain(&error, Stage::Sent).await),
        };
        let mut answer = Answer { rows: Vec::new(), affected: 0 };
        while let Some(row) = rows.next().await {
            match row {
                Ok(row) => answer.rows.push(row),
                Err(error) => {
                    let is_complete = rows.rows_affected().is_some();
                    let stage = if is_complete { Stage::Complete } else { Stage::Begun };
                    return Err(self.explain(&error, stage).await);
                }
            }
        }
        answer.affected = rows.rows_affected().unwrap_or(0);
        Ok(answer)
    }

    /// Runs statements without parameters, as one transaction.
    pub(super) async fn run_script(&mut self, text: &str) -> Result<Answer, Failure> {
        match self.client.batch_execute(text).await {
            Ok(()) => Ok(Answer { rows: Vec::new(), affected: 0 }),
            Err(error) => Err(self.explain(&error, Stage::Complete).await),
        }
    }

    /// Closes the connection, and cancels what still runs on it; waits a little for its end.
    pub(super) async fn discard(mut self, connector: &Connector, is_running: bool) {
        if is_running {
            let token = self.client.cancel_token();
            let _ = tokio::time::timeout(CLOSE_PATIENCE, connector.cancel(&token)).await;
        }
        drop(self.client);
        if let Some(mut driver) = self.driver.take()
            && tokio::time::timeout(CLOSE_PATIENCE, &mut driver).await.is_err()
        {
            driver.abort();
        }
    }

    /// What cancels the statement that runs now.
    pub(super) fn cancel_token(&self) -> CancelToken {
        self.client.cancel_token()
    }

    /// Whether it is known that the server is gone.
    pub(super) fn is_closed(&self) -> bool {
        self.client.is_closed()
    }

    /// How old it is.
    pub(super) fn age(&self) -> Duration {
        self.opened.elapsed()
    }

    async fn prepared(&mut self, text: &Arc<str>) -> Result<Statement, Failure> {
        if let Some(statement) = self.statements.get(text) {
            return Ok(statement.clone());
        }
        if self.statements.len() >= POSTGRES_STATEMENTS_MAX {
            self.statements.clear();
        }
        match self.client.prepare(text).await {
            Ok(statement) => {
                self.statements.insert(Arc::clone(text), statement.clone());
                Ok(statement)
            }
            Err(error) => Err(self.explain(&error, Stage::Unsent).await),
        }
    }

    /// Where the client only knows that the connection is closed, its task may know why.
    async fn explain(&mut self, error: &tokio_postgres::Error, stage: Stage) -> Failure {
        if error.is_closed()
            && let Some(driver) = self.driver.take()
            && let Ok(Err(ending)) = driver.await
        {
            let ending = match ending.as_db_error() {
                Some(_) => Ending::Announced(ending),
                None => Ending::Broken(describe(&ending)),
            };
            return Failure::ended(ending, stage);
        }
        Failure::new(error, stage)
    }
}

/// An error with what lies beneath it.
fn describe(error: &tokio_postgres::Error) -> String {
    match std::error::Error::source(error) {
        Some(source) => source.to_string(),
        None => error.to_string(),
    }
}

/// How long the end of a connection that is given up is waited for, and a cancellation before it.
const CLOSE_PATIENCE: Duration = Duration::from_secs(2);

/// After how much silence the system asks whether the server is still there.
const KEEPALIVE_IDLE: Duration = Duration::from_secs(60);
