//! Act four: a node is cut off from the two others, and both sides go on writing.
//!
//! What is said here is what `store.kv.crdt` promises: each side reads its own writes, nothing waits for the
//! other side, and once the cut heals all nodes hold the same, of each key the last write.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use super::super::output::{BOLD, DIM, RESET, say};
use super::Told;
use super::cluster::{Cluster, NODES};
use crate::entry::Key;
use crate::gossip::Space;
use crate::keyspace::Keyspace;
use crate::kv::QualifiedKey;
use crate::node::CrdtHandle;
use crate::raft::Request;
use crate::value::{Encoded, Value};

/// Plays the act.
pub(super) async fn write(cluster: &Cluster) -> Told<()> {
    say!("{BOLD}Act four: both sides of a cut write.{RESET}");
    say!(
        "app:sessions, a store.kv.crdt, has a copy on every node: it writes where it is, and tells"
    );
    say!("the others afterwards. The network is cut between n3 and the two others.");
    let (one, other) = (replicas(cluster, 0)?, replicas(cluster, 2)?);
    put(&one, "cart", "bread").await?;
    put(&one, "theme", "dark").await?;
    converge(cluster, &[("cart", "bread"), ("theme", "dark")]).await?;

    cluster.cut_off(Some(2));
    let handle = cluster.handle(2).ok_or("n3 was closed")?;
    match handle.request(Request::Read, ALONE).await {
        Ok(_) => return Err("a node that is cut off answered a linearizable read".to_owned()),
        Err(_) => say!("    store.kv.raft on n3 does not answer: it can't know what n1 and n2 do"),
    }
    let began = Instant::now();
    for number in 0..WRITES {
        put(&one, &format!("left/{number}"), "1").await?;
        put(&other, &format!("right/{number}"), "2").await?;
    }
    put(&one, "cart", "bread and milk").await?;
    delete(&one, "theme").await?;
    let micros = began.elapsed().as_micros() / u128::from(2 * WRITES + 2);
    // Neither side knows the other's writes: which one is later is for their clocks to say, in milliseconds.
    tokio::time::sleep(PAUSE).await;
    put(&other, "cart", "bread and wine").await?;
    say!("    store.kv.crdt takes {WRITES} writes on each side, and the same key on both;");
    say!("    {DIM}{micros} us for each, nobody is asked{RESET}");
    for (name, replica) in [("n1", &one), ("n3", &other)] {
        let cart = shown(replica, "cart").await?.unwrap_or_default();
        let theme = shown(replica, "theme").await?.unwrap_or_else(|| "nothing".to_owned());
        say!("    {name} shows its own side: cart = {cart}, theme = {theme}");
    }
    if shown(&one, "cart").await? == shown(&other, "cart").await? {
        return Err("the cut cuts nothing".to_owned());
    }

    cluster.cut_off(None);
    let began = Instant::now();
    say!("    the cut heals");
    // The write of n3 was the last one of the cart; the delete on n1 is later than what it deletes.
    let registers = converge(cluster, &[("cart", "bread and wine")]).await?;
    let after = began.elapsed().as_millis();
    for place in 0..NODES {
        let replica = replicas(cluster, place)?;
        if shown(&replica, "theme").await?.is_some() {
            return Err("what was deleted came back".to_owned());
        }
    }
    say!(
        "    after {after} ms all three hold the same {registers} keys: cart = bread and wine, the"
    );
    say!("    last write; theme is gone everywhere; nothing that was acknowledged is lost\n");
    Ok(())
}

fn replicas(cluster: &Cluster, place: usize) -> Told<CrdtHandle> {
    let handle = cluster.handle(place).ok_or_else(|| format!("n{} was closed", place + 1))?;
    Ok(handle.crdt().clone())
}

/// Waits until all nodes hold the same, these values among it; answers how many keys that are.
async fn converge(cluster: &Cluster, expected: &[(&str, &str)]) -> Told<usize> {
    let until = Instant::now() + PATIENCE;
    loop {
        let mut maps = Vec::new();
        for place in 0..NODES {
            maps.push(all(&replicas(cluster, place)?).await?);
        }
        let has = |(name, value): &(&str, &str)| maps[0].get(*name).is_some_and(|it| it == value);
        if maps.iter().all(|map| *map == maps[0]) && expected.iter().all(has) {
            return Ok(maps[0].len());
        }
        if Instant::now() > until {
            let held = |map: &BTreeMap<String, String>| {
                let values = expected.iter().map(|(name, _)| (name, map.get(*name)));
                format!("{} keys, {:?}", map.len(), values.collect::<Vec<_>>())
            };
            let held: Vec<_> = maps.iter().map(held).collect();
            return Err(format!("the nodes do not come to hold {expected:?}: {held:?}"));
        }
        tokio::time::sleep(PAUSE).await;
    }
}

async fn put(replica: &CrdtHandle, name: &str, value: &str) -> Told<()> {
    let value = Encoded::new(&Value::from(value)).map_err(|error| error.to_string())?;
    let written = replica.put(Space::Volatile, key(name)?, value, None, PATIENCE).await;
    written.map(|_| ()).map_err(|error| error.to_string())
}

async fn delete(replica: &CrdtHandle, name: &str) -> Told<()> {
    let deleted = replica.delete(Space::Volatile, key(name)?, PATIENCE).await;
    deleted.map(|_| ()).map_err(|error| error.to_string())
}

async fn shown(replica: &CrdtHandle, name: &str) -> Told<Option<String>> {
    Ok(all(replica).await?.remove(name))
}

/// What a node shows.
async fn all(handle: &CrdtHandle) -> Told<BTreeMap<String, String>> {
    let replica = handle.replica(Space::Volatile).await.map_err(|error| error.to_string())?;
    let start = std::ops::Bound::Unbounded;
    let entries = replica.range(start, handle.wall()).map_err(|refusal| format!("{refusal:?}"))?;
    let text = |bytes: &Encoded| bytes.decode().as_str().map(str::to_owned).unwrap_or_default();
    let value = |bytes: &Option<Encoded>| bytes.as_ref().map(text).unwrap_or_default();
    Ok(entries.map(|(key, entry)| (key.key().to_owned(), value(&entry.bytes))).collect())
}

fn key(name: &str) -> Told<QualifiedKey> {
    let keyspace = Keyspace::new("sessions").map_err(|error| error.to_string())?;
    let key = Key::new(name).map_err(|error| error.to_string())?;
    Ok(QualifiedKey::new(&keyspace, &key))
}

/// Writes of each side.
const WRITES: u32 = 500;
/// How long a node that is cut off may take to say that it can't answer.
const ALONE: Duration = Duration::from_millis(1_000);
const PATIENCE: Duration = Duration::from_secs(15);
const PAUSE: Duration = Duration::from_millis(10);
