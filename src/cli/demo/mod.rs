//! `plimsoll demo`: three nodes on loopback in this process, and five acts.
//!
//! 1. They find each other and found a cluster.
//! 2. A tour in Lua over all kinds of stores, `store.kv.raft` on that cluster.
//! 3. Under load the leader is killed, then two of three nodes: clients and Lua scripts go on.
//! 4. A node is cut off, and both sides write to their copies of a `store.kv.crdt`.
//! 5. Everything that was asked and answered is judged: is there one order that explains it all?
//!
//! What goes otherwise than told ends the demo with exit code 1. `--history FILE` keeps what was
//! recorded, for `plimsoll check-history`.

mod clients;
mod cluster;
mod counter;
mod sides;
mod tour;
mod verdict;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::Exit;
use super::args::DemoArgs;
use super::output::{BOLD, DIM, GREEN, RESET, say};
use crate::error::Error;
use crate::keyspace::Keyspace;
use crate::raft::Request;
use crate::registry::{
    ClusterOptions, Config, CrdtStoreOptions, HostAddress, Plimsoll, RaftRole, RaftStoreOptions,
};
use crate::sql::{Identifier, SqliteFile, SqliteOptions};
use crate::store::{MemoryOptions, SqlOptions};
use clients::Clients;
use cluster::{Cluster, NODES};
use counter::Counters;

/// What is told when something went otherwise than it should.
type Told<T> = Result<T, String>;

/// Plays the acts.
pub async fn demo(args: DemoArgs) -> Exit {
    let began = Instant::now();
    let folder = match Folder::create() {
        Ok(folder) => folder,
        Err(error) => return error.into(),
    };
    say!("{BOLD}Plimsoll{RESET}, a formally tested key-value engine.\n");
    let played = play(folder.path(), &args).await;
    match played {
        Ok(()) => {
            let seconds = began.elapsed().as_secs_f64();
            say!("{GREEN}Done in {seconds:.0} s: everything held.{RESET}");
            say!("Next: `plimsoll run SCRIPT`, `plimsoll init --nodes 3 DIR`, docs/lua-store.md.");
            Exit::Done
        }
        Err(message) => Exit::ScriptFailed(message),
    }
}

async fn play(folder: &Path, args: &DemoArgs) -> Told<()> {
    let mut cluster = found(folder).await?;
    let config = config(folder, &cluster).map_err(|error| error.to_string())?;
    let engine = Plimsoll::open(config).await.map_err(|error| error.to_string())?;
    say!("{BOLD}Act two: a tour in Lua.{RESET}");
    say!(
        "app:cache is in memory, app:records in SQLite; app:deployments and app:sessions are on the"
    );
    say!("three nodes, one agreed on, the other gossiped.\n");
    tour::walk(&engine).await?;
    survive(&mut cluster, &engine).await?;
    sides::write(&cluster).await?;
    engine.close().await;
    cluster.close().await;
    verdict::tell(cluster.into_history(), args.history.as_deref())
}

/// Act one.
async fn found(folder: &Path) -> Told<Cluster> {
    say!("{BOLD}Act one: three nodes.{RESET}");
    say!("Each has a folder and two ports; one secret encrypts and proves every connection.");
    let began = Instant::now();
    let mut cluster = Cluster::new(folder.to_owned()).map_err(|error| error.to_string())?;
    for place in 0..NODES {
        cluster.start(place).await?;
        let (members, clients) = cluster.addresses(place);
        say!("    {DIM}{} on {members}, clients on {clients}{RESET}", Cluster::name(place));
    }
    let leader = cluster.leader().await?;
    let after = began.elapsed().as_millis();
    say!("They founded a cluster and elected {} in {after} ms.\n", Cluster::name(leader));
    cluster.replicas_have_joined().await?;
    Ok(cluster)
}

