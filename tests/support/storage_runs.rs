//! Runs of storage: drawn steps, what has to be there after each, and the trials that a run goes
//! through: a crash at every operation of the disk, failures, corruption, misdirected writes.
//!
//! The model is a few lines and shares nothing with storage: a log is a vector. A step is
//! acknowledged as a whole, so after a crash exactly two states are right, the one before the step
//! that was interrupted and the one after it.
//!
//! Every trial panics with what went wrong, and with the seed.
#![allow(clippy::unwrap_used, dead_code)]

use std::collections::BTreeSet;

use bytes::Bytes;
use plimsoll::storage::{
    Batch, Disk, HardState, MemDisk, Recovered, SECTOR_BYTES, SnapshotMeta, Storage, StorageError,
    StorageOptions, StoredEntry, Unsynced,
};

/// Small segments, so that a run has several.
pub const OPTIONS: StorageOptions = StorageOptions { segment_bytes: 6 * SECTOR_BYTES };

/// Steps of a run.
const STEPS: usize = 14;

/// Something that is acknowledged as a whole.
#[derive(Clone, Debug)]
pub enum Step {
    /// A batch, written and synced.
    Write(Batch),
    Identity(Vec<u8>),
    Snapshot(SnapshotMeta, Vec<u8>),
    Compact(u64),
}

/// What has to be there: what opening gives, beside the snapshot's share of the log.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct View(pub Recovered);

impl View {
    fn base(&self) -> SnapshotMeta {
        self.0.snapshot.as_ref().map_or(SnapshotMeta::default(), |(meta, _)| *meta)
    }

    fn last(&self) -> SnapshotMeta {
        let last = self.0.entries.last();
        last.map_or(self.base(), |e| SnapshotMeta { index: e.index, term: e.term })
    }

    pub fn apply(&mut self, step: &Step) {
        let Recovered { identity, hard_state, snapshot, entries } = &mut self.0;
        match step {
            Step::Identity(bytes) => *identity = Some(bytes.clone().into()),
            Step::Compact(_) => {}
            Step::Snapshot(meta, bytes) => {
                let is_held = snapshot.as_ref().is_some_and(|(old, _)| old == meta)
                    || entries.iter().any(|e| (e.index, e.term) == (meta.index, meta.term));
                entries.retain(|entry| is_held && entry.index > meta.index);
                *snapshot = Some((*meta, bytes.clone().into()));
            }
            Step::Write(batch) => {
                *hard_state = batch.hard_state.unwrap_or(*hard_state);
                if batch.reset.is_some() {
                    entries.clear();
                }
                if let Some(first) = batch.entries.first() {
                    entries.retain(|entry| entry.index < first.index);
                    entries.extend(batch.entries.iter().cloned());
                }
            }
        }
    }
}

/// Small numbers that only depend on a seed.
#[derive(Clone)]
pub struct Draw(pub u64);

impl Draw {
    pub fn below(&mut self, end: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed ^ (mixed >> 31)) % end
    }

    fn bytes(&mut self, most: u64) -> Vec<u8> {
        let length = self.below(most + 1);
        (0..length).map(|_| self.below(256) as u8).collect()
    }
}

/// The next steps of a member in this state.
fn next_steps(draw: &mut Draw, view: &View) -> Vec<Step> {
    let hard_state = view.0.hard_state;
    match draw.below(10) {
        0 => vec![Step::Identity(draw.bytes(1_500))],
        1 => {
            let vote = draw.below(4);
            let term = hard_state.term + 1;
            let hard_state = Some(HardState { term, vote, ..hard_state });
            vec![Step::Write(Batch { hard_state, ..Batch::default() })]
        }
        2 | 3 if hard_state.commit > view.base().index => local_snapshot(draw, view),
        4 => installed_snapshot(draw, view),
        kind => vec![append(draw, view, kind == 5)],
    }
}

