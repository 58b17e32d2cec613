//! A batch that is written and synced, against a bare write and fdatasync of as many bytes.
//!
//! `cargo bench --bench storage --no-default-features --features fs`. Both write into files that
//! were zeroed and synced before, so neither pays for growing one. In memory there is no sync to
//! wait for: there the figure is what storage itself costs.

mod support;

use std::fs::File;
use std::io::{Seek, SeekFrom, Write};

use bytes::Bytes;
use plimsoll::storage::{Batch, Disk, HardState, MemDisk, Storage, StorageOptions, StoredEntry};
use plimsoll::storage_fs::FsDisk;
use support::{Contender, contest};

fn main() {
    for bytes in [200, 4_096, 65_536] {
        on_files(bytes);
    }
    in_memory(200);
}

fn on_files(bytes: usize) {
    let folder = tempfile::tempdir_in(".").expect("a folder on the disk of the project");
    let mut bare = Bare::new(&folder.path().join("bare"), sectors(bytes));
    let disk = FsDisk::open(&folder.path().join("storage")).expect("an empty folder");
    let mut writer = Writer::new(disk, bytes, StorageOptions::default());
    contest(
        &format!("a batch of {bytes} B, durable"),
        None,
        vec![
            Contender::new("write and fdatasync", |n| (0..n).for_each(|_| bare.write())),
            Contender::new("storage on files", |n| (0..n).for_each(|_| writer.write())),
        ],
    );
}

fn in_memory(bytes: usize) {
    let options = StorageOptions { segment_bytes: 64 << 10 };
    let mut disk = MemDisk::new();
    let image = vec![1; sectors(bytes)];
    let mut at = 0;
    let mut writer = Writer::new(MemDisk::new(), bytes, options);
    contest(
        &format!("a batch of {bytes} B, in memory"),
        None,
        vec![
            Contender::new("write and sync of the disk", |n| {
                for _ in 0..n {
                    disk.write("bare", at % (64 << 10), &image).expect("there is room");
                    disk.sync("bare").expect("it does not fail");
                    at += 512;
                }
            }),
            Contender::new("storage in memory", |n| (0..n).for_each(|_| writer.write())),
        ],
    );
}

/// As many bytes as the batch takes on the disk.
fn sectors(bytes: usize) -> usize {
    (bytes + 60).div_ceil(472) * 512
}

/// A file of zeros that is written from its beginning to its end, again and again.
struct Bare {
    file: File,
    bytes: Vec<u8>,
    at: u64,
}

impl Bare {
    fn new(path: &std::path::Path, bytes: usize) -> Self {
        let mut file = File::create_new(path).expect("a new file");
        file.write_all(&vec![0; FILE_BYTES]).expect("there is room");
        file.sync_all().expect("it can be synced");
        Self { file, bytes: vec![1; bytes], at: 0 }
    }

    fn write(&mut self) {
        if self.at + self.bytes.len() as u64 > FILE_BYTES as u64 {
            self.at = 0;
        }
        self.file.seek(SeekFrom::Start(self.at)).expect("it is within the file");
        self.file.write_all(&self.bytes).expect("there is room");
        self.file.sync_data().expect("it can be synced");
        self.at += self.bytes.len() as u64;
    }
}

/// Writes entry after entry, and forgets them segment by segment.
struct Writer<D> {
    storage: Storage<D>,
    data: Bytes,
    index: u64,
}

impl<D: Disk> Writer<D> {
    fn new(disk: D, bytes: usize, options: StorageOptions) -> Self {
        let (storage, _) = Storage::open(disk, options).expect("an empty folder");
        Self { storage, data: vec![1; bytes].into(), index: 0 }
    }

    fn write(&mut self) {
        self.index += 1;
        let entry = StoredEntry {
            index: self.index,
            term: 1,
            data: self.data.clone(),
            ..StoredEntry::default()
        };
        let hard_state = Some(HardState { term: 1, vote: 1, commit: self.index });
        let batch = Batch { hard_state, reset: None, entries: vec![entry] };
        self.storage.write(&batch).expect("there is room");
        self.storage.sync().expect("it does not fail");
        if self.index.is_multiple_of(COMPACTED_EACH) {
            let meta = plimsoll::storage::SnapshotMeta { index: self.index, term: 1 };
            self.storage.save_snapshot(meta, b"").expect("there is room");
            self.storage.compact(self.index).expect("it does not fail");
        }
    }
}

const FILE_BYTES: usize = 16 << 20;
const COMPACTED_EACH: u64 = 10_000;
