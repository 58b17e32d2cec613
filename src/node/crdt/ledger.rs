//! What a node's folder of replicas holds beside the durable one, and how a start finds all of it again.
//!
//! The ledger is the identity of the folder's [`Storage`]. The durable replica's snapshots and records are
//! the storage's snapshots and log: the term of an entry is the replica's incarnation, its index the number
//! of the record above the index at which the incarnation began. An incarnation begins with a snapshot at
//! an index above all that were used, which is durable before it says anything. So the newest snapshot is
//! always of the last incarnation, and what stands in the log after it belongs to it.
//!
//! ```text
//! format version: byte   member: fixed   reserved   doubtful: byte   epoch   count, each: member: fixed
//! ```

use std::collections::BTreeSet;

use bytes::Bytes;

use crate::clock::UnixMillis;
use crate::codec::{DecodeError, Reader, Writer};
use crate::crdt::{Kept, MemberId, MemberList};
use crate::error::{Error, Result};
use crate::node::storage_error;
use crate::storage::{Disk, Recovered, Storage, StorageError, StorageOptions};

/// What a node must not forget of its replicas, durable or not.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Ledger {
    /// Whose folder it is.
    pub member: MemberId,
    /// The wall time below which stamps may have been given.
    pub reserved: UnixMillis,
    /// The disk has failed under the durable replica: what it holds is only good to begin with.
    pub is_doubtful: bool,
    /// The last list of members.
    pub list: MemberList,
}

/// What a start has found.
#[derive(Debug)]
pub(super) struct Found<D> {
    pub storage: Storage<D>,
    pub ledger: Ledger,
    pub log: FoundLog,
}

/// What a start has found of the durable replica.
#[derive(Debug, Default)]
pub(super) struct FoundLog {
    /// The replica, as of the last record.
    pub kept: Option<Kept>,
    /// The last index that was used.
    pub last_index: u64,
    /// Bytes of the snapshot, and of the records after it.
    pub snapshot_bytes: u64,
    pub record_bytes: u64,
}

impl Ledger {
    fn new(member: MemberId) -> Self {
        let (reserved, list) = (UnixMillis(0), MemberList::default());
        Self { member, reserved, is_doubtful: false, list }
    }

    pub fn encode(&self) -> Bytes {
        let mut writer = Writer::with_capacity(64);
        writer.byte(FORMAT_VERSION);
        writer.fixed(self.member.0);
        writer.unsigned(self.reserved.0);
        writer.byte(u8::from(self.is_doubtful));
        writer.unsigned(self.list.epoch);
        writer.count(self.list.members.len());
        self.list.members.iter().for_each(|member| writer.fixed(member.0));
        writer.finish()
    }

    fn decode(bytes: Bytes) -> Result<Self, DecodeError> {
        let mut reader = Reader::new(bytes);
        if reader.byte("a format version")? != FORMAT_VERSION {
            return Err(reader.error("a ledger of this format version"));
        }
        let member = MemberId(reader.fixed("a member")?);
        let reserved = UnixMillis(reader.unsigned("a bound of the clock")?);
        let is_doubtful = match reader.byte("a flag")? {
            0 => false,
            1 => true,
            _ => return Err(reader.error("a flag")),
        };
        let epoch = reader.unsigned("an epoch")?;
        let mut members = BTreeSet::new();
        for _ in 0..reader.count(8, "the number of members")? {
            let member = MemberId(reader.fixed("a member")?);
            if members.last().is_some_and(|last| *last >= member) {
                return Err(reader.error("members in order"));
            }
            members.insert(member);
        }
        reader.finish("the end of the ledger")?;
        Ok(Self { member, reserved, is_doubtful, list: MemberList { epoch, members } })
    }
}

