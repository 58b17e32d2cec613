//! Key ranges: what a listing asks for, as bounds that are valid text.
//!
//! Prefix and cursor of a listing are bytes and may end within a character, or be no UTF-8 at all;
//! a database wants text. Keys are UTF-8, whose bytewise order is the order of code points, so each
//! bound in bytes has an equivalent in text: the least text that is not below it (`ceiling`).
//! A range, unlike `LIKE`, takes `_`, `%` and case for themselves.

use std::ops::Bound;

use crate::entry::ListQuery;

/// The keys that a listing may return: valid UTF-8, without a NUL byte.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyRange {
    /// Where the range starts; never unbounded.
    pub start: Bound<String>,
    /// The first key after the range; none if nothing ends it.
    pub end: Option<String>,
}

impl KeyRange {
    /// The range of a query; none if no key can be in it.
    #[must_use]
    pub fn of(query: &ListQuery) -> Option<Self> {
        if query.prefix.contains(&0) {
            return None;
        }
        let is_resumed = !query.after.is_empty() && query.after >= query.prefix;
        let start = if is_resumed {
            after(&query.after)?
        } else {
            Bound::Included(ceiling(&query.prefix)?)
        };
        let end = above_prefix(&query.prefix).and_then(|bytes| ceiling(&bytes));
        Some(Self { start, end })
    }
}

/// The start of the keys after a cursor.
fn after(cursor: &[u8]) -> Option<Bound<String>> {
    // No key has a NUL byte, so none lies between the part before one and the whole.
    let cursor = cursor.split(|byte| *byte == 0).next().unwrap_or_default();
    match std::str::from_utf8(cursor) {
        Ok(text) => Some(Bound::Excluded(text.to_owned())),
        Err(_) => ceiling(cursor).map(Bound::Included),
    }
}

/// The least byte string above all that start with a prefix; none if nothing is above them.
pub(super) fn above_prefix(prefix: &[u8]) -> Option<Vec<u8>> {
    let last = prefix.iter().rposition(|byte| *byte != 0xff)?;
    let mut above = prefix[..=last].to_vec();
    above[last] += 1;
    Some(above)
}

/// The least text that is not below the bytes, in bytewise order.
fn ceiling(bytes: &[u8]) -> Option<String> {
    let chunk = bytes.utf8_chunks().next();
    let valid = chunk.map_or("", |chunk| chunk.valid());
    let rest = &bytes[valid.len()..];
    if rest.is_empty() {
        return Some(valid.to_owned());
    }
    match first_char_from(rest) {
        Some(next) => Some(format!("{valid}{next}")),
        None => above_text(valid),
    }
}

/// The least text above all that start with a text.
fn above_text(text: &str) -> Option<String> {
    let mut above = text.to_owned();
    while let Some(last) = above.pop() {
        if let Some(next) = (last..=char::MAX).nth(1) {
            above.push(next);
            return Some(above);
        }
    }
    None
}

/// The least character whose bytes are not below the given ones.
fn first_char_from(bytes: &[u8]) -> Option<char> {
    let is_below = |candidate: char| candidate.encode_utf8(&mut [0; 4]).as_bytes() < bytes;
    let (mut low, mut high) = (0, SCALARS);
    while low < high {
        let middle = low.midpoint(high);
        if is_below(scalar(middle)) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    (low < SCALARS).then(|| scalar(low))
}

/// The character at a position in the order of code points.
fn scalar(position: u32) -> char {
    const SURROGATES_START: u32 = 0xd800;
    const SURROGATES: u32 = 0x800;
    let code = if position < SURROGATES_START { position } else { position + SURROGATES };
    char::from_u32(code).expect("surrogates are skipped, and SCALARS ends the range")
}

/// The number of characters: all code points without the surrogates.
const SCALARS: u32 = 0x11_0000 - 0x800;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn range(prefix: &[u8], after: &[u8]) -> Option<(Bound<String>, Option<String>)> {
        let range = KeyRange::of(&ListQuery::new().prefix(prefix).after(after))?;
        Some((range.start, range.end))
    }

    #[test]
    fn bounds_are_text() {
        use Bound::{Excluded, Included};
        let text = str::to_owned;
        for (prefix, after, expected) in [
            (&b""[..], &b""[..], Some((Included(text("")), None))),
            (b"a", b"", Some((Included(text("a")), Some(text("b"))))),
            (b"a", b"ab", Some((Excluded(text("ab")), Some(text("b"))))),
            (b"a", b"0", Some((Included(text("a")), Some(text("b"))))),
            (b"a\x7f", b"", Some((Included(text("a\x7f")), Some(text("a\u{80}"))))),
            (b"\xc3", b"", Some((Included(text("\u{c0}")), Some(text("\u{100}"))))),
            (b"\xed", b"", Some((Included(text("\u{d000}")), Some(text("\u{e000}"))))),
            ("\u{10ffff}".as_bytes(), b"", Some((Included(text("\u{10ffff}")), None))),
            (b"\xff", b"", None),
            (b"a\xff", b"", Some((Included(text("b")), Some(text("b"))))),
            (b"a\0", b"", None),
            (b"", b"a\0b", Some((Excluded(text("a")), None))),
            (b"", b"a\xc3", Some((Included(text("a\u{c0}")), None))),
            (b"", b"\xff", None),
        ] {
            assert_eq!(range(prefix, after), expected, "{prefix:x?} after {after:x?}");
        }
    }

    fn key() -> impl Strategy<Value = String> {
        let edge = prop::sample::select(vec![
            '\u{1}',
            'a',
            'b',
            '\u{7f}',
            '\u{80}',
            'é',
            '\u{7ff}',
            '\u{800}',
            '\u{d7ff}',
            '\u{e000}',
            '\u{ffff}',
            '\u{10000}',
            '\u{10ffff}',
        ]);
        prop::collection::vec(edge, 1..4).prop_map(|chars| chars.into_iter().collect())
    }

    /// The bytes of a key, cut, and perhaps with a byte that fits nowhere.
    fn bytes() -> impl Strategy<Value = Vec<u8>> {
        let tail = prop::sample::select(vec![&b""[..], b"\0", b"\x80", b"\xc3", b"\xff"]);
        (key(), 0..9_usize, tail).prop_map(|(key, length, tail)| {
            let mut bytes = key.into_bytes();
            bytes.truncate(length);
            bytes.extend_from_slice(tail);
            bytes
        })
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(20_000))]

        #[test]
        fn a_key_is_in_the_range_if_its_bytes_are(key in key(), prefix in bytes(), after in bytes()) {
            let expected = key.as_bytes().starts_with(&prefix)
                && (after.is_empty() || key.as_bytes() > after.as_slice());
            let actual = range(&prefix, &after).is_some_and(|(start, end)| {
                let is_started = match start {
                    Bound::Included(start) => key >= start,
                    Bound::Excluded(start) => key > start,
                    Bound::Unbounded => true,
                };
                is_started && end.is_none_or(|end| key < end)
            });
            prop_assert_eq!(actual, expected);
        }
    }
}
