//! The contract of storage and of the disk in memory, case by case: what is a programmer's error,
//! what a failure does, and what a crash may leave.
#![allow(clippy::unwrap_used)]

#[path = "support/storage_runs.rs"]
mod runs;

use std::panic::{AssertUnwindSafe, catch_unwind};

use plimsoll::limits::IDENTITY_BYTES_MAX;
use plimsoll::storage::{
    Batch, Disk, DiskErrorKind, HardState, MemDisk, SnapshotMeta, Storage, StorageError, Unsynced,
};
use runs::{OPTIONS, entry};

fn opened() -> Storage<MemDisk> {
    Storage::open(MemDisk::new(), OPTIONS).unwrap().0
}

fn batch(indexes: std::ops::RangeInclusive<u64>, term: u64, commit: u64) -> Batch {
    let entries = indexes.map(|index| entry(index, term, b"data")).collect();
    Batch { hard_state: Some(HardState { term, vote: 1, commit }), reset: None, entries }
}

fn write(storage: &mut Storage<MemDisk>, batch: &Batch) {
    storage.write(batch).unwrap();
    storage.sync().unwrap();
}

fn indexes(disk: MemDisk) -> Vec<(u64, u64)> {
    let (_, recovered) = Storage::open(disk, OPTIONS).unwrap();
    recovered.entries.iter().map(|entry| (entry.index, entry.term)).collect()
}

/// What a call that breaks the contract panics with.
fn panics(act: impl FnOnce(&mut Storage<MemDisk>)) -> String {
    let mut storage = opened();
    write(&mut storage, &batch(1..=3, 1, 2));
    storage.save_snapshot(SnapshotMeta { index: 2, term: 1 }, b"state").unwrap();
    let panic = catch_unwind(AssertUnwindSafe(|| act(&mut storage))).unwrap_err();
    let text = panic.downcast_ref::<String>().cloned();
    text.unwrap_or_else(|| (*panic.downcast_ref::<&str>().unwrap()).to_owned())
}

#[test]
fn breaking_the_contract_panics_and_says_how() {
    let mut apart = batch(4..=5, 1, 2);
    apart.entries[1].index = 6;
    let says = [
        panics(|storage| {
            storage.write(&batch(4..=4, 1, 2)).unwrap();
            storage.write(&batch(5..=5, 1, 2)).unwrap();
        }),
        panics(|storage| storage.write(&batch(5..=5, 1, 2)).unwrap()),
        panics(|storage| storage.write(&batch(0..=0, 1, 0)).unwrap()),
        panics(|storage| storage.write(&apart).unwrap()),
        panics(|storage| storage.write(&batch(4..=4, 1, 5)).unwrap()),
        panics(|storage| storage.compact(3).unwrap()),
        panics(|storage| storage.save_identity(&[0; IDENTITY_BYTES_MAX + 1]).unwrap()),
    ];
    let parts = [
        "written only when the one before it was synced",
        "entry 5 does not follow the log, which ends with 3",
        "entry 0 does not follow",
        "consecutive",
        "commit 5 is beyond 4",
        "only what a snapshot covers is forgotten",
        "keeps the identity small",
    ];
    for (said, part) in says.iter().zip(parts) {
        assert!(said.contains(part), "{said:?} does not say {part:?}");
    }
}

#[test]
fn a_batch_replaces_what_stood_at_or_after_its_first_entry() {
    let mut storage = opened();
    write(&mut storage, &batch(1..=5, 1, 2));
    write(&mut storage, &batch(3..=4, 2, 2));
    let disk = storage.into_disk();
    assert_eq!(indexes(disk), [(1, 1), (2, 1), (3, 2), (4, 2)]);
}

#[test]
fn an_installed_snapshot_replaces_a_log_that_conflicts_with_it() {
    let mut storage = opened();
    write(&mut storage, &batch(1..=5, 1, 0));
    storage.save_snapshot(SnapshotMeta { index: 3, term: 2 }, b"state").unwrap();
    // The power fails before the batch with the reset. The next batch brings it.
    let (mut storage, recovered) = Storage::open(storage.into_disk(), OPTIONS).unwrap();
    assert_eq!(recovered.entries, []);
    write(&mut storage, &batch(4..=4, 2, 4));
    assert_eq!(indexes(storage.into_disk()), [(4, 2)]);
}

#[test]
fn a_snapshot_that_covers_less_than_the_newest_is_not_saved() {
    let mut storage = opened();
    write(&mut storage, &batch(1..=9, 1, 5));
    let newest = (SnapshotMeta { index: 5, term: 1 }, bytes::Bytes::from("newest"));
    storage.save_snapshot(newest.0, &newest.1).unwrap();
    storage.save_snapshot(SnapshotMeta { index: 3, term: 1 }, b"late").unwrap();
    let (_, recovered) = Storage::open(storage.into_disk(), OPTIONS).unwrap();
    assert_eq!(recovered.snapshot, Some(newest));
}

