//! The bytes of `docs/design/storage.md`, the constants and what is written are the same.
#![allow(clippy::unwrap_used)]

use plimsoll::limits::SEGMENT_BYTES;
use plimsoll::storage::{
    Batch, Disk, HardState, MemDisk, SECTOR_BYTES, SnapshotMeta, Storage, StorageOptions,
};

const PAGE: &str = include_str!("../docs/design/storage.md");

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[test]
fn the_page_names_the_sizes() {
    let sectors = SEGMENT_BYTES / SECTOR_BYTES;
    let sentence =
        format!("A segment has {sectors} sectors of {SECTOR_BYTES} bytes ({SEGMENT_BYTES} bytes)");
    assert!(PAGE.contains(&sentence), "{sentence}");
}

#[test]
fn the_golden_batch_is_what_is_written() {
    let options = StorageOptions { segment_bytes: 4 * SECTOR_BYTES };
    let (mut storage, _) = Storage::open(MemDisk::new(), options).unwrap();
    let hard_state = Some(HardState { term: 2, vote: 3, commit: 1 });
    storage.write(&Batch { hard_state, ..Batch::default() }).unwrap();
    storage.sync().unwrap();
    let disk = storage.into_disk();
    assert_eq!(disk.names().unwrap(), ["log-0000000000000001"]);
    let bytes = disk.read("log-0000000000000001").unwrap();
    assert_eq!(bytes.len(), 4 * SECTOR_BYTES);
    let golden = PAGE.split("begins\n\n```text\n").nth(1).unwrap().lines().next().unwrap();
    let golden: String = golden.split_whitespace().collect();
    assert_eq!(hex(&bytes[..golden.len() / 2]), golden);
    let seed = 1_u64.rotate_left(32);
    let checksum = xxhash_rust::xxh3::xxh3_64_with_seed(&bytes[8..SECTOR_BYTES], seed);
    assert_eq!(bytes[..8], checksum.to_be_bytes());
    assert!(bytes[golden.len() / 2..].iter().all(|byte| *byte == 0));
}

#[test]
fn blobs_lie_as_the_page_says() {
    let (mut storage, _) = Storage::open(MemDisk::new(), StorageOptions::default()).unwrap();
    storage.save_identity(b"me").unwrap();
    storage.save_snapshot(SnapshotMeta { index: 5, term: 2 }, b"state").unwrap();
    let disk = storage.into_disk();
    let names = disk.names().unwrap();
    assert_eq!(names, ["identity", "snapshot-0000000000000005-0000000000000002"]);
    for (name, index, term, contents) in
        [(&names[0], 0, 0, &b"me"[..]), (&names[1], 5_u64, 2_u64, b"state")]
    {
        let bytes = disk.read(name).unwrap();
        assert_eq!(&bytes[..9], b"PLIMBLOB\x01");
        assert_eq!(bytes[9..17], index.to_be_bytes());
        assert_eq!(bytes[17..25], term.to_be_bytes());
        assert_eq!(bytes[25..33], (contents.len() as u64).to_be_bytes());
        let seed = index.rotate_left(32) ^ term ^ contents.len() as u64;
        let checksum = xxhash_rust::xxh3::xxh3_64_with_seed(contents, seed);
        assert_eq!(bytes[33..41], checksum.to_be_bytes());
        assert_eq!(&bytes[41..], contents);
    }
}
