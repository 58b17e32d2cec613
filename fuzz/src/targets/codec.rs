//! Everything that reads bytes or text back: what decodes encodes to the same, and nothing panics.
//!
//! The first byte chooses the decoder, the rest is what it reads.

use std::time::Duration;

use bytes::Bytes;
use plimsoll::clock::UnixMillis;
use plimsoll::codec::{Reader, Writer};
use plimsoll::entry::{Condition, Key, Ttl, Version};
use plimsoll::json;
use plimsoll::keyspace::Keyspace;
use plimsoll::kv::{Action, Command, QualifiedKey, StateMachine, Write};
use plimsoll::limits::REVISION_MAX;
use plimsoll::namespaces::Cursor;
use plimsoll::registry::{EntryId, parse_duration};
use plimsoll::sql::{Identifier, payload};
use plimsoll::value::Encoded;

use super::input::Input;

/// The decoders, in the order of the bytes that choose them.
const DECODERS: [fn(&[u8]); 9] =
    [value, snapshot, sql_payload, plain_json, version, duration, names, seconds, primitives];

/// Which of [`DECODERS`] reads snapshots.
pub const SNAPSHOT: u8 = 1;

pub fn run(data: &[u8]) {
    let mut input = Input::new(data);
    let decode = input.one_of(&DECODERS);
    decode(input.rest());
}

fn value(bytes: &[u8]) {
    let Ok(encoded) = Encoded::from_bytes(Bytes::copy_from_slice(bytes)) else { return };
    let value = encoded.decode();
    assert_eq!(Encoded::new(&value).unwrap(), encoded);
    assert_eq!(encoded.decode(), value);
    let payload = payload::encode(&value).unwrap();
    assert_eq!(payload::decode(&payload).unwrap(), value);
    let jsonb = payload::encode_jsonb(&value).unwrap();
    assert_eq!(payload::decode(&jsonb).unwrap(), value);
}

/// What a machine goes on to from a snapshot is a snapshot again.
fn snapshot(bytes: &[u8]) {
    let bytes = Bytes::copy_from_slice(bytes);
    let Ok(mut machine) = StateMachine::from_snapshot(bytes.clone()) else { return };
    assert_eq!(machine.snapshot(), bytes);
    assert_eq!(machine.recomputed_digest(), machine.digest());
    let restored = StateMachine::restore(bytes, machine.epoch() ^ 1).unwrap();
    assert_same_when_reloaded(&restored);
    if machine.revision() > REVISION_MAX - 2 {
        return;
    }
    let store = Keyspace::new("store").unwrap();
    let key = QualifiedKey::new(&store, &Key::new("a").unwrap());
    let (value, ttl) = (Encoded::new(&1.into()).unwrap(), Ttl::from_ms(10).unwrap());
    let put = Write::Put { key, value, ttl, condition: Condition::None };
    let now = machine.log_time();
    for (stamp, action) in [
        (now, Action::Write { write: put, make_room: true }),
        (now.after(10), Action::Advance),
        (UnixMillis(0), Action::Transact { writes: Vec::new(), make_room: false }),
    ] {
        machine.apply(u64::MAX, stamp, &Command::new(action));
        assert_same_when_reloaded(&machine);
        assert_eq!(machine.recomputed_digest(), machine.digest());
    }
}

fn assert_same_when_reloaded(machine: &StateMachine) {
    assert!(StateMachine::from_snapshot(machine.snapshot()).unwrap() == *machine);
}

fn sql_payload(bytes: &[u8]) {
    let Ok(value) = payload::decode(bytes) else { return };
    let encoded = payload::encode(&value).unwrap();
    assert_eq!(payload::decode(&encoded).unwrap(), value);
    let jsonb = payload::encode_jsonb(&value).unwrap();
    assert_eq!(payload::decode(&jsonb).unwrap(), value);
}

/// Not all that reads as JSON can be written as it: an array may have lost its nulls.
fn plain_json(bytes: &[u8]) {
    let Ok(Some(value)) = json::parse(bytes) else { return };
    let Ok(text) = json::to_text("value", &value) else { return };
    assert_eq!(json::parse(text.as_bytes()).unwrap(), Some(value));
}

fn version(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    if let Ok(version) = Version::parse(text) {
        assert_eq!(version.to_string(), text);
    }
}

fn duration(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    let Ok(duration) = parse_duration(text) else { return };
    assert!(duration <= Duration::from_nanos(i64::MAX as u64), "292 years");
    assert_eq!(parse_duration(&format!("{}ns", duration.as_nanos())).unwrap(), duration);
}

fn names(bytes: &[u8]) {
    if let Ok(Some(cursor)) = Cursor::parse(bytes) {
        assert_eq!(cursor.to_string().as_bytes(), bytes);
    }
    if let Ok(key) = Key::from_bytes(bytes) {
        assert_eq!(key.as_str().as_bytes(), bytes);
    }
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    if let Ok(keyspace) = Keyspace::new(text) {
        assert_eq!(keyspace.as_str(), text);
        let key = Key::new(text).unwrap();
        let qualified = QualifiedKey::new(&keyspace, &key);
        assert_eq!((qualified.keyspace(), qualified.to_key()), (text, key));
    }
    if let Ok(id) = EntryId::parse(text) {
        assert_eq!(id.as_str(), text);
    }
    if let Ok(name) = Identifier::new(text) {
        assert_eq!(name.as_str(), text);
    }
}

/// A time to live is the next whole millisecond, and its seconds mean that millisecond again.
fn seconds(bytes: &[u8]) {
    let seconds = f64::from_bits(Input::new(bytes).word());
    let Ok(Some(ttl)) = Ttl::from_seconds(seconds) else { return };
    let milliseconds = ttl.as_ms() as f64;
    assert!((milliseconds / 1_000.0 - seconds).abs() <= 0.001, "{seconds} s are {ttl:?}");
    assert_eq!(Ttl::from_seconds(milliseconds / 1_000.0).unwrap(), Some(ttl));
}

/// Each byte chooses what is read next. What could be read is written: the same bytes come out.
fn primitives(bytes: &[u8]) {
    let (plan, content) = bytes.split_at(bytes.len().min(bytes.len() / 4 + 1));
    let content = Bytes::copy_from_slice(content);
    let mut reader = Reader::new(content.clone());
    let mut writer = Writer::new();
    for step in plan {
        let before = content.len() - reader.remaining();
        let is_read = match step % 7 {
            0 => reader.byte("b").map(|byte| writer.byte(byte)),
            1 => reader.unsigned("u").map(|number| writer.unsigned(number)),
            2 => reader.signed("i").map(|number| writer.signed(number)),
            3 => reader.fixed("f").map(|number| writer.fixed(number)),
            4 => reader.bytes("s").map(|bytes| writer.bytes(&bytes)),
            5 => reader.optional("o").map(|number| writer.optional(number)),
            _ => reader.count(usize::from(*step), "n").map(|count| writer.count(count)),
        };
        if is_read.is_err() {
            return;
        }
        let after = content.len() - reader.remaining();
        assert_eq!(writer.as_slice()[before..], content[before..after]);
    }
}
