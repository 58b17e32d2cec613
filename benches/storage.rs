//! A durable batch beside a bare `fdatasync` of as many bytes, in the same run, on real files.
#![allow(clippy::unwrap_used)]

use std::fs::OpenOptions;
use std::io::{Seek as _, SeekFrom, Write as _};
use std::time::Instant;

use plimsoll::storage::{
    Batch, HardState, MemDisk, SECTOR_BYTES, Storage, StorageOptions, StoredEntry,
};
use plimsoll::storage_fs::FsDisk;

const ROUNDS: u64 = 2_000;

fn batch(index: u64, bytes: usize) -> Batch {
    let data = vec![7; bytes].into();
    Batch {
        hard_state: Some(HardState { term: 1, vote: 1, commit: index - 1 }),
        reset: None,
        entries: vec![StoredEntry { index, term: 1, kind: 0, context: vec![1; 24].into(), data }],
    }
}

/// Median microseconds of a step.
fn median_us(mut step: impl FnMut(u64)) -> f64 {
    let mut times: Vec<_> = (1..=ROUNDS)
        .map(|round| {
            let start = Instant::now();
            step(round);
            start.elapsed().as_secs_f64() * 1e6
        })
        .collect();
    times.sort_by(f64::total_cmp);
    times[times.len() / 2]
}

fn main() {
    let folder = tempfile::tempdir_in(".").unwrap();
    println!("{:<44} {:>10} {:>10} {:>7}", "median of 2,000", "batch", "fdatasync", "ratio");
    for bytes in [200_usize, 4_096, 65_536] {
        let path = folder.path().join(format!("bare-{bytes}"));
        let mut file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(true)
            .open(path)
            .unwrap();
        let length = (bytes + 100).next_multiple_of(SECTOR_BYTES);
        file.write_all(&vec![0; length * ROUNDS as usize]).unwrap();
        file.sync_all().unwrap();
        let bare = median_us(|round| {
            file.seek(SeekFrom::Start((round - 1) * length as u64)).unwrap();
            file.write_all(&vec![7; length]).unwrap();
            file.sync_data().unwrap();
        });
        let disk = FsDisk::open(folder.path().join(format!("log-{bytes}"))).unwrap();
        let (mut storage, _) = Storage::open(disk, StorageOptions::default()).unwrap();
        let durable = median_us(|round| {
            storage.write(&batch(round, bytes)).unwrap();
            storage.sync().unwrap();
        });
        let what = format!("durable batch of {bytes} bytes");
        println!("{what:<44} {durable:>7.1} us {bare:>7.1} us {:>6.2}x", durable / bare);
    }
    let options = StorageOptions { segment_bytes: 64 << 10 };
    let (mut storage, _) = Storage::open(MemDisk::new(), options).unwrap();
    let in_memory = median_us(|round| {
        storage.write(&batch(round, 200)).unwrap();
        storage.sync().unwrap();
    });
    println!("batch of 200 bytes in memory {in_memory:>23.2} us");
}
