//! Generated runs of storage, crashed at every operation of the disk in many ways, against a model of
//! what must be there afterwards: everything acknowledged, and of the step under way all or nothing.
#![allow(clippy::unwrap_used, dead_code)]

use bytes::Bytes;
use plimsoll::storage::{
    Batch, Disk, HardState, MemDisk, Recovered, SECTOR_BYTES, SnapshotMeta, Storage, StorageError,
    StorageOptions, StoredEntry, Unsynced,
};

pub const OPTIONS: StorageOptions = StorageOptions { segment_bytes: 8 * SECTOR_BYTES };

/// One step of a run; it is acknowledged as a whole.
#[derive(Clone, Debug)]
pub enum Step {
    Write(Batch),
    Snapshot(SnapshotMeta, Bytes),
    Compact(u64),
    Identity(Bytes),
}

/// What must be durable after acknowledged steps.
#[derive(Clone, Debug, Default)]
struct Model {
    identity: Option<Bytes>,
    hard_state: HardState,
    snapshot: Option<(SnapshotMeta, Bytes)>,
    log: Vec<StoredEntry>,
}

/// Small, and enough for choosing.
pub struct Random(pub u64);

impl Random {
    pub fn below(&mut self, limit: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) % limit
    }
}

impl Model {
    fn apply(&mut self, step: &Step) {
        match step {
            Step::Identity(identity) => self.identity = Some(identity.clone()),
            Step::Snapshot(meta, bytes) => self.snapshot = Some((*meta, bytes.clone())),
            Step::Compact(_) => {}
            Step::Write(Batch { hard_state, reset, entries }) => {
                self.hard_state = hard_state.unwrap_or(self.hard_state);
                if reset.is_some() {
                    self.log.clear();
                }
                if let Some(first) = entries.first() {
                    self.log.retain(|entry| entry.index < first.index);
                }
                self.log.extend(entries.iter().cloned());
            }
        }
    }

    /// What opening gives: entries behind the snapshot, if they are of its history.
    fn recovered(&self) -> Recovered {
        let meta = self.snapshot.as_ref().map(|(meta, _)| *meta);
        let mut entries = self.log.clone();
        if let Some(meta) = meta {
            let is_foreign =
                entries.iter().any(|entry| entry.index == meta.index && entry.term != meta.term);
            entries.retain(|entry| entry.index > meta.index && !is_foreign);
        }
        Recovered {
            identity: self.identity.clone(),
            hard_state: self.hard_state,
            snapshot: self.snapshot.clone(),
            entries,
        }
    }
}

/// A run of about so many steps.
pub fn steps(random: &mut Random, count: usize) -> Vec<Step> {
    let mut steps = Vec::new();
    let (mut last, mut committed, mut snapshot, mut term) = (0, 0, 0, 1);
    while steps.len() < count {
        match random.below(10) {
            0 => steps.push(Step::Identity(payload(random, 300))),
            1 if committed > snapshot => {
                snapshot += 1 + random.below(committed - snapshot);
                let meta = SnapshotMeta { index: snapshot, term: 0 };
                steps.push(Step::Snapshot(meta, payload(random, 2_000)));
                steps.push(Step::Compact(snapshot));
            }
            2 if random.below(3) == 0 => {
                // Installed from a leader: behind everything that is here, of a newer term.
                term += 1;
                last += 1 + random.below(3);
                (committed, snapshot) = (last, last);
                let meta = SnapshotMeta { index: last, term };
                steps.push(Step::Snapshot(meta, payload(random, 2_000)));
                let reset = Some((last, term));
                let hard_state = Some(HardState { term, vote: 0, commit: committed });
                steps.push(Step::Write(Batch { hard_state, reset, entries: Vec::new() }));
            }
            3 => {
                term += 1;
                let hard_state = Some(HardState { term, vote: random.below(4), commit: committed });
                steps.push(Step::Write(Batch { hard_state, ..Batch::default() }));
            }
            choice => {
                if choice == 4 && last > committed {
                    // Another leader's entries in the place of some that were not committed.
                    term += 1;
                    last = committed + random.below(last - committed);
                }
                let entries: Vec<_> = (0..=random.below(3))
                    .map(|_| {
                        last += 1;
                        entry(random, last, term)
                    })
                    .collect();
                committed += random.below(last - committed + 1);
                let hard_state = Some(HardState { term, vote: 1, commit: committed });
                steps.push(Step::Write(Batch { hard_state, reset: None, entries }));
            }
        }
    }
    own_snapshots_have_the_terms_of_their_entries(&mut steps);
    steps
}

