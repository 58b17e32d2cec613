//! Arguments of the calls, parsed: when an entry expires, what a listing asks for, where it goes on.
//!
//! Messages name the argument as the API spells it: `expirationTtl`, `limit`, `cursor`.
#![deny(clippy::disallowed_types, clippy::disallowed_methods)]

use std::fmt;

use bytes::Bytes;

use crate::clock::{UnixMillis, milliseconds_of};
use crate::error::{Error, Result};
use crate::limits::{KV_PAGE_KEYS_DEFAULT, KV_PAGE_KEYS_MAX};
use crate::mutant::mutant;

/// What a put says beside key and value.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct PutOptions {
    /// When the entry expires.
    pub expiry: Expiry,
    /// JSON text that is kept with the value.
    pub metadata: Option<String>,
}

/// When an entry expires; one that exists is not negative and finite.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Expiry(Kind);

#[derive(Clone, Copy, Debug, Default, PartialEq)]
enum Kind {
    #[default]
    Never,
    /// At a Unix time, in seconds.
    At(f64),
    /// So many seconds after the write.
    After(f64),
}

impl Expiry {
    /// Never.
    pub const NEVER: Self = Self(Kind::Never);

    /// At a Unix time in seconds (`expiration`).
    ///
    /// # Errors
    /// `INVALID` if it is negative or not finite.
    pub fn at_unix(seconds: f64) -> Result<Self> {
        check_seconds("expiration", seconds).map(|()| Self(Kind::At(seconds)))
    }

    /// So many seconds after the write (`expirationTtl`).
    ///
    /// # Errors
    /// `INVALID` if they are negative or not finite.
    pub fn after(seconds: f64) -> Result<Self> {
        check_seconds("expirationTtl", seconds).map(|()| Self(Kind::After(seconds)))
    }

    /// The expiry of both options; `expiration` wins.
    ///
    /// # Errors
    /// `INVALID` if one of them is negative or not finite, the one that loses included.
    pub fn of(expiration: Option<f64>, expiration_ttl: Option<f64>) -> Result<Self> {
        let at = expiration.map(Self::at_unix).transpose()?;
        let after = expiration_ttl.map(Self::after).transpose()?;
        Ok(at.or(after).unwrap_or_default())
    }

    /// The expiration of an entry that is written now, in whole Unix seconds, rounded up; none if
    /// it would be absent at once.
    pub(super) fn at(self, now: UnixMillis) -> Option<Option<i64>> {
        let expiration = match self.0 {
            Kind::Never => return Some(None),
            // Judged as it was given: rounding up must not bring a past time into the future.
            Kind::At(seconds)
                if seconds <= now.as_seconds()
                    && !mutant!("past expiration is rounded into the future") =>
            {
                return None;
            }
            Kind::After(0.0) if !mutant!("ttl of zero lasts to the end of the second") => {
                return None;
            }
            Kind::At(seconds) => whole(seconds),
            Kind::After(seconds) => {
                let ms = whole(milliseconds_of(seconds)).max(1).unsigned_abs();
                let deadline = now.after(ms).0.div_ceil(1_000);
                i64::try_from(deadline).unwrap_or(i64::MAX)
            }
        };
        Some(Some(expiration))
    }
}

/// The least integer that is not below a float.
#[expect(clippy::cast_possible_truncation, reason = "a cast of a float saturates")]
fn whole(float: f64) -> i64 {
    if mutant!("expiration is rounded down") {
        return float as i64;
    }
    float.ceil() as i64
}

fn check_seconds(name: &str, seconds: f64) -> Result<()> {
    if seconds.is_finite() && seconds >= 0.0 {
        return Ok(());
    }
    Err(Error::invalid(format!(
        "{name} must be 0 or a positive, finite number of seconds, not {seconds}"
    )))
}

/// What a listing asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Query {
    /// What the names start with, literally.
    pub prefix: Bytes,
    /// Where the listing goes on; none at its start.
    pub cursor: Option<Cursor>,
    limit: usize,
}

impl Query {
    /// A first page of everything.
    #[must_use]
    pub const fn new() -> Self {
        Self { prefix: Bytes::new(), cursor: None, limit: KV_PAGE_KEYS_DEFAULT }
    }

    /// Only names that start with these bytes.
    #[must_use]
    pub fn prefix(mut self, prefix: impl Into<Bytes>) -> Self {
        self.prefix = prefix.into();
        self
    }

    /// Goes on where another page ended.
    #[must_use]
    pub fn cursor(mut self, cursor: Option<Cursor>) -> Self {
        self.cursor = cursor;
        self
    }

    /// Most keys on the page; over [`KV_PAGE_KEYS_MAX`] is cut to it.
    ///
    /// # Errors
    /// `INVALID` unless it is a positive whole number.
    pub fn limit(mut self, limit: f64) -> Result<Self> {
        let is_whole = limit.fract() == 0.0 || limit == f64::INFINITY;
        if !is_whole || limit < 1.0 {
            return Err(Error::invalid(format!(
                "limit must be a positive whole number, not {limit}"
            )));
        }
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "checked")]
        let limit = limit.min(KV_PAGE_KEYS_MAX as f64) as usize;
        self.limit = limit;
        Ok(self)
    }

    /// Most keys on the page.
    #[must_use]
    pub const fn keys_max(&self) -> usize {
        self.limit
    }
}

