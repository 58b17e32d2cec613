//! Stub, local only.
#![allow(missing_docs)]
use bytes::Bytes;
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct HardState {
    pub term: u64,
    pub vote: u64,
    pub commit: u64,
}
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredEntry {
    pub index: u64,
    pub term: u64,
    pub kind: u8,
    pub context: Bytes,
    pub data: Bytes,
}
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Batch {
    pub hard_state: Option<HardState>,
    pub reset: Option<(u64, u64)>,
    pub entries: Vec<StoredEntry>,
}
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SnapshotMeta {
    pub index: u64,
    pub term: u64,
}
#[derive(Clone, Debug, Default)]
pub struct Recovered {
    pub identity: Option<Bytes>,
    pub hard_state: HardState,
    pub snapshot: Option<(SnapshotMeta, Bytes)>,
    pub entries: Vec<StoredEntry>,
}