/// Appends entries, some over others that are not committed.
fn append(draw: &mut Draw, view: &View, replaces: bool) -> Step {
    let mut hard_state = view.0.hard_state;
    let floor = hard_state.commit.max(view.base().index);
    let mut first = view.last().index + 1;
    if replaces && first > floor + 1 {
        first = floor + 1 + draw.below(first - floor);
        hard_state.term += 1;
    }
    hard_state.term = hard_state.term.max(1);
    let entries: Vec<_> = (0..=draw.below(3))
        .map(|i| StoredEntry {
            index: first + i,
            term: hard_state.term,
            kind: draw.below(3) as u8,
            context: draw.bytes(20).into(),
            data: large_or_small(draw).into(),
        })
        .collect();
    let last = first + entries.len() as u64 - 1;
    hard_state.commit = floor + draw.below(last - floor + 1);
    Step::Write(Batch { hard_state: Some(hard_state), reset: None, entries })
}

/// Mostly small; now and then more than a segment.
fn large_or_small(draw: &mut Draw) -> Vec<u8> {
    match draw.below(12) {
        0 => draw.bytes(4_000),
        1..=3 => draw.bytes(1_000),
        _ => draw.bytes(100),
    }
}

fn local_snapshot(draw: &mut Draw, view: &View) -> Vec<Step> {
    let index = view.base().index + 1 + draw.below(view.0.hard_state.commit - view.base().index);
    let term = view.0.entries.iter().find(|entry| entry.index == index).unwrap().term;
    let compacted = index - draw.below(2).min(index);
    vec![Step::Snapshot(SnapshotMeta { index, term }, draw.bytes(1_500)), Step::Compact(compacted)]
}

/// A snapshot of the leader's, beyond what is committed here, in a term that is not in the log.
fn installed_snapshot(draw: &mut Draw, view: &View) -> Vec<Step> {
    let mut hard_state = view.0.hard_state;
    hard_state.term = hard_state.term.max(view.last().term) + 1;
    let floor = hard_state.commit.max(view.base().index);
    let meta = SnapshotMeta { index: floor + 1 + draw.below(6), term: hard_state.term };
    hard_state.commit = meta.index;
    let reset = Some((meta.index, meta.term));
    vec![
        Step::Snapshot(meta, draw.bytes(1_500)),
        Step::Write(Batch { hard_state: Some(hard_state), reset, entries: Vec::new() }),
        Step::Compact(meta.index),
    ]
}

/// A run: its steps, and what has to be there before each and after the last.
pub fn run_of(seed: u64) -> (Vec<Step>, Vec<View>) {
    let mut draw = Draw(seed);
    continue_run(&mut draw, View::default(), STEPS)
}

fn continue_run(draw: &mut Draw, view: View, length: usize) -> (Vec<Step>, Vec<View>) {
    let (mut steps, mut views) = (Vec::new(), vec![view]);
    while steps.len() < length {
        for step in next_steps(draw, views.last().unwrap()) {
            let mut view = views.last().unwrap().clone();
            view.apply(&step);
            steps.push(step);
            views.push(view);
        }
    }
    (steps, views)
}

pub fn execute<D: Disk>(storage: &mut Storage<D>, step: &Step) -> Result<(), StorageError> {
    match step {
        Step::Write(batch) => {
            storage.write(batch)?;
            storage.sync()?;
            // Some segments are there before they are needed, others are made then.
            if batch.entries.len() % 2 == 0 { storage.make_spare() } else { Ok(()) }
        }
        Step::Identity(bytes) => storage.save_identity(bytes),
        Step::Snapshot(meta, bytes) => storage.save_snapshot(*meta, bytes),
        Step::Compact(index) => storage.compact(*index),
    }
}

/// Does steps on a disk until one fails. Gives the disk and how many were acknowledged; none if
/// even opening failed.
fn work(disk: &MemDisk, steps: &[Step]) -> (MemDisk, Option<usize>) {
    let mut disk = disk.clone();
    let Ok((mut storage, _)) = Storage::open(&mut disk, OPTIONS) else {
        return (disk, None);
    };
    let done = steps.iter().take_while(|step| execute(&mut storage, step).is_ok()).count();
    (disk, Some(done))
}

