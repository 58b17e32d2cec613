//! Snapshots that are saved beside the log, while batches are written and synced: a crash at every
//! operation of the disk, with every image that it may leave.
#![allow(clippy::unwrap_used)]

#[path = "support/storage_runs.rs"]
mod runs;

#[path = "support/lent.rs"]
mod lent;

use std::sync::Arc;

use bytes::Bytes;
use lent::Lent;
use plimsoll::storage::{
    Batch, Disk, HardState, MemDisk, Recovered, SnapshotMeta, Storage, StorageError, StoredEntry,
};

const META: SnapshotMeta = SnapshotMeta { index: 4, term: 1 };
const PARTS: [&[u8]; 4] = [b"first part, ", &[7; 700], b"", b"last part"];

fn state() -> Vec<u8> {
    PARTS.concat()
}

fn data(index: u64) -> Bytes {
    // Several sectors for some, so that segments fill up while the snapshot is being saved.
    vec![index as u8; 300 * (index as usize % 4)].into()
}

/// What was acknowledged.
#[derive(Clone, Copy, Debug, Default)]
struct Acknowledged {
    entries: u64,
    is_saved: bool,
}

/// Writes the next entry, and remembers that it was acknowledged.
fn write(storage: &mut Storage<Lent>, seen: &mut Acknowledged) -> Result<(), StorageError> {
    let index = seen.entries + 1;
    let entry = StoredEntry { index, term: 1, kind: 0, context: Bytes::new(), data: data(index) };
    let hard_state = HardState { term: 1, vote: 1, commit: index };
    storage.write(&Batch { hard_state: Some(hard_state), reset: None, entries: vec![entry] })?;
    storage.sync()?;
    seen.entries = index;
    if let Some(maker) = storage.spare_maker() {
        maker.make()?;
        storage.adopt_spare();
    }
    Ok(())
}

/// Writes entries before, while and after a snapshot is saved.
fn work(disk: &Lent, seen: &mut Acknowledged) -> Result<(), StorageError> {
    let (mut storage, _) = Storage::open(disk.clone(), runs::OPTIONS)?;
    for _ in 0..6 {
        write(&mut storage, seen)?;
    }
    let mut saver = storage.snapshot_saver();
    saver.save(META, state().len() as u64, |sink| {
        for part in PARTS {
            sink(part)?;
            write(&mut storage, seen)?;
        }
        Ok(())
    })?;
    seen.is_saved = true;
    write(&mut storage, seen)?;
    storage.adopt_snapshot(META);
    storage.compact(META.index)?;
    write(&mut storage, seen)
}

fn check(image: &MemDisk, seen: Acknowledged, place: &str) {
    let opened = Storage::open(image.clone(), runs::OPTIONS);
    let (_, recovered) = opened.unwrap_or_else(|error| panic!("{place}: refused: {error}"));
    let Recovered { snapshot, entries, .. } = recovered;
    let base = match snapshot {
        None => 0,
        Some((meta, bytes)) => {
            assert_eq!((meta, bytes.to_vec()), (META, state()), "{place}");
            meta.index
        }
    };
    assert!(!seen.is_saved || base == META.index, "{place}: the snapshot is gone");
    for (position, entry) in (base + 1..).zip(&entries) {
        assert_eq!((entry.index, &entry.data), (position, &data(position)), "{place}");
    }
    let last = base.max(entries.last().map_or(0, |entry| entry.index));
    assert!(
        (seen.entries..=seen.entries + 1).contains(&last),
        "{place}: ends with {last}, {seen:?}"
    );
}

#[test]
fn a_crash_while_a_snapshot_is_saved_beside_the_log_takes_nothing() {
    let whole = Lent(Arc::default());
    let mut seen = Acknowledged::default();
    work(&whole, &mut seen).unwrap();
    assert_eq!((seen.entries, seen.is_saved), (12, true));
    let operations = whole.0.lock().unwrap().operations();
    assert!(operations > 40, "{operations}");
    let mut draw = runs::Draw(1);
    let mut images = 0;
    for at in 0..=operations {
        let disk = Lent(Arc::default());
        disk.0.lock().unwrap().stop_after(at);
        let mut seen = Acknowledged::default();
        assert_eq!(work(&disk, &mut seen).is_ok(), at == operations, "at {at}");
        let stopped = disk.0.lock().unwrap().clone();
        for (what, image) in runs::crash_images(&stopped, &mut draw) {
            check(&image, seen, &format!("crash at operation {at}, {what}"));
            images += 1;
        }
    }
    assert!(images > 200, "{images} images");
}

#[test]
fn of_two_snapshots_the_later_one_counts_whichever_is_saved_first() {
    let disk = Lent(Arc::default());
    let (mut storage, _) = Storage::open(disk.clone(), runs::OPTIONS).unwrap();
    let mut saver = storage.snapshot_saver();
    let installed = SnapshotMeta { index: 9, term: 2 };
    saver
        .save(META, 3, |sink| {
            storage.save_snapshot(installed, b"installed")?;
            let hard_state = Some(HardState { term: 2, vote: 0, commit: 9 });
            storage.write(&Batch { hard_state, reset: Some((9, 2)), entries: Vec::new() })?;
            storage.sync()?;
            sink(b"own")
        })
        .unwrap();
    storage.adopt_snapshot(META);
    storage.compact(installed.index).unwrap();
    assert!(
        !disk.names().unwrap().iter().any(|name| name.ends_with("04")),
        "the older one is gone"
    );
    drop(storage);
    let (_, recovered) = Storage::open(disk, runs::OPTIONS).unwrap();
    assert_eq!(recovered.snapshot, Some((installed, Bytes::from_static(b"installed"))));
}
