//! Following the changes of a store, and going on after a pause where one left off.
//! `cargo run --example watch`
use std::error::Error;
use std::io::{Write, stdout};
use std::time::Duration;

use plimsoll::entry::{Change, Ttl};
use plimsoll::error::ErrorKind;
use plimsoll::store::{MemoryOptions, WatchQuery};
use plimsoll::{Config, Plimsoll};

fn show(out: &mut impl Write, change: &Change) -> std::io::Result<()> {
    for event in &change.events {
        let value = event.entry.as_ref().map(|entry| &entry.value);
        writeln!(out, "{} {} {value:?}", event.kind.as_str(), event.key)?;
    }
    Ok(())
}

/// What the program does; it prints to `out`.
pub async fn run(out: &mut impl Write) -> Result<(), Box<dyn Error>> {
    // Expired entries are removed, and watchers told, every 10 ms.
    let interval = Some(Duration::from_millis(10));
    let options = MemoryOptions { cleanup_interval: interval, ..MemoryOptions::default() };
    let engine = Plimsoll::open(Config::builder().memory("app:jobs", options).build()?).await?;
    let jobs = engine.store("app:jobs").await?;

    let mut query = WatchQuery { prefix: b"job:".to_vec(), after: None };
    let mut watch = jobs.watch(&query).await?;
    jobs.set("job:1", "queued", None).await?;
    jobs.set("other", "not watched", None).await?;
    let first = watch.next(None).await?.ok_or("the stream is open")?;
    show(out, &first)?;
    watch.close();

    // What happens meanwhile is kept: the next watch starts after what was seen.
    jobs.set("job:1", "done", Ttl::from_ms(20)?).await?;
    jobs.delete("other", None).await?;
    query.after = Some(first.revision);
    let mut watch = jobs.watch(&query).await?;
    for _ in 0..2 {
        show(out, &watch.next(None).await?.ok_or("the stream is open")?)?;
    }
    let nothing = watch.next(Some(Duration::from_millis(20))).await;
    let nothing = nothing.is_err_and(|error| error.kind() == ErrorKind::Timeout);
    writeln!(out, "then nothing: {nothing}")?;

    engine.close().await;
    let end = watch.next(None).await.expect_err("the store is closed");
    writeln!(out, "closed: {:?}", end.kind())?;
    Ok(())
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn Error>> {
    run(&mut stdout()).await
}