/// The disk after a run.
pub fn disk_after(steps: &[Step]) -> MemDisk {
    let (disk, done) = work(&MemDisk::new(), steps);
    assert_eq!(done, Some(steps.len()), "a run on a sound disk is acknowledged");
    disk
}

/// Everything unsynced that a crash would ask about.
fn count_unsynced(disk: &MemDisk) -> usize {
    let mut count = 0;
    disk.clone().crash(|_| {
        count += 1;
        true
    });
    count
}

/// Every image that a crash may leave, as far as they are tried: all lost, none lost, each piece
/// alone lost, each alone kept, and some subsets.
pub fn crash_images(disk: &MemDisk, draw: &mut Draw) -> Vec<(String, MemDisk)> {
    let pieces = count_unsynced(disk);
    let mut images = Vec::new();
    let mut add = |what: String, survives: &mut dyn FnMut(usize) -> bool| {
        let mut image = disk.clone();
        let mut piece = 0;
        image.crash(|_: Unsynced<'_>| {
            piece += 1;
            survives(piece - 1)
        });
        images.push((what, image));
    };
    add("nothing unsynced survives".into(), &mut |_| false);
    if pieces == 0 {
        return images;
    }
    add("everything survives".into(), &mut |_| true);
    for lost in 0..pieces {
        add(format!("piece {lost} is lost"), &mut |piece| piece != lost);
        add(format!("only piece {lost} survives"), &mut |piece| piece == lost);
    }
    for subset in 0..4 {
        add(format!("subset {subset} survives"), &mut |_| draw.below(2) == 0);
    }
    images
}

/// The views of which one must be there when so many steps were acknowledged.
fn allowed(views: &[View], done: Option<usize>) -> &[View] {
    let done = done.unwrap_or(0);
    &views[done..(done + 2).min(views.len())]
}

/// Opens a disk and tells which of the allowed views is there.
fn check<'a>(disk: &MemDisk, allowed: &'a [View], place: &dyn Fn() -> String) -> &'a View {
    let (_, recovered) = Storage::open(disk.clone(), OPTIONS)
        .unwrap_or_else(|error| panic!("{}: refused: {error}", place()));
    let found = View(recovered);
    allowed
        .iter()
        .find(|view| **view == found)
        .unwrap_or_else(|| panic!("{}: found {found:#?}, instead of one of {allowed:#?}", place()))
}

/// A crash at every operation of a run, with every image that it may leave.
pub fn crash_everywhere(seed: u64) -> usize {
    let (steps, views) = run_of(seed);
    let mut draw = Draw(seed ^ 1);
    let mut images = 0;
    for at in 0..=disk_after(&steps).operations() {
        let mut disk = MemDisk::new();
        disk.stop_after(at);
        let (disk, done) = work(&disk, &steps);
        for (what, image) in crash_images(&disk, &mut draw) {
            let place = || format!("seed {seed}, crash at operation {at}, {what}");
            check(&image, allowed(&views, done), &place);
            images += 1;
        }
    }
    images
}

/// After a crash, another one at every operation of the recovery, and of some work that follows it.
pub fn crash_again(seed: u64) -> usize {
    let (steps, views) = run_of(seed);
    let mut draw = Draw(seed ^ 2);
    let total = disk_after(&steps).operations();
    let mut images = 0;
    for at in 0..=total {
        let mut disk = MemDisk::new();
        disk.stop_after(at);
        let (disk, done) = work(&disk, &steps);
        let mut first = crash_images(&disk, &mut draw);
        while first.len() > CRASHES_FOLLOWED {
            first.swap_remove(draw.below(first.len() as u64) as usize);
        }
        for (what, image) in first {
            let place = || format!("seed {seed}, crash at operation {at}, {what}");
            let view = check(&image, allowed(&views, done), &place).clone();
            images += crash_in_second_life(seed, &image, view, &place, &mut draw);
        }
    }
    images
}

