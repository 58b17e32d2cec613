//! What one frame between members says.
//!
//! ```text
//! kind: byte                     0 still there, 1 a message, 2 a hello, 3 a wish, 4 gossip, 5 no room
//! 1: an envelope                 2: a hello                 (both as docs/design/wire.md shows)
//! 3: a member, traits (src/node/about.rs), the index that it has applied
//! 4: a message of gossip (src/gossip/node.rs)
//! ```

use bytes::Bytes;

use super::about::Traits;
use super::reconcile::Wish;
use crate::codec::{DecodeError, Reader, Writer};
use crate::raft::{Envelope, Hello, read_member, write_member};

/// A frame from one member to another.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Frame {
    /// Nothing but that the sender is still there.
    Alive,
    /// A message of the Raft engine.
    Message(Envelope),
    /// What a node tells of itself.
    Hello(Hello),
    /// A node asks to take part.
    Wish(Wish),
    /// The cluster has no room for the node.
    NoRoom,
    /// A message of gossip.
    Gossip(Bytes),
}

impl Frame {
    pub fn encode(&self) -> Bytes {
        let mut writer = Writer::with_capacity(64);
        match self {
            Self::Alive => writer.byte(ALIVE),
            Self::Message(envelope) => {
                writer.byte(MESSAGE);
                writer.raw(&envelope.encode());
            }
            Self::Hello(hello) => {
                writer.byte(HELLO);
                writer.raw(&hello.encode());
            }
            Self::Wish(Wish { member, traits, applied }) => {
                writer.byte(WISH);
                write_member(&mut writer, member);
                traits.write(&mut writer);
                writer.unsigned(*applied);
            }
            Self::NoRoom => writer.byte(NO_ROOM),
            Self::Gossip(message) => {
                writer.byte(GOSSIP);
                writer.raw(message);
            }
        }
        writer.finish()
    }

    pub fn decode(bytes: Bytes) -> Result<Self, DecodeError> {
        let mut reader = Reader::new(bytes);
        let kind = reader.byte("a kind of frame")?;
        let rest = reader.remaining();
        Ok(match kind {
            ALIVE | NO_ROOM => {
                reader.finish("the end of the frame")?;
                if kind == ALIVE { Self::Alive } else { Self::NoRoom }
            }
            MESSAGE => Self::Message(Envelope::decode(reader.raw(rest, "a message")?)?),
            HELLO => Self::Hello(Hello::decode(reader.raw(rest, "a hello")?)?),
            WISH => Self::Wish(read_wish(reader)?),
            GOSSIP if rest > 0 => Self::Gossip(reader.raw(rest, "a message of gossip")?),
            _ => return Err(reader.error("a kind of frame")),
        })
    }

    /// About how many bytes it takes in a queue.
    pub fn weight(&self) -> usize {
        match self {
            Self::Message(envelope) => WEIGHT + envelope.weight(),
            Self::Gossip(message) => WEIGHT + message.len(),
            _ => WEIGHT,
        }
    }
}

fn read_wish(mut reader: Reader) -> Result<Wish, DecodeError> {
    let member = read_member(&mut reader)?;
    let traits = Traits::read(&mut reader)?;
    let applied = reader.unsigned("an index")?;
    reader.finish("the end of the wish")?;
    Ok(Wish { member, traits, applied })
}

const ALIVE: u8 = 0;
const MESSAGE: u8 = 1;
const HELLO: u8 = 2;
const WISH: u8 = 3;
const NO_ROOM: u8 = 5;
const GOSSIP: u8 = 4;

/// What a frame takes beside its data.
const WEIGHT: usize = 256;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::UnixMillis;
    use crate::raft::{Body, ClusterId, Member, RaftId};

    #[test]
    fn frames_round_trip_and_what_is_cut_is_refused() {
        let member = Member { id: RaftId(7), name: "n7".into(), address: "host:1".into() };
        let (from, to, cluster) = (RaftId(1), RaftId(2), ClusterId(3));
        let (wall, body) = (UnixMillis(9), Body::NotMember { index: 4 });
        let failure_domain = Some("rack-7".into());
        let traits = Traits { is_eligible: true, priority: 100, failure_domain };
        let hello =
            Hello { member: member.clone(), cluster: None, pledge: None, wall, founds: true };
        for frame in [
            Frame::Alive,
            Frame::Message(Envelope { from, to, cluster, wall, body }),
            Frame::Hello(hello),
            Frame::Wish(Wish { member, traits, applied: 300 }),
            Frame::NoRoom,
            Frame::Gossip(Bytes::from_static(b"x")),
        ] {
            let bytes = frame.encode();
            assert_eq!(Frame::decode(bytes.clone()), Ok(frame));
            for end in 0..bytes.len() {
                assert!(Frame::decode(bytes.slice(..end)).is_err(), "cut at {end}");
            }
        }
        assert!(Frame::decode(Bytes::from_static(&[9])).is_err());
    }
}
