//! The vocabulary of the stores: keys, versions, times to live, conditions, entries, pages,
//! transactions and changes.
//!
//! Parse, don't validate: a [`Key`], [`Version`] or [`Ttl`] that exists is right.
#![deny(clippy::disallowed_types, clippy::disallowed_methods)]

use std::fmt;
use std::sync::Arc;

use crate::clock::{UnixMillis, milliseconds_of};
use crate::error::{Error, Result};
use crate::hlc::HybridTime;
use crate::limits::{KEY_BYTES_MAX, PAGE_ITEMS_DEFAULT, PAGE_ITEMS_MAX, TTL_MS_MAX};
use crate::value::Value;

/// A key: UTF-8, 1 to [`KEY_BYTES_MAX`] bytes, without a NUL byte. Order is bytewise.
/// Cloning shares it.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Key(Arc<str>);

impl Key {
    /// Parses a key.
    ///
    /// # Errors
    /// `INVALID` if it is empty, too long or contains a NUL byte.
    pub fn new(key: &str) -> Result<Self> {
        Self::check(key)?;
        Ok(Self(key.into()))
    }

    /// Checks a key, as [`Key::new`] does.
    pub(crate) fn check(key: &str) -> Result<()> {
        if key.is_empty() {
            return Err(Error::invalid("the key is empty"));
        }
        if key.len() > KEY_BYTES_MAX {
            return Err(Error::invalid(format!(
                "the key has {} bytes, the limit is {KEY_BYTES_MAX}",
                key.len()
            ))
            .with_detail("limit", KEY_BYTES_MAX)
            .with_detail("actual", key.len()));
        }
        if let Some(position) = key.bytes().position(|byte| byte == 0) {
            return Err(Error::invalid(format!("the key has a NUL byte at byte {position}")));
        }
        Ok(())
    }

    /// Parses a key from bytes.
    ///
    /// # Errors
    /// `INVALID` if they are not UTF-8, and as [`Key::new`].
    pub fn from_bytes(key: &[u8]) -> Result<Self> {
        let text = std::str::from_utf8(key).map_err(|error| {
            Error::invalid(format!("the key is not UTF-8: bad byte at {}", error.valid_up_to()))
        })?;
        Self::new(text)
    }

    /// The key as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.0, f)
    }
}

/// The name of one write: opaque to users, equal only for the same write.
///
/// As text it is one of
/// - `0`, on stores without versions;
/// - `<epoch>-<revision>`: sixteen hexadecimal digits and a decimal number;
/// - `<wall ms>-<logical>-<member>-<incarnation>`: 12, 8, 16 and 10 hexadecimal digits, which stand in
///   the order of the writes when they are sorted.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub enum Version {
    /// The store keeps no versions.
    Unversioned,
    /// The write made this revision in this epoch of the store.
    Numbered {
        /// Random 64 bits, drawn anew wherever revisions could start again.
        epoch: u64,
        /// The counter behind the version; grows with every change.
        revision: u64,
    },
    /// The write bears this stamp, by which it has its place among all writes of its cluster.
    Stamped(StampVersion),
}

/// A stamp as a version: the time that the hybrid clock of its author gave it, the member that wrote, and
/// in which of its incarnations. Ordered as stamps are.
///
/// It takes no more room than a revision: 48 bits of wall time (up to the year 10889) and 40 bits for the
/// incarnation, which counts starts. What is beyond is taken for the last that there is.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct StampVersion([u8; 23]);

impl StampVersion {
    /// The version of a stamp.
    #[must_use]
    pub fn new(time: HybridTime, member: u64, incarnation: u64) -> Self {
        let mut bytes = [0; 23];
        bytes[..6].copy_from_slice(&time.wall.0.min(WALL_MAX).to_be_bytes()[2..]);
        bytes[6..10].copy_from_slice(&time.logical.to_be_bytes());
        bytes[10..18].copy_from_slice(&member.to_be_bytes());
        bytes[18..].copy_from_slice(&incarnation.min(INCARNATION_MAX).to_be_bytes()[3..]);
        Self(bytes)
    }

    /// The time of the write.
    #[must_use]
    pub fn time(self) -> HybridTime {
        let logical = u32::from_be_bytes(self.0[6..10].try_into().expect("four bytes"));
        HybridTime { wall: UnixMillis(self.number(0..6)), logical }
    }

    /// The member that wrote.
    #[must_use]
    pub fn member(self) -> u64 {
        self.number(10..18)
    }

    /// In which of its incarnations.
    #[must_use]
    pub fn incarnation(self) -> u64 {
        self.number(18..23)
    }

