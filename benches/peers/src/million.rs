//! Plimsoll with many keys: how fast it takes them, for how long writes stand still meanwhile, and
//! when it reads again after it was killed.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde_json::json;
use tokio::task::JoinSet;
use tokio::time::{Instant, interval, sleep};

use crate::FillArgs;
use crate::load::value;
use crate::systems::{Cluster, Link, key};

/// What writers share.
struct Progress {
    began: Instant,
    written: AtomicU64,
    failures: AtomicU64,
    /// When the last write was answered, in microseconds from the beginning.
    last_us: AtomicU64,
    /// The longest time between two answers of the cluster.
    stall_us: AtomicU64,
    /// The longest time that one write took.
    slowest_us: AtomicU64,
}

/// Fills a cluster, and prints throughput and the longest stall.
pub async fn fill(args: &FillArgs, cluster: &Cluster) -> Result<(), String> {
    let leader = cluster.ready().await?;
    let link = cluster.connect(leader).await?;
    link.put(&key(0), &value()).await?;
    let progress = Arc::new(Progress {
        began: Instant::now(),
        written: AtomicU64::new(0),
        failures: AtomicU64::new(0),
        last_us: AtomicU64::new(0),
        stall_us: AtomicU64::new(0),
        slowest_us: AtomicU64::new(0),
    });
    let mut writers = JoinSet::new();
    for writer in 0..args.clients {
        let numbers = (writer..args.keys).step_by(args.clients as usize);
        writers.spawn(Arc::clone(&progress).write(link.clone(), numbers));
    }
    let teller = tokio::spawn(Arc::clone(&progress).tell(args.keys));
    let ended: Result<Vec<()>, String> = writers.join_all().await.into_iter().collect();
    teller.abort();
    ended?;
    let get = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
    let seconds = progress.began.elapsed().as_secs_f64();
    let line = json!({
        "keys": args.keys, "clients": args.clients, "seconds": (seconds * 10.0).round() / 10.0,
        "per_second": (args.keys as f64 / seconds).round(), "failures": get(&progress.failures),
        "stall_ms": get(&progress.stall_us) / 1_000, "slowest_ms": get(&progress.slowest_us) / 1_000,
    });
    println!("{line}");
    Ok(())
}

impl Progress {
    /// Writes keys, each until it is acknowledged.
    async fn write(
        self: Arc<Self>,
        link: Link,
        numbers: impl Iterator<Item = u64>,
    ) -> Result<(), String> {
        let value = value();
        for number in numbers {
            let began = Instant::now();
            while let Err(why) = link.put(&key(number), &value).await {
                let failures = self.failures.fetch_add(1, Ordering::Relaxed);
                if failures == FAILURES_MAX {
                    return Err(format!("too many writes fail: {why}"));
                }
                sleep(FAILURE_PAUSE).await;
            }
            self.slowest_us.fetch_max(micros(began.elapsed()), Ordering::Relaxed);
            let now = micros(self.began.elapsed());
            let last = self.last_us.fetch_max(now, Ordering::Relaxed);
            self.stall_us.fetch_max(now.saturating_sub(last), Ordering::Relaxed);
            self.written.fetch_add(1, Ordering::Relaxed);
        }
        Ok(())
    }

    async fn tell(self: Arc<Self>, keys: u64) {
        let mut period = interval(Duration::from_secs(10));
        period.tick().await;
        loop {
            period.tick().await;
            eprintln!("{} of {keys} keys", self.written.load(Ordering::Relaxed));
        }
    }
}

/// Prints the time, in nanoseconds since the Unix epoch, at which a read through any node succeeded.
pub async fn first_read(cluster: &Cluster) -> Result<(), String> {
    let until = Instant::now() + FIRST_READ_TIME;
    let mut attempts = JoinSet::new();
    for place in 0..cluster.servers.len() {
        let cluster = cluster.clone();
        attempts.spawn(async move {
            loop {
                // A new connection each time: a client's own pauses are not what is measured.
                let Link::Plimsoll(link) = cluster.connect(place).await? else {
                    return Err("only Plimsoll is probed".to_owned());
                };
                match link.probe(&key(0), ATTEMPT_TIME).await {
                    Ok(()) => return Ok(()),
                    Err(why) if Instant::now() > until => return Err(why),
                    Err(_) => sleep(PROBE_PAUSE).await,
                }
            }
        });
    }
    let mut last = Err("there is no node".to_owned());
    while let Some(ended) = attempts.join_next().await {
        last = ended.map_err(|error| error.to_string())?;
        if last.is_ok() {
            let now = SystemTime::now().duration_since(UNIX_EPOCH);
            println!("{}", now.map_err(|error| error.to_string())?.as_nanos());
            break;
        }
    }
    last
}

fn micros(time: Duration) -> u64 {
    u64::try_from(time.as_micros()).unwrap_or(u64::MAX)
}

/// With so many failures the fill is given up.
const FAILURES_MAX: u64 = 10_000;
const FAILURE_PAUSE: Duration = Duration::from_millis(10);
const FIRST_READ_TIME: Duration = Duration::from_secs(60);
/// For how long one attempt to read may wait: longer than an election takes, so that it is answered
/// at once when there is a leader.
const ATTEMPT_TIME: Duration = Duration::from_secs(5);
const PROBE_PAUSE: Duration = Duration::from_millis(5);
