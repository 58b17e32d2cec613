//! Read, change, write if nothing has changed meanwhile, else again: two tasks that compete for one
//! counter lose no update. `cargo run --example optimistic_update`
use std::error::Error;
use std::io::{Write, stdout};

use plimsoll::entry::{Condition, PutOptions};
use plimsoll::error::{ErrorKind, Result};
use plimsoll::store::{MemoryOptions, StoreHandle};
use plimsoll::{Config, Plimsoll};

/// Adds to a counter; answers how often it had to be tried again.
async fn add(store: &StoreHandle, key: &str, amount: i64) -> Result<u32> {
    for retries in 0.. {
        let seen = store.entry(key).await?;
        let sum = seen.as_ref().and_then(|entry| entry.value.as_integer()).unwrap_or(0) + amount;
        let condition = seen.map_or(Condition::Absent, |entry| Condition::Version(entry.version));
        // The other task's turn, at the worst moment.
        tokio::task::yield_now().await;
        match store.put(key, sum, PutOptions { condition, ttl: None }).await {
            Ok(_) => return Ok(retries),
            // Somebody was faster, and nothing was written: read again.
            Err(error)
                if matches!(error.kind(), ErrorKind::Conflict | ErrorKind::AlreadyExists) => {}
            Err(error) => return Err(error),
        }
    }
    unreachable!("the loop ends by a return")
}

/// What the program does; it prints to `out`.
pub async fn run(out: &mut impl Write) -> std::result::Result<(), Box<dyn Error>> {
    let config = Config::builder().memory("app:counters", MemoryOptions::default()).build()?;
    let engine = Plimsoll::open(config).await?;
    let store = engine.store("app:counters").await?;
    let competing = [1, 1_000].map(|amount| {
        let store = store.clone();
        tokio::spawn(async move {
            let mut retries = 0;
            for _ in 0..100 {
                retries += add(&store, "sum", amount).await?;
            }
            Ok::<_, plimsoll::error::Error>(retries)
        })
    });
    let mut retries = 0;
    for task in competing {
        retries += task.await??;
    }
    writeln!(out, "the sum is {:?}", store.get("sum").await?)?;
    writeln!(out, "they met: {}", retries > 0)?;
    Ok(())
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> std::result::Result<(), Box<dyn Error>> {
    run(&mut stdout()).await
}
