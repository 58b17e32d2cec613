//! What clients ask: one operation, drawn from the natural way of its subject.
//!
//! Few keys and many clients, so that operations meet; every value is written once only, so that what
//! is read tells which write it was.

use plimsoll::check::history::Request;
use plimsoll::entry::{Condition, Key, ListQuery, Operation, PutOptions, Ttl, Version};
use plimsoll::keyspace::Keyspace;
use plimsoll::kv::{Action, QualifiedKey, Write};
use plimsoll::value::{Encoded, Value};

use super::table::{Method, Variant};
use crate::rng::Rng;
use crate::scenario::Plan;

/// The keys that clients use.
#[derive(Debug)]
pub(crate) struct Keys {
    pub keyspaces: [Keyspace; 2],
    keys: Vec<Key>,
    qualified: Vec<QualifiedKey>,
}

impl Keys {
    pub fn new(count: u64) -> Self {
        let keyspaces = ["left", "right"].map(|name| Keyspace::new(name).expect("a good name"));
        // Some are prefixes of others.
        let name = |n: u64| format!("{}{}", ["a", "ab", "b"][(n % 3) as usize], n / 3);
        let keys: Vec<_> = (0..count).map(|n| Key::new(&name(n)).expect("a good key")).collect();
        let pairs = keyspaces.iter().flat_map(|space| keys.iter().map(move |key| (space, key)));
        let qualified = pairs.map(|(space, key)| QualifiedKey::new(space, key)).collect();
        Self { keyspaces, keys, qualified }
    }

    pub fn key(&self, place: Place) -> &Key {
        &self.keys[place.key]
    }

    pub fn qualified(&self, place: Place) -> &QualifiedKey {
        &self.qualified[self.number(place)]
    }

    /// A number of its own for each place.
    pub fn number(&self, place: Place) -> usize {
        place.keyspace * self.keys.len() + place.key
    }

    /// How many places there are.
    pub fn len(&self) -> usize {
        self.qualified.len()
    }

    /// The place of a key in a keyspace.
    pub fn place(&self, keyspace: usize, key: &Key) -> Option<Place> {
        let key = self.keys.iter().position(|other| other == key)?;
        Some(Place { keyspace, key })
    }
}

/// A key in its keyspace, both by their numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Place {
    pub keyspace: usize,
    pub key: usize,
}

/// The versions of a key that a client has seen: the last one, and the one before.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Known {
    last: Option<Version>,
    old: Option<Version>,
}

impl Known {
    pub fn see(&mut self, version: Version) {
        if self.last != Some(version) {
            self.old = self.last;
            self.last = Some(version);
        }
    }
}

/// An operation, as it is asked and as it is recorded.
#[derive(Debug)]
pub(crate) struct Drawn {
    pub method: Method,
    pub variant: Variant,
    pub keyspace: usize,
    pub request: Request,
    /// The command, of a write.
    pub action: Option<Action>,
}

/// What drawing an operation depends on.
pub(crate) struct Draw<'a> {
    pub plan: &'a Plan,
    pub keys: &'a Keys,
    /// By the numbers of places.
    pub known: &'a [Known],
    /// Where the client's last listing ended, if it is to go on there.
    pub cursor: &'a str,
    /// Makes values unique.
    pub unique: i64,
}