impl Default for Query {
    fn default() -> Self {
        Self::new()
    }
}

/// A place in a listing: after a name, which need not exist any more.
///
/// As text it is opaque: a `k` and the name in hexadecimal digits, so that it survives whatever
/// carries it, and so that the place after the empty name is not the empty text.
#[derive(Clone, PartialEq, Eq)]
pub struct Cursor(Bytes);

impl Cursor {
    /// The place after a name.
    #[must_use]
    pub fn after(name: &Bytes) -> Self {
        Self(name.clone())
    }

    /// Parses the text of a cursor. The empty text is the start: none.
    ///
    /// # Errors
    /// `INVALID` for what no page has answered.
    pub fn parse(text: &[u8]) -> Result<Option<Self>> {
        if text.is_empty() {
            return Ok(None);
        }
        match text.strip_prefix(b"k").and_then(from_hex) {
            Some(name) => Ok(Some(Self(name.into()))),
            None => Err(Error::invalid(
                "cursor is none that a page has answered: pass it on unchanged, or leave it out",
            )),
        }
    }

    pub(super) fn name(&self) -> Bytes {
        self.0.clone()
    }
}

impl fmt::Display for Cursor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("k")?;
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for Cursor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

fn from_hex(digits: &[u8]) -> Option<Vec<u8>> {
    let digit = |byte: u8| match byte {
        b'0'..=b'9' => Some(byte - b'0'),
        b'a'..=b'f' => Some(byte - b'a' + 10),
        _ => None,
    };
    let (pairs, rest) = digits.as_chunks::<2>();
    if !rest.is_empty() {
        return None;
    }
    pairs.iter().map(|[high, low]| Some(digit(*high)? << 4 | digit(*low)?)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn expirations_are_whole_seconds_rounded_up() {
        const NOW: UnixMillis = UnixMillis(1_000_400);
        let at = |seconds| Expiry::at_unix(seconds).expect("right").at(NOW);
        let after = |seconds| Expiry::after(seconds).expect("right").at(NOW);
        assert_eq!(Expiry::NEVER.at(NOW), Some(None));
        for (actual, expected) in [
            (at(1_001.0), Some(Some(1_001))),
            (at(1_000.5), Some(Some(1_001))),
            (at(1_000.4), None),
            (at(1_000.2), None),
            (at(0.0), None),
            (at(1e300), Some(Some(i64::MAX))),
            (after(10.0), Some(Some(1_011))),
            (after(0.6), Some(Some(1_001))),
            (after(0.601), Some(Some(1_002))),
            (after(1e-9), Some(Some(1_001))),
            (after(0.0), None),
            (after(-0.0), None),
            (after(1e300), Some(Some(9_223_372_036_855_777))),
        ] {
            assert_eq!(actual, expected);
        }
        for bad in [-1.0, -1e-9, f64::NAN, f64::INFINITY] {
            let error = Expiry::at_unix(bad).unwrap_err();
            assert!(error.message().starts_with("expiration must"), "{error}");
            let error = Expiry::of(Some(1.0), Some(bad)).unwrap_err();
            assert!(error.message().starts_with("expirationTtl must"), "{error}");
        }
        let both = Expiry::of(Some(5.0), Some(7.0)).expect("right");
        assert_eq!(both, Expiry::at_unix(5.0).expect("right"));
    }

    #[test]
    fn limits_are_positive_whole_numbers() {
        let limit = |limit| Query::new().limit(limit).map(|query| query.keys_max());
        for (given, expected) in
            [(1.0, 1), (10_000.0, 10_000), (10_001.0, 10_000), (f64::INFINITY, 10_000)]
        {
            assert_eq!(limit(given), Ok(expected));
        }
        for bad in [0.0, -0.0, -1.0, 1.5, 0.5, f64::NAN, f64::NEG_INFINITY] {
            assert!(limit(bad).is_err(), "{bad}");
        }
        assert_eq!(Query::new().keys_max(), KV_PAGE_KEYS_DEFAULT);
    }

    #[test]
    fn cursors_survive_their_text() {
        for name in [&b""[..], b"a", b"\0\xff", "\u{e9}".as_bytes()] {
            let cursor = Cursor::after(&Bytes::copy_from_slice(name));
            assert_eq!(Cursor::parse(cursor.to_string().as_bytes()), Ok(Some(cursor)));
        }
        assert_eq!(Cursor::parse(b""), Ok(None));
        for bad in ["x", "61", "k6", "kzz", "k6A", "k 6"] {
            assert!(Cursor::parse(bad.as_bytes()).is_err(), "{bad}");
        }
    }
}
