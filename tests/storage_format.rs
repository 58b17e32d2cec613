//! The format of storage: golden bytes, and `docs/design/storage.md` read as a specification.
//!
//! The reader below takes its offsets from the tables of that page and shares nothing with storage:
//! what the page says and what stands in the files is the same, or a test fails.
#![allow(clippy::unwrap_used)]

use std::collections::BTreeMap;
use std::fmt::Write as _;

use plimsoll::storage::{
    Batch, Disk, HardState, MemDisk, SECTOR_BYTES, SnapshotMeta, Storage, StorageError,
    StorageOptions, StoredEntry,
};
use xxhash_rust::xxh3::{xxh3_64, xxh3_128};

const PAGE: &str = include_str!("../docs/design/storage.md");
const OPTIONS: StorageOptions = StorageOptions { segment_bytes: 4 * SECTOR_BYTES };

/// The folder that the page shows.
fn example() -> MemDisk {
    let (mut storage, _) = Storage::open(MemDisk::new(), OPTIONS).unwrap();
    storage.save_identity(b"member 1").unwrap();
    let entry = |index, kind, context: &'static [u8], data: Vec<u8>| StoredEntry {
        index,
        term: 1,
        kind,
        context: context.into(),
        data: data.into(),
    };
    let entries = vec![entry(1, 0, b"", b"hello".to_vec()), entry(2, 1, b"c", vec![b'w'; 500])];
    let hard_state = Some(HardState { term: 1, vote: 2, commit: 1 });
    storage.write(&Batch { hard_state, reset: None, entries }).unwrap();
    storage.sync().unwrap();
    let hard_state = Some(HardState { term: 1, vote: 2, commit: 2 });
    storage.write(&Batch { hard_state, ..Batch::default() }).unwrap();
    storage.sync().unwrap();
    storage.save_snapshot(SnapshotMeta { index: 1, term: 1 }, b"state").unwrap();
    storage.into_disk()
}

/// The bytes of a file, sixteen a row, without the rows of zeros; a star stands for more rows like
/// the one above it.
fn dump(name: &str, bytes: &[u8]) -> String {
    let mut text = format!("```text\n{name}, {} bytes\n", bytes.len());
    let rows: Vec<_> = bytes.chunks(16).collect();
    for (row, bytes) in rows.iter().enumerate() {
        let repeats = |row: usize| row > 0 && rows[row] == rows[row - 1];
        if repeats(row) && bytes.iter().any(|byte| *byte != 0) {
            text.push_str(if repeats(row - 1) { "" } else { "*\n" });
        } else if bytes.iter().any(|byte| *byte != 0) {
            write!(text, "{:04x} ", row * 16).unwrap();
            bytes.iter().for_each(|byte| write!(text, " {byte:02x}").unwrap());
            text.push('\n');
        }
    }
    text + "```\n"
}

#[test]
fn golden_bytes() {
    let disk = example();
    let names = disk.names().unwrap();
    assert_eq!(names.len(), 4, "{names:?}");
    for name in names {
        let dump = dump(&name, &disk.read(&name).unwrap());
        assert!(PAGE.contains(&dump), "the page does not show\n{dump}");
    }
}

/// A table of the page: the offset and the size of each field, by its first word. A size that is no
/// number is told as none.
fn fields(table: &str) -> BTreeMap<&'static str, (usize, Option<usize>)> {
    let (_, rest) = PAGE.split_once(&format!("<!-- table: {table} -->\n")).unwrap();
    let rows = rest.lines().skip(2).take_while(|line| line.starts_with('|'));
    let mut fields = BTreeMap::new();
    for row in rows {
        let cells: Vec<_> = row.trim_matches('|').split('|').map(str::trim).collect();
        let word = cells[2].split([' ', ':', ',']).next().unwrap();
        let offset = cells[0].split(' ').next().unwrap().parse().unwrap();
        fields.insert(word, (offset, cells[1].parse().ok()));
    }
    fields
}

fn number(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0, |number, byte| number << 8 | u64::from(*byte))
}

/// A sector taken apart by the page's table.
struct Sector<'a> {
    bytes: &'a [u8],
    fields: BTreeMap<&'static str, (usize, Option<usize>)>,
}

impl<'a> Sector<'a> {
    fn field(&self, name: &str) -> &'a [u8] {
        let (offset, length) = self.fields[name];
        &self.bytes[offset..offset + length.unwrap()]
    }

    fn number(&self, name: &str) -> u64 {
        number(self.field(name))
    }
}

