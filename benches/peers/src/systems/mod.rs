//! The systems that are measured, behind one set of operations.
//!
//! Each has a client as thin as its protocol allows, whose connection is a task of its own and
//! carries many operations at once. Nothing is tried again here: what fails is
//! counted. Plimsoll's client, which is that of the crate, sends a write again by itself.

mod etcd;
mod nats;
mod plimsoll;

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use ::plimsoll::entry::Version;
use ::plimsoll::transport::Secret;
use bytes::Bytes;
use tokio::time::{Instant, sleep, timeout};

/// A system.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum System {
    Plimsoll,
    Etcd,
    Nats,
}

impl fmt::Display for System {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Plimsoll => "plimsoll",
            Self::Etcd => "etcd",
            Self::Nats => "nats",
        })
    }
}

/// A server of a system: where it listens for clients, and which process it is.
#[derive(Clone, Debug)]
pub struct Server {
    pub address: String,
    pub pid: u32,
}

impl FromStr for Server {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (address, pid) = text.split_once('=').ok_or("write HOST:PORT=PID")?;
        let pid = pid.parse().map_err(|_| format!("{pid} is no process id"))?;
        Ok(Self { address: address.to_owned(), pid })
    }
}

/// The servers of a system.
#[derive(Clone)]
pub struct Cluster {
    pub system: System,
    pub servers: Vec<Server>,
    secret: Option<Secret>,
}

/// A connection to a server. Clones share it.
#[derive(Clone)]
pub enum Link {
    Plimsoll(plimsoll::Link),
    Etcd(etcd::Link),
    Nats(nats::Link),
}

/// What a conditional put compares.
#[derive(Clone, Copy, Debug)]
pub enum Revision {
    Version(Version),
    Number(u64),
}

impl Cluster {
    pub const fn new(system: System, servers: Vec<Server>, secret: Option<Secret>) -> Self {
        Self { system, servers, secret }
    }

    /// Waits until the cluster has a leader and what is measured can be stored, and tells the leader's
    /// place among the servers.
    pub async fn ready(&self) -> Result<usize, String> {
        let until = Instant::now() + READY_TIME;
        loop {
            let why = match timeout(ATTEMPT_TIME, self.leader()).await {
                Ok(Ok(Some(leader))) => return Ok(leader),
                Ok(Ok(None)) => "it has no leader".to_owned(),
                Ok(Err(why)) => why,
                Err(_) => "it does not answer".to_owned(),
            };
            if Instant::now() > until {
                return Err(format!("{}: not ready in {READY_TIME:?}: {why}", self.system));
            }
            sleep(Duration::from_millis(100)).await;
        }
    }

    async fn leader(&self) -> Result<Option<usize>, String> {
        for place in 0..self.servers.len() {
            let leads = match self.connect(place).await? {
                Link::Plimsoll(link) => link.leads().await?,
                Link::Etcd(link) => link.leads().await?,
                Link::Nats(link) => link.leads(self.servers.len()).await?,
            };
            if leads {
                return Ok(Some(place));
            }
        }
        Ok(None)
    }

    /// A new connection to the server at a place.
    pub async fn connect(&self, place: usize) -> Result<Link, String> {
        let address = &self.servers[place].address;
        match self.system {
            System::Plimsoll => {
                let secret = self.secret.clone().ok_or("Plimsoll has a secret")?;
                Ok(Link::Plimsoll(plimsoll::Link::new(address, secret)))
            }
            System::Etcd => Ok(Link::Etcd(etcd::Link::open(address).await?)),
            System::Nats => Ok(Link::Nats(nats::Link::open(address).await?)),
        }
    }

    /// The processes of the servers.
    pub fn pids(&self) -> impl Iterator<Item = u32> {
        self.servers.iter().map(|server| server.pid)
    }
}

impl Link {
    /// Writes a key, whatever it holds.
    pub async fn put(&self, key: &str, value: &Bytes) -> Result<(), String> {
        match self {
            Self::Plimsoll(link) => link.put(key, value, None).await.map(|_| ()),
            Self::Etcd(link) => link.put(key, value).await,
            Self::Nats(link) => link.put(key, value, None).await.map(|_| ()),
        }
    }

    /// Writes a key if it has a revision, and tells the next one. Without a revision it is written
    /// whatever it holds.
    pub async fn update(
        &self,
        key: &str,
        value: &Bytes,
        revision: Option<Revision>,
    ) -> Result<Revision, String> {
        let number = match revision {
            Some(Revision::Number(number)) => Some(number),
            _ => None,
        };
        match self {
            Self::Plimsoll(link) => {
                let version = match revision {
                    Some(Revision::Version(version)) => Some(version),
                    _ => None,
                };
                link.put(key, value, version).await.map(Revision::Version)
            }
            Self::Etcd(link) => link.update(key, value, number).await.map(Revision::Number),
            Self::Nats(link) => link.put(key, value, number).await.map(Revision::Number),
        }
    }

    /// Reads a key, and tells how many bytes its value has.
    pub async fn get(&self, key: &str) -> Result<usize, String> {
        match self {
            Self::Plimsoll(link) => link.get(key).await,
            Self::Etcd(link) => link.get(key).await,
            Self::Nats(link) => link.get(key).await,
        }
    }

    /// Reads the keys of a page with their values, and tells how many there are.
    pub async fn list(&self, page: u64) -> Result<usize, String> {
        let prefix = prefix(page);
        match self {
            Self::Plimsoll(link) => link.list(&prefix, PAGE_KEYS).await,
            Self::Etcd(link) => link.list(&prefix, PAGE_KEYS).await,
            Self::Nats(link) => link.list(&prefix, PAGE_KEYS).await,
        }
    }
}

/// The key of a number: 64 bytes, of which each but the last two characters name a page of 100 keys.
/// The dots are for NATS, which lists what has the same words between dots.
pub fn key(number: u64) -> String {
    format!("{}{:02}", prefix(number / PAGE_KEYS as u64), number % PAGE_KEYS as u64)
}

/// What the keys of a page begin with.
pub fn prefix(page: u64) -> String {
    format!("key.{page:057}.")
}

/// The key that one client alone writes: 64 bytes too.
pub fn own_key(client: usize) -> String {
    format!("own.{client:060}")
}

/// How many keys a page has.
pub const PAGE_KEYS: usize = 100;

const READY_TIME: Duration = Duration::from_secs(30);
const ATTEMPT_TIME: Duration = Duration::from_secs(2);
