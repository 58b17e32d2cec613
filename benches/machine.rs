//! The machine against a lock around the same bare map, at three sizes.
//!
//! `cargo bench --bench machine`. The baseline does what any store must: look a key up and hand
//! out a shared value, or build key and value and insert them. The machine adds versions, expiry,
//! the digest and the history.

mod support;

use std::collections::BTreeMap;
use std::hint::black_box;
use std::ops::Bound;
use std::sync::{Arc, RwLock};

use bytes::Bytes;
use imbl::OrdMap;
use plimsoll::clock::UnixMillis;
use plimsoll::entry::{Condition, Key, ListQuery};
use plimsoll::keyspace::Keyspace;
use plimsoll::kv::{Action, Command, KeyRef, QualifiedKey, StateMachine, Write};
use plimsoll::value::{Encoded, Value};
use support::{Contender, Picker, contest};

const NOW: UnixMillis = UnixMillis(1_000);
const VALUE: [u8; 64] = [b'v'; 64];
const PAGE: usize = 100;

fn main() {
    for size in [10_000, 100_000, 1_000_000] {
        let bench = Bench::new(size);
        bench.get();
        bench.set();
        bench.list();
    }
}

type Tree = BTreeMap<Arc<str>, Bytes>;
type Persistent = OrdMap<Arc<str>, Bytes>;

struct Bench {
    keys: Vec<Key>,
    keyspace: Keyspace,
    tree: RwLock<Tree>,
    persistent: RwLock<Persistent>,
    machine: RwLock<StateMachine>,
}

impl Bench {
    fn new(size: usize) -> Self {
        let keys: Vec<_> =
            (0..size).map(|i| Key::new(&format!("user:{i:010}")).expect("a key")).collect();
        let keyspace = Keyspace::new("bench").expect("a name");
        let pairs =
            || keys.iter().map(|key| (Arc::from(key.as_str()), Bytes::copy_from_slice(&VALUE)));
        let mut machine = StateMachine::new(1);
        for key in &keys {
            put(&mut machine, &keyspace, key);
        }
        let (tree, persistent) = (pairs().collect(), pairs().collect());
        Self {
            tree: RwLock::new(tree),
            persistent: RwLock::new(persistent),
            machine: RwLock::new(machine),
            keys,
            keyspace,
        }
    }

    fn title(&self, what: &str) -> String {
        format!("{what}, {} entries of 15 B keys and 64 B values", self.keys.len())
    }

    fn each(&self, operations: usize, picker: &mut Picker, mut act: impl FnMut(&Key)) {
        for _ in 0..operations {
            act(&self.keys[picker.below(self.keys.len())]);
        }
    }

    fn get(&self) {
        let (mut a, mut b, mut c) = (Picker::new(), Picker::new(), Picker::new());
        let persistent = |n| {
            self.each(n, &mut a, |key| {
                black_box(self.persistent.read().expect("lock").get(key.as_str()).cloned());
            });
        };
        let tree = |n| {
            self.each(n, &mut b, |key| {
                black_box(self.tree.read().expect("lock").get(key.as_str()).cloned());
            });
        };
        let machine = |n| {
            self.each(n, &mut c, |key| {
                let machine = self.machine.read().expect("lock");
                black_box(machine.get(KeyRef::new(&self.keyspace, key), NOW).cloned());
            });
        };
        contest(
            &self.title("get"),
            Some(1.3),
            vec![
                Contender::new("RwLock<OrdMap>", persistent),
                Contender::new("RwLock<BTreeMap>", tree),
                Contender::new("RwLock<StateMachine>", machine),
            ],
        );
    }

    fn set(&self) {
        let (mut a, mut b, mut c) = (Picker::new(), Picker::new(), Picker::new());
        let persistent = |n| {
            self.each(n, &mut a, |key| {
                let value = Bytes::copy_from_slice(&VALUE);
                black_box(
                    self.persistent.write().expect("lock").insert(key.as_str().into(), value),
                );
            });
        };
        let tree = |n| {
            self.each(n, &mut b, |key| {
                let value = Bytes::copy_from_slice(&VALUE);
                black_box(self.tree.write().expect("lock").insert(key.as_str().into(), value));
            });
        };
        let machine = |n| {
            self.each(n, &mut c, |key| {
                put(&mut self.machine.write().expect("lock"), &self.keyspace, key);
            });
        };
        contest(
            &self.title("set"),
            Some(2.5),
            vec![
                Contender::new("RwLock<OrdMap>", persistent),
                Contender::new("RwLock<BTreeMap>", tree),
                Contender::new("RwLock<StateMachine>", machine),
            ],
        );
    }

    fn list(&self) {
        let (mut a, mut b) = (Picker::new(), Picker::new());
        let persistent = |n| {
            self.each(n, &mut a, |key| {
                let map = self.persistent.read().expect("lock");
                let range = map.range::<_, str>((Bound::Excluded(key.as_str()), Bound::Unbounded));
                let page: Vec<_> =
                    range.take(PAGE).map(|(key, value)| (key.clone(), value.clone())).collect();
                black_box(page);
            });
        };
        let machine = |n| {
            self.each(n, &mut b, |key| {
                let query = ListQuery::new().prefix("user:").after(key.as_str()).limit(PAGE);
                let machine = self.machine.read().expect("lock");
                black_box(machine.list(self.keyspace.as_str(), &query, NOW));
            });
        };
        contest(
            &self.title("list 100"),
            Some(2.0),
            vec![
                Contender::new("RwLock<OrdMap> range", persistent),
                Contender::new("RwLock<StateMachine>", machine),
            ],
        );
    }
}

fn put(machine: &mut StateMachine, keyspace: &Keyspace, key: &Key) {
    let write = Write::Put {
        key: QualifiedKey::new(keyspace, key),
        value: Encoded::new(&Value::String(Bytes::from_static(&VALUE))).expect("a small value"),
        ttl: None,
        condition: Condition::None,
    };
    let command = Command::new(Action::Write { write, make_room: false });
    black_box(machine.apply(1, NOW, &command));
}