const CRASHES_FOLLOWED: usize = 3;

fn crash_in_second_life(
    seed: u64,
    image: &MemDisk,
    view: View,
    place: &dyn Fn() -> String,
    draw: &mut Draw,
) -> usize {
    let (steps, views) = continue_run(&mut Draw(seed ^ draw.below(1 << 30)), view, 2);
    let (whole, done) = work(image, &steps);
    assert_eq!(done, Some(steps.len()), "{}: a second life is acknowledged", place());
    let mut images = 0;
    for at in image.operations()..=whole.operations() {
        let mut disk = image.clone();
        disk.stop_after(at);
        let (disk, done) = work(&disk, &steps);
        for (what, second) in crash_images(&disk, draw) {
            let place = || format!("{}; then at operation {at}, {what}", place());
            check(&second, allowed(&views, done), &place);
            images += 1;
        }
    }
    images
}

/// The process ends at every operation, and what opening gives is durable from then on, though the
/// power fails right after it.
pub fn end_process_everywhere(seed: u64) {
    let (steps, views) = run_of(seed);
    let mut draw = Draw(seed ^ 3);
    for at in 0..=disk_after(&steps).operations() {
        let mut disk = MemDisk::new();
        disk.stop_after(at);
        let (mut disk, done) = work(&disk, &steps);
        disk.stop_after(u64::MAX);
        let (storage, recovered) = Storage::open(disk, OPTIONS).unwrap();
        let found = [View(recovered)];
        assert!(allowed(&views, done).contains(&found[0]), "seed {seed}, end at operation {at}");
        for (what, image) in crash_images(&storage.into_disk(), &mut draw) {
            let place = || format!("seed {seed}, end at {at}, then the power fails: {what}");
            check(&image, &found, &place);
        }
    }
}

/// Every operation fails once. Then nothing more is taken, and what was acknowledged is there.
pub fn fail_everywhere(seed: u64) {
    let (steps, views) = run_of(seed);
    let mut draw = Draw(seed ^ 4);
    for at in 0..disk_after(&steps).operations() {
        let mut disk = MemDisk::new();
        disk.fail_operation(at);
        let mut done = None;
        if let Ok((mut storage, _)) = Storage::open(&mut disk, OPTIONS) {
            let acknowledged =
                steps.iter().take_while(|step| execute(&mut storage, step).is_ok()).count();
            done = Some(acknowledged);
            if acknowledged < steps.len() {
                let before = storage.disk_mut().operations();
                assert_eq!(storage.sync(), Err(StorageError::Failed), "seed {seed}, {at} failed");
                assert_eq!(storage.disk_mut().operations(), before, "the disk is left alone");
            }
        }
        for (what, image) in crash_images(&disk, &mut draw) {
            let place = || format!("seed {seed}, operation {at} failed, {what}");
            check(&image, allowed(&views, done), &place);
        }
    }
}

/// The disk is full at every size that a run passes through, and has room again later.
pub fn fill_everywhere(seed: u64) -> usize {
    let (steps, views) = run_of(seed);
    let mut refusals = 0;
    for capacity in (0..disk_after(&steps).bytes()).step_by(SECTOR_BYTES) {
        let mut disk = MemDisk::new();
        disk.set_capacity(Some(capacity));
        let mut done = None;
        let mut failure = None;
        match Storage::open(&mut disk, OPTIONS) {
            Err(error) => failure = Some(error),
            Ok((mut storage, _)) => {
                let executed = steps.iter().map(|step| execute(&mut storage, step));
                let results: Vec<_> = executed
                    .take_while(|r| {
                        failure = r.clone().err();
                        r.is_ok()
                    })
                    .collect();
                done = Some(results.len());
            }
        }
        let Some(error) = failure else { continue };
        assert!(matches!(error, StorageError::Full(_)), "seed {seed}, {capacity} bytes: {error}");
        disk.set_capacity(None);
        check(&disk, allowed(&views, done), &|| format!("seed {seed}, {capacity} bytes"));
        refusals += 1;
    }
    refusals
}