#[test]
fn the_table_of_sectors_tells_every_byte_of_a_segment() {
    let disk = example();
    let covered: usize = fields("sector").values().map(|(_, bytes)| bytes.unwrap()).sum();
    assert_eq!(covered, SECTOR_BYTES, "the table leaves nothing out");
    // Each row: segment, batch, first, last, used.
    let mut rows = Vec::new();
    for name in disk.names().unwrap().iter().filter(|name| name.starts_with("log-")) {
        let bytes = disk.read(name).unwrap().to_vec();
        for (place, bytes) in bytes.chunks(SECTOR_BYTES).enumerate() {
            let sector = Sector { bytes, fields: fields("sector") };
            if bytes.iter().all(|byte| *byte == 0) {
                continue;
            }
            assert_eq!(sector.number("checksum"), xxh3_64(&bytes[8..]));
            assert_eq!(sector.number("place"), place as u64);
            assert_eq!(sector.number("format"), 1);
            assert_eq!(sector.number("zero"), 0);
            let used = sector.number("used");
            assert!(sector.field("payload")[used as usize..].iter().all(|byte| *byte == 0));
            let [segment, batch, first, last] =
                ["segment", "batch", "first", "last"].map(|name| sector.number(name));
            rows.push([segment, batch, first, last, used]);
        }
    }
    // Two heads; a batch of two sectors, and the end of its segment; the batch after it.
    assert_eq!(
        rows,
        [
            [1, 1, 0, 0, 41],
            [1, 1, 1, 2, 472],
            [1, 1, 1, 2, 73],
            [1, 2, 3, 3, 27],
            [2, 3, 0, 0, 41],
            [2, 3, 1, 1, 29]
        ]
    );
}

#[test]
fn the_table_of_blobs_tells_every_byte_of_one() {
    let disk = example();
    let fields = fields("blob");
    for (name, magic, position, content) in [
        ("identity", b"PLIMIDN", [0, 0], &b"member 1"[..]),
        ("snapshot-0000000000000001", b"PLIMSNP", [1, 1], b"state"),
    ] {
        let bytes = disk.read(name).unwrap().to_vec();
        let field = |name: &str| {
            let (offset, length) = fields[name];
            &bytes[offset..offset + length.unwrap()]
        };
        assert_eq!(field("magic"), magic);
        assert_eq!(field("format"), [1]);
        assert_eq!([number(field("index")), number(field("term"))], position);
        let length = number(field("length")) as usize;
        let (at, _) = fields["content"];
        assert_eq!(&bytes[at..at + length], content);
        let checksum = xxh3_128(&bytes[..at + length]).to_be_bytes();
        assert_eq!(bytes[at + length..], checksum);
    }
}

#[test]
fn another_version_is_refused_by_name() {
    let disk = example();
    let (version_at, _) = fields("sector")["format"];
    for name in disk.names().unwrap() {
        let mut bytes = disk.read(&name).unwrap().to_vec();
        if name.starts_with("log-") {
            let sector = &mut bytes[SECTOR_BYTES..2 * SECTOR_BYTES];
            sector[version_at] = 2;
            let checksum = xxh3_64(&sector[8..]);
            sector[..8].copy_from_slice(&checksum.to_be_bytes());
        } else {
            bytes[fields("blob")["format"].0] = 2;
        }
        let mut newer = disk.clone();
        newer.write(&name, 0, &bytes).unwrap();
        let error = Storage::open(newer, OPTIONS).unwrap_err();
        assert_eq!(error, StorageError::Version { file: name, version: 2 });
    }
}

#[test]
fn a_foreign_and_a_missing_file_are_refused_by_name() {
    for (name, file) in [("photo.jpg", "photo.jpg"), ("log-1", "log-1"), ("lock", "lock")] {
        let mut disk = example();
        disk.write(name, 0, b"x").unwrap();
        let error = Storage::open(disk, OPTIONS).unwrap_err();
        assert_eq!(error, StorageError::Foreign { file: file.to_owned() });
    }
    let mut disk = example();
    disk.remove("log-0000000000000002").unwrap();
    let error = Storage::open(disk, OPTIONS).unwrap_err();
    assert_eq!(error.to_string(), "log-0000000000000002 is missing");
}
