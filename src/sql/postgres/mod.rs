//! PostgreSQL: a database server, reached over the network.
//!
//! ```text
//!   PostgresDatabase, PostgresTable   what the caller holds
//!         |  runtime                  a thread on which everything below runs
//!         |  statements, plan, rows   the texts of one table, and what their rows mean
//!   access                            one statement with a deadline, repeated if that is safe
//!         |
//!   pool -> connection                connections, each with its prepared statements
//!         |  tls
//!   failure                           what goes wrong, as errors of the engine
//! ```
//!
//! The caller's contract:
//! 1. A call ends: waiting for a connection with `connect_timeout`, the statement with
//!    `statement_timeout` and, where it has to be canceled, another `connect_timeout`; all of it
//!    twice where `access` repeats it.
//! 2. A write is one statement, which is its own transaction, answered after its commit.
//! 3. An error of a write says what became of it; `failure` tells how that is known.
//! 4. Whoever drops the future of a write may find it applied or not, never half.
//! 5. A server that is down stops nothing: calls answer `UNAVAILABLE`, and the next ones try again.
//!
//! Durability is the server's: a store tells whether what is committed in its table outlives a
//! crash (`fsync`, `synchronous_commit`, no unlogged table), as the server says when it is opened.

mod access;
mod connection;
mod describe;
mod failure;
mod options;
mod plan;
mod pool;
mod rows;
mod runtime;
mod scan;
mod statements;
mod tls;

use std::fmt;
use std::future::Future;
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::Duration;

use tokio::sync::{Semaphore, oneshot};

use self::access::{Access, Parameter, perform};
use self::connection::Answer;
use self::plan::Plan;
use self::pool::Pool;
use self::runtime::Background;
use self::statements::PayloadType;
use super::range::KeyRange;
use super::schema::{Dialect, TableNames, is_schema_mismatch};
use super::{TableOptions, payload};
use crate::clock::UnixMillis;
use crate::entry::{Entry, Key, ListQuery, Page, Ttl};
use crate::error::{Error, Outcome, Result};
use crate::limits::{POSTGRES_ACCESSES_MAX, REMOVALS_MAX};
use crate::policy::Rights;
use crate::value::Value;

pub use options::{Password, PoolOptions, PostgresOptions, RootCertificates, SslMode, TIMEOUT_MAX};

/// A PostgreSQL database.
pub struct PostgresDatabase {
    pool: Arc<Pool>,
    background: Background,
    /// The room for accesses that wait or run.
    room: Arc<Semaphore>,
}

impl PostgresDatabase {
    /// A database. Nothing is connected before it is used.
    #[must_use]
    pub fn open(options: PostgresOptions) -> Arc<Self> {
        Arc::new(Self {
            pool: Pool::new(options),
            background: Background::new(),
            room: Arc::new(Semaphore::new(POSTGRES_ACCESSES_MAX)),
        })
    }

    /// Connects, so that what is wrong with the configuration shows now.
    ///
    /// # Errors
    /// `INVALID`, naming the field, if the server refuses the connection; `UNAVAILABLE` if it is
    /// out of reach.
    pub async fn check(&self) -> Result<()> {
        let pool = Arc::clone(&self.pool);
        self.run(async move {
            match pool.lease().await {
                Ok(lease) => {
                    lease.finish(true);
                    Ok(())
                }
                Err(failure) => Err(failure.into_error(pool.options(), false)),
            }
        })
        .await
    }

    /// Finishes what is under way and closes the connections; every later access answers
    /// `UNAVAILABLE`.
    ///
    /// Dropping the last reference does the same without waiting for it.
    pub async fn close(&self) {
        let pool = Arc::clone(&self.pool);
        // Without a thread nothing was ever connected.
        let _ = self.background.run(async move { pool.close().await }).await;
        self.background.stop();
    }

    /// Opens a table, as [`Database::open_table`](super::Database::open_table).
    pub(super) async fn open_table(
        self: &Arc<Self>,
        options: &TableOptions,
    ) -> Result<PostgresTable> {
        options.names.check()?;
        let plan = match self.read_table(options).await? {
            Some(plan) => plan,
            None if options.create_table => {
                let created = self.create_table(&options.names).await;
                match (self.read_table(options).await?, created) {
                    (Some(plan), _) => plan,
                    (None, Err(error)) => return Err(error),
                    (None, Ok(())) => return Err(self.missing_table(&options.names)),
                }
            }
            None => return Err(self.missing_table(&options.names)),
        };
        let table = PostgresTable {
            database: Arc::clone(self),
            options: options.clone(),
            plan: Arc::new(RwLock::new(Arc::new(plan))),
            sweeping: Mutex::new(None),
        };
        if let Some(interval) = options.cleanup_interval.filter(|interval| !interval.is_zero()) {
            table.start_sweeping(interval)?;
        }
        Ok(table)
    }

