//! What clients ask of a node's replicas, and what they are told.
//!
//! ```text
//! of a client: replica: byte (0 volatile, 1 durable), what: byte, then
//!     0 get, 1 has    key                            2 page          keyspace, prefix, after, limit
//!     3 put           key, value, ttl (ms): 0, or 1 and a number     4 delete        key
//! of a node, each behind its byte in mod.rs:
//!     shown           0, or 1 and value, stamp, deadline
//!     shown page      has more: byte, count, each: key, value, stamp, deadline
//!     stamped         stamp, deadline, was shown: byte
//! ```
//!
//! A stamp is wall time (ms), logical time, member: fixed, incarnation.

use super::{Decoded, Look, SMALL, TELL_SHOWN, TELL_SHOWN_PAGE, TELL_STAMPED, Tell, read_flag};
use crate::clock::UnixMillis;
use crate::codec::{Reader, Writer};
use crate::crdt::{Shown, Stamp};
use crate::entry::{ListQuery, Ttl};
use crate::gossip::Space;
use crate::keyspace::Keyspace;
use crate::kv::wire::{decode_key, encode_key};
use crate::kv::{KeyPage, QualifiedKey};
use crate::value::Encoded;

/// What a client asks of a replica.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ReplicaAsk {
    /// What a key shows.
    Get(QualifiedKey),
    /// Whether a key shows anything.
    Has(QualifiedKey),
    /// A page of a keyspace.
    Page(Keyspace, ListQuery),
    /// To write a value.
    Put { key: QualifiedKey, value: Encoded, ttl: Option<Ttl> },
    /// To delete a key.
    Delete(QualifiedKey),
}

/// A write that was made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stamped {
    /// Its stamp, which is the entry's version.
    pub stamp: Stamp,
    /// From when on it is gone.
    pub deadline: Option<UnixMillis>,
    /// Whether the replica showed a value before.
    pub was_shown: bool,
}

impl ReplicaAsk {
    /// Whether it changes something: then it must not be asked for twice.
    pub const fn is_write(&self) -> bool {
        matches!(self, Self::Put { .. } | Self::Delete(_))
    }

    pub(super) fn write(&self, space: Space, writer: &mut Writer) {
        writer.byte(if space == Space::Durable { DURABLE } else { VOLATILE });
        match self {
            Self::Get(key) => {
                writer.byte(GET);
                encode_key(writer, key);
            }
            Self::Has(key) => {
                writer.byte(HAS);
                encode_key(writer, key);
            }
            Self::Page(keyspace, query) => {
                writer.byte(PAGE);
                Look::write_page(keyspace, query, writer);
            }
            Self::Put { key, value, ttl } => {
                writer.byte(PUT);
                encode_key(writer, key);
                writer.bytes(value.as_bytes());
                writer.optional(ttl.map(Ttl::as_ms));
            }
            Self::Delete(key) => {
                writer.byte(DELETE);
                encode_key(writer, key);
            }
        }
    }

    pub(super) fn read(reader: &mut Reader) -> Decoded<(Space, Self)> {
        let space = match reader.byte("a replica")? {
            VOLATILE => Space::Volatile,
            DURABLE => Space::Durable,
            _ => return Err(reader.error("a replica")),
        };
        let ask = match reader.byte("an ask of a replica")? {
            GET => Self::Get(decode_key(reader)?),
            HAS => Self::Has(decode_key(reader)?),
            PAGE => {
                let (keyspace, query) = Look::read_page(reader)?;
                Self::Page(keyspace, query)
            }
            PUT => {
                let key = decode_key(reader)?;
                let value = reader.bytes("a value")?;
                let value = Encoded::from_bytes(value).map_err(|_| reader.error("a value"))?;
                Self::Put { key, value, ttl: read_ttl(reader)? }
            }
            DELETE => Self::Delete(decode_key(reader)?),
            _ => return Err(reader.error("an ask of a replica")),
        };
        Ok((space, ask))
    }
}

impl Stamped {
    fn write(&self, writer: &mut Writer) {
        self.stamp.encode(writer);
        writer.optional(self.deadline.map(|deadline| deadline.0));
        writer.byte(u8::from(self.was_shown));
    }

    pub(super) fn read(reader: &mut Reader) -> Decoded<Self> {
        let stamp = Stamp::decode(reader)?;
        let deadline = reader.optional("a deadline")?.map(UnixMillis);
        Ok(Self { stamp, deadline, was_shown: read_flag(reader)? })
    }
}

impl Tell {
    /// Writes what only a replica tells.
    pub(super) fn write_of_replica(&self, writer: &mut Writer) {
        match self {
            Self::Shown(shown) => {
                writer.byte(TELL_SHOWN);
                writer.byte(u8::from(shown.is_some()));
                if let Some(shown) = shown {
                    shown.encode(writer);
                }
            }
            Self::ShownPage(page) => {
                writer.byte(TELL_SHOWN_PAGE);
                write_shown_page(page, writer);
            }
            Self::Stamped(stamped) => {
                writer.byte(TELL_STAMPED);
                stamped.write(writer);
            }
            other => unreachable!("no replica tells {other:?}"),
        }
    }
}

pub(super) fn read_shown(reader: &mut Reader) -> Decoded<Option<Shown>> {
    Ok(match read_flag(reader)? {
        false => None,
        true => Some(Shown::decode(reader)?),
    })
}

fn write_shown_page(page: &KeyPage<Shown>, writer: &mut Writer) {
    writer.byte(u8::from(page.has_more));
    writer.count(page.items.len());
    for (key, shown) in &page.items {
        encode_key(writer, key);
        shown.encode(writer);
    }
}

pub(super) fn read_shown_page(reader: &mut Reader) -> Decoded<KeyPage<Shown>> {
    let has_more = read_flag(reader)?;
    let count = reader.count(SHOWN_BYTES_MIN, "the number of entries")?;
    let item = |reader: &mut Reader| Ok((decode_key(reader)?, Shown::decode(reader)?));
    let items = (0..count).map(|_| item(reader)).collect::<Decoded<_>>()?;
    Ok(KeyPage { items, has_more })
}

/// About how many bytes it takes encoded.
pub(super) fn weight(key_bytes: usize, shown: &Shown) -> usize {
    SMALL + key_bytes + shown.value.len()
}

fn read_ttl(reader: &mut Reader) -> Decoded<Option<Ttl>> {
    let Some(ms) = reader.optional("a time to live")? else { return Ok(None) };
    let ttl = Ttl::from_ms(ms).ok().flatten().ok_or_else(|| reader.error("a time to live"))?;
    Ok(Some(ttl))
}

/// The least that an entry of a page takes.
const SHOWN_BYTES_MIN: usize = 17;

const VOLATILE: u8 = 0;
const DURABLE: u8 = 1;

const GET: u8 = 0;
const HAS: u8 = 1;
const PAGE: u8 = 2;
const PUT: u8 = 3;
const DELETE: u8 = 4;
