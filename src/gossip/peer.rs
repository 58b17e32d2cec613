//! A node as gossip knows it, and SWIM's packets in bytes.
//!
//! A peer is known by its id. Of two claims about one id the later life counts, of one life the later
//! renewal: a node that was taken for dead while it lived comes back under a new one.
//!
//! ```text
//! peer:    id: fixed, start, renewal, address: text, about: bytes
//! header:  peer (who sends), its incarnation, peer (whom it is for), message
//! message: kind: byte, and of kinds 0 to 5 the number of the probe: byte, of kinds 2 to 5 a peer
//! member:  peer, incarnation, state: byte
//! ```
//! A peer whose id is 0 is whoever is at the address that a packet is sent to.
#![deny(clippy::disallowed_types, clippy::disallowed_methods)]

use std::sync::Arc;

use bytes::{Buf, BufMut, Bytes};
use foca::{Codec, Header, Member, Message, State};

use crate::codec::{DecodeError, Reader, Writer};
use crate::crdt::MemberId;
use crate::limits::{GOSSIP_ABOUT_BYTES_MAX, GOSSIP_ADDRESS_BYTES_MAX};

/// A node, in one of its lives.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Peer {
    /// Who it is. 0 is nobody's.
    pub id: MemberId,
    /// The number of its start.
    pub start: u64,
    /// How often it came back in this start although it had been taken for dead.
    pub renewal: u64,
    /// Where it is reached.
    pub address: Arc<str>,
    /// What else it tells of itself; gossip does not look at it.
    pub about: Bytes,
}

impl Peer {
    /// A node that starts.
    ///
    /// # Panics
    /// If its id is 0, or what it tells of itself is beyond the limits.
    #[must_use]
    pub fn new(id: MemberId, start: u64, address: &str, about: Bytes) -> Self {
        assert_ne!(id, ANYONE, "0 is nobody's id");
        assert!(address.len() <= GOSSIP_ADDRESS_BYTES_MAX, "addresses are short");
        assert!(about.len() <= GOSSIP_ABOUT_BYTES_MAX, "what it tells of itself is short");
        Self { id, start, renewal: 0, address: address.into(), about }
    }

    /// Whoever is at an address.
    pub(super) fn at(address: &str) -> Self {
        let (address, about) = (address.into(), Bytes::new());
        Self { id: ANYONE, start: 0, renewal: 0, address, about }
    }

    fn write(&self, writer: &mut Writer) {
        writer.fixed(self.id.0);
        writer.unsigned(self.start);
        writer.unsigned(self.renewal);
        writer.bytes(self.address.as_bytes());
        writer.bytes(&self.about);
    }

    fn read(reader: &mut Reader) -> Result<Self, DecodeError> {
        let id = MemberId(reader.fixed("a peer's id")?);
        let start = reader.unsigned("a start")?;
        let renewal = reader.unsigned("a renewal")?;
        let address = reader.bytes("an address")?;
        let about = reader.bytes("what a peer tells of itself")?;
        if address.len() > GOSSIP_ADDRESS_BYTES_MAX || about.len() > GOSSIP_ABOUT_BYTES_MAX {
            return Err(reader.error("a peer within the limits"));
        }
        let address = std::str::from_utf8(&address).map_err(|_| reader.error("an address"))?;
        Ok(Self { id, start, renewal, address: address.into(), about })
    }
}

impl foca::Identity for Peer {
    type Addr = MemberId;

    fn renew(&self) -> Option<Self> {
        Some(Self { renewal: self.renewal + 1, ..self.clone() })
    }

    fn addr(&self) -> MemberId {
        self.id
    }

    fn win_addr_conflict(&self, other: &Self) -> bool {
        (self.start, self.renewal) > (other.start, other.renewal)
    }
}

/// SWIM's packets in bytes.
#[derive(Clone, Debug)]
pub(super) struct PeerCodec {
    /// Whose packets are read: what is for anyone is for it.
    pub me: MemberId,
}

