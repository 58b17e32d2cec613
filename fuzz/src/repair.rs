//! Gives a changed snapshot its right digest, so that a fuzzer comes to what the digest hides.
//!
//! The deliberate bug that leaves the digest out is switched on for a moment: what then decodes
//! tells its digest.

use bytes::Bytes;
use plimsoll::kv::StateMachine;
use plimsoll::mutant;

use crate::targets::codec;

/// Rewrites the digest at the end of an input of the target `codec`, if a snapshot decodes but for
/// it.
pub fn snapshot(data: &mut [u8]) {
    let Some((&codec::SNAPSHOT, snapshot)) = data.split_first() else { return };
    mutant::set(Some("snapshot is not compared with its digest"));
    let machine = StateMachine::from_snapshot(Bytes::copy_from_slice(snapshot));
    mutant::set(None);
    if let Ok(machine) = machine {
        let digest = machine.digest().0.to_be_bytes();
        let start = data.len() - digest.len();
        data[start..].copy_from_slice(&digest);
    }
}
