//! A store in an SQLite file: what is written is there when the program starts again, and other
//! programs read it as JSON. `cargo run --example embed_sqlite`
use std::error::Error;
use std::io::{Write, stdout};
use std::path::Path;

use plimsoll::sql::{Identifier, SqliteFile, SqliteOptions};
use plimsoll::store::SqlOptions;
use plimsoll::value::Table;
use plimsoll::{Config, Plimsoll};

/// One life of the program; answers how often it has started.
async fn live(folder: &Path) -> Result<i64, Box<dyn Error>> {
    let table = Identifier::new("records")?;
    let config = Config::builder()
        .folder(folder)
        .sqlite("app:database", SqliteOptions::new(SqliteFile::Path("records.db".into())))
        .sql_store(
            "app:records",
            "app:database",
            SqlOptions { create_table: true, ..SqlOptions::new(table) },
        )
        // A file that can't be opened is told now, and not by the first call.
        .auto_start("app:records")
        .build()?;
    let engine = Plimsoll::open(config).await?;
    let records = engine.store("app:records").await?;
    let starts = records.get("starts").await?.and_then(|starts| starts.as_integer()).unwrap_or(0);
    records.set("starts", starts + 1, None).await?;
    records.set("owner", Table::from_iter([("name", "Alice")]), None).await?;
    // The queued writes are finished, the file is closed.
    engine.close().await;
    Ok(starts + 1)
}

/// What the program does; it prints to `out`.
pub async fn run(folder: &Path, out: &mut impl Write) -> Result<(), Box<dyn Error>> {
    writeln!(out, "start {}", live(folder).await?)?;
    writeln!(out, "start {}", live(folder).await?)?;
    let database = rusqlite::Connection::open(folder.join("records.db"))?;
    let query = "SELECT CAST(value AS TEXT) FROM records WHERE key = 'owner'";
    let owner: String = database.query_row(query, (), |row| row.get(0))?;
    writeln!(out, "another program reads {owner}")?;
    Ok(())
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn Error>> {
    let folder = tempfile::tempdir()?;
    run(folder.path(), &mut stdout()).await
}