    /// What is known of a table; none if there is no such table.
    async fn read_table(&self, options: &TableOptions) -> Result<Option<Plan>> {
        let (pool, names) = (Arc::clone(&self.pool), options.names.clone());
        let found = self.run(async move { describe::describe(&pool, &names).await }).await?;
        found.map(|found| Plan::new(options, &found)).transpose()
    }

    async fn create_table(&self, names: &TableNames) -> Result<()> {
        self.perform(Access::script(names.ddl(Dialect::Postgres))).await.map(drop)
    }

    async fn perform(&self, access: Access) -> Result<Answer> {
        let pool = Arc::clone(&self.pool);
        self.run(async move { perform(&pool, &access).await }).await
    }

    /// Runs something on the thread of the connections.
    async fn run<T: Send + 'static>(
        &self,
        work: impl Future<Output = Result<T>> + Send + 'static,
    ) -> Result<T> {
        let permit = Arc::clone(&self.room).try_acquire_owned().map_err(|_| self.overloaded())?;
        let work = async move {
            let _permit = permit;
            work.await
        };
        match self.background.run(work).await? {
            Some(result) => result,
            None if self.background.is_stopped() => Err(self.pool.closed()),
            None => Err(self.unanswered()),
        }
    }

    fn missing_table(&self, names: &TableNames) -> Error {
        names.missing_table(Dialect::Postgres, &self.pool.options().to_string())
    }

    fn overloaded(&self) -> Error {
        Error::unavailable(format!(
            "{POSTGRES_ACCESSES_MAX} calls wait for {} or run already; try again",
            self.pool.options()
        ))
        .with_detail("limit", POSTGRES_ACCESSES_MAX)
    }

    /// The error of an access whose answer got lost with its thread.
    fn unanswered(&self) -> Error {
        Error::internal(format!("an access to {} has ended without an answer", self.pool.options()))
            .with_outcome(Outcome::Unknown)
    }
}

impl fmt::Debug for PostgresDatabase {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("PostgresDatabase").field(self.pool.options()).finish()
    }
}

/// A table of a PostgreSQL database.
#[derive(Debug)]
pub struct PostgresTable {
    database: Arc<PostgresDatabase>,
    options: TableOptions,
    /// Read again when a statement does not fit the table any more.
    plan: Arc<RwLock<Arc<Plan>>>,
    /// The table is swept for as long as this lives.
    sweeping: Mutex<Option<oneshot::Sender<()>>>,
}

impl PostgresTable {
    /// Whether an acknowledged write survives a crash of the server.
    pub(super) fn is_durable(&self) -> bool {
        self.plan().is_durable
    }

    pub(super) async fn entry(&self, key: &Key) -> Result<Option<Entry>> {
        let read = |plan: &Plan| {
            plan.check_key(key)?;
            let parameters = vec![Parameter::Text(key.to_string()), Parameter::Now];
            Ok(Access::read(plan.statements.entry.clone(), parameters).by(&plan.clock))
        };
        let (plan, answer) = self.perform(read).await?;
        rows::to_entry(&plan, key, &answer.rows)
    }

    pub(super) async fn has(&self, key: &Key) -> Result<bool> {
        let read = |plan: &Plan| {
            plan.check_key(key)?;
            let parameters = vec![Parameter::Text(key.to_string()), Parameter::Now];
            Ok(Access::read(plan.statements.has.clone(), parameters).by(&plan.clock))
        };
        let (_, answer) = self.perform(read).await?;
        Ok(!answer.rows.is_empty())
    }

    pub(super) async fn upsert(
        &self,
        key: &Key,
        value: &Value,
        ttl: Option<Ttl>,
    ) -> Result<Option<UnixMillis>> {
        let write = |plan: &Plan| {
            plan.check_key(key)?;
            let payload = to_parameter(value, plan.payload_type)?;
            let mut parameters = vec![Parameter::Text(key.to_string()), payload];
            let Some(ttl) = ttl else {
                return Ok(Access::write(plan.statements.upsert.clone(), parameters));
            };
            let ttl_ms = i64::try_from(ttl.as_ms()).expect("at most TTL_MS_MAX");
            parameters.extend([Parameter::Integer(ttl_ms), Parameter::Now]);
            Ok(Access::write(plan.statements.upsert_ttl.clone(), parameters).by(&plan.clock))
        };
        let (plan, answer) = self.perform(write).await?;
        if answer.affected == 0 {
            return Err(Error::invalid(format!(
                "the table refuses the row: a trigger of {} suppresses it",
                plan.names.table
            )));
        }
        match answer.rows.first() {
            None => Ok(None),
            Some(row) => Ok(rows::to_deadline(rows::column(row, 0)?)),
        }
    }