/// Each sector of each file is corrupted, in one byte and wholly to zeros. The log is refused, and
/// names file and sector, unless a sector of its last batch was zeroed, which no reader could tell
/// from a torn one; or a sector was zeroed that was.
pub fn corrupt_everywhere(seed: u64) -> usize {
    let (steps, views) = run_of(seed);
    let disk = disk_after(&steps);
    let newest = disk.names().unwrap().into_iter().rfind(|name| name.starts_with("snapshot-"));
    let mut refusals = 0;
    for name in disk.names().unwrap() {
        // Older snapshots, and a spare segment, hold nothing that counts.
        let is_old = name.starts_with("snapshot-") && Some(&name) != newest.as_ref();
        if is_old || name == "spare.new" {
            continue;
        }
        let bytes = disk.read(&name).unwrap().to_vec();
        for sector in 0..bytes.len().div_ceil(SECTOR_BYTES) {
            let range = sector * SECTOR_BYTES..bytes.len().min((sector + 1) * SECTOR_BYTES);
            let is_last = name.starts_with("log-") && is_in_last_batch(&disk, &name, sector);
            for zeroed in [false, true] {
                let mut damaged = disk.clone();
                if zeroed {
                    let zeros = vec![0; range.len()];
                    damaged.write(&name, range.start as u64, &zeros).unwrap();
                    damaged.sync(&name).unwrap();
                } else {
                    let at = range.start + (seed as usize * 37 + sector) % range.len();
                    assert!(damaged.corrupt_byte(&name, at, 1 << (seed % 8)));
                }
                let is_changed = damaged.read(&name).unwrap().to_vec() != bytes;
                if !is_changed || zeroed && is_last {
                    continue;
                }
                let place = format!("seed {seed}, {name}, sector {sector}, zeroed: {zeroed}");
                refused(&damaged, &name, &place, views.last().unwrap());
                refusals += 1;
            }
        }
    }
    refusals
}

/// Whether a sector belongs to the last batch that was written: to the batch whose number, as the
/// format has it, is the highest.
fn is_in_last_batch(disk: &MemDisk, name: &str, sector: usize) -> bool {
    let batch = |bytes: &[u8], sector: usize| {
        let at = sector * SECTOR_BYTES + 16;
        u64::from_be_bytes(bytes[at..at + 8].try_into().unwrap())
    };
    let last = disk.names().unwrap().into_iter().rfind(|name| name.starts_with("log-")).unwrap();
    let bytes = disk.read(&last).unwrap().to_vec();
    let highest = (1..bytes.len() / SECTOR_BYTES).map(|sector| batch(&bytes, sector)).max();
    name == last && sector > 0 && Some(batch(&bytes, sector)) == highest
}

fn refused(disk: &MemDisk, name: &str, place: &str, view: &View) {
    match Storage::open(disk.clone(), OPTIONS) {
        Err(error) => {
            let text = error.to_string();
            assert!(!matches!(error, StorageError::Disk(_)), "{place}: {error}");
            let blames = text.contains("log-") || text.contains(name);
            assert!(blames, "{place}: the file is named: {error}");
        }
        Ok((_, recovered)) => {
            let is_same = View(recovered) == *view;
            panic!("{place}: not refused, and what is there is right: {is_same}");
        }
    }
}

