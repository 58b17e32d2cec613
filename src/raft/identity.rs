//! What a data directory is: its raft id, how often it was started, and to which cluster it belongs.
//!
//! A raft id is random and belongs to one data directory: it is created with the directory and
//! never used again. The start number grows with every start and is durable before the first
//! message of that start, so that a late answer to an earlier life never matches.
//!
//! Format version 1: `version: byte, id: fixed, start, cluster: 0 or 1 and fixed, pledge: 0 or 1 and
//! cluster: fixed, epoch: fixed, begin of log time, count, members` (primitives of [`crate::codec`]).
#![deny(clippy::disallowed_types, clippy::disallowed_methods)]

use bytes::Bytes;

use super::message::Member;
use super::state::{read_member, write_member};
use super::{ClusterId, RaftId};
use crate::clock::UnixMillis;
use crate::codec::{DecodeError, Reader, Writer};
use crate::limits::RAFT_FOUNDERS_MAX;

/// The identity of a data directory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    /// The raft id of whoever runs on this directory.
    pub id: RaftId,
    /// How often it was started.
    pub start: u64,
    /// The cluster that it belongs to; none until one is founded or joined.
    pub cluster: Option<ClusterId>,
    /// The one bootstrap that it has agreed to take part in.
    pub pledge: Option<Pledge>,
}

/// The promise to found a cluster with exactly these members, and no other one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pledge {
    /// The cluster to be founded.
    pub cluster: ClusterId,
    /// The epoch of its machine.
    pub epoch: u64,
    /// When its log time begins: the median of what the founders' clocks showed. Stamps go on from
    /// there even if the first leader finds no majority of clocks in agreement.
    pub at: UnixMillis,
    /// Its founders, in order of their ids.
    pub founders: Vec<Member>,
}

impl Identity {
    /// The identity of an empty directory. The id must be random.
    #[must_use]
    pub const fn new(id: RaftId) -> Self {
        Self { id, start: 0, cluster: None, pledge: None }
    }

    /// The identity in canonical bytes.
    #[must_use]
    pub fn encode(&self) -> Bytes {
        let mut writer = Writer::with_capacity(64);
        writer.byte(FORMAT_VERSION);
        writer.fixed(self.id.0);
        writer.unsigned(self.start);
        match self.cluster {
            None => writer.byte(0),
            Some(cluster) => {
                writer.byte(1);
                writer.fixed(cluster.0);
            }
        }
        match &self.pledge {
            None => writer.byte(0),
            Some(pledge) => {
                writer.byte(1);
                pledge.write(&mut writer);
            }
        }
        writer.finish()
    }

    /// The identity that [`Identity::encode`] wrote.
    ///
    /// # Errors
    /// If the bytes are none, or of another format version.
    pub fn decode(bytes: Bytes) -> Result<Self, DecodeError> {
        let mut reader = Reader::new(bytes);
        if reader.byte("a format version")? != FORMAT_VERSION {
            return Err(reader.error("an identity of this format version"));
        }
        let id = RaftId::read(&mut reader)?;
        let start = reader.unsigned("a start number")?;
        let cluster = match reader.byte("a cluster")? {
            0 => None,
            1 => Some(ClusterId(reader.fixed("a cluster id")?)),
            _ => return Err(reader.error("a cluster")),
        };
        let pledge = match reader.byte("a pledge")? {
            0 => None,
            1 => Some(Pledge::read(&mut reader)?),
            _ => return Err(reader.error("a pledge")),
        };
        reader.finish("the end of the identity")?;
        Ok(Self { id, start, cluster, pledge })
    }
}

impl Pledge {
    pub(super) fn write(&self, writer: &mut Writer) {
        writer.fixed(self.cluster.0);
        writer.fixed(self.epoch);
        writer.unsigned(self.at.0);
        writer.count(self.founders.len());
        for founder in &self.founders {
            write_member(writer, founder);
        }
    }

    pub(super) fn read(reader: &mut Reader) -> Result<Self, DecodeError> {
        let cluster = ClusterId(reader.fixed("a cluster id")?);
        let epoch = reader.fixed("an epoch")?;
        let at = UnixMillis(reader.unsigned("an instant")?);
        let count = reader.count(10, "the number of founders")?;
        if count > RAFT_FOUNDERS_MAX {
            return Err(reader.error("the number of founders"));
        }
        let founders: Vec<_> = (0..count).map(|_| read_member(reader)).collect::<Result<_, _>>()?;
        if !founders.is_sorted_by(|one, next| one.id < next.id) {
            return Err(reader.error("founders in order"));
        }
        Ok(Self { cluster, epoch, at, founders })
    }
}

const FORMAT_VERSION: u8 = 1;

#[cfg(test)]
mod tests {
    use super::*;

    fn member(number: u64) -> Member {
        Member { id: RaftId(number), name: format!("n{number}"), address: "host:1".into() }
    }

    #[test]
    fn identities_round_trip() {
        let pledge = Pledge {
            cluster: ClusterId(5),
            epoch: 6,
            at: UnixMillis(300),
            founders: vec![member(1), member(2), member(u64::MAX)],
        };
        for identity in [
            Identity::new(RaftId(7)),
            Identity { start: 300, cluster: Some(ClusterId(9)), ..Identity::new(RaftId(7)) },
            Identity { pledge: Some(pledge), ..Identity::new(RaftId(7)) },
        ] {
            let bytes = identity.encode();
            assert_eq!(Identity::decode(bytes.clone()), Ok(identity));
            for end in 0..bytes.len() {
                assert!(Identity::decode(bytes.slice(..end)).is_err(), "cut at {end}");
            }
        }
    }

    #[test]
    fn founders_out_of_order_are_refused() {
        let (at, founders) = (UnixMillis(300), vec![member(2), member(2)]);
        let pledge = Pledge { cluster: ClusterId(5), epoch: 6, at, founders };
        let identity = Identity { pledge: Some(pledge), ..Identity::new(RaftId(7)) };
        assert!(Identity::decode(identity.encode()).is_err());
    }
}