    pub(super) async fn delete(&self, key: &Key) -> Result<bool> {
        let write = |plan: &Plan| {
            plan.check_key(key)?;
            let parameters = vec![Parameter::Text(key.to_string()), Parameter::Now];
            Ok(Access::write(plan.statements.delete.clone(), parameters).by(&plan.clock))
        };
        let (_, answer) = self.perform(write).await?;
        Ok(answer.affected > 0)
    }

    pub(super) async fn list(&self, query: &ListQuery, rights: &Rights) -> Result<Page> {
        let Some(range) = KeyRange::of(query) else {
            return Ok(Page::default());
        };
        let read = |plan: &Plan| Ok(rows::list(plan, &range, query.items_max(), rights));
        let (plan, answer) = self.perform(read).await?;
        rows::to_page(&plan, query, &answer.rows)
    }

    pub(super) fn stop_sweeping(&self) {
        self.sweeping.lock().unwrap_or_else(PoisonError::into_inner).take();
    }

    /// Deletes expired rows at an interval, in batches, until the table is dropped.
    fn start_sweeping(&self, interval: Duration) -> Result<()> {
        let (stop, mut stopped) = oneshot::channel();
        let (pool, plan) = (Arc::clone(&self.database.pool), Arc::clone(&self.plan));
        self.database.background.spawn(async move {
            loop {
                tokio::select! {
                    _ = &mut stopped => return,
                    () = tokio::time::sleep(interval) => {}
                }
                while stopped.is_empty() && sweep_batch(&pool, &current(&plan)).await {}
            }
        })?;
        *self.sweeping.lock().unwrap_or_else(PoisonError::into_inner) = Some(stop);
        Ok(())
    }

    /// Runs what a plan makes. If that does not fit the table any more, the table has changed: it
    /// is read again, and if it still serves, the call is made anew. Nothing was written then.
    async fn perform(
        &self,
        access: impl Fn(&Plan) -> Result<Access>,
    ) -> Result<(Arc<Plan>, Answer)> {
        let plan = self.plan();
        let error = match self.database.perform(access(&plan)?).await {
            Ok(answer) => return Ok((plan, answer)),
            Err(error) if is_schema_mismatch(&error) => error,
            Err(error) => return Err(error),
        };
        let Some(current) = self.database.read_table(&self.options).await? else {
            return Err(self.database.missing_table(&self.options.names));
        };
        if current.is_like(&plan) {
            return Err(error);
        }
        let current = Arc::new(current);
        *self.plan.write().unwrap_or_else(PoisonError::into_inner) = Arc::clone(&current);
        let answer = self.database.perform(access(&current)?).await?;
        Ok((current, answer))
    }

    fn plan(&self) -> Arc<Plan> {
        current(&self.plan)
    }
}

fn current(plan: &RwLock<Arc<Plan>>) -> Arc<Plan> {
    Arc::clone(&plan.read().unwrap_or_else(PoisonError::into_inner))
}

/// Deletes a batch of expired rows; whether there may be more. What goes wrong is met again, and
/// told, by the calls of the store.
async fn sweep_batch(pool: &Arc<Pool>, plan: &Plan) -> bool {
    let most = i64::try_from(REMOVALS_MAX).expect("small");
    let parameters = vec![Parameter::Now, Parameter::Integer(most)];
    let sweep = Access::write(plan.statements.sweep.clone(), parameters).by(&plan.clock);
    perform(pool, &sweep).await.is_ok_and(|answer| answer.affected == most.unsigned_abs())
}

/// A payload as its column takes it.
fn to_parameter(value: &Value, payload_type: PayloadType) -> Result<Parameter> {
    let to_text = |json| Parameter::Text(String::from_utf8(json).expect("JSON is UTF-8"));
    match payload_type {
        PayloadType::Bytes => payload::encode(value).map(Parameter::Bytes),
        PayloadType::Text | PayloadType::Json => payload::encode(value).map(to_text),
        PayloadType::Jsonb => payload::encode_jsonb(value).map(to_text),
    }
}