    fn number(self, place: std::ops::Range<usize>) -> u64 {
        self.0[place].iter().fold(0, |number, byte| number << 8 | u64::from(*byte))
    }
}

/// The last of what a version can hold.
const WALL_MAX: u64 = (1 << 48) - 1;
const INCARNATION_MAX: u64 = (1 << 40) - 1;

impl Version {
    /// Parses the text of a version.
    ///
    /// # Errors
    /// `INVALID` if it is not exactly what a version prints.
    pub fn parse(text: &str) -> Result<Self> {
        let parsed = match text.matches('-').count() {
            0 => (text == "0").then_some(Self::Unversioned),
            1 => Self::parse_numbered(text),
            _ => Self::parse_stamped(text),
        };
        parsed.filter(|version| version.to_string() == text).ok_or_else(|| {
            Error::invalid(format!(
                "{text:?} is no version: pass on a version that an entry has, unchanged"
            ))
        })
    }

    fn parse_numbered(text: &str) -> Option<Self> {
        let (epoch, revision) = text.split_once('-')?;
        Some(Self::Numbered {
            epoch: u64::from_str_radix(epoch, 16).ok()?,
            revision: revision.parse().ok()?,
        })
    }

    fn parse_stamped(text: &str) -> Option<Self> {
        let mut numbers = text.split('-').map(|digits| u64::from_str_radix(digits, 16).ok());
        let mut next = || numbers.next().flatten();
        let wall = UnixMillis(next()?);
        let logical = next()?.try_into().ok()?;
        let time = HybridTime { wall, logical };
        Some(Self::Stamped(StampVersion::new(time, next()?, next()?)))
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unversioned => f.write_str("0"),
            Self::Numbered { epoch, revision } => write!(f, "{epoch:016x}-{revision}"),
            Self::Stamped(stamp) => {
                let HybridTime { wall, logical } = stamp.time();
                let (member, incarnation) = (stamp.member(), stamp.incarnation());
                write!(f, "{:012x}-{logical:08x}-{member:016x}-{incarnation:010x}", wall.0)
            }
        }
    }
}

impl fmt::Debug for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// A time to live: 1 ms to [`TTL_MS_MAX`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Ttl(u64);

impl Ttl {
    /// Parses seconds; a fraction of a millisecond counts as a whole one. 0 means no expiry.
    ///
    /// # Errors
    /// `INVALID` if negative, NaN or over the limit.
    pub fn from_seconds(seconds: f64) -> Result<Option<Self>> {
        if seconds.is_nan() || seconds < 0.0 {
            return Err(Error::invalid(format!(
                "the ttl must be 0 or a positive number of seconds, not {seconds}"
            )));
        }
        let is_too_long = seconds * 1_000.0 > TTL_MS_MAX as f64;
        if is_too_long {
            return Err(Self::too_long(&format!("{seconds} seconds")));
        }
        let milliseconds = milliseconds_of(seconds);
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "checked above"
        )]
        let milliseconds = if seconds == 0.0 { 0 } else { (milliseconds as u64).max(1) };
        Self::from_ms(milliseconds)
    }

    /// Takes milliseconds. 0 means no expiry.
    ///
    /// # Errors
    /// `INVALID` if over the limit.
    pub fn from_ms(milliseconds: u64) -> Result<Option<Self>> {
        if milliseconds > TTL_MS_MAX {
            return Err(Self::too_long(&format!("{milliseconds} ms")));
        }
        Ok((milliseconds > 0).then_some(Self(milliseconds)))
    }

    /// The milliseconds.
    #[must_use]
    pub const fn as_ms(self) -> u64 {
        self.0
    }

    fn too_long(actual: &str) -> Error {
        let limit_seconds = TTL_MS_MAX / 1_000;
        Error::invalid(format!(
            "the ttl of {actual} is too long: the limit is 100 years, {limit_seconds} seconds"
        ))
        .with_detail("limit", i64::try_from(limit_seconds).unwrap_or(i64::MAX))
    }
}

/// What a write requires of the key's present state.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Condition {
    /// Nothing.
    #[default]
    None,
    /// The key is absent, else `ALREADY_EXISTS`.
    Absent,
    /// The key has this version: absent gives `NOT_FOUND`, another version `CONFLICT`.
    Version(Version),
}

/// Options of a `put`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PutOptions {
    /// The time to live; none means no expiry.
    pub ttl: Option<Ttl>,
    /// What the key's present state must be.
    pub condition: Condition,
}