impl Draw<'_> {
    /// An operation.
    pub fn operation(&self, rng: &mut Rng) -> Drawn {
        let place = self.place(rng);
        let percent = |rng: &mut Rng, percent: u64| rng.below(100) < percent;
        if percent(rng, self.plan.read_percent) {
            if percent(rng, self.plan.list_percent) {
                return self.list(place.keyspace, rng);
            }
            return self.read(place, rng);
        }
        if percent(rng, self.plan.transact_percent) {
            return self.transact(place, rng);
        }
        let variant = self.condition(rng);
        if percent(rng, 25) {
            let variant = if variant == Variant::IfAbsent { Variant::Plain } else { variant };
            return self.delete(place, variant);
        }
        self.put(place, variant, rng)
    }

    fn place(&self, rng: &mut Rng) -> Place {
        let key = usize::try_from(rng.below(self.plan.keys)).expect("few keys");
        Place { keyspace: usize::from(rng.chance(300_000)), key }
    }

    fn read(&self, place: Place, rng: &mut Rng) -> Drawn {
        let key = self.keys.key(place).clone();
        let (method, request) = match rng.below(3) {
            0 => (Method::Get, Request::Get(key)),
            1 => (Method::Entry, Request::Entry(key)),
            _ => (Method::Has, Request::Has(key)),
        };
        let keyspace = place.keyspace;
        Drawn { method, variant: Variant::Plain, keyspace, request, action: None }
    }

    fn list(&self, keyspace: usize, rng: &mut Rng) -> Drawn {
        let prefix = rng.pick(&["", "", "a", "ab", "b"]);
        let limit = rng.pick(&[1, 2, 3, 100]);
        let mut query = ListQuery::new().prefix(prefix).limit(limit);
        let variant = if self.cursor.is_empty() { Variant::Plain } else { Variant::After };
        query = query.after(self.cursor);
        let request = Request::list(query);
        Drawn { method: Method::List, variant, keyspace, request, action: None }
    }

    fn put(&self, place: Place, variant: Variant, rng: &mut Rng) -> Drawn {
        let ttl = self.ttl(rng);
        let options = PutOptions { ttl, condition: self.required(place, variant) };
        let value = self.value(rng, 0);
        let write = Write::Put {
            key: self.keys.qualified(place).clone(),
            value: Encoded::new(&value).expect("a small value"),
            ttl,
            condition: options.condition,
        };
        let (method, variant) = match variant {
            Variant::Plain if ttl.is_some() => (Method::Set, Variant::Ttl),
            Variant::Plain => (Method::Set, Variant::Plain),
            variant => (Method::Put, variant),
        };
        let request = Request::put(self.keys.key(place).clone(), value, options);
        let action = Some(Action::Write { write, make_room: false });
        Drawn { method, variant, keyspace: place.keyspace, request, action }
    }

    fn delete(&self, place: Place, variant: Variant) -> Drawn {
        let if_version = match self.required(place, variant) {
            Condition::Version(version) => Some(version),
            Condition::None | Condition::Absent => None,
        };
        let write = Write::Delete { key: self.keys.qualified(place).clone(), if_version };
        let request = Request::delete(self.keys.key(place).clone(), if_version);
        let action = Some(Action::Write { write, make_room: false });
        Drawn { method: Method::Delete, variant, keyspace: place.keyspace, request, action }
    }

    /// Two or three operations on different keys. The condition of the first one counts as its option;
    /// the others have one now and then.
    fn transact(&self, first: Place, rng: &mut Rng) -> Drawn {
        let variant = self.condition(rng);
        let count = self.plan.keys.min(rng.between(2, 3));
        let (mut operations, mut writes) = (Vec::new(), Vec::new());
        for n in 0..count {
            let shift = usize::try_from(n).expect("small");
            let keys = usize::try_from(self.plan.keys).expect("few keys");
            let place = Place { key: (first.key + shift) % keys, ..first };
            let later = if rng.chance(300_000) { self.condition(rng) } else { Variant::Plain };
            let variant = if n == 0 { variant } else { later };
            let (operation, write) = self.part(place, variant, n, rng);
            operations.push(operation);
            writes.push(write);
        }
        Drawn {
            method: Method::Transact,
            variant,
            keyspace: first.keyspace,
            request: Request::transact(operations),
            action: Some(Action::Transact { writes, make_room: false }),
        }
    }

    fn part(&self, place: Place, variant: Variant, n: u64, rng: &mut Rng) -> (Operation, Write) {
        let key = self.keys.key(place).clone();
        let qualified = self.keys.qualified(place).clone();
        let condition = self.required(place, variant);
        match (rng.below(4), condition) {
            (0, Condition::Absent | Condition::Version(_)) => {
                (Operation::Check { key, condition }, Write::Check { key: qualified, condition })
            }
            (1, Condition::None) => (
                Operation::Delete { key, if_version: None },
                Write::Delete { key: qualified, if_version: None },
            ),
            (1, Condition::Version(version)) => (
                Operation::Delete { key, if_version: Some(version) },
                Write::Delete { key: qualified, if_version: Some(version) },
            ),
            _ => {
                let (ttl, value) = (self.ttl(rng), self.value(rng, n));
                let encoded = Encoded::new(&value).expect("a small value");
                let options = PutOptions { ttl, condition };
                (
                    Operation::Put { key, value, options },
                    Write::Put { key: qualified, value: encoded, ttl, condition },
                )
            }
        }
    }

    fn condition(&self, rng: &mut Rng) -> Variant {
        if rng.below(100) >= self.plan.condition_percent {
            return Variant::Plain;
        }
        rng.pick(&[
            Variant::IfAbsent,
            Variant::LastVersion,
            Variant::LastVersion,
            Variant::OldVersion,
            Variant::ForeignVersion,
        ])
    }

    /// What a variant requires of a key, as far as the client knows its versions.
    fn required(&self, place: Place, variant: Variant) -> Condition {
        let known = self.known[self.keys.number(place)];
        let guess = |version: Option<Version>| {
            Condition::Version(version.unwrap_or(Version::Numbered { epoch: 1, revision: 1 }))
        };
        match variant {
            Variant::IfAbsent => Condition::Absent,
            Variant::LastVersion => guess(known.last),
            Variant::OldVersion => guess(known.old),
            Variant::ForeignVersion => match known.last {
                Some(Version::Numbered { epoch, revision }) => {
                    guess(Some(Version::Numbered { epoch: epoch ^ 1, revision }))
                }
                _ => guess(None),
            },
            Variant::Plain | Variant::Ttl | Variant::After => Condition::None,
        }
    }

    fn ttl(&self, rng: &mut Rng) -> Option<Ttl> {
        if rng.below(100) >= self.plan.ttl_percent {
            return None;
        }
        let ttl_ms = rng.between(1, self.plan.ttl_ms_max);
        Ttl::from_ms(ttl_ms).expect("a short time")
    }

    fn value(&self, rng: &mut Rng, part: u64) -> Value {
        let unique = self.unique * 4 + part.cast_signed();
        if rng.chance(900_000) {
            return Value::from(unique);
        }
        let padding = "x".repeat(usize::try_from(rng.below(400)).expect("small"));
        Value::from(format!("{unique} {padding}"))
    }
}