/// Act three.
async fn survive(cluster: &mut Cluster, engine: &Plimsoll) -> Told<()> {
    say!("{BOLD}Act three: nodes die under load.{RESET}");
    say!("{CLIENTS} clients read and write five keys as fast as they can. Two Lua scripts beside");
    say!("them count: each adds one to the same counter by compare-and-set, again and again.");
    let load = Clients::start(cluster, CLIENTS);
    let counters = Counters::start(engine);
    tokio::time::sleep(CALM).await;
    say!("    {} calls were answered so far", cluster.calls());

    let old = cluster.leader().await?;
    let began = Instant::now();
    cluster.kill(old);
    say!("    {} is killed, the leader; nobody is told", Cluster::name(old));
    let new = cluster.leader().await?;
    let after = began.elapsed().as_millis();
    say!("    {} leads after {after} ms: who asked meanwhile had to wait", Cluster::name(new));
    tokio::time::sleep(CALM).await;
    cluster.start(old).await?;
    let caught_up = cluster.catch_up(old).await?;
    say!("    {} is back, and has caught up at index {caught_up}", Cluster::name(old));

    lose_majority(cluster).await?;
    tokio::time::sleep(CALM).await;

    let (counted, in_store) = counters.finish(engine).await?;
    if counted != in_store {
        return Err(format!("the scripts counted to {counted}, the store to {in_store}"));
    }
    say!("    the Lua scripts counted to {counted}, and the counter says {in_store}");
    let load = load.finish().await?;
    say!(
        "    the clients had {} answers; of {} writes the outcome was unknown until",
        load.answered,
        load.unknown
    );
    say!("    they asked again under the same number: all are known now");
    let (index, digest) = cluster.settle().await?;
    say!("    all three nodes hold the same: digest {digest} at index {index}\n");
    Ok(())
}

/// Without a majority nothing is answered: that is the promise.
async fn lose_majority(cluster: &mut Cluster) -> Told<()> {
    let left = cluster.leader().await?;
    let lost: Vec<_> = (0..NODES).filter(|place| *place != left).collect();
    for place in &lost {
        cluster.kill(*place);
    }
    say!(
        "    two of three are killed; {} alone can't know what others agreed on,",
        Cluster::name(left)
    );
    let handle = cluster.handle(left).ok_or("it was not killed")?;
    match handle.request(Request::Read, ALONE).await {
        Ok(_) => return Err("a node without a majority answered a read".to_owned()),
        Err(failure) => say!("    so it does not guess: {}", failure.to_error()),
    }
    for place in lost {
        cluster.start(place).await?;
    }
    let began = Instant::now();
    let leader = cluster.leader().await?;
    let after = began.elapsed().as_millis();
    say!("    they are back, and {} leads after {after} ms", Cluster::name(leader));
    Ok(())
}

/// The stores of the tour: those of the built-in configuration, but with the cluster's nodes.
fn config(folder: &Path, cluster: &Cluster) -> Result<Config, Error> {
    let mut options = ClusterOptions::new("demo", folder.join("client"));
    options.secret_file = Some(cluster.secret_file());
    options.raft.role = RaftRole::Client;
    let addresses = (0..NODES).map(|place| HostAddress::parse(cluster.addresses(place).1, 1));
    options.membership.join_addrs = addresses.collect::<Result<_, _>>()?;
    let table = SqlOptions { create_table: true, ..SqlOptions::new(Identifier::new("records")?) };
    let keyspace = Keyspace::new("deployments")?;
    let sessions = Keyspace::new("sessions")?;
    Config::builder()
        .folder(folder)
        .cluster(options)
        .memory("app:cache", MemoryOptions::default())
        .raft_store("app:deployments", RaftStoreOptions { keyspace })
        .crdt_store("app:sessions", CrdtStoreOptions { keyspace: sessions, durable: false })
        .sqlite("app:database", SqliteOptions::new(SqliteFile::Path("records.db".into())))
        .sql_store("app:records", "app:database", table)
        .build()
}

/// A fresh folder for the demo's files, removed in the end.
struct Folder(PathBuf);

impl Folder {
    fn create() -> Result<Self, Error> {
        let name = format!("plimsoll-demo-{}", std::process::id());
        let path = std::env::temp_dir().join(name);
        std::fs::create_dir_all(&path).map_err(|error| {
            Error::unavailable(format!("{} could not be made: {error}", path.display()))
        })?;
        Ok(Self(path))
    }

    fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        // Nothing depends on it: the system clears its temporary folder in time.
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// A clone of a recording that nobody else holds any more is taken out of it.
fn only_one<T>(shared: Arc<std::sync::Mutex<T>>) -> Option<T> {
    Arc::into_inner(shared)?.into_inner().ok()
}

/// How many clients make the load.
const CLIENTS: u8 = 6;
/// How long nothing happens but the load.
const CALM: Duration = Duration::from_millis(1_500);
/// How long a node that is alone may take to say that it can't answer.
const ALONE: Duration = Duration::from_millis(1_500);
