//! Storage on real files: the same bytes as in memory, one writer, and processes that are killed.
#![allow(clippy::unwrap_used)]

#[path = "support/storage_runs.rs"]
mod runs;

use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Command, Stdio};

use plimsoll::storage::{Batch, Disk, DiskErrorKind, HardState, MemDisk, Storage, StorageError};
use plimsoll::storage_fs::FsDisk;

#[test]
fn the_same_run_leaves_the_same_bytes_in_files_and_in_memory() {
    for seed in 0..20 {
        let folder = tempfile::tempdir().unwrap();
        let (steps, views) = runs::run_of(seed);
        let files = FsDisk::open(folder.path()).unwrap();
        let (mut on_files, _) = Storage::open(files, runs::OPTIONS).unwrap();
        let (mut in_memory, _) = Storage::open(MemDisk::new(), runs::OPTIONS).unwrap();
        for step in &steps {
            runs::execute(&mut on_files, step).unwrap();
            runs::execute(&mut in_memory, step).unwrap();
            assert_eq!(image(on_files.disk_mut()), image(in_memory.disk_mut()), "seed {seed}");
        }
        drop(on_files);
        let files = FsDisk::open(folder.path()).unwrap();
        let (_, recovered) = Storage::open(files, runs::OPTIONS).unwrap();
        assert_eq!(recovered, views.last().unwrap().0, "seed {seed}");
    }
}

fn image(disk: &impl Disk) -> Vec<(String, Vec<u8>)> {
    let names = disk.names().unwrap();
    names.into_iter().map(|name| (name.clone(), disk.read(&name).unwrap().to_vec())).collect()
}

#[test]
fn files_behave_as_those_in_memory_where_something_is_wrong() {
    fn outcomes(disk: &mut impl Disk) -> Vec<Option<DiskErrorKind>> {
        disk.write("a", 3, b"xyz").unwrap();
        disk.write("b", 0, b"b").unwrap();
        disk.rename("b", "a").unwrap();
        disk.write("a", 2, b"c").unwrap();
        let results = [
            disk.read("b").map(drop),
            disk.sync("b"),
            disk.rename("b", "c"),
            disk.remove("b"),
            disk.sync("a"),
            disk.sync_names(),
        ];
        results.into_iter().map(|result| result.err().map(|error| error.kind)).collect()
    }
    let folder = tempfile::tempdir().unwrap();
    let mut files = FsDisk::open(folder.path()).unwrap();
    let mut memory = MemDisk::new();
    assert_eq!(outcomes(&mut files), outcomes(&mut memory));
    assert_eq!(image(&files), image(&memory));
    assert_eq!(memory.read("a").unwrap().to_vec(), b"b\0c");
}

#[test]
fn a_folder_has_one_writer_and_tells_who_it_is() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("made/on/the/way");
    let first = FsDisk::open(&path).unwrap();
    let error = FsDisk::open(&path).unwrap_err();
    assert_eq!(error.kind, DiskErrorKind::Locked);
    let holder = format!("is held by process {}", std::process::id());
    assert!(error.what.ends_with(&holder), "{error}");
    drop(first);
    FsDisk::open(&path).unwrap();
}

#[test]
fn another_programs_file_is_refused_by_name() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::create_dir(folder.path().join("photos")).unwrap();
    let files = FsDisk::open(folder.path()).unwrap();
    let error = Storage::open(files, runs::OPTIONS).unwrap_err();
    assert_eq!(error, StorageError::Foreign { file: "photos".to_owned() });
}

/// A killed process leaves its lock to nobody, and everything that it acknowledged.
#[cfg(unix)]
#[test]
fn a_process_that_is_killed_loses_nothing_it_acknowledged() {
    let folder = tempfile::tempdir().unwrap();
    let mut acknowledged = 0;
    for life in 1..=6 {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "the_process_that_is_killed", "--nocapture"])
            .env(FOLDER, folder.path())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let output = BufReader::new(child.stdout.take().unwrap());
        let said = output.lines().map_while(Result::ok);
        let indexes = said.filter_map(|line| line.strip_prefix("wrote ")?.parse::<u64>().ok());
        let last = indexes.take(7 * life).last().expect("the process wrote something");
        child.kill().unwrap();
        child.wait().unwrap();
        assert!(last > acknowledged, "each life goes on where the one before it ended");
        acknowledged = last;
        let files = FsDisk::open(folder.path()).unwrap();
        let (_, recovered) = Storage::open(files, runs::OPTIONS).unwrap();
        assert!(recovered.entries.len() as u64 >= acknowledged, "{acknowledged} were written");
        assert!(recovered.entries.iter().all(|entry| entry.data == data(entry.index)));
    }
}

/// Not a test of its own: the other half of the test above, which runs it in a process.
#[test]
fn the_process_that_is_killed() {
    let Some(folder) = std::env::var_os(FOLDER) else { return };
    let files = FsDisk::open(Path::new(&folder)).unwrap();
    let (mut storage, recovered) = Storage::open(files, runs::OPTIONS).unwrap();
    for index in recovered.entries.len() as u64 + 1.. {
        let hard_state = Some(HardState { term: 1, vote: 1, commit: index });
        let entries = vec![runs::entry(index, 1, &data(index))];
        storage.write(&Batch { hard_state, reset: None, entries }).unwrap();
        storage.sync().unwrap();
        println!("wrote {index}");
        std::io::stdout().flush().unwrap();
    }
}

fn data(index: u64) -> Vec<u8> {
    vec![index as u8; (index * 97 % 1_500) as usize]
}

const FOLDER: &str = "STORAGE_FS_FOLDER";
