//! `plimsoll bench`: loads a store from several clients at once, and prints throughput and latencies.
//!
//! Each client has one operation under way. Keys have 64 bytes, values as many as asked for. A `put`
//! writes a key of the key range at random; a `cas` writes keys of its own client, each under the
//! version that it read last; a `get` reads, a `list` reads pages of 100.
//!
//! The load is what the store sees, not what a network of many machines would do: the clients share
//! this process.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::Exit;
use super::args::{BenchArgs, BenchOperation};
use super::output::{progress, say};
use super::verbs::Session;
use crate::entry::{Condition, ListQuery, PutOptions, Version};
use crate::error::{Error, Result};
use crate::store::StoreHandle;
use crate::value::Value;

/// What all clients of a run share.
struct Load {
    store: StoreHandle,
    operation: BenchOperation,
    keys: u64,
    value: Value,
    until: Instant,
}

/// What a client has seen.
#[derive(Default)]
struct Seen {
    latencies_us: Vec<u32>,
    failures: u64,
    last_failure: Option<Error>,
}

pub async fn bench(args: BenchArgs) -> Result<Exit> {
    let session = Session::open(&args.place, &args.store).await?;
    let store = session.store().clone();
    let value = Value::from("v".repeat(args.value_bytes));
    if matches!(args.operation, BenchOperation::Get | BenchOperation::List) {
        fill(&store, args.keys, &value).await?;
    }
    // The first operation opens what the others share.
    store.has("bench").await?;
    let began = Instant::now();
    let load = Arc::new(Load {
        store,
        operation: args.operation,
        keys: args.keys,
        value,
        until: began + Duration::from_secs(args.seconds),
    });
    let clients = (0..args.clients).map(|client| tokio::spawn(run(Arc::clone(&load), client)));
    let clients: Vec<_> = clients.collect();
    let mut seen = Seen::default();
    for client in clients {
        let part = client.await.map_err(|error| Error::internal(error.to_string()))?;
        seen.latencies_us.extend(part.latencies_us);
        seen.failures += part.failures;
        seen.last_failure = part.last_failure.or(seen.last_failure);
    }
    let elapsed = began.elapsed();
    drop(load);
    session.close().await;
    report(&args, seen, elapsed);
    Ok(Exit::Done)
}

/// Writes the keys that are read.
async fn fill(store: &StoreHandle, keys: u64, value: &Value) -> Result<()> {
    progress(&format!("writing {keys} keys"));
    let mut writers = tokio::task::JoinSet::new();
    for writer in 0..WRITERS {
        let (store, value) = (store.clone(), value.clone());
        writers.spawn(async move {
            let mut number = writer;
            while number < keys {
                store.set(&key(number), value.clone(), None).await?;
                number += WRITERS;
            }
            Ok::<_, Error>(())
        });
    }
    while let Some(written) = writers.join_next().await {
        written.map_err(|error| Error::internal(error.to_string()))??;
    }
    Ok(())
}

async fn run(load: Arc<Load>, client: u64) -> Seen {
    let mut seen = Seen::default();
    let mut random = client.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut version = None;
    while Instant::now() < load.until {
        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        let began = Instant::now();
        match load.once(client, random, &mut version).await {
            Ok(()) => {
                let micros = u32::try_from(began.elapsed().as_micros()).unwrap_or(u32::MAX);
                seen.latencies_us.push(micros);
            }
            Err(error) => {
                seen.failures += 1;
                seen.last_failure = Some(error);
                tokio::time::sleep(FAILURE_PAUSE).await;
            }
        }
    }
    seen
}

impl Load {
    async fn once(&self, client: u64, random: u64, version: &mut Option<Version>) -> Result<()> {
        let key_of_range = key(random % self.keys.max(1));
        match self.operation {
            BenchOperation::Put => self.store.set(&key_of_range, self.value.clone(), None).await,
            BenchOperation::Cas => {
                let condition = version.map_or(Condition::None, Condition::Version);
                let options = PutOptions { ttl: None, condition };
                let key = format!("cas-{:060}", client);
                let written = self.store.put(&key, self.value.clone(), options).await;
                *version = written.as_ref().ok().map(|entry| entry.version);
                written.map(|_| ())
            }
            BenchOperation::Get => self.store.get(&key_of_range).await.map(|_| ()),
            BenchOperation::List => {
                let query = ListQuery::new().after(key_of_range).limit(PAGE);
                self.store.list(&query).await.map(|_| ())
            }
        }
    }
}

fn key(number: u64) -> String {
    format!("key-{number:060}")
}

fn report(args: &BenchArgs, mut seen: Seen, elapsed: Duration) {
    seen.latencies_us.sort_unstable();
    let count = seen.latencies_us.len();
    let quantile = |of_1000: usize| {
        let position = (count * of_1000 / 1_000).min(count.saturating_sub(1));
        f64::from(seen.latencies_us.get(position).copied().unwrap_or(0)) / 1_000.0
    };
    #[expect(clippy::cast_precision_loss, reason = "exact for any count that fits into memory")]
    let rate = count as f64 / elapsed.as_secs_f64();
    let (operation, clients) = (args.operation, args.clients);
    let (p50, p99, most) = (quantile(500), quantile(990), quantile(1_000));
    let failures = seen.failures;
    if args.json {
        say!(
            r#"{{"operation":"{operation}","clients":{clients},"operations":{count},"failures":{failures},"per_second":{rate:.0},"p50_ms":{p50:.3},"p99_ms":{p99:.3},"max_ms":{most:.3}}}"#
        );
    } else {
        say!(
            "{operation} clients={clients} ops={count} failures={failures} per_second={rate:.0} p50={p50:.3}ms p99={p99:.3}ms max={most:.3}ms"
        );
    }
    if let Some(error) = seen.last_failure {
        progress(&format!("the last failure: {error}"));
    }
}

/// How many writers fill the store.
const WRITERS: u64 = 64;
/// Items of a page.
const PAGE: usize = 100;
/// After a failure a client rests.
const FAILURE_PAUSE: Duration = Duration::from_millis(10);
