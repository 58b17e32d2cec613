//! Messages in bytes.
//!
//! Primitives are those of [`crate::codec`]; `docs/design/crdt.md` has the layout. What decodes was
//! written by a replica of this format and encodes to the same bytes.
//!
//! No framing, no checksums, no format version: those are the transport's.
#![deny(clippy::disallowed_types, clippy::disallowed_methods)]

use std::sync::Arc;

use bytes::Bytes;

use super::journal::{
    read_collected, read_incarnations, read_key_after, write_collected, write_incarnations,
};
use super::lww::Entry;
use super::message::{Answer, Ask, Body, Envelope, ExchangeId, Pushed, Question, Reply};
use super::rule::Image;
use super::stamp::{Author, Dot, MemberId};
use super::trie::{FANOUT, Look, Path};
use super::vector::Coverage;
use crate::clock::UnixMillis;
use crate::codec::{DecodeError, Reader, Writer};
use crate::hlc::HybridTime;
use crate::kv::QualifiedKey;
use crate::limits::CRDT_PATHS_MAX;

type Decoded<T> = Result<T, DecodeError>;

impl Envelope {
    /// The message in bytes.
    #[must_use]
    pub fn encode(&self) -> Bytes {
        let mut writer = Writer::new();
        self.from.encode(&mut writer);
        writer.unsigned(self.epoch);
        writer.fixed(self.to.0);
        writer.unsigned(self.wall.0);
        match &self.body {
            Body::Push(pushed) => {
                writer.byte(PUSH);
                writer.count(pushed.len());
                pushed.iter().for_each(|it| it.encode(&mut writer));
            }
            Body::Digest(image) => {
                writer.byte(DIGEST);
                image.encode(&mut writer);
            }
            Body::Ask(ask) => {
                writer.byte(ASK);
                ask.encode(&mut writer);
            }
            Body::Answer(answer) => {
                writer.byte(ANSWER);
                answer.encode(&mut writer);
            }
        }
        writer.finish()
    }

    /// Reads what [`Envelope::encode`] wrote.
    ///
    /// # Errors
    /// If it is no message, or not in its canonical form.
    pub fn decode(bytes: Bytes) -> Decoded<Self> {
        let mut reader = Reader::new(bytes);
        let from = Author::decode(&mut reader)?;
        let epoch = reader.unsigned("an epoch")?;
        let to = MemberId(reader.fixed("a member")?);
        let wall = UnixMillis(reader.unsigned("a wall clock")?);
        let body = match reader.byte("a kind of message")? {
            PUSH => {
                let count = reader.count(19, "the number of writes")?;
                Body::Push((0..count).map(|_| Pushed::decode(&mut reader)).collect::<Decoded<_>>()?)
            }
            DIGEST => Body::Digest(Box::new(Image::decode(&mut reader)?)),
            ASK => Body::Ask(Ask::decode(&mut reader)?),
            ANSWER => Body::Answer(Box::new(Answer::decode(&mut reader)?)),
            _ => return Err(reader.error("a kind of message")),
        };
        reader.finish("the end of the message")?;
        Ok(Self { from, epoch, to, wall, body })
    }
}

impl Pushed {
    fn encode(&self, writer: &mut Writer) {
        writer.bytes(self.key.as_bytes());
        self.entry.encode(writer);
        writer.count(self.superseded.len());
        for dot in &self.superseded {
            dot.author.encode(writer);
            writer.unsigned(dot.counter);
        }
    }

    fn decode(reader: &mut Reader) -> Decoded<Self> {
        let key = QualifiedKey::read(reader)?;
        let entry = Arc::new(Entry::decode(reader)?);
        let count = reader.count(10, "the number of superseded writes")?;
        let superseded = (0..count)
            .map(|_| {
                let author = Author::decode(reader)?;
                Ok(Dot { author, counter: Dot::decode_counter(reader)? })
            })
            .collect::<Decoded<_>>()?;
        Ok(Self { key, entry, superseded })
    }
}

impl Image {
    fn encode(&self, writer: &mut Writer) {
        self.from.encode(writer);
        self.coverage.encode(writer);
        write_incarnations(writer, &self.incarnations);
        writer.byte(u8::from(self.has_joined) | u8::from(self.is_whole) << 1);
        writer.raw(&self.lasting.to_be_bytes());
    }

    fn decode(reader: &mut Reader) -> Decoded<Self> {
        let from = Author::decode(reader)?;
        let coverage = Coverage::decode(reader)?;
        let incarnations = read_incarnations(reader)?;
        if incarnations.get(&from.member) != Some(&from.incarnation) {
            return Err(reader.error("a sender of its own table"));
        }
        let flags = reader.byte("what the sender is")?;
        if flags > 3 {
            return Err(reader.error("what the sender is"));
        }
        let (has_joined, is_whole) = (flags & 1 != 0, flags & 2 != 0);
        let lasting = read_hash(reader)?;
        Ok(Self { from, coverage, incarnations, has_joined, is_whole, lasting })
    }
}

impl Ask {
    fn encode(&self, writer: &mut Writer) {
        self.exchange.encode(writer);
        writer.unsigned(self.step);
        match &self.question {
            Question::Entries { known, after } => {
                writer.byte(ENTRIES);
                known.encode(writer);
                writer.bytes(after.as_ref().map_or(&[], QualifiedKey::as_bytes));
            }
            Question::Nodes(nodes) => {
                writer.byte(NODES);
                writer.count(nodes.len());
                for (path, hash) in nodes {
                    path.encode(writer);
                    writer.raw(&hash.to_be_bytes());
                }
            }
        }
    }

