//! Durations as Go writes them: `5m`, `1h30m`, `500ms`, `1.5h`, `0`.
//!
//! The grammar is that of `time.ParseDuration`: an optional sign, then one or more decimal numbers,
//! each with an optional fraction and a unit out of `ns`, `us` (also `µs`), `ms`, `s`, `m`, `h`; or
//! a plain `0`. Precision is one nanosecond, the longest duration 2^63 - 1 of them (292 years).
//!
//! No negative durations: the grammar knows them, nothing in a configuration means them, so all
//! but `-0` are refused. No days and no months: they have no fixed length.

use std::time::Duration;

use crate::error::{Error, Result};

/// Parses a duration.
///
/// # Errors
/// `INVALID` if the text does not follow the grammar, is negative or too long.
///
/// ```
/// use std::time::Duration;
/// use plimsoll::registry::parse_duration;
///
/// assert_eq!(parse_duration("1h30m").unwrap(), Duration::from_secs(5_400));
/// assert_eq!(parse_duration("1.5s").unwrap(), Duration::from_millis(1_500));
/// assert!(parse_duration("90").is_err());
/// ```
pub fn parse_duration(text: &str) -> Result<Duration> {
    let unsigned = text.strip_prefix(['+', '-']).unwrap_or(text);
    let nanoseconds = match unsigned {
        "0" => 0,
        "" => return Err(no_duration(text, "it has no number")),
        _ => sum_of_terms(unsigned).map_err(|reason| no_duration(text, reason))?,
    };
    if text.starts_with('-') && nanoseconds > 0 {
        return Err(Error::invalid(format!("{text:?} is negative; a duration is 0 or longer")));
    }
    Ok(Duration::from_nanos(nanoseconds))
}

/// A duration as [`parse_duration`] reads it, in the largest unit of which it is a whole number.
pub(super) fn duration_text(duration: Duration) -> String {
    let nanoseconds = duration.as_nanos();
    let units = ["h", "m", "s", "ms", "us", "ns"];
    let whole = units.into_iter().find_map(|unit| {
        let length = u128::from(nanoseconds_of(unit)?);
        nanoseconds.is_multiple_of(length).then(|| format!("{}{unit}", nanoseconds / length))
    });
    match whole {
        Some(text) if nanoseconds > 0 => text,
        _ => "0".to_owned(),
    }
}

/// Adds up `<number><unit>` terms, in nanoseconds.
fn sum_of_terms(mut rest: &str) -> Result<u64, &'static str> {
    let mut total = 0_u64;
    while !rest.is_empty() {
        let (term, after) = leading_term(rest)?;
        rest = after;
        total = total.checked_add(term).filter(|sum| *sum <= NANOSECONDS_MAX).ok_or(TOO_LONG)?;
    }
    Ok(total)
}

/// The first `<number><unit>` in nanoseconds, and what follows it.
fn leading_term(text: &str) -> Result<(u64, &str), &'static str> {
    let (whole, rest) = split_digits(text);
    let (fraction, rest) = rest.strip_prefix('.').map_or(("", rest), split_digits);
    if whole.is_empty() && fraction.is_empty() {
        return Err("a number is missing");
    }
    let end = rest.find(|c: char| c == '.' || c.is_ascii_digit()).unwrap_or(rest.len());
    let (unit, rest) = rest.split_at(end);
    let unit = match unit {
        "" => return Err("a unit is missing"),
        _ => nanoseconds_of(unit).ok_or("it has an unknown unit")?,
    };
    let whole: u64 = if whole.is_empty() { 0 } else { whole.parse().map_err(|_| TOO_LONG)? };
    let whole = whole.checked_mul(unit).ok_or(TOO_LONG)?;
    let term = whole.checked_add(fraction_of(fraction, unit)).ok_or(TOO_LONG)?;
    Ok((term, rest))
}

fn split_digits(text: &str) -> (&str, &str) {
    text.split_at(text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len()))
}

/// A decimal fraction of a unit, in nanoseconds; computed in floats as Go does, so that the same
/// text is the same duration.
#[expect(
    clippy::cast_precision_loss,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "the result is at least 0 and below the unit; what is below a nanosecond is cut off"
)]
fn fraction_of(digits: &str, unit: u64) -> u64 {
    let (mut numerator, mut scale) = (0_u64, 1.0_f64);
    for digit in digits.bytes() {
        let longer = numerator.checked_mul(10).and_then(|n| n.checked_add(u64::from(digit - b'0')));
        match longer.filter(|n| *n <= FRACTION_NUMERATOR_MAX) {
            Some(longer) => (numerator, scale) = (longer, scale * 10.0),
            None => break,
        }
    }
    (numerator as f64 * (unit as f64 / scale)) as u64
}

const fn nanoseconds_of(unit: &str) -> Option<u64> {
    match unit.as_bytes() {
        b"ns" => Some(1),
        // The micro sign, and the Greek letter that looks like it.
        b"us" | b"\xc2\xb5s" | b"\xce\xbcs" => Some(1_000),
        b"ms" => Some(1_000_000),
        b"s" => Some(1_000_000_000),
        b"m" => Some(60_000_000_000),
        b"h" => Some(3_600_000_000_000),
        _ => None,
    }
}

fn no_duration(text: &str, reason: &str) -> Error {
    Error::invalid(format!(
        "{text:?} is no duration: {reason}; write a number with a unit (ns, us, ms, s, m, h), \
         such as 5m, 1h30m or 500ms, or a plain 0"
    ))
}