/// Each file is missing. An identity alone can't be missed: whoever saves one has to ask for it.
pub fn lose_each_file(seed: u64) -> usize {
    let (steps, views) = run_of(seed);
    let disk = disk_after(&steps);
    let mut refusals = 0;
    for name in disk.names().unwrap() {
        let mut lost = disk.clone();
        lost.remove(&name).unwrap();
        lost.sync_names().unwrap();
        let acknowledged = &views.last().unwrap().0;
        let has_begun = acknowledged.identity.is_some() || acknowledged.snapshot.is_some();
        match Storage::open(lost, OPTIONS) {
            Err(_) => refusals += 1,
            Ok((_, recovered)) if name == "identity" => {
                assert_eq!(recovered, Recovered { identity: None, ..acknowledged.clone() });
            }
            // A segment is not needed once the snapshot covers it. Nothing tells a folder without
            // its only file from a new one.
            Ok((_, recovered)) if name.starts_with("log-") => {
                let is_new = !has_begun && recovered == Recovered::default();
                assert!(is_new || recovered == *acknowledged, "seed {seed}: {name} is not missed");
            }
            // A snapshot is not needed while the log before it is there.
            Ok((_, recovered)) => {
                let base = recovered.snapshot.map_or(0, |(meta, _)| meta.index);
                assert!(
                    recovered.entries.iter().map(|e| e.index).eq(base + 1..=last_index(&views))
                );
                assert!(recovered.entries.ends_with(&acknowledged.entries), "seed {seed}: {name}");
                assert_eq!(recovered.hard_state, acknowledged.hard_state, "seed {seed}: {name}");
            }
        }
    }
    refusals
}

fn last_index(views: &[View]) -> u64 {
    views.last().unwrap().last().index
}

/// Each write of the log goes elsewhere in its file, and another batch is synced after it. What
/// opening gives is all that was acknowledged, or nothing.
pub fn misdirect_everywhere(seed: u64) -> usize {
    let (steps, views) = run_of(seed);
    let mut draw = Draw(seed ^ 5);
    let mut refusals = 0;
    for target in 0..steps.len() {
        let Step::Write(_) = steps[target] else { continue };
        let Some(follower) =
            (target + 1..steps.len()).find(|s| matches!(steps[*s], Step::Write(_)))
        else {
            break;
        };
        for _ in 0..4 {
            let (mut storage, _) = Storage::open(MemDisk::new(), OPTIONS).unwrap();
            for (at, step) in steps[..=follower].iter().enumerate() {
                if at == target {
                    let offset = draw.below(12) * SECTOR_BYTES as u64;
                    storage.disk_mut().misdirect_next_write(offset);
                }
                execute(&mut storage, step).unwrap();
            }
            let mut disk = storage.into_disk();
            disk.lose_unsynced();
            match Storage::open(disk, OPTIONS) {
                Err(StorageError::Disk(error)) => panic!("seed {seed}: {error}"),
                Err(_) => refusals += 1,
                Ok((_, recovered)) => assert_eq!(
                    View(recovered),
                    views[follower + 1],
                    "seed {seed}: the write of step {target} went elsewhere"
                ),
            }
        }
    }
    refusals
}

/// What a set of runs contains, so that a check that tried nothing is seen.
pub fn kinds_of_steps(seeds: std::ops::Range<u64>) -> BTreeSet<&'static str> {
    let mut kinds = BTreeSet::new();
    for seed in seeds {
        let (steps, views) = run_of(seed);
        for (step, view) in steps.iter().zip(&views) {
            kinds.insert(match step {
                Step::Write(batch) if batch.reset.is_some() => "reset",
                Step::Write(batch) => match batch.entries.first() {
                    None => "hard state",
                    Some(first) if first.index <= view.last().index => "replacement",
                    Some(_) if batch.entries.iter().any(|e| e.data.len() > 3_000) => "large batch",
                    Some(_) => "append",
                },
                Step::Identity(_) => "identity",
                Step::Snapshot(..) => "snapshot",
                Step::Compact(_) => "compaction",
            });
        }
    }
    kinds
}

/// Bytes of a value, for tests that build steps by hand.
pub fn entry(index: u64, term: u64, data: &[u8]) -> StoredEntry {
    StoredEntry { index, term, kind: 0, context: Bytes::new(), data: Bytes::copy_from_slice(data) }
}
