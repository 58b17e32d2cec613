//! A store in memory within a program: entries, times to live, pages, a transaction.
//! `cargo run --example embed_memory`
use std::error::Error;
use std::io::{Write, stdout};

use plimsoll::entry::{Key, ListQuery, Operation, PutOptions, Ttl};
use plimsoll::store::MemoryOptions;
use plimsoll::{Config, Plimsoll};

/// What the program does; it prints to `out`.
pub async fn run(out: &mut impl Write) -> Result<(), Box<dyn Error>> {
    let options = MemoryOptions { max_size: 1_000, ..MemoryOptions::default() };
    let engine = Plimsoll::open(Config::builder().memory("app:cache", options).build()?).await?;
    let cache = engine.store("app:cache").await?;

    // A value, and one that is gone after an hour.
    cache.set("user:1", "Alice", None).await?;
    cache.set("session:7", true, Ttl::from_seconds(3_600.0)?).await?;
    writeln!(out, "user:1 is {:?}", cache.get("user:1").await?)?;
    let session = cache.entry("session:7").await?.ok_or("the session is there")?;
    writeln!(out, "session:7 expires: {}", session.expires_at.is_some())?;
    writeln!(out, "user:2 is {:?}", cache.get("user:2").await?)?;

    // All operations, or none.
    let put = |key, value: i64| -> plimsoll::error::Result<_> {
        let (key, value) = (Key::new(key)?, value.into());
        Ok(Operation::Put { key, value, options: PutOptions::default() })
    };
    cache.transact(&[put("user:1", 10)?, put("user:2", 20)?]).await?;

    // Page by page: only `has_more` tells the end.
    let mut query = ListQuery::new().prefix("user:").limit(1);
    loop {
        let page = cache.list(&query).await?;
        for entry in &page.items {
            writeln!(out, "{} = {:?}", entry.key, entry.value)?;
        }
        if !page.has_more {
            break;
        }
        query = query.after(page.cursor);
    }
    engine.close().await;
    Ok(())
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn Error>> {
    run(&mut stdout()).await
}
