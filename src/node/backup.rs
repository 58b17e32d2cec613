//! A backup in a file, and a data directory that begins with it, or with what is left of a cluster.
//!
//! ```text
//! "PLIMBK"  format version: byte  the machine's snapshot  xxh3 of all before: 8 bytes, big-endian
//! ```

use bytes::Bytes;
use xxhash_rust::xxh3::xxh3_64;

use super::storage_error;
use crate::error::{Error, Result};
use crate::raft::{self, ClusterId, Identity, Member, Recovery};
use crate::storage::{Disk, Recovered, Storage, StorageOptions};

/// What stands before a machine's snapshot in a backup.
pub const BACKUP_HEAD: &[u8] = b"PLIMBK\x01";

/// The machine's snapshot in a backup.
///
/// # Errors
/// `INVALID` if the bytes are no backup, of another version, cut, or damaged.
pub fn read_backup(bytes: &Bytes) -> Result<Bytes> {
    let invalid = |why: &str| Err(Error::invalid(format!("the backup can't be used: {why}")));
    let magic = &BACKUP_HEAD[..BACKUP_HEAD.len() - 1];
    if !bytes.starts_with(magic) {
        return invalid("it is not one of Plimsoll");
    }
    if !bytes.starts_with(BACKUP_HEAD) {
        return invalid("it is of another version");
    }
    let Some(end) = bytes.len().checked_sub(8).filter(|end| *end >= BACKUP_HEAD.len()) else {
        return invalid("it is cut");
    };
    if bytes[end..] != xxh3_64(&bytes[..end]).to_be_bytes() {
        return invalid("it is cut or damaged");
    }
    Ok(bytes.slice(BACKUP_HEAD.len()..end))
}

/// Makes an empty data directory the beginning of a new cluster that holds a backup. Ids and epoch are
/// random.
///
/// # Errors
/// `INVALID` if the directory is in use by a cluster, or the backup holds no machine; what its disk
/// reports.
pub fn restore_to<D: Disk>(
    disk: D,
    own: Member,
    machine: Bytes,
    cluster: ClusterId,
    epoch: u64,
) -> Result<()> {
    let (storage, recovered) = open(disk)?;
    if recovered.identity.is_some() || recovered.snapshot.is_some() {
        return Err(Error::invalid("the data directory is not empty: restore into a new one"));
    }
    let identity = Identity::new(own.id);
    let recovery = raft::restore(&identity, own, machine, cluster, epoch)
        .map_err(|error| Error::invalid(error.to_string()))?;
    save(storage, recovery)
}

/// Makes the member of a data directory the only one of a new cluster, with all that it holds. Who was
/// left behind is not heard any more. Gives back what it is now.
///
/// # Errors
/// `INVALID` if the directory belongs to no cluster, or does not tell who its member is; what its disk
/// reports.
pub fn recover_alone<D: Disk>(disk: D, cluster: ClusterId, epoch: u64) -> Result<Member> {
    let (storage, recovered) = open(disk)?;
    let identity = recovered.identity.clone().map(Identity::decode).transpose();
    let Ok(Some(identity)) = identity else {
        return Err(Error::invalid("the data directory belongs to no cluster"));
    };
    let Some(own) = raft::own_member(&identity, &recovered) else {
        return Err(Error::invalid(
            "the data directory does not tell who its member is: it was never a member, or was \
             removed",
        ));
    };
    let recovery = raft::force_new_cluster(&identity, own.clone(), recovered, cluster, epoch)
        .map_err(|error| Error::invalid(error.to_string()))?;
    save(storage, recovery)?;
    Ok(own)
}

fn open<D: Disk>(disk: D) -> Result<(Storage<D>, Recovered)> {
    Storage::open(disk, StorageOptions::default()).map_err(|error| storage_error(&error))
}

/// The identity comes last: until then the directory is what it was.
fn save<D: Disk>(mut storage: Storage<D>, recovery: Recovery) -> Result<()> {
    let Recovery { snapshot: (meta, bytes), batch, identity } = recovery;
    let saved = storage
        .save_snapshot(meta, &bytes)
        .and_then(|()| storage.write(&batch))
        .and_then(|()| storage.sync())
        .and_then(|()| storage.save_identity(&identity.encode()));
    saved.map_err(|error| storage_error(&error))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_backup_that_is_cut_or_damaged_is_refused() {
        let mut bytes = [BACKUP_HEAD, b"machine"].concat();
        bytes.extend(xxh3_64(&bytes).to_be_bytes());
        let whole = Bytes::from(bytes.clone());
        assert_eq!(read_backup(&whole).unwrap(), b"machine"[..]);
        for end in 0..whole.len() {
            assert!(read_backup(&whole.slice(..end)).is_err(), "cut at {end}");
        }
        for place in 0..bytes.len() {
            let mut damaged = bytes.clone();
            damaged[place] ^= 1;
            assert!(read_backup(&damaged.into()).is_err(), "damaged at {place}");
        }
    }
}
