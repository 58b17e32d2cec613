//! What there is to tell of replicas and of whom gossip sees, and that in bytes, as clients are told it.
//!
//! ```text
//! spaces: count, each: space: byte (0 volatile, 1 durable), member: fixed, incarnation, epoch, joined plus
//!     2 * whole: byte, blocking: count and members: fixed, registers, tombstones, dropped, faults, from
//!     the future, divergences, digest: 16 bytes, runs of the coverage
//! sights: count, each: member: fixed, address, up: byte, for how long (ms)
//! reserved   clock refusals   malformed   lost
//! ```

use std::collections::BTreeMap;

use crate::clock::UnixMillis;
use crate::codec::{DecodeError, Reader, Writer};
use crate::crdt::{Author, Incarnation, MemberId, Replica, Status};
use crate::gossip::{Sight, Space};

/// What there is to tell of the replicas of a node, and of whom gossip sees.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CrdtFigures {
    /// The replicas that have started.
    pub spaces: BTreeMap<Space, SpaceFigures>,
    /// The other nodes that were seen since the start, in the order of their ids.
    pub sights: Vec<SightFigures>,
    /// The wall time below which this node may stamp writes.
    pub reserved: UnixMillis,
    /// Writes that were refused because clocks are too far apart.
    pub clock_refusals: u64,
    /// Messages of gossip that could not be read.
    pub malformed: u64,
    /// Messages of gossip that were dropped because too much waited.
    pub lost: u64,
}

/// What there is to tell of one replica.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SpaceFigures {
    /// The replica.
    pub status: Status,
    /// The digest of its map: equal wherever the same is held.
    pub digest: u128,
    /// Into how many runs of each author's writes what it covers falls: few where nothing is missing.
    pub coverage_runs: usize,
}

/// How gossip sees a node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SightFigures {
    /// Who it is.
    pub member: MemberId,
    /// Where it says to be.
    pub address: String,
    /// Whether it answers, or has not been silent for long.
    pub is_up: bool,
    /// For how long that has been so, in milliseconds.
    pub for_ms: u64,
}

impl SpaceFigures {
    pub(super) fn of(replica: &Replica) -> Self {
        Self {
            status: replica.status(),
            digest: replica.map().trie().root(),
            coverage_runs: replica.coverage().runs().count(),
        }
    }

    fn write(&self, space: Space, writer: &mut Writer) {
        let status = &self.status;
        writer.byte(u8::from(space == Space::Durable));
        writer.fixed(status.author.member.0);
        writer.unsigned(status.author.incarnation.0);
        writer.unsigned(status.epoch);
        writer.byte(u8::from(status.has_joined) + 2 * u8::from(status.is_whole));
        writer.count(status.blocking.len());
        status.blocking.iter().for_each(|member| writer.fixed(member.0));
        writer.count(status.registers);
        writer.count(status.tombstones);
        for count in [status.dropped, status.faults, status.from_future, status.divergences] {
            writer.unsigned(count);
        }
        writer.raw(&self.digest.to_be_bytes());
        writer.count(self.coverage_runs);
    }

    fn read(reader: &mut Reader) -> Result<(Space, Self), DecodeError> {
        let space = match reader.byte("a space")? {
            0 => Space::Volatile,
            1 => Space::Durable,
            _ => return Err(reader.error("a space")),
        };
        let member = MemberId(reader.fixed("a member")?);
        let incarnation = Incarnation(reader.unsigned("an incarnation")?);
        let epoch = reader.unsigned("an epoch")?;
        let flags = reader.byte("flags of a replica")?;
        if flags > 3 {
            return Err(reader.error("flags of a replica"));
        }
        let blocking = reader.count(8, "the number of members")?;
        let blocking: Result<_, _> =
            (0..blocking).map(|_| reader.fixed("a member").map(MemberId)).collect();
        let status = Status {
            author: Author { member, incarnation },
            epoch,
            has_joined: flags & 1 != 0,
            is_whole: flags & 2 != 0,
            blocking: blocking?,
            registers: read_size(reader)?,
            tombstones: read_size(reader)?,
            dropped: reader.unsigned("a number")?,
            faults: reader.unsigned("a number")?,
            from_future: reader.unsigned("a number")?,
            divergences: reader.unsigned("a number")?,
        };
        let digest = reader.raw(16, "a digest")?;
        let digest = u128::from_be_bytes(digest[..].try_into().expect("it has 16 bytes"));
        Ok((space, Self { status, digest, coverage_runs: read_size(reader)? }))
    }
}

impl SightFigures {
    pub(super) fn of(sight: &Sight, now_ms: u64) -> Self {
        Self {
            member: sight.peer.id,
            address: sight.peer.address.to_string(),
            is_up: sight.is_up,
            for_ms: now_ms.saturating_sub(sight.since_ms),
        }
    }

    fn read(reader: &mut Reader) -> Result<Self, DecodeError> {
        let member = MemberId(reader.fixed("a member")?);
        let address = reader.bytes("an address")?;
        let address =
            String::from_utf8(address.to_vec()).map_err(|_| reader.error("an address"))?;
        let is_up = match reader.byte("a flag")? {
            0 => false,
            1 => true,
            _ => return Err(reader.error("a flag")),
        };
        Ok(Self { member, address, is_up, for_ms: reader.unsigned("a time")? })
    }
}

impl CrdtFigures {
    pub(in crate::node) fn write(&self, writer: &mut Writer) {
        writer.count(self.spaces.len());
        for (space, figures) in &self.spaces {
            figures.write(*space, writer);
        }
        writer.count(self.sights.len());
        for sight in &self.sights {
            writer.fixed(sight.member.0);
            writer.bytes(sight.address.as_bytes());
            writer.byte(u8::from(sight.is_up));
            writer.unsigned(sight.for_ms);
        }
        for count in [self.reserved.0, self.clock_refusals, self.malformed, self.lost] {
            writer.unsigned(count);
        }
    }

    pub(in crate::node) fn read(reader: &mut Reader) -> Result<Self, DecodeError> {
        let mut spaces = BTreeMap::new();
        for _ in 0..reader.count(30, "the number of spaces")? {
            let (space, figures) = SpaceFigures::read(reader)?;
            if spaces.last_key_value().is_some_and(|(last, _)| *last >= space) {
                return Err(reader.error("spaces in order"));
            }
            spaces.insert(space, figures);
        }
        let sights = reader.count(10, "the number of nodes")?;
        let sights: Result<_, _> = (0..sights).map(|_| SightFigures::read(reader)).collect();
        Ok(Self {
            spaces,
            sights: sights?,
            reserved: UnixMillis(reader.unsigned("a time")?),
            clock_refusals: reader.unsigned("a number")?,
            malformed: reader.unsigned("a number")?,
            lost: reader.unsigned("a number")?,
        })
    }
}

fn read_size(reader: &mut Reader) -> Result<usize, DecodeError> {
    let number = reader.unsigned("a number")?;
    usize::try_from(number).map_err(|_| reader.error("a number"))
}
