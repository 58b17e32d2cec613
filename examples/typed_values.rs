//! Rust types in a store, through serde. `cargo run --example typed_values`
use std::collections::BTreeMap;
use std::error::Error;
use std::io::{Write, stdout};

use plimsoll::entry::{Condition, PutOptions};
use plimsoll::store::MemoryOptions;
use plimsoll::value::to_value;
use plimsoll::{Config, Plimsoll};
use serde::{Deserialize, Serialize};

#[derive(Debug, Serialize, Deserialize)]
struct User {
    name: String,
    nick: Option<String>,
    status: Status,
    scores: BTreeMap<u32, f64>,
}

#[derive(Debug, Serialize, Deserialize)]
enum Status {
    Active,
    Away { until: String },
}

/// What the program does; it prints to `out`.
pub async fn run(out: &mut impl Write) -> Result<(), Box<dyn Error>> {
    let config = Config::builder().memory("app:users", MemoryOptions::default()).build()?;
    let engine = Plimsoll::open(config).await?;
    let users = engine.store("app:users").await?;

    let scores = BTreeMap::from([(2024, 7.5), (2025, 8.0)]);
    let mut alice = User { name: "Alice".into(), nick: None, status: Status::Active, scores };
    users.set_as("alice", &alice, None).await?;
    // A script in Lua sees this table.
    writeln!(out, "{:?}", to_value(&alice)?)?;

    let entry = users.entry_as::<User>("alice").await?.ok_or("she is there")?;
    alice = entry.value;
    alice.status = Status::Away { until: "May".into() };
    let condition = Condition::Version(entry.version);
    users.put_as("alice", &alice, PutOptions { condition, ttl: None }).await?;
    let status = users.get_as::<User>("alice").await?.map(|alice| alice.status);
    writeln!(out, "{status:?}")?;

    // What does not fit is told with its place.
    let error = users.set_as("big", &BTreeMap::from([("ids", [1, u64::MAX])]), None).await;
    writeln!(out, "{}", error.expect_err("it is no integer"))?;
    let error = users.get_as::<Vec<String>>("alice").await;
    writeln!(out, "{}", error.expect_err("she is no list"))?;
    Ok(())
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn Error>> {
    run(&mut stdout()).await
}
