//! Snapshots for the target `codec`: grown by commands, and given their right digest after each
//! mutation, so that a fuzzer comes to what the digest hides.
//!
//! For the digest, the deliberate bug that leaves it out is switched on for a moment.

use bytes::Bytes;
use plimsoll::clock::UnixMillis;
use plimsoll::entry::{Condition, Key, Ttl, Version};
use plimsoll::keyspace::Keyspace;
use plimsoll::kv::{
    Action, Command, QualifiedKey, Reply, SessionId, SessionStamp, StateMachine, Write,
};
use plimsoll::mutant;
use plimsoll::value::Encoded;

use crate::targets::codec;
use crate::targets::input::Input;

/// The machine of an input that is a snapshot, whatever its digest.
pub fn decoded(data: &[u8]) -> Option<StateMachine> {
    let (&codec::SNAPSHOT, snapshot) = data.split_first()? else { return None };
    mutant::set(Some("snapshot is not compared with its digest"));
    let machine = StateMachine::from_snapshot(Bytes::copy_from_slice(snapshot));
    mutant::set(None);
    machine.ok()
}

/// Rewrites the digest at the end of an input, if a snapshot decodes but for it.
pub fn repair(data: &mut [u8]) {
    if let Some(machine) = decoded(data) {
        let digest = machine.digest().0.to_be_bytes();
        let start = data.len() - digest.len();
        data[start..].copy_from_slice(&digest);
    }
}

/// The input with the snapshot of a machine to which any bytes, as choices, have happened.
pub fn grown(choices: &[u8]) -> Vec<u8> {
    let mut input = Input::new(choices);
    let mut growth =
        Growth { machine: StateMachine::new(7), index: 0, now: 1, sessions: Vec::new() };
    while !input.is_empty() {
        growth.step(&mut input);
    }
    [&[codec::SNAPSHOT], &*growth.machine.snapshot()].concat()
}

struct Growth {
    machine: StateMachine,
    index: u64,
    now: u64,
    sessions: Vec<SessionId>,
}

impl Growth {
    fn step(&mut self, input: &mut Input<'_>) {
        let action = match input.below(16) {
            0..=7 => Action::Write { write: self.write(input), make_room: input.byte() & 1 == 1 },
            8..=10 => Action::Transact {
                writes: (0..input.below(4)).map(|_| self.write(input)).collect(),
                make_room: false,
            },
            11 => Action::Advance,
            12 | 13 => Action::OpenSession,
            14 => {
                self.now += u64::from(input.byte());
                return;
            }
            _ => {
                let epoch = self.machine.epoch() + 1;
                let snapshot = self.machine.snapshot();
                self.machine = StateMachine::restore(snapshot, epoch).expect("just written");
                return;
            }
        };
        self.index += 1;
        let command = Command { session: self.stamp(input), action };
        let outcome = self.machine.apply(self.index, UnixMillis(self.now), &command);
        if let Reply::SessionOpened(session) = outcome.reply {
            self.sessions.push(session);
        }
    }

    fn stamp(&self, input: &mut Input<'_>) -> Option<SessionStamp> {
        let choice = input.byte();
        let session = *self.sessions.get(usize::from(choice % 4))?;
        let low = u64::from(choice / 4 % 4);
        Some(SessionStamp { session, seq: low + u64::from(choice / 16), low })
    }

    fn write(&self, input: &mut Input<'_>) -> Write {
        let store = Keyspace::new(input.one_of(&["a", "store"])).expect("a keyspace");
        let key = Key::new(input.one_of(&["a", "b", "c", "d"])).expect("a key");
        let key = QualifiedKey::new(&store, &key);
        let version = Version::Numbered {
            epoch: self.machine.epoch(),
            revision: self.machine.revision()
                - u64::from(input.byte() % 4).min(self.machine.revision()),
        };
        match input.below(8) {
            0..=4 => Write::Put {
                key,
                value: Encoded::new(&input.one_of(&[1, -1, 300]).into()).expect("small"),
                ttl: Ttl::from_ms(input.one_of(&[0, 0, 5, 100])).expect("short"),
                condition: input.one_of(&[Condition::None, Condition::Absent]),
            },
            5 => Write::Delete { key, if_version: None },
            6 => Write::Delete { key, if_version: Some(version) },
            _ => Write::Check { key, condition: Condition::Version(version) },
        }
    }
}