    fn decode(reader: &mut Reader) -> Decoded<Self> {
        let exchange = ExchangeId::decode(reader)?;
        let step = reader.unsigned("a step")?;
        let question = match reader.byte("a question")? {
            ENTRIES => Question::Entries {
                known: Coverage::decode(reader)?,
                after: read_optional_key(reader)?,
            },
            NODES => {
                let count = node_count(reader)?;
                let mut node = || Ok((Path::decode(reader)?, read_hash(reader)?));
                Question::Nodes((0..count).map(|_| node()).collect::<Decoded<_>>()?)
            }
            _ => return Err(reader.error("a question")),
        };
        Ok(Self { exchange, step, question })
    }
}

impl Answer {
    fn encode(&self, writer: &mut Writer) {
        self.asked_by.encode(writer);
        self.exchange.encode(writer);
        writer.unsigned(self.step);
        self.image.encode(writer);
        self.time.encode(writer);
        write_collected(writer, &self.collected);
        writer.unsigned(self.dropped);
        match &self.reply {
            Reply::Entries { entries, is_last } => {
                writer.byte(if *is_last { LAST_ENTRIES } else { ENTRIES });
                writer.count(entries.len());
                for (key, entry) in entries {
                    writer.bytes(key.as_bytes());
                    entry.encode(writer);
                }
            }
            Reply::Nodes(nodes) => {
                writer.byte(NODES);
                writer.count(nodes.len());
                for (path, look) in nodes {
                    path.encode(writer);
                    look.encode(writer);
                }
            }
        }
    }

    fn decode(reader: &mut Reader) -> Decoded<Self> {
        Ok(Self {
            asked_by: Author::decode(reader)?,
            exchange: ExchangeId::decode(reader)?,
            step: reader.unsigned("a step")?,
            image: Image::decode(reader)?,
            time: HybridTime::decode(reader)?,
            collected: read_collected(reader)?,
            dropped: reader.unsigned("the number of dropped entries")?,
            reply: Reply::decode(reader)?,
        })
    }
}

impl Reply {
    fn decode(reader: &mut Reader) -> Decoded<Self> {
        let kind = reader.byte("a reply")?;
        match kind {
            ENTRIES | LAST_ENTRIES => {
                let mut entries: Vec<(QualifiedKey, Arc<Entry>)> = Vec::new();
                for _ in 0..reader.count(18, "the number of entries")? {
                    let key = read_key_after(reader, entries.last().map(|(key, _)| key))?;
                    entries.push((key, Arc::new(Entry::decode(reader)?)));
                }
                Ok(Self::Entries { entries, is_last: kind == LAST_ENTRIES })
            }
            NODES => {
                let count = node_count(reader)?;
                let mut node = || Ok((Path::decode(reader)?, Look::decode(reader)?));
                Ok(Self::Nodes((0..count).map(|_| node()).collect::<Decoded<_>>()?))
            }
            _ => Err(reader.error("a reply")),
        }
    }
}

impl Look {
    fn encode(&self, writer: &mut Writer) {
        match self {
            Self::Branch(hashes) => {
                writer.byte(BRANCH);
                hashes.iter().for_each(|hash| writer.raw(&hash.to_be_bytes()));
            }
            Self::Leaf(keys) => {
                writer.byte(LEAF);
                writer.count(keys.len());
                keys.iter().for_each(|key| writer.bytes(key.as_bytes()));
            }
        }
    }

    fn decode(reader: &mut Reader) -> Decoded<Self> {
        match reader.byte("a node")? {
            BRANCH => {
                let mut hashes = Box::new([0; FANOUT]);
                for hash in hashes.iter_mut() {
                    *hash = read_hash(reader)?;
                }
                Ok(Self::Branch(hashes))
            }
            LEAF => {
                let count = reader.count(4, "the number of keys")?;
                let keys = (0..count).map(|_| QualifiedKey::read(reader));
                Ok(Self::Leaf(keys.collect::<Decoded<_>>()?))
            }
            _ => Err(reader.error("a node")),
        }
    }
}

impl ExchangeId {
    fn encode(self, writer: &mut Writer) {
        writer.unsigned(self.start);
        writer.unsigned(self.number);
    }

    fn decode(reader: &mut Reader) -> Decoded<Self> {
        let start = reader.unsigned("the number of a start")?;
        Ok(Self { start, number: reader.unsigned("the number of an exchange")? })
    }
}

fn node_count(reader: &mut Reader) -> Decoded<usize> {
    let count = reader.count(11, "the number of nodes")?;
    if count <= CRDT_PATHS_MAX { Ok(count) } else { Err(reader.error("the number of nodes")) }
}

fn read_hash(reader: &mut Reader) -> Decoded<u128> {
    let bytes = reader.raw(16, "a hash")?;
    Ok(u128::from_be_bytes(bytes.as_ref().try_into().expect("16 bytes were read")))
}

/// No key is empty, so an empty one is none.
fn read_optional_key(reader: &mut Reader) -> Decoded<Option<QualifiedKey>> {
    let mut ahead = reader.clone();
    if ahead.unsigned("a key")? > 0 {
        return QualifiedKey::read(reader).map(Some);
    }
    *reader = ahead;
    Ok(None)
}

const PUSH: u8 = 1;
const DIGEST: u8 = 2;
const ASK: u8 = 3;
const ANSWER: u8 = 4;

const ENTRIES: u8 = 1;
const NODES: u8 = 2;
const LAST_ENTRIES: u8 = 3;

const BRANCH: u8 = 1;
const LEAF: u8 = 2;