impl PeerCodec {
    fn read_header(&self, reader: &mut Reader) -> Result<Header<Peer>, DecodeError> {
        let src = Peer::read(reader)?;
        let src_incarnation = read_incarnation(reader)?;
        let mut dst = Peer::read(reader)?;
        if src.id == ANYONE {
            return Err(reader.error("a sender"));
        }
        if dst.id == ANYONE {
            dst.id = self.me;
        }
        let message = read_message(reader)?;
        Ok(Header { src, src_incarnation, dst, message })
    }
}

impl Codec<Peer> for PeerCodec {
    type Error = PacketError;

    fn encode_header(
        &mut self,
        header: &Header<Peer>,
        buf: impl BufMut,
    ) -> Result<(), PacketError> {
        let mut writer = Writer::with_capacity(128);
        header.src.write(&mut writer);
        writer.unsigned(u64::from(header.src_incarnation));
        header.dst.write(&mut writer);
        write_message(&mut writer, &header.message);
        put(writer, buf)
    }

    fn decode_header(&mut self, buf: impl Buf) -> Result<Header<Peer>, PacketError> {
        take(buf, |reader| self.read_header(reader))
    }

    fn encode_member(
        &mut self,
        member: &Member<Peer>,
        buf: impl BufMut,
    ) -> Result<(), PacketError> {
        let mut writer = Writer::with_capacity(64);
        member.id().write(&mut writer);
        writer.unsigned(u64::from(member.incarnation()));
        writer.byte(match member.state() {
            State::Alive => 0,
            State::Suspect => 1,
            State::Down => 2,
        });
        put(writer, buf)
    }

    fn decode_member(&mut self, buf: impl Buf) -> Result<Member<Peer>, PacketError> {
        take(buf, |reader| {
            let peer = Peer::read(reader)?;
            let incarnation = read_incarnation(reader)?;
            let state = match reader.byte("a state")? {
                0 => State::Alive,
                1 => State::Suspect,
                2 => State::Down,
                _ => return Err(reader.error("a state")),
            };
            if peer.id == ANYONE {
                return Err(reader.error("a peer"));
            }
            Ok(Member::new(peer, incarnation, state))
        })
    }
}

/// Why a packet could not be written or read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum PacketError {
    /// There is no room for another item.
    Full,
    /// It is none.
    Malformed(DecodeError),
}

impl std::fmt::Display for PacketError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Full => f.write_str("the packet is full"),
            Self::Malformed(error) => std::fmt::Display::fmt(error, f),
        }
    }
}

impl std::error::Error for PacketError {}

fn write_message(writer: &mut Writer, message: &Message<Peer>) {
    let (kind, number, peer) = match message {
        Message::Ping(number) => (0, Some(number), None),
        Message::Ack(number) => (1, Some(number), None),
        Message::PingReq { target, probe_number } => (2, Some(probe_number), Some(target)),
        Message::IndirectPing { origin, probe_number } => (3, Some(probe_number), Some(origin)),
        Message::IndirectAck { target, probe_number } => (4, Some(probe_number), Some(target)),
        Message::ForwardedAck { origin, probe_number } => (5, Some(probe_number), Some(origin)),
        Message::Announce => (6, None, None),
        Message::Feed => (7, None, None),
        Message::Gossip => (8, None, None),
        Message::Broadcast => (9, None, None),
        Message::TurnUndead => (10, None, None),
    };
    writer.byte(kind);
    number.into_iter().for_each(|number| writer.byte(*number));
    peer.into_iter().for_each(|peer| peer.write(writer));
}

fn read_message(reader: &mut Reader) -> Result<Message<Peer>, DecodeError> {
    let kind = reader.byte("a kind of message")?;
    let number = if kind <= 5 { reader.byte("the number of a probe")? } else { 0 };
    Ok(match kind {
        0 => Message::Ping(number),
        1 => Message::Ack(number),
        2 => Message::PingReq { target: Peer::read(reader)?, probe_number: number },
        3 => Message::IndirectPing { origin: Peer::read(reader)?, probe_number: number },
        4 => Message::IndirectAck { target: Peer::read(reader)?, probe_number: number },
        5 => Message::ForwardedAck { origin: Peer::read(reader)?, probe_number: number },
        6 => Message::Announce,
        7 => Message::Feed,
        8 => Message::Gossip,
        9 => Message::Broadcast,
        10 => Message::TurnUndead,
        _ => return Err(reader.error("a kind of message")),
    })
}