#[test]
fn a_snapshot_that_the_log_holds_keeps_what_follows_it() {
    let mut storage = opened();
    write(&mut storage, &batch(1..=5, 1, 3));
    storage.save_snapshot(SnapshotMeta { index: 3, term: 1 }, b"state").unwrap();
    storage.compact(3).unwrap();
    assert_eq!(indexes(storage.into_disk()), [(4, 1), (5, 1)]);
}

#[test]
fn a_log_that_begins_after_a_lost_snapshot_is_refused() {
    let mut storage = opened();
    storage.save_snapshot(SnapshotMeta { index: 3, term: 2 }, b"state").unwrap();
    write(&mut storage, &Batch { reset: Some((3, 2)), ..Batch::default() });
    write(&mut storage, &batch(4..=4, 2, 4));
    let mut disk = storage.into_disk();
    disk.remove("snapshot-0000000000000003").unwrap();
    let error = Storage::open(disk, OPTIONS).unwrap_err();
    assert!(error.to_string().contains("missing: the log begins after it"), "{error}");
}

#[test]
fn what_is_refused_is_left_as_it_was() {
    let mut storage = opened();
    write(&mut storage, &batch(1..=2, 1, 1));
    write(&mut storage, &batch(3..=3, 1, 2));
    let mut disk = storage.into_disk();
    disk.write("snapshot.new", 0, b"half").unwrap();
    disk.sync("snapshot.new").unwrap();
    disk.sync_names().unwrap();
    assert!(disk.corrupt("log-0000000000000001", 1, 4));
    let (operations, digest) = (disk.operations(), disk.durable_digest());
    let error = Storage::open(&mut disk, OPTIONS).unwrap_err();
    let StorageError::Damaged(damage) = error else { panic!("{error}") };
    assert_eq!((damage.file.as_str(), damage.sector), ("log-0000000000000001", Some(1)));
    assert_eq!((disk.operations(), disk.durable_digest()), (operations, digest));
}

#[test]
fn after_a_failure_nothing_more_is_taken_not_even_what_needs_no_disk() {
    let mut storage = opened();
    write(&mut storage, &batch(1..=1, 1, 1));
    storage.disk_mut().fail_next_sync();
    storage.write(&batch(2..=2, 1, 1)).unwrap();
    assert!(matches!(storage.sync(), Err(StorageError::Disk(_))));
    let meta = SnapshotMeta { index: 1, term: 1 };
    assert_eq!(storage.sync(), Err(StorageError::Failed));
    assert_eq!(storage.write(&batch(2..=2, 1, 1)), Err(StorageError::Failed));
    assert_eq!(storage.save_identity(b"me"), Err(StorageError::Failed));
    assert_eq!(storage.save_snapshot(meta, b""), Err(StorageError::Failed));
    assert_eq!(storage.compact(0), Err(StorageError::Failed));
}

#[test]
fn compaction_removes_segments_and_all_snapshots_but_the_newest() {
    let mut storage = opened();
    for index in 1..=60 {
        write(&mut storage, &batch(index..=index, 1, index));
        if index % 20 == 0 {
            storage.save_snapshot(SnapshotMeta { index, term: 1 }, b"state").unwrap();
        }
    }
    let files = storage.disk_mut().names().unwrap().len();
    storage.compact(60).unwrap();
    let names = storage.disk_mut().names().unwrap();
    assert!(files > 15 && names.len() == 2, "{files} files, then {names:?}");
    let (_, recovered) = Storage::open(storage.into_disk(), OPTIONS).unwrap();
    assert_eq!(recovered.hard_state, HardState { term: 1, vote: 1, commit: 60 });
}

#[test]
fn of_what_is_not_synced_the_disk_loses_any_part() {
    let mut disk = MemDisk::new();
    disk.write("a", 0, &[1; 1_536]).unwrap();
    disk.sync("a").unwrap();
    disk.sync_names().unwrap();
    disk.write("a", 0, &[2; 1_536]).unwrap();
    disk.write("a", 512, &[3; 2_048]).unwrap();
    // Of the first write the last sector, of the second the third; not the length.
    let mut image = disk.clone();
    image.crash(|unsynced| {
        matches!(
            unsynced,
            Unsynced::Sector { write: 0, sector: 2, .. }
                | Unsynced::Sector { write: 1, sector: 3, .. }
        )
    });
    let expected = [[1; 512], [1; 512], [2; 512], [3; 512]].concat();
    assert_eq!(image.read("a").unwrap().to_vec(), expected);
    // The length alone.
    disk.crash(|unsynced| matches!(unsynced, Unsynced::Length { .. }));
    let expected = [[1; 512], [1; 512], [1; 512], [0; 512], [0; 512]].concat();
    assert_eq!(disk.read("a").unwrap().to_vec(), expected);
}

