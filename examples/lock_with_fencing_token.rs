//! A lock that expires, and why its version goes with every use of what it protects: a holder that
//! stalls learns that it has lost the lock. `cargo run --example lock_with_fencing_token`
use std::error::Error;
use std::io::{Write, stdout};
use std::time::Duration;

use plimsoll::entry::{Condition, PutOptions, Ttl, Version};
use plimsoll::error::Result;
use plimsoll::store::{MemoryOptions, StoreHandle};
use plimsoll::{Config, Plimsoll};

/// Takes the lock, and answers its fencing token: a number that grows with each holder.
async fn lock(locks: &StoreHandle, holder: &str, ttl: Option<Ttl>) -> Result<u64> {
    let options = PutOptions { ttl, condition: Condition::Absent };
    match locks.put("lock:printer", holder, options).await?.version {
        Version::Numbered { revision, .. } => Ok(revision),
        _ => unreachable!("a store that takes conditions numbers its versions"),
    }
}

/// What the lock protects. It refuses a token older than one that it has seen.
#[derive(Default)]
struct Printer {
    newest_token: u64,
}

impl Printer {
    fn print(&mut self, token: u64, text: &str) -> String {
        if token < self.newest_token {
            return format!("refused: {text}");
        }
        self.newest_token = token;
        format!("printed: {text}")
    }
}

/// What the program does; it prints to `out`.
pub async fn run(out: &mut impl Write) -> std::result::Result<(), Box<dyn Error>> {
    let config = Config::builder().memory("app:locks", MemoryOptions::default()).build()?;
    let engine = Plimsoll::open(config).await?;
    let (locks, mut printer) = (engine.store("app:locks").await?, Printer::default());

    let first = lock(&locks, "first", Ttl::from_seconds(1.0)?).await?;
    writeln!(out, "{}", printer.print(first, "by the first"))?;
    let refusal = lock(&locks, "second", None).await.expect_err("it is taken");
    writeln!(out, "the second: {:?}", refusal.kind())?;

    // The first one stalls, its time is over, and the second gets the lock.
    tokio::time::sleep(Duration::from_millis(1_100)).await;
    let second = lock(&locks, "second", None).await?;
    writeln!(out, "{}", printer.print(second, "by the second"))?;
    writeln!(out, "{}", printer.print(first, "by the first, late"))?;
    Ok(())
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> std::result::Result<(), Box<dyn Error>> {
    run(&mut stdout()).await
}
