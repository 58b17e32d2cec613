//! Storage on real files does what it does in memory, and one folder has one writer.
#![cfg(feature = "fs")]
#![allow(clippy::unwrap_used)]

#[path = "support/storage_crashes.rs"]
mod crashes;

use crashes::{OPTIONS, Random, Step, steps};
use plimsoll::error::ErrorKind;
use plimsoll::storage::{Disk, LOCK, MemDisk, Storage};
use plimsoll::storage_fs::FsDisk;

fn execute<D: Disk>(storage: &mut Storage<D>, step: &Step) {
    match step {
        Step::Identity(identity) => storage.save_identity(identity),
        Step::Snapshot(meta, bytes) => storage.save_snapshot(*meta, bytes),
        Step::Compact(index) => storage.compact(*index),
        Step::Write(batch) => storage.write(batch).and_then(|()| storage.sync()),
    }
    .unwrap();
}

#[test]
fn real_files_and_files_in_memory_are_the_same_byte_for_byte() {
    for seed in 1..10 {
        let folder = tempfile::tempdir().unwrap();
        let steps = steps(&mut Random(seed), 30);
        let mut memory = MemDisk::new();
        let mut recovered = None;
        // Opened anew after every third step: what is there is what counts.
        for part in steps.chunks(3) {
            let (mut real, found) =
                Storage::open(FsDisk::open(folder.path()).unwrap(), OPTIONS).unwrap();
            let (mut model, expected) = Storage::open(memory, OPTIONS).unwrap();
            assert_eq!(found, expected);
            for step in part {
                execute(&mut real, step);
                execute(&mut model, step);
            }
            memory = model.into_disk();
            recovered = Some(found);
        }
        assert!(recovered.is_some());
        let disk = FsDisk::open(folder.path()).unwrap();
        let names: Vec<_> = disk.names().unwrap().into_iter().filter(|name| name != LOCK).collect();
        assert_eq!(names, memory.names().unwrap());
        for name in names {
            assert_eq!(disk.read(&name), memory.read(&name), "{name}");
        }
    }
}

#[test]
fn a_second_writer_is_kept_out_and_told_who_holds_the_folder() {
    let folder = tempfile::tempdir().unwrap();
    let disk = FsDisk::open(folder.path()).unwrap();
    let error = FsDisk::open(folder.path()).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unavailable);
    let holder = format!("process {}", std::process::id());
    assert!(error.message().contains(&holder), "{error}");
    drop(disk);
    FsDisk::open(folder.path()).unwrap();
}

#[test]
fn a_foreign_file_is_refused_by_name() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("notes.txt"), "mine").unwrap();
    let error = Storage::open(FsDisk::open(folder.path()).unwrap(), OPTIONS).unwrap_err();
    assert!(error.to_string().contains("notes.txt"), "{error}");
}