/// Opens the folder of a member's replicas.
///
/// # Errors
/// `INVALID` if the folder is another member's, or of another version; as [`storage_error`] says.
pub(super) fn open<D: Disk>(
    disk: D,
    options: StorageOptions,
    member: MemberId,
    clock_bound_ms: u64,
) -> Result<Found<D>> {
    let (storage, recovered) = Storage::open(disk, options).map_err(|it| storage_error(&it))?;
    let ledger = match &recovered.identity {
        None => Ledger::new(member),
        Some(bytes) => Ledger::decode(bytes.clone()).map_err(|_| {
            Error::invalid("the replicas' ledger can't be read: it is of another version")
        })?,
    };
    if ledger.member != member {
        return Err(Error::invalid(format!(
            "the folder holds the replicas of the member {:016x}, and this node is {:016x}: its folder of \
             the Raft engine was replaced; put that back, or move the replicas' folder away to begin with \
             what the other members hold",
            ledger.member.0, member.0
        )));
    }
    let log = replay(recovered, member, clock_bound_ms)
        .map_err(|error| Error::internal(format!("the durable replica can't be read: {error}")))?;
    Ok(Found { storage, ledger, log })
}

fn replay(
    recovered: Recovered,
    member: MemberId,
    clock_bound_ms: u64,
) -> Result<FoundLog, DecodeError> {
    let Some((meta, bytes)) = recovered.snapshot else { return Ok(FoundLog::default()) };
    let mut log = FoundLog {
        kept: None,
        last_index: meta.index,
        snapshot_bytes: bytes.len() as u64,
        record_bytes: 0,
    };
    let mut kept = Kept::decode(&bytes, clock_bound_ms)?;
    let is_its =
        |kept: &Kept| kept.author().member == member && kept.author().incarnation.0 == meta.term;
    let foreign = |what| Err(DecodeError { what, offset: 0 });
    if !is_its(&kept) {
        return foreign("a snapshot of this member's last incarnation");
    }
    for entry in recovered.entries {
        log.record_bytes += entry.data.len() as u64;
        log.last_index = entry.index;
        if entry.term != meta.term {
            return foreign("a record of the snapshot's incarnation");
        }
        kept.apply(entry.data)?;
    }
    log.kept = Some(kept);
    Ok(log)
}

/// After a failure: writes down that what the disk holds is doubtful, if the disk still takes that. If it
/// does not, the next start resumes from what opening vouches for.
pub(super) fn mark_doubtful<D: Disk>(
    disk: D,
    options: StorageOptions,
    ledger: &Ledger,
) -> Result<(), StorageError> {
    let (mut storage, _) = Storage::open(disk, options)?;
    let ledger = Ledger { is_doubtful: true, ..ledger.clone() };
    storage.save_identity(&ledger.encode())
}

const FORMAT_VERSION: u8 = 1;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::storage::MemDisk;

    fn ledger() -> Ledger {
        let members = BTreeSet::from([MemberId(1), MemberId(7)]);
        Ledger {
            member: MemberId(7),
            reserved: UnixMillis(300),
            is_doubtful: true,
            list: MemberList { epoch: 9, members },
        }
    }

    #[test]
    fn ledgers_round_trip_and_what_is_cut_is_refused() {
        for ledger in [Ledger::new(MemberId(7)), ledger()] {
            let bytes = ledger.encode();
            assert_eq!(Ledger::decode(bytes.clone()), Ok(ledger));
            for end in 0..bytes.len() {
                assert!(Ledger::decode(bytes.slice(..end)).is_err(), "cut at {end}");
            }
        }
    }

    #[test]
    fn the_folder_of_another_member_is_refused() {
        let (mut storage, _) =
            Storage::open(MemDisk::new(), StorageOptions::default()).expect("new");
        storage.save_identity(&ledger().encode()).expect("it works");
        let disk = storage.into_disk();
        let open = |member| open(disk.clone(), StorageOptions::default(), member, 5_000);
        assert_eq!(open(MemberId(7)).expect("its own").ledger, ledger());
        let error = open(MemberId(1)).expect_err("another one's");
        assert_eq!(error.kind(), crate::error::ErrorKind::Invalid);
    }
}