/// An entry of a store. Stores have entries of values; a caller may have made a value into a type.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry<V = Value> {
    /// The key.
    pub key: Key,
    /// The value.
    pub value: V,
    /// The write that made the entry.
    pub version: Version,
    /// The instant from which the entry is gone.
    pub expires_at: Option<UnixMillis>,
}

#[cfg(feature = "serde")]
impl Entry {
    /// The same entry, its value made into a type.
    ///
    /// # Errors
    /// `INVALID`, naming the key and the path within the value, if the value is not what the type
    /// takes.
    pub fn typed<T: serde::de::DeserializeOwned>(self) -> Result<Entry<T>> {
        let Self { key, value, version, expires_at } = self;
        let value = crate::value::from_value(&value)
            .map_err(|error| error.context(format_args!("the entry {key:?}")))?;
        Ok(Entry { key, value, version, expires_at })
    }
}

/// What a `list` asks for. Prefix and cursor are bytes: a prefix may end within a character.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ListQuery {
    /// Only keys that start with these bytes.
    pub prefix: Vec<u8>,
    /// Only keys after this one, which need not exist; empty means from the start.
    pub after: Vec<u8>,
    /// Most items on the page, 1 to [`PAGE_ITEMS_MAX`].
    limit: usize,
}

impl ListQuery {
    /// Everything from the start, in pages of the default size.
    #[must_use]
    pub const fn new() -> Self {
        Self { prefix: Vec::new(), after: Vec::new(), limit: PAGE_ITEMS_DEFAULT }
    }

    /// Only keys that start with a prefix, taken literally.
    #[must_use]
    pub fn prefix(mut self, prefix: impl Into<Vec<u8>>) -> Self {
        self.prefix = prefix.into();
        self
    }

    /// Only keys after a cursor.
    #[must_use]
    pub fn after(mut self, cursor: impl Into<Vec<u8>>) -> Self {
        self.after = cursor.into();
        self
    }

    /// At most so many items; 0 means the default, more than [`PAGE_ITEMS_MAX`] is cut to it.
    #[must_use]
    pub fn limit(mut self, limit: usize) -> Self {
        self.limit = if limit == 0 { PAGE_ITEMS_DEFAULT } else { limit.min(PAGE_ITEMS_MAX) };
        self
    }

    /// Most items on the page.
    #[must_use]
    pub const fn items_max(&self) -> usize {
        self.limit
    }
}

impl Default for ListQuery {
    fn default() -> Self {
        Self::new()
    }
}

/// A page of a listing: one atomic read, in bytewise key order.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Page {
    /// The entries.
    pub items: Vec<Entry>,
    /// The key of the last item, to pass as `after`; empty if there is none.
    pub cursor: String,
    /// Whether entries follow. A page may be shorter than its limit: only this tells the end.
    pub has_more: bool,
}

/// One operation of a transaction.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Operation {
    /// Writes an entry.
    Put {
        /// The key.
        key: Key,
        /// The value.
        value: Value,
        /// Time to live and condition.
        options: PutOptions,
    },
    /// Deletes an entry.
    Delete {
        /// The key.
        key: Key,
        /// The version that it must have; none means any, or no entry at all.
        if_version: Option<Version>,
    },
    /// Changes nothing, only requires: [`Condition::Absent`] or [`Condition::Version`].
    Check {
        /// The key.
        key: Key,
        /// What must hold.
        condition: Condition,
    },
}

impl Operation {
    /// The key that the operation is about.
    #[must_use]
    pub const fn key(&self) -> &Key {
        match self {
            Self::Put { key, .. } | Self::Delete { key, .. } | Self::Check { key, .. } => key,
        }
    }

    /// What the operation requires of the key's present state.
    #[must_use]
    pub fn condition(&self) -> Condition {
        match self {
            Self::Put { options, .. } => options.condition,
            Self::Delete { if_version, .. } => {
                if_version.map_or(Condition::None, Condition::Version)
            }
            Self::Check { condition, .. } => *condition,
        }
    }
}

/// What one operation of a committed transaction did.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum OperationResult {
    /// The new entry.
    Put(Entry),
    /// Whether there was an entry to delete.
    Deleted(bool),
    /// The condition held.
    Checked,
}

/// What happened to a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum EventKind {
    /// It was written.
    Put,
    /// It was deleted.
    Delete,
    /// Its entry expired and was removed.
    Expire,
}

impl EventKind {
    /// The kind's string: `put`, `delete` or `expire`.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Put => "put",
            Self::Delete => "delete",
            Self::Expire => "expire",
        }
    }
}

