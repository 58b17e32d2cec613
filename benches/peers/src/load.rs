//! The loop: clients that each have one operation under way, and what they saw.
//!
//! An operation counts that was answered within the time that is measured; before it there is a time
//! to warm up in. Server time is read at the same two moments.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, sleep_until, timeout_at};

use crate::machine::processor_time;
use crate::systems::{Cluster, Link, PAGE_KEYS, Revision, key, own_key};

/// What clients do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Operation {
    /// Write a key at random.
    Put,
    /// Write a key of one's own under the revision that it has.
    Cas,
    /// Read a key at random.
    Get,
    /// Read a page at random, of 100 keys.
    List,
}

impl fmt::Display for Operation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Put => "put",
            Self::Cas => "cas",
            Self::Get => "get",
            Self::List => "list",
        })
    }
}

/// What is measured.
#[derive(Clone, Copy, Debug)]
pub struct Load {
    pub operation: Operation,
    pub clients: usize,
    pub keys: u64,
    pub time: Duration,
}

/// What was measured.
#[derive(Clone, Debug)]
pub struct Measured {
    pub per_second: f64,
    pub p50_us: f64,
    pub p99_us: f64,
    pub max_us: f64,
    /// Processor time of all servers together, for each operation.
    pub server_cpu_us: f64,
    /// That of this process.
    pub client_cpu_us: f64,
    pub failures: usize,
    pub last_failure: Option<String>,
}

/// What a client saw: when each operation was answered, and how long that took.
#[derive(Default)]
struct Seen {
    answered: Vec<(Instant, Duration)>,
    failures: usize,
    last_failure: Option<String>,
}

impl Load {
    /// Loads a cluster over connections, client by client in turn.
    pub async fn run(self, cluster: &Cluster, links: &[Link]) -> Result<Measured, String> {
        let value = value();
        let revisions = self.prepare(links, &value).await?;
        let from = Instant::now() + WARM_UP;
        let until = from + self.time;
        let mut clients = JoinSet::new();
        for (client, revision) in revisions.into_iter().enumerate() {
            let link = links[client % links.len()].clone();
            let value = value.clone();
            let state = Client { link, client, value, revision, key: own_key(client).into() };
            clients.spawn(state.run(self, until));
        }
        let own = std::process::id();
        sleep_until(from).await;
        let (servers, client) = (processor_time(cluster.pids())?, processor_time([own])?);
        sleep_until(until).await;
        let servers = processor_time(cluster.pids())?.saturating_sub(servers);
        let client = processor_time([own])?.saturating_sub(client);
        let mut all = Seen::default();
        while let Ok(Some(seen)) = timeout_at(until + LATE, clients.join_next()).await {
            let seen = seen.map_err(|error| error.to_string())?;
            all.answered.extend(seen.answered);
            all.failures += seen.failures;
            all.last_failure = seen.last_failure.or(all.last_failure);
        }
        all.failures += clients.len();
        clients.shutdown().await;
        all.answered.retain(|(at, _)| (from..until).contains(at));
        Ok(all.measured(self.time, servers, client))
    }

    /// The revisions that conditional writes begin with.
    async fn prepare(self, links: &[Link], value: &Bytes) -> Result<Vec<Option<Revision>>, String> {
        let mut writes = JoinSet::new();
        for client in 0..self.clients {
            let (link, value) = (links[client % links.len()].clone(), value.clone());
            writes.spawn(async move {
                if self.operation != Operation::Cas {
                    return Ok((client, None));
                }
                let written = link.update(&own_key(client), &value, None).await;
                written.map(|revision| (client, Some(revision)))
            });
        }
        let written: Result<Vec<_>, String> = writes.join_all().await.into_iter().collect();
        let mut written = written?;
        written.sort_unstable_by_key(|(client, _)| *client);
        Ok(written.into_iter().map(|(_, revision)| revision).collect())
    }
}

struct Client {
    link: Link,
    client: usize,
    key: Arc<str>,
    value: Bytes,
    revision: Option<Revision>,
}

impl Client {
    async fn run(mut self, load: Load, until: Instant) -> Seen {
        let mut seen = Seen::default();
        let mut random = (self.client as u64 + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
        let mut began = Instant::now();
        while began < until {
            random ^= random << 13;
            random ^= random >> 7;
            random ^= random << 17;
            let done = self.once(load, random % load.keys).await;
            let now = Instant::now();
            match done {
                Ok(()) => seen.answered.push((now, now - began)),
                Err(why) => {
                    seen.failures += 1;
                    seen.last_failure = Some(why);
                    sleep(FAILURE_PAUSE).await;
                }
            }
            began = Instant::now();
        }
        seen
    }

    async fn once(&mut self, load: Load, number: u64) -> Result<(), String> {
        match load.operation {
            Operation::Put => self.link.put(&key(number), &self.value).await,
            Operation::Cas => {
                let revision = self.revision.take();
                let written = self.link.update(&self.key, &self.value, revision).await?;
                self.revision = Some(written);
                Ok(())
            }
            Operation::Get => match self.link.get(&key(number)).await? {
                VALUE_BYTES => Ok(()),
                bytes => Err(format!("a value of {bytes} bytes")),
            },
            Operation::List => match self.link.list(number / PAGE_KEYS as u64).await? {
                PAGE_KEYS => Ok(()),
                keys => Err(format!("a page of {keys} keys")),
            },
        }
    }
}

impl Seen {
    fn measured(self, time: Duration, servers: Duration, client: Duration) -> Measured {
        let mut latencies: Vec<_> = self.answered.iter().map(|(_, took)| *took).collect();
        latencies.sort_unstable();
        let count = latencies.len();
        let quantile = |of_1000: usize| {
            let place = (count * of_1000 / 1_000).min(count.saturating_sub(1));
            latencies.get(place).map_or(f64::NAN, |took| took.as_secs_f64() * 1e6)
        };
        let each = |time: Duration| time.as_secs_f64() * 1e6 / count as f64;
        Measured {
            per_second: count as f64 / time.as_secs_f64(),
            p50_us: quantile(500),
            p99_us: quantile(990),
            max_us: quantile(1_000),
            server_cpu_us: each(servers),
            client_cpu_us: each(client),
            failures: self.failures,
            last_failure: self.last_failure,
        }
    }
}

/// Writes the keys that are read.
pub async fn fill(links: &[Link], keys: u64) -> Result<(), String> {
    let value = value();
    let mut writers = JoinSet::new();
    for writer in 0..WRITERS {
        let (link, value) = (links[writer as usize % links.len()].clone(), value.clone());
        writers.spawn(async move {
            for number in (writer..keys).step_by(WRITERS as usize) {
                link.put(&key(number), &value).await?;
            }
            Ok::<_, String>(())
        });
    }
    writers.join_all().await.into_iter().collect()
}

/// What is written: text that does not compress to nothing.
pub fn value() -> Bytes {
    let mut random = 0x2545_f491_4f6c_dd1d_u64;
    let letter = |_| {
        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        b'a' + (random % 26) as u8
    };
    (0..VALUE_BYTES).map(letter).collect()
}

pub const VALUE_BYTES: usize = 256;
const WRITERS: u64 = 256;
const WARM_UP: Duration = Duration::from_millis(200);
/// For how long after the end an answer is waited for.
const LATE: Duration = Duration::from_secs(6);
/// After a failure a client rests.
const FAILURE_PAUSE: Duration = Duration::from_millis(10);