fn entry(random: &mut Random, index: u64, term: u64) -> StoredEntry {
    let (kind, context) = (random.below(3) as u8, payload(random, 20));
    StoredEntry { index, term, kind, context, data: payload(random, 900) }
}

fn payload(random: &mut Random, below: u64) -> Bytes {
    let byte = random.below(256) as u8;
    vec![byte; random.below(below) as usize].into()
}

fn own_snapshots_have_the_terms_of_their_entries(steps: &mut [Step]) {
    let mut model = Model::default();
    for step in steps {
        if let Step::Snapshot(meta, _) = step
            && meta.term == 0
        {
            let entry = model.log.iter().find(|entry| entry.index == meta.index);
            let before = model.snapshot.as_ref().map(|(meta, _)| meta.term);
            meta.term = entry.map(|entry| entry.term).or(before).unwrap();
        }
        model.apply(step);
    }
}

fn execute(storage: &mut Storage<MemDisk>, step: &Step) -> Result<(), StorageError> {
    match step {
        Step::Identity(identity) => storage.save_identity(identity),
        Step::Snapshot(meta, bytes) => storage.save_snapshot(*meta, bytes),
        Step::Compact(index) => storage.compact(*index),
        Step::Write(batch) => storage.write(batch).and_then(|()| storage.sync()),
    }
}

/// Runs the steps until one fails; the disk, and how many were acknowledged.
pub fn run(steps: &[Step], prepare: impl FnOnce(&mut MemDisk)) -> (MemDisk, usize) {
    let mut disk = MemDisk::new();
    prepare(&mut disk);
    let (mut storage, _) = Storage::open(disk, OPTIONS).unwrap();
    let done = steps.iter().take_while(|step| execute(&mut storage, step).is_ok()).count();
    (storage.into_disk(), done)
}

/// The states that may be found when so many steps were acknowledged and the next was under way.
fn allowed(steps: &[Step], acknowledged: usize) -> Vec<Recovered> {
    let mut model = Model::default();
    steps[..acknowledged].iter().for_each(|step| model.apply(step));
    let mut allowed = vec![model.recovered()];
    if let Some(next) = steps.get(acknowledged) {
        model.apply(next);
        allowed.push(model.recovered());
    }
    allowed
}

/// Crashes a run at every operation of its disk, in many ways, and crashes the recovery too.
pub fn crash_everywhere(seed: u64) -> Result<u64, String> {
    let mut random = Random(seed);
    let steps = steps(&mut random, 12);
    let (whole, done) = run(&steps, |_| {});
    assert_eq!(done, steps.len(), "without a fault every step is acknowledged");
    let mut images = 0;
    for operations in 0..=whole.operations() {
        let (disk, acknowledged) = run(&steps, |disk| disk.stop_after(operations));
        let allowed = allowed(&steps, acknowledged);
        for fate in 0..FATES {
            let mut image = disk.clone();
            crash(&mut image, fate, &mut random);
            images += 1;
            examine(&image, &allowed, &mut random)
                .map_err(|what| format!("crash at operation {operations}, fate {fate}: {what}"))?;
        }
    }
    Ok(images)
}

/// How many fates of what was not synced are tried: all lost, all kept, single sectors lost or kept,
/// random parts.
const FATES: u64 = 14;

fn crash(disk: &mut MemDisk, fate: u64, random: &mut Random) {
    let mut count = 0;
    disk.crash(|what: Unsynced<'_>| {
        count += 1;
        match fate {
            0 => false,
            1 => true,
            2..=5 => count != fate - 1,
            6..=9 => count == fate - 5 || matches!(what, Unsynced::Name { .. }),
            _ => random.below(2) == 0,
        }
    });
}