/// One change to one key, as watchers see it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event {
    /// What happened.
    pub kind: EventKind,
    /// To which key.
    pub key: Key,
    /// The new entry, of a put.
    pub entry: Option<Entry>,
}

/// All that one revision changed among the watched keys.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    /// The revision; a watch resumes after it.
    pub revision: Version,
    /// Its events, in order.
    pub events: Vec<Event>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_checked() {
        let longest = "k".repeat(KEY_BYTES_MAX);
        for good in ["k", "a/b c", "é", "\u{1}", &longest] {
            assert_eq!(Key::from_bytes(good.as_bytes()).expect("good").as_str(), good);
        }
        let too_long = "k".repeat(KEY_BYTES_MAX + 1);
        for bad in [&b""[..], b"a\0b", b"\xff", too_long.as_bytes()] {
            assert!(Key::from_bytes(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn versions_parse_only_as_printed() {
        let version = Version::Numbered { epoch: 0xabc, revision: 7 };
        assert_eq!(version.to_string(), "0000000000000abc-7");
        let time = HybridTime { wall: UnixMillis(1_700_000_000_000), logical: 2 };
        let stamp = StampVersion::new(time, 0xa1, 3);
        assert_eq!((stamp.time(), stamp.member(), stamp.incarnation()), (time, 0xa1, 3));
        let stamped = Version::Stamped(stamp);
        assert_eq!(stamped.to_string(), "018bcfe56800-00000002-00000000000000a1-0000000003");
        let time = HybridTime { wall: UnixMillis(u64::MAX), logical: u32::MAX };
        let last = Version::Stamped(StampVersion::new(time, u64::MAX, u64::MAX));
        assert_eq!(last.to_string(), "ffffffffffff-ffffffff-ffffffffffffffff-ffffffffff");
        for good in [version, Version::Unversioned, stamped, last] {
            assert_eq!(Version::parse(&good.to_string()), Ok(good));
        }
        for bad in [
            "",
            "1",
            "abc-7",
            "0000000000000ABC-7",
            "0000000000000abc-07",
            "x-1",
            "0000000000000abc-+7",
            "0000000000000abc-99999999999999999999",
            "018bcfe56800-00000002-00000000000000a1",
            "018bcfe56800-00000002-00000000000000a1-3",
            "018bcfe56800-00000002-00000000000000A1-0000000003",
            "018bcfe56800-100000002-00000000000000a1-0000000003",
            "1018bcfe56800-00000002-00000000000000a1-0000000003",
            "018bcfe56800-00000002-00000000000000a1-10000000003",
            "018bcfe56800-00000002-00000000000000a1-0000000003-0",
            "0018bcfe56800-00000002-00000000000000a1-0000000003",
        ] {
            assert!(Version::parse(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn stamps_sort_as_their_texts_and_take_no_more_room_than_revisions() {
        let numbers = [0, 1, 9, 10, 0xff, 0x100, 0x00ff_ffff];
        let stamps = numbers.iter().flat_map(|wall| {
            numbers.iter().flat_map(move |member| {
                [0, 7].map(|logical| {
                    let time = HybridTime { wall: UnixMillis(*wall), logical };
                    StampVersion::new(time, *member, wall ^ member)
                })
            })
        });
        let stamps: Vec<_> = stamps.collect();
        let key = |stamp: &StampVersion| (stamp.time(), stamp.member(), stamp.incarnation());
        let text = |stamp: &StampVersion| Version::Stamped(*stamp).to_string();
        for (a, b) in stamps.iter().flat_map(|a| stamps.iter().map(move |b| (a, b))) {
            assert_eq!(a.cmp(b), key(a).cmp(&key(b)));
            assert_eq!(a.cmp(b), text(a).cmp(&text(b)));
        }
        assert_eq!(size_of::<Version>(), 24);
    }

    #[test]
    fn ttls_are_whole_milliseconds_rounded_up() {
        for (seconds, ms) in [
            (0.0, None),
            (-0.0, None),
            (1.0, Some(1_000)),
            (0.3, Some(300)),
            (1e-9, Some(1)),
            (0.0015, Some(2)),
            (2_175_889_505.241, Some(2_175_889_505_241)),
            (3_155_760_000.0, Some(TTL_MS_MAX)),
        ] {
            let ttl = Ttl::from_seconds(seconds).expect("in range");
            assert_eq!(ttl.map(Ttl::as_ms), ms, "{seconds}");
        }
        for bad in [-1.0, f64::NAN, f64::INFINITY, 3_155_760_000.001] {
            assert!(Ttl::from_seconds(bad).is_err(), "{bad}");
        }
    }
}
