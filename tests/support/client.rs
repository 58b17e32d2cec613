//! A cluster of three nodes that serves clients, and sessions of clients.
#![allow(dead_code)]

use std::sync::Mutex;

use plimsoll::entry::{Condition, Key};
use plimsoll::keyspace::Keyspace;
use plimsoll::kv::{Action, Command, QualifiedKey, Reply, SessionStamp, Write};
use plimsoll::node::{Client, ClientOptions, ClientSent, NetworkOptions};
use plimsoll::raft::ClientSession;
use plimsoll::storage_fs::FsDisk;
use plimsoll::value::{Encoded, Value};

use super::nodes::{Nodes, PATIENCE, eventually, free_address};

/// Three nodes, and where they take clients.
pub struct Cluster {
    pub nodes: Nodes,
    pub clients: Vec<String>,
}

impl Cluster {
    pub async fn founded() -> Self {
        let nodes = Nodes::places(3, 3);
        let clients = (0..3).map(|_| free_address()).collect();
        let mut cluster = Self { nodes, clients };
        for place in 0..3 {
            cluster.start(place).await;
        }
        cluster.nodes.leader().await;
        cluster
    }

    /// Ends a node without a word to anybody.
    pub fn kill(&mut self, place: usize) {
        drop(self.nodes.nodes[place].take().expect("it runs"));
    }

    pub async fn start(&mut self, place: usize) {
        // What a killed node had given to its disk is still being done.
        let folder = self.nodes.data_dir(place);
        eventually("the folder is free", async || FsDisk::open(&folder).ok().map(drop)).await;
        let mut options = self.nodes.options(place);
        let network = options.network.take().unwrap();
        let listen_clients = Some(self.clients[place].clone());
        options.network = Some(NetworkOptions { listen_clients, ..network });
        self.nodes.start_with(place, options).await;
    }

    pub fn options(&self) -> ClientOptions {
        let (addresses, secret) = (self.clients.clone(), self.nodes.secret.clone());
        ClientOptions { addresses, secret, name: "client".into() }
    }

    pub fn client(&self) -> Client {
        Client::new(self.options())
    }

    /// A client that begins with the address of a node.
    pub fn client_from(&self, place: usize) -> Client {
        let mut options = self.options();
        options.addresses.rotate_left(place);
        Client::new(options)
    }
}

/// A session of a client.
pub struct Session {
    client: Client,
    numbers: Mutex<ClientSession>,
}

impl Session {
    pub async fn open(client: &Client) -> Self {
        let sent = client.write(Command::new(Action::OpenSession), PATIENCE).await;
        let Reply::SessionOpened(id) = sent.answer.unwrap().reply else { panic!("a session") };
        let mut numbers = ClientSession::new();
        numbers.opened(id);
        Self { client: client.clone(), numbers: Mutex::new(numbers) }
    }

    pub fn stamped(&self, write: Write) -> Command {
        let stamp = self.numbers.lock().unwrap().begin().unwrap();
        Command { session: Some(stamp), action: Action::Write { write, make_room: false } }
    }

    pub async fn send(&self, write: Write) -> ClientSent {
        let command = self.stamped(write);
        let stamp: SessionStamp = command.session.unwrap();
        let sent = self.client.write(command, PATIENCE).await;
        if sent.answer.is_ok() {
            self.numbers.lock().unwrap().finish(stamp);
        }
        sent
    }

    pub async fn write(&self, write: Write) -> Reply {
        self.send(write).await.answer.unwrap().reply
    }
}

pub fn keyspace() -> Keyspace {
    Keyspace::new("app").unwrap()
}

pub fn key(name: &str) -> QualifiedKey {
    QualifiedKey::new(&keyspace(), &Key::new(name).unwrap())
}

pub fn put(name: &str, value: &str) -> Write {
    put_if(name, value, Condition::None)
}

pub fn put_if(name: &str, value: &str, condition: Condition) -> Write {
    let value = Encoded::new(&Value::from(value)).unwrap();
    Write::Put { key: key(name), value, ttl: None, condition }
}

pub fn delete(name: &str) -> Write {
    Write::Delete { key: key(name), if_version: None }
}