fn examine(image: &MemDisk, allowed: &[Recovered], random: &mut Random) -> Result<(), String> {
    let open = |disk: MemDisk| Storage::open(disk, OPTIONS);
    let check = |found: &Recovered| {
        if allowed.contains(found) { Ok(()) } else { Err(format!("{found:?}\nnot {allowed:?}")) }
    };
    let (storage, found) = open(image.clone()).map_err(|error| error.to_string())?;
    check(&found)?;
    let recovery = storage.into_disk().operations() - image.operations();
    for operations in 0..recovery {
        let mut again = image.clone();
        again.stop_after(image.operations() + operations);
        let Err(_) = open(again.clone()) else { continue };
        // The disk is lost with the failed opening: what it had written by then is written again.
        let mut probe = Probe(again);
        let _ = Storage::open(&mut probe, OPTIONS);
        let mut again = probe.0;
        crash(&mut again, random.below(FATES), random);
        let (_, found) = open(again).map_err(|error| format!("second crash: {error}"))?;
        check(&found).map_err(|what| format!("second crash: {what}"))?;
    }
    go_on(image, &found, random)
}

/// A recovered storage takes a batch, and has it after a crash at any of its operations or none.
fn go_on(image: &MemDisk, found: &Recovered, random: &mut Random) -> Result<(), String> {
    let (mut storage, _) = Storage::open(image.clone(), OPTIONS).unwrap();
    let snapshot = found.snapshot.as_ref().map_or(0, |(meta, _)| meta.index);
    let index = found.entries.last().map_or(snapshot, |entry| entry.index) + 1;
    let term = found.hard_state.term + 1;
    let hard_state = HardState { term, vote: 2, commit: found.hard_state.commit };
    let batch = |index| Batch {
        hard_state: Some(hard_state),
        reset: None,
        entries: vec![StoredEntry {
            data: vec![9; 700].into(),
            ..entry(&mut Random(7), index, term)
        }],
    };
    // One that is written and lost, then one that stays: numbers must not be mixed up.
    storage.write(&batch(index)).map_err(|error| error.to_string())?;
    let mut disk = storage.into_disk();
    crash(&mut disk, 2 + random.below(FATES - 2), random);
    let (mut storage, _) = Storage::open(disk, OPTIONS).map_err(|error| error.to_string())?;
    storage
        .write(&batch(index))
        .and_then(|()| storage.sync())
        .map_err(|error| error.to_string())?;
    let mut disk = storage.into_disk();
    disk.lose_unsynced();
    let (_, after) = Storage::open(disk, OPTIONS).map_err(|error| error.to_string())?;
    let has_both = after.entries.len() == found.entries.len() + 1
        && after.entries.starts_with(&found.entries)
        && after.hard_state == hard_state;
    if has_both { Ok(()) } else { Err(format!("after going on: {after:?}, before: {found:?}")) }
}

/// Lends a disk to a storage that may not come to be.
struct Probe(MemDisk);

impl Disk for &mut Probe {
    fn names(&self) -> Result<Vec<String>, plimsoll::storage::DiskError> {
        self.0.names()
    }
    fn read(&self, name: &str) -> Result<Vec<u8>, plimsoll::storage::DiskError> {
        self.0.read(name)
    }
    fn write(
        &mut self,
        name: &str,
        offset: u64,
        bytes: &[u8],
    ) -> Result<(), plimsoll::storage::DiskError> {
        self.0.write(name, offset, bytes)
    }
    fn sync(&mut self, name: &str) -> Result<(), plimsoll::storage::DiskError> {
        self.0.sync(name)
    }
    fn rename(&mut self, from: &str, to: &str) -> Result<(), plimsoll::storage::DiskError> {
        self.0.rename(from, to)
    }
    fn remove(&mut self, name: &str) -> Result<(), plimsoll::storage::DiskError> {
        self.0.remove(name)
    }
    fn sync_names(&mut self) -> Result<(), plimsoll::storage::DiskError> {
        self.0.sync_names()
    }
}

/// Lets every sync of a run fail in its turn: the step is not acknowledged, and nothing after it.
pub fn fail_every_sync(seed: u64) -> Result<(), String> {
    let mut random = Random(seed);
    let steps = steps(&mut random, 12);
    let mut disk = MemDisk::new();
    let mut model = Model::default();
    for (position, step) in steps.iter().enumerate() {
        let (mut storage, _) = Storage::open(disk.clone(), OPTIONS).map_err(|e| e.to_string())?;
        storage.disk_mut().fail_next_sync();
        let is_acknowledged = execute(&mut storage, step).is_ok();
        let refuses = execute(&mut storage, step) == Err(StorageError::Failed);
        let mut image = storage.into_disk();
        image.lose_unsynced();
        let (_, found) = Storage::open(image, OPTIONS).map_err(|error| error.to_string())?;
        let mut after = model.clone();
        after.apply(step);
        if is_acknowledged && found != after.recovered() {
            return Err(format!("step {position} was acknowledged and is lost"));
        }
        if !is_acknowledged && !refuses {
            return Err(format!("after step {position} failed, storage went on"));
        }
        let (mut storage, _) = Storage::open(disk, OPTIONS).unwrap();
        execute(&mut storage, step).unwrap();
        model = after;
        disk = storage.into_disk();
    }
    Ok(())
}