fn read_incarnation(reader: &mut Reader) -> Result<u16, DecodeError> {
    let number = reader.unsigned("an incarnation")?;
    u16::try_from(number).map_err(|_| reader.error("an incarnation"))
}

/// Appends all or nothing.
fn put(writer: Writer, mut buf: impl BufMut) -> Result<(), PacketError> {
    if buf.remaining_mut() < writer.as_slice().len() {
        return Err(PacketError::Full);
    }
    buf.put_slice(writer.as_slice());
    Ok(())
}

/// Reads one item and leaves what follows.
fn take<T>(
    mut buf: impl Buf,
    read: impl FnOnce(&mut Reader) -> Result<T, DecodeError>,
) -> Result<T, PacketError> {
    let bytes = Bytes::copy_from_slice(buf.chunk());
    let length = bytes.len();
    let mut reader = Reader::new(bytes);
    let item = read(&mut reader).map_err(PacketError::Malformed)?;
    buf.advance(length - reader.remaining());
    Ok(item)
}

/// The id of whoever is at an address.
const ANYONE: MemberId = MemberId(0);

#[cfg(test)]
mod tests {
    use super::*;

    fn peer(id: u64) -> Peer {
        Peer::new(MemberId(id), 3, "host:7946", Bytes::from_static(b"x"))
    }

    #[test]
    fn headers_and_members_round_trip_and_what_is_cut_is_refused() {
        let messages = [
            Message::Ping(7),
            Message::Ack(255),
            Message::PingReq { target: peer(3), probe_number: 1 },
            Message::IndirectPing { origin: peer(3), probe_number: 2 },
            Message::IndirectAck { target: peer(3), probe_number: 3 },
            Message::ForwardedAck { origin: peer(3), probe_number: 4 },
            Message::Announce,
            Message::Feed,
            Message::Gossip,
            Message::Broadcast,
            Message::TurnUndead,
        ];
        let mut codec = PeerCodec { me: MemberId(2) };
        for message in messages {
            let header = Header { src: peer(1), src_incarnation: 300, dst: peer(2), message };
            let mut bytes = Vec::new();
            codec.encode_header(&header, &mut bytes).expect("there is room");
            let mut rest = &bytes[..];
            assert_eq!(codec.decode_header(&mut rest).as_ref(), Ok(&header));
            assert!(rest.is_empty());
            for end in 0..bytes.len() {
                assert!(codec.decode_header(&bytes[..end]).is_err(), "cut at {end}");
            }
        }
        for state in [State::Alive, State::Suspect, State::Down] {
            let member = Member::new(peer(1), 9, state);
            let mut bytes = Vec::new();
            codec.encode_member(&member, &mut bytes).expect("there is room");
            assert_eq!(codec.decode_member(&bytes[..]), Ok(member));
        }
    }

    #[test]
    fn what_is_for_anyone_is_for_whoever_reads_it() {
        let (src, dst) = (peer(1), Peer::at("host:7946"));
        let header = Header { src, src_incarnation: 0, dst, message: Message::Announce };
        let mut bytes = Vec::new();
        let mut codec = PeerCodec { me: MemberId(2) };
        codec.encode_header(&header, &mut bytes).expect("there is room");
        let read = codec.decode_header(&bytes[..]).expect("it is a header");
        assert_eq!(read.dst.id, MemberId(2));
    }

    #[test]
    fn a_full_packet_takes_nothing_more() {
        let mut small = [0; 10];
        let mut codec = PeerCodec { me: MemberId(2) };
        let mut room = &mut small[..];
        let full = codec.encode_member(&Member::alive(peer(1)), &mut room);
        assert_eq!(full, Err(PacketError::Full));
        assert_eq!(room.len(), 10, "nothing was written");
    }
}
