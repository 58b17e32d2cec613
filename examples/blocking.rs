//! The engine in a program without async: plain calls, plain threads.
//! `cargo run --example blocking`
use std::error::Error;
use std::io::{Write, stdout};
use std::thread;

use plimsoll::Config;
use plimsoll::blocking::Plimsoll;
use plimsoll::entry::ListQuery;
use plimsoll::store::{MemoryOptions, WatchQuery};

/// What the program does; it prints to `out`.
pub fn run(out: &mut impl Write) -> Result<(), Box<dyn Error>> {
    let config = Config::builder().memory("app:jobs", MemoryOptions::default()).build()?;
    let engine = Plimsoll::open(config)?;
    let jobs = engine.store("app:jobs")?;

    // A thread that waits for changes.
    let watch = jobs.watch(&WatchQuery::default())?;
    let watcher = thread::spawn(move || watch.take(3).filter(Result::is_ok).count());

    let workers = ["a", "b", "c"].map(|name| {
        let jobs = jobs.clone();
        thread::spawn(move || jobs.set(&format!("job:{name}"), name, None))
    });
    for worker in workers {
        worker.join().map_err(|_| "a worker panicked")??;
    }
    for entry in jobs.list(&ListQuery::new())?.items {
        writeln!(out, "{} = {:?}", entry.key, entry.value)?;
    }

    // A second handle is at the same store; one that was released says so.
    jobs.release();
    writeln!(out, "{}", jobs.get("job:a").expect_err("it is released"))?;
    writeln!(out, "{:?}", engine.store("app:jobs")?.get("job:a")?)?;

    let changes = watcher.join().map_err(|_| "the watcher panicked")?;
    writeln!(out, "{changes} changes were seen")?;
    engine.close();
    Ok(())
}

fn main() -> Result<(), Box<dyn Error>> {
    run(&mut stdout())
}