/// Damages every sector of every file of a run, and takes whole batches out: nothing is opened.
pub fn damage_everything(seed: u64) -> Result<u64, String> {
    let mut random = Random(seed);
    let steps = steps(&mut random, 14);
    let (disk, _) = run(&steps, |_| {});
    let mut damages = 0;
    let names = disk.names().unwrap();
    for name in &names {
        let sectors = disk.read(name).unwrap().len().div_ceil(SECTOR_BYTES);
        for sector in 0..sectors {
            let mut damaged = disk.clone();
            if !damaged.corrupt(name, sector, 1 << random.below(8)) {
                continue;
            }
            damages += 1;
            if Storage::open(damaged, OPTIONS).is_ok() {
                return Err(format!("sector {sector} of {name} is damaged and was taken"));
            }
        }
    }
    for name in names.iter().filter(|name| name.starts_with("log-")).rev().skip(1) {
        let mut missing = disk.clone();
        missing.remove(name).unwrap();
        let is_first = Some(name) == names.iter().find(|name| name.starts_with("log-"));
        if !is_first && Storage::open(missing, OPTIONS).is_ok() {
            return Err(format!("{name} is missing and nobody noticed"));
        }
        let mut shortened = disk.clone();
        let bytes = disk.read(name).unwrap();
        let last = bytes.chunks(SECTOR_BYTES).rposition(|sector| sector.iter().any(|b| *b != 0));
        let last = last.unwrap() * SECTOR_BYTES;
        // The batch's own first sector stands in bytes 16 to 19 of each of its sectors.
        let first = u32::from_be_bytes(bytes[last + 16..last + 20].try_into().unwrap()) as usize;
        let zeros = vec![0; last + SECTOR_BYTES - first * SECTOR_BYTES];
        shortened.write(name, (first * SECTOR_BYTES) as u64, &zeros).unwrap();
        damages += 1;
        if Storage::open(shortened, OPTIONS).is_ok() {
            return Err(format!("the last batch of {name} is missing and nobody noticed"));
        }
    }
    misdirect_every_write(&steps, &mut random)?;
    Ok(damages)
}

/// Sends each batch but the last to another place of its segment.
fn misdirect_every_write(steps: &[Step], random: &mut Random) -> Result<(), String> {
    let is_batch = |step: &Step| matches!(step, Step::Write(_));
    let batches = steps.iter().filter(|step| is_batch(step)).count();
    for victim in 0..batches.saturating_sub(1) {
        let (mut storage, _) = Storage::open(MemDisk::new(), OPTIONS).unwrap();
        let mut number = 0;
        let mut last_segments = 0;
        for step in steps {
            let Step::Write(batch) = step else {
                if !matches!(step, Step::Compact(_)) {
                    execute(&mut storage, step).unwrap();
                }
                continue;
            };
            let segments = storage.disk_mut().names().unwrap().len();
            let sector = random.below(8) * SECTOR_BYTES as u64;
            if number == victim && segments == last_segments {
                storage.disk_mut().misdirect_next_write(sector);
            }
            last_segments = segments;
            number += 1;
            let _ = storage.write(batch).and_then(|()| storage.sync());
        }
        let honest = run(steps, |_| {}).0;
        let disk = storage.into_disk();
        let is_same =
            disk.names().unwrap().iter().all(|name| disk.read(name).ok() == honest.read(name).ok());
        let found = Storage::open(disk, OPTIONS);
        let (_, expected) = Storage::open(honest, OPTIONS).unwrap();
        if !is_same && found.is_ok_and(|(_, found)| found != expected) {
            return Err(format!("batch {victim} went elsewhere and nobody noticed"));
        }
    }
    Ok(())
}