const NANOSECONDS_MAX: u64 = i64::MAX as u64;

/// The digits of a fraction count up to this number; those that would pass it are cut off.
const FRACTION_NUMERATOR_MAX: u64 = 1 << 63;

const TOO_LONG: &str = "it is longer than 292 years";

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const SECOND: u64 = 1_000_000_000;
    const MINUTE: u64 = 60 * SECOND;
    const HOUR: u64 = 60 * MINUTE;

    #[test]
    fn durations_are_those_of_go() {
        let table: &[(&str, u64)] = &[
            ("0", 0),
            ("+0", 0),
            ("-0", 0),
            ("-0s", 0),
            ("0h0m0s", 0),
            ("5s", 5 * SECOND),
            ("+5s", 5 * SECOND),
            ("30s", 30 * SECOND),
            ("1478s", 1_478 * SECOND),
            ("5.0s", 5 * SECOND),
            ("5.6s", 5_600_000_000),
            ("5.s", 5 * SECOND),
            (".5s", SECOND / 2),
            ("1.004s", 1_004_000_000),
            ("100.00100s", 100_001_000_000),
            ("10ns", 10),
            ("11us", 11_000),
            ("12\u{b5}s", 12_000),
            ("12\u{3bc}s", 12_000),
            ("13ms", 13_000_000),
            ("14s", 14 * SECOND),
            ("5m", 5 * MINUTE),
            ("16h", 16 * HOUR),
            ("3h30m", 3 * HOUR + 30 * MINUTE),
            ("30m3h", 3 * HOUR + 30 * MINUTE),
            ("10.5s4m", 4 * MINUTE + 10 * SECOND + SECOND / 2),
            ("1h2m3s4ms5us6ns", HOUR + 2 * MINUTE + 3 * SECOND + 4_005_006),
            ("52763797000ns", 52_763_797_000),
            ("0.3333333333333333333h", 20 * MINUTE),
            ("0.100000000000000000000h", 6 * MINUTE),
            ("0.830103483285477580700h", 49 * MINUTE + 48 * SECOND + 372_539_827),
            ("0.18446744073709551619s", 184_467_440),
            ("9223372036854775807ns", i64::MAX as u64),
            ("9223372036854775.807us", i64::MAX as u64),
            ("9223372036s854ms775us807ns", i64::MAX as u64),
        ];
        for (text, nanoseconds) in table {
            let parsed = parse_duration(text).unwrap_or_else(|error| panic!("{text}: {error}"));
            assert_eq!(parsed, Duration::from_nanos(*nanoseconds), "{text}");
        }
    }

    #[test]
    fn other_texts_are_refused_with_the_reason() {
        let table = [
            ("", "no number"),
            ("-", "no number"),
            ("3", "unit is missing"),
            ("1.5", "unit is missing"),
            ("s", "number is missing"),
            (".", "number is missing"),
            (".s", "number is missing"),
            ("+.s", "number is missing"),
            ("1s ", "unknown unit"),
            (" 1s", "number is missing"),
            ("1 s", "unknown unit"),
            ("1d", "unknown unit"),
            ("1M", "unknown unit"),
            ("5 minutes", "unknown unit"),
            ("5min", "unknown unit"),
            ("1S", "unknown unit"),
            ("1e3s", "unknown unit"),
            ("--5s", "number is missing"),
            ("1m-5s", "unknown unit"),
            ("1.2.3s", "unit is missing"),
            ("\u{661}s", "number is missing"),
            ("9223372036854775808ns", "292 years"),
            ("9223372036854775.808us", "292 years"),
            ("99999999999999999999s", "292 years"),
            ("3000000h", "292 years"),
            ("2562047h60m", "292 years"),
            ("-1s", "negative"),
            ("-1h30m", "negative"),
        ];
        for (text, reason) in table {
            let error = parse_duration(text).expect_err(text);
            assert!(error.message().contains(reason), "{text:?}: {error}");
        }
    }

    proptest! {
        #[test]
        fn whole_terms_add_up(
            h in 0..1_000_u64, m in 0..1_000_u64, s in 0..1_000_u64, ms in 0..10_000_u64,
        ) {
            let parsed = parse_duration(&format!("{h}h{m}m{s}s{ms}ms")).expect("good");
            let nanoseconds = h * HOUR + m * MINUTE + s * SECOND + ms * 1_000_000;
            prop_assert_eq!(parsed, Duration::from_nanos(nanoseconds));
        }

        #[test]
        fn fractions_are_exact_to_a_nanosecond(whole in 0..1_000_000_u64, nanoseconds in 0..SECOND) {
            let parsed = parse_duration(&format!("{whole}.{nanoseconds:09}s")).expect("good");
            let expected = Duration::from_nanos(whole * SECOND + nanoseconds);
            prop_assert!(parsed.abs_diff(expected) <= Duration::from_nanos(1));
        }

        #[test]
        fn what_is_written_is_read_as_it_was(
            number in 0..1_000_000_u64, unit in prop::sample::select(vec!["h", "s", "us", "ns"]),
        ) {
            let duration = parse_duration(&format!("{number}{unit}")).expect("good");
            prop_assert_eq!(parse_duration(&duration_text(duration)), Ok(duration));
        }

        #[test]
        fn no_text_panics(text in "[-+]?[0-9.]{0,25}[a-z\u{b5} ]{0,3}[0-9.]{0,9}[hms]{0,2}") {
            let _ = parse_duration(&text);
        }
    }
}
