//! Before a node belongs to a cluster: it founds one with others, or joins one.
//!
//! The protocol is [`Founding`]; here it gets its addresses, its clock and its disk. What must
//! be durable is saved before anything else happens.

use std::collections::BTreeSet;

use bytes::Bytes;
use tokio::task::spawn_blocking;
use tokio::time::{MissedTickBehavior, interval};
use tracing::{error, info};

use super::about::Sightings;
use super::driver::{Driver, Input};
use super::handle::{Figures, NodeStatus, Phase};
use super::observe::NODE;
use crate::raft::{ClusterId, Failure, FailureReason, Founding, FoundingStatus, Identity};
use crate::storage::{Recovered, SharedDisk, SnapshotMeta, Storage, StorageError, StorageOptions};

/// What founding or joining has led to.
pub(super) struct Founded<D> {
    pub storage: Storage<D>,
    pub recovered: Recovered,
    /// Where to ask to be added, of a node that joins.
    pub via: Option<String>,
    /// What has come meanwhile and was not for this phase.
    pub early: Vec<Input>,
}

impl Driver {
    /// Waits until the node belongs to a cluster. None if it was told to stop.
    ///
    /// # Errors
    /// If its disk fails.
    pub async fn found<D: SharedDisk + Send + 'static>(
        &mut self,
        mut storage: Storage<D>,
        drawn: (ClusterId, u64),
    ) -> Result<Option<Founded<D>>, String> {
        let (expected, patience_ms) = (self.options.bootstrap_expect, PATIENCE_MS);
        let (own, identity) = (self.own(), self.identity.clone());
        let mut founding = if self.options.may_found {
            Founding::new(own, identity, expected, drawn, patience_ms)
        } else {
            Founding::joining(own, identity, patience_ms)
        };
        let mut early = Vec::new();
        let mut told = None;
        let mut ticks = interval(std::time::Duration::from_millis(TICK_MS));
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                biased;
                _ = ticks.tick() => {
                    self.end_late(&mut early);
                    self.introduce(&mut founding);
                }
                input = self.inbox.recv() => match input {
                    None | Some(Input::Stop) => {
                        self.refuse(early);
                        return Ok(None);
                    }
                    Some(Input::Failed(why)) => {
                        self.refuse(early);
                        return Err(why);
                    }
                    Some(Input::Hello(hello)) => founding.handle_hello(hello, self.now()),
                    Some(Input::Heard(id, address)) => self.links.heard(id, address, None),
                    Some(Input::Status(answer)) => {
                        let phase = Phase::Founding(founding.status(self.now()));
                        let name = self.options.name.clone();
                        let status = NodeStatus { name, phase, crdt: None };
                        let _ = answer.send(Figures::of(status));
                    }
                    Some(input @ Input::Request { .. }) => early.push(input),
                    Some(_) => {}
                }
            }
            while let Some(identity) = founding.poll_save() {
                storage = save(storage, identity, None).await?;
                founding.handle_saved(self.now());
            }
            let status = founding.status(self.now());
            if told.as_ref() != Some(&status) {
                self.tell(&status);
                told = Some(status.clone());
            }
            let joined = match status {
                FoundingStatus::Join { cluster, via } => Some((cluster, via.address)),
                _ => None,
            };
            let (identity, snapshot, via) = if let Some((cluster, via)) = joined {
                let identity = Identity { cluster: Some(cluster), ..self.identity.clone() };
                (identity, None, Some(via))
            } else if let Some((identity, meta, bytes)) = founding.founded() {
                let cluster = identity.cluster.unwrap_or(ClusterId(0));
                info!(target: NODE, node = self.options.name, %cluster, "has founded a cluster");
                (identity, Some((meta, bytes)), None)
            } else {
                continue;
            };
            storage = save(storage, identity.clone(), snapshot).await?;
            self.identity = identity;
            let (storage, recovered) = open_again(storage, self.options.storage).await?;
            return Ok(Some(Founded { storage, recovered, via, early }));
        }
    }

    /// Logs how founding goes on.
    fn tell(&self, status: &FoundingStatus) {
        let node = &self.options.name;
        match status {
            FoundingStatus::Waiting { seen } => {
                let expected = self.options.bootstrap_expect;
                info!(target: NODE, node, seen, expected, "waits for the others");
            }
            FoundingStatus::Pledged { agreed } => {
                info!(target: NODE, node, agreed, "founds a cluster with others");
            }
            FoundingStatus::Split => error!(
                target: NODE,
                node,
                "founding can't go on: nodes have pledged to different clusters; empty the folder of \
                 those that are to give way"
            ),
            FoundingStatus::Join { cluster, via } => {
                info!(target: NODE, node, %cluster, via = via.name, "joins a cluster");
            }
        }
    }

    /// Says hello: to those that were heard, to the addresses where others may be, and to those that
    /// gossip sees, so that one address that all of them know is enough.
    fn introduce(&mut self, founding: &mut Founding) {
        let now = self.now();
        let hello = founding.hello(now);
        founding.handle_tick(now);
        let mut told = Vec::new();
        while let Some((member, hello)) = founding.poll_transmit() {
            self.links.hello(&member.address, hello);
            told.push(member.address);
        }
        let network = self.options.network.as_ref();
        let join = network.map(|network| network.join.clone()).unwrap_or_default();
        let seen = self.sightings.borrow().as_ref().map(Sightings::addresses).unwrap_or_default();
        let addresses: BTreeSet<_> = join.into_iter().chain(seen).collect();
        for address in addresses.iter().filter(|address| !told.contains(address)) {
            self.links.hello(address, hello.clone());
        }
    }

    /// Ends requests whose deadline has passed.
    fn end_late(&self, early: &mut Vec<Input>) {
        let now_ms = self.now().monotonic_ms;
        let is_late = |input: &mut Input| match input {
            Input::Request { deadline_ms, answer, .. } => {
                *deadline_ms <= now_ms || answer.is_closed()
            }
            _ => false,
        };
        let late: Vec<_> = early.extract_if(.., is_late).collect();
        self.refuse(late);
    }

    fn refuse(&self, inputs: Vec<Input>) {
        for input in inputs {
            if let Input::Request { answer, .. } = input {
                let _ = answer.send(Err(Failure::without_effect(FailureReason::NoLeader)));
            }
        }
    }
}

/// Makes a snapshot and then an identity durable.
async fn save<D: SharedDisk + Send + 'static>(
    mut storage: Storage<D>,
    identity: Identity,
    snapshot: Option<(SnapshotMeta, Bytes)>,
) -> Result<Storage<D>, String> {
    let saving = spawn_blocking(move || {
        if let Some((meta, bytes)) = &snapshot {
            storage.save_snapshot(*meta, bytes)?;
        }
        storage.save_identity(&identity.encode())?;
        Ok::<_, StorageError>(storage)
    });
    match saving.await {
        Ok(saved) => saved.map_err(|error| error.to_string()),
        Err(_) => Err("the disk's work was broken off".to_owned()),
    }
}

/// Opens a storage again, as a start from here on would find it.
async fn open_again<D: SharedDisk + Send + 'static>(
    storage: Storage<D>,
    options: StorageOptions,
) -> Result<(Storage<D>, Recovered), String> {
    match spawn_blocking(move || Storage::open(storage.into_disk(), options)).await {
        Ok(opened) => opened.map_err(|error| error.to_string()),
        Err(_) => Err("the disk's work was broken off".to_owned()),
    }
}

/// How often a node says hello, in milliseconds.
const TICK_MS: u64 = 100;
/// For how long a node that was heard counts as there, in milliseconds.
const PATIENCE_MS: u64 = 2_000;