#[test]
fn names_survive_apart_from_contents_and_from_each_other() {
    let mut disk = MemDisk::new();
    for (name, text) in [("old", b"old"), ("new", b"new")] {
        disk.write(name, 0, text).unwrap();
        disk.sync(name).unwrap();
    }
    disk.sync_names().unwrap();
    disk.rename("new", "old").unwrap();
    disk.write("other", 0, b"other").unwrap();
    let digest = disk.durable_digest();

    let mut lost = disk.clone();
    lost.lose_unsynced();
    assert_eq!(lost.read("old").unwrap().to_vec(), b"old");
    assert_eq!(lost.names().unwrap(), ["new", "old"]);
    assert_eq!(lost.durable_digest(), digest);

    disk.crash(|unsynced| matches!(unsynced, Unsynced::Name { .. }));
    assert_eq!(disk.read("old").unwrap().to_vec(), b"new");
    assert_eq!(disk.names().unwrap(), ["old", "other"]);
    assert_eq!(disk.read("other").unwrap().to_vec(), b"");
    assert_ne!(disk.durable_digest(), digest);
}

#[test]
fn a_sync_after_one_that_failed_proves_nothing() {
    let mut disk = MemDisk::new();
    disk.write("a", 0, b"a").unwrap();
    disk.sync_names().unwrap();
    disk.fail_next_sync();
    disk.sync("a").unwrap_err();
    disk.sync("a").unwrap();
    let mut kept = disk.clone();
    kept.crash(|_| true);
    assert_eq!(kept.read("a").unwrap().to_vec(), b"a");
    disk.lose_unsynced();
    assert_eq!(disk.read("a").unwrap().to_vec(), b"");
    // After the crash the disk is as good as new.
    disk.write("a", 0, b"b").unwrap();
    disk.sync("a").unwrap();
    disk.lose_unsynced();
    assert_eq!(disk.read("a").unwrap().to_vec(), b"b");
}

#[test]
fn faults_do_what_they_say_and_are_counted() {
    let mut disk = MemDisk::new();
    disk.fail_next_write();
    assert_eq!(disk.write("a", 0, &[1; 2_048]).unwrap_err().kind, DiskErrorKind::Failed);
    assert_eq!(disk.read("a").unwrap().to_vec(), [1; 1_024]);
    disk.set_capacity(Some(2_048));
    assert_eq!(disk.write("a", 0, &[1; 2_049]).unwrap_err().kind, DiskErrorKind::Full);
    disk.write("a", 0, &[1; 2_048]).unwrap();
    disk.misdirect_next_write(1_024);
    disk.write("a", 0, &[7]).unwrap();
    assert_eq!(disk.read("a").unwrap().to_vec()[1_024], 7);
    assert_eq!((disk.operations(), disk.bytes()), (4, 2_048));
    disk.stop_after(5);
    disk.sync("a").unwrap();
    assert_eq!(disk.sync("a").unwrap_err().kind, DiskErrorKind::Failed);
    assert!(disk.corrupt("a", 1, 1) && !disk.corrupt("a", 9, 1) && !disk.corrupt("b", 0, 1));
    assert_eq!(disk.read("a").unwrap().to_vec()[768], 0);
}

#[test]
fn corruption_lasts_whether_or_not_unsynced_writes_do() {
    let mut disk = MemDisk::new();
    disk.write("a", 0, &[1; 4]).unwrap();
    disk.sync("a").unwrap();
    disk.sync_names().unwrap();
    disk.write("a", 1, &[2; 2]).unwrap();
    disk.write("a", 2, &[4; 4]).unwrap();
    assert!(disk.corrupt_byte("a", 2, 16) && disk.corrupt_byte("a", 5, 16));
    assert_eq!(disk.read("a").unwrap().to_vec(), [1, 2, 4 + 16, 4, 4, 4 + 16]);
    let mut kept = disk.clone();
    kept.crash(|_| true);
    assert_eq!(kept.read("a").unwrap().to_vec(), [1, 2, 4 + 16, 4, 4, 4 + 16]);
    disk.lose_unsynced();
    assert_eq!(disk.read("a").unwrap().to_vec(), [1, 1, 1 + 16, 1]);
}
