//! A page for a caller who may not read every key.
//!
//! What may be read is not the server's to judge. So the keys come first, in batches, until those
//! that may be read fill the page; then their rows. All of it in one transaction, which sees one
//! state of the table, by one time.
//!
//! Nothing is written, so that a scan that fails leaves nothing but its connection, which is closed.

use std::sync::Arc;

use super::connection::{Answer, Connection};
use super::failure::Failure;
use super::rows::{PAGE_PAYLOADS_BYTES_MAX, column, start_of};
use super::statements::{Statements, clock};
use crate::error::{Error, Result};
use crate::policy::Rights;
use crate::sql::range::KeyRange;

/// What to look for.
#[derive(Debug)]
pub(super) struct Scan {
    /// The first batch of keys, and those after it.
    first: Arc<str>,
    following: Arc<str>,
    /// The rows of the page.
    page: Arc<str>,
    range: KeyRange,
    /// Most rows; the last one tells that there are more.
    rows_max: usize,
    rights: Rights,
}

impl Scan {
    pub(super) fn new(
        statements: &Statements,
        range: &KeyRange,
        rows_max: usize,
        rights: &Rights,
    ) -> Self {
        let (_, is_start_excluded) = start_of(range);
        Self {
            first: statements.keys(is_start_excluded, range.end.is_some()),
            following: statements.keys(true, range.end.is_some()),
            page: Arc::clone(&statements.page),
            range: range.clone(),
            rows_max,
            rights: rights.clone(),
        }
    }

    /// Answers the rows as a listing does.
    pub(super) async fn run(
        &self,
        connection: &mut Connection,
        now: Option<i64>,
    ) -> Result<Answer, Failure> {
        connection.run_script(BEGIN).await?;
        let result = self.read(connection, now).await;
        match result {
            Ok(answer) => connection.run_script(COMMIT).await.map(|_| answer),
            Err(failure) => Err(failure.in_transaction()),
        }
    }

    async fn read(&self, connection: &mut Connection, now: Option<i64>) -> Result<Answer, Failure> {
        let answer = connection.query(&clock().into(), &[&now]).await?;
        let row = answer.rows.first().ok_or_else(|| Error::internal("the server has no clock"))?;
        let now: Option<i64> = column(row, 0)?;
        let keys = self.keys(connection, now).await?;
        let rows_max = i64::try_from(self.rows_max).expect("at most PAGE_ITEMS_MAX and one");
        let bytes_max = i64::try_from(PAGE_PAYLOADS_BYTES_MAX).expect("small");
        connection.query(&self.page, &[&now, &keys, &rows_max, &bytes_max]).await
    }

    /// The keys of the page, which may be read.
    async fn keys(
        &self,
        connection: &mut Connection,
        now: Option<i64>,
    ) -> Result<Vec<String>, Failure> {
        let batch_max = i64::try_from(BATCH_KEYS).expect("small");
        let mut readable = Vec::new();
        let (mut start, _) = start_of(&self.range);
        let mut text = &self.first;
        loop {
            let batch = match &self.range.end {
                Some(end) => connection.query(text, &[&now, &start, &batch_max, end]).await?,
                None => connection.query(text, &[&now, &start, &batch_max]).await?,
            };
            for row in &batch.rows {
                let key: &str = column(row, 0)?;
                if self.rights.may_read(key) {
                    readable.push(key.to_owned());
                }
                if readable.len() == self.rows_max {
                    return Ok(readable);
                }
                key.clone_into(&mut start);
            }
            if batch.rows.len() < BATCH_KEYS {
                return Ok(readable);
            }
            text = &self.following;
        }
    }
}

/// One state for all statements.
const BEGIN: &str = "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY";

const COMMIT: &str = "COMMIT";

/// How many keys are looked at before the next are asked for.
const BATCH_KEYS: usize = 1_000;
