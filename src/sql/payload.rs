//! Payloads: values as JSON, so that other programs can read and write the table.
//!
//! What JSON can carry exactly is plain JSON:
//!
//! | value | JSON |
//! |---|---|
//! | boolean, integer | `true`, `42` (all 64 bits) |
//! | finite float | always with a fraction or an exponent: `1.0`, `-0.0`, `1e300` |
//! | string of UTF-8 | a string |
//! | table with an array part only | an array |
//! | table with keys of UTF-8 only, and the empty table | an object |
//!
//! The rest is an object with the reserved member `$plimsoll`, which names what it stands for:
//!
//! | value | JSON |
//! |---|---|
//! | NaN, infinities | `{"$plimsoll":"float","value":"nan"}` (`inf`, `-inf`) |
//! | string not of UTF-8 | `{"$plimsoll":"bytes","hex":"ff00"}` |
//! | for `jsonb`: negative zero, string with a NUL | `{"$plimsoll":"float","value":"-0"}`, as bytes |
//! | any other table | `{"$plimsoll":"table","i:1":"a","i:5":"b","s:name":true}` |
//!
//! In the members of such a table the letter is the type of the key: `i` integer, `f` float (as
//! Rust prints it, `inf` and `-inf` included), `b` boolean, `s` string, `x` string not of UTF-8 (in
//! hexadecimal). A table that itself has the key `$plimsoll` is written in this form, so the form
//! means nothing else.
//!
//! Plain JSON of other programs reads naturally: `null` in an object or array is an absent key, of
//! a name that occurs twice the last value counts (a null is none), an integer beyond 64 bits is a
//! float. Refused are: what is no JSON, `null` as the whole payload, numbers beyond every float,
//! an unknown `$plimsoll` form, and whatever is over the limits of a value.
//!
//! Invariants: `decode(encode(v)) == v` for every value within the limits, and the escape never
//! nests deeper than the value itself plus one, so no parser's own limit is reached.

use std::fmt;
use std::io::{self, Write};

use bytes::Bytes;
use serde::de::{DeserializeSeed, Deserializer, Error as _, MapAccess, SeqAccess, Visitor};
use serde::ser::{Serialize, SerializeMap, Serializer};

use crate::error::{Error, Result};
use crate::limits::{PAYLOAD_BYTES_MAX, VALUE_BYTES_MAX, VALUE_DEPTH_MAX};
use crate::value::{Encoded, Table, TableKey, Value};

/// The member that marks an escape.
const ESCAPE: &str = "$plimsoll";

/// The JSON of a value.
///
/// # Errors
/// `INVALID` if the value is over a limit, as [`Encoded::new`].
pub fn encode(value: &Value) -> Result<Vec<u8>> {
    let canonical = Encoded::new(value)?;
    let mut payload = Vec::with_capacity(canonical.len() * 2);
    serde_json::to_writer(&mut payload, &Json { value, keeper: Keeper::Text })
        .expect("member names are strings, and memory takes every write");
    debug_assert!(payload.len() <= PAYLOAD_BYTES_MAX, "an expansion beyond eleven times");
    Ok(payload)
}

/// The JSON of a value for a database that keeps what a text means and not the text: PostgreSQL's
/// `jsonb`, which has no NUL character and no negative zero, and writes `1e16` without exponent.
///
/// # Errors
/// `INVALID` if the value is over a limit, as [`Encoded::new`], or its JSON with all the digits of
/// its floats is over [`PAYLOAD_BYTES_MAX`].
pub fn encode_jsonb(value: &Value) -> Result<Vec<u8>> {
    Encoded::new(value)?;
    let mut payload = Vec::new();
    let mut serializer = serde_json::Serializer::with_formatter(&mut payload, JsonbFormatter);
    Json { value, keeper: Keeper::Jsonb }
        .serialize(&mut serializer)
        .expect("member names are strings, and memory takes every write");
    if payload.len() > PAYLOAD_BYTES_MAX {
        return Err(Error::invalid(format!(
            "the value has {} bytes as jsonb, the limit is {PAYLOAD_BYTES_MAX}",
            payload.len()
        ))
        .with_detail("limit", PAYLOAD_BYTES_MAX)
        .with_detail("actual", payload.len()));
    }
    Ok(payload)
}

/// The value of a payload.
///
/// # Errors
/// `INTERNAL` if the payload is no JSON of a value, or is over a limit (then with
/// `details.limit`).
pub fn decode(payload: &[u8]) -> Result<Value> {
    /// A value's encoding is less than this many times its JSON: `0e0,` becomes nine bytes.
    const EXPANSION_MAX: usize = 3;
    if payload.len() > PAYLOAD_BYTES_MAX {
        return Err(Error::internal(format!(
            "the payload has {} bytes, the limit is {PAYLOAD_BYTES_MAX}",
            payload.len()
        ))
        .with_detail("limit", PAYLOAD_BYTES_MAX)
        .with_detail("actual", payload.len()));
    }
    let mut parser = serde_json::Deserializer::from_slice(payload);
    let value = Nested { depth: 0 }
        .deserialize(&mut parser)
        .and_then(|value| parser.end().map(|()| value))
        .map_err(|error| Error::internal(format!("the payload is no JSON of a value: {error}")))?;
    let value = value.ok_or_else(|| Error::internal("the payload is null, which is no value"))?;
    if payload.len() > VALUE_BYTES_MAX / EXPANSION_MAX
        && let Err(error) = Encoded::new(&value)
    {
        return Err(Error::internal(error.message()).with_detail("limit", VALUE_BYTES_MAX));
    }
    Ok(value)
}

/// Who keeps the JSON.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Keeper {
    /// Whoever keeps a text as it is.
    Text,
    /// PostgreSQL's `jsonb`.
    Jsonb,
}

impl Keeper {
    /// The text of bytes, if they are one that is kept.
    fn text(self, bytes: &[u8]) -> Option<&str> {
        let is_kept = self == Self::Text || !bytes.contains(&0);
        std::str::from_utf8(bytes).ok().filter(|_| is_kept)
    }

    /// Whether a number is kept as a float.
    fn keeps(self, float: f64) -> bool {
        let is_negative_zero = float == 0.0 && float.is_sign_negative();
        float.is_finite() && !(is_negative_zero && self == Self::Jsonb)
    }
}

/// Writes as `jsonb` does, so that what is written is as long as what is read: a blank after each
/// separator, floats with all their digits and never with an exponent. Each has a fraction, without
/// which it would be an integer.
struct JsonbFormatter;

impl serde_json::ser::Formatter for JsonbFormatter {
    fn write_f64<W: ?Sized + Write>(&mut self, writer: &mut W, float: f64) -> io::Result<()> {
        let digits = float.to_string();
        let fraction = if digits.contains('.') { "" } else { ".0" };
        write!(writer, "{digits}{fraction}")
    }

    fn begin_array_value<W: ?Sized + Write>(
        &mut self,
        writer: &mut W,
        first: bool,
    ) -> io::Result<()> {
        writer.write_all(if first { b"" } else { b", " })
    }

    fn begin_object_key<W: ?Sized + Write>(
        &mut self,
        writer: &mut W,
        first: bool,
    ) -> io::Result<()> {
        writer.write_all(if first { b"" } else { b", " })
    }

    fn begin_object_value<W: ?Sized + Write>(&mut self, writer: &mut W) -> io::Result<()> {
        writer.write_all(b": ")
    }
}

/// A value that serializes as described above.
#[derive(Clone, Copy)]
struct Json<'a> {
    value: &'a Value,
    keeper: Keeper,
}

impl<'a> Json<'a> {
    /// A value inside this one.
    const fn inner(self, value: &'a Value) -> Self {
        Self { value, keeper: self.keeper }
    }

    fn serialize_table<S: Serializer>(
        self,
        serializer: S,
        table: &'a Table,
    ) -> Result<S::Ok, S::Error> {
        if table.other().len() == 0 && !table.is_empty() {
            return serializer.collect_seq(table.array().iter().map(|value| self.inner(value)));
        }
        let plain_name = |key| plain_name(key, self.keeper);
        if table.array().is_empty() && table.other().all(|(key, _)| plain_name(key).is_some()) {
            let members = table.other().filter_map(|(key, value)| Some((plain_name(key)?, value)));
            return serializer.collect_map(members.map(|(name, value)| (name, self.inner(value))));
        }
        let mut object = serializer.serialize_map(Some(1 + table.len()))?;
        object.serialize_entry(ESCAPE, "table")?;
        for (position, value) in table.array().iter().enumerate() {
            object.serialize_entry(&format!("i:{}", position + 1), &self.inner(value))?;
        }
        for (key, value) in table.other() {
            object.serialize_entry(&typed_name(key, self.keeper), &self.inner(value))?;
        }
        object.end()
    }
}

impl Serialize for Json<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self.value {
            Value::Boolean(boolean) => serializer.serialize_bool(*boolean),
            Value::Integer(integer) => serializer.serialize_i64(*integer),
            Value::Float(float) if self.keeper.keeps(*float) => serializer.serialize_f64(*float),
            Value::Float(float) => {
                let text = if float.is_nan() { "nan".to_owned() } else { float.to_string() };
                serialize_leaf(serializer, "float", "value", &text)
            }
            Value::String(bytes) => match self.keeper.text(bytes) {
                Some(text) => serializer.serialize_str(text),
                None => serialize_leaf(serializer, "bytes", "hex", &to_hex(bytes)),
            },
            Value::Table(table) => self.serialize_table(serializer, table),
        }
    }
}

fn serialize_leaf<S: Serializer>(
    serializer: S,
    form: &str,
    name: &str,
    content: &str,
) -> Result<S::Ok, S::Error> {
    let mut object = serializer.serialize_map(Some(2))?;
    object.serialize_entry(ESCAPE, form)?;
    object.serialize_entry(name, content)?;
    object.end()
}

/// The member name of a key in a plain object, if it can stand in one.
fn plain_name(key: &TableKey, keeper: Keeper) -> Option<&str> {
    match key {
        TableKey::String(bytes) => keeper.text(bytes).filter(|text| *text != ESCAPE),
        TableKey::Boolean(_) | TableKey::Integer(_) | TableKey::Float(_) => None,
    }
}

/// The member name of a key in the escape.
fn typed_name(key: &TableKey, keeper: Keeper) -> String {
    match key {
        TableKey::Boolean(boolean) => format!("b:{boolean}"),
        TableKey::Integer(integer) => format!("i:{integer}"),
        TableKey::Float(float) => format!("f:{float:?}"),
        TableKey::String(bytes) => match keeper.text(bytes) {
            Some(text) => format!("s:{text}"),
            None => format!("x:{}", to_hex(bytes)),
        },
    }
}

/// The key of a member name in the escape.
fn parse_typed_name(name: &str) -> Option<TableKey> {
    let (letter, text) = name.split_once(':')?;
    match letter {
        "b" => text.parse().ok().map(TableKey::Boolean),
        "i" => text.parse().ok().map(TableKey::Integer),
        "f" => text.parse().ok().and_then(TableKey::float),
        "s" => Some(TableKey::from(text)),
        "x" => from_hex(text).map(|bytes| TableKey::String(bytes.into())),
        _ => None,
    }
}

/// Parses a value inside `depth` objects and arrays; a null is none.
#[derive(Clone, Copy)]
struct Nested {
    depth: usize,
}

impl Nested {
    const fn inner(self) -> Self {
        Self { depth: self.depth + 1 }
    }

    /// Refuses a table here if the value is too deep with it.
    fn check_depth<E: serde::de::Error>(self) -> Result<(), E> {
        if self.depth < VALUE_DEPTH_MAX {
            return Ok(());
        }
        Err(E::custom(format_args!("nested deeper than {VALUE_DEPTH_MAX} levels")))
    }
}

impl<'de> DeserializeSeed<'de> for Nested {
    type Value = Option<Value>;

    fn deserialize<D: Deserializer<'de>>(self, parser: D) -> Result<Self::Value, D::Error> {
        parser.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Nested {
    type Value = Option<Value>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON")
    }

    fn visit_unit<E>(self) -> Result<Self::Value, E> {
        Ok(None)
    }

    fn visit_bool<E>(self, boolean: bool) -> Result<Self::Value, E> {
        Ok(Some(Value::Boolean(boolean)))
    }

    fn visit_i64<E>(self, integer: i64) -> Result<Self::Value, E> {
        Ok(Some(Value::Integer(integer)))
    }

    #[expect(clippy::cast_precision_loss, reason = "what no integer holds is a float")]
    fn visit_u64<E>(self, integer: u64) -> Result<Self::Value, E> {
        Ok(Some(i64::try_from(integer).map_or(Value::Float(integer as f64), Value::Integer)))
    }

    fn visit_f64<E>(self, float: f64) -> Result<Self::Value, E> {
        Ok(Some(Value::Float(float)))
    }

    fn visit_str<E>(self, text: &str) -> Result<Self::Value, E> {
        Ok(Some(Value::from(text)))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut array: A) -> Result<Self::Value, A::Error> {
        self.check_depth()?;
        let mut table = Table::new();
        let mut position = 0;
        while let Some(value) = array.next_element_seed(self.inner())? {
            position += 1;
            if let Some(value) = value {
                table.insert(position, value);
            }
        }
        Ok(Some(Value::Table(table)))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut object: A) -> Result<Self::Value, A::Error> {
        if self.depth > VALUE_DEPTH_MAX {
            // Not even an escaped scalar may stand here.
            self.check_depth()?;
        }
        let mut members = Vec::new();
        let mut is_escape = false;
        while let Some(name) = object.next_key_seed(Name)? {
            if let Some(value) = object.next_value_seed(self.inner())? {
                is_escape |= name == ESCAPE.as_bytes();
                members.push((name, value));
            }
        }
        let value = if is_escape {
            unescape(members).map_err(A::Error::custom)?
        } else {
            Value::Table(members.into_iter().collect())
        };
        if matches!(value, Value::Table(_)) {
            self.check_depth()?;
        }
        Ok(Some(value))
    }
}

/// The name of a member.
struct Name;

impl<'de> DeserializeSeed<'de> for Name {
    type Value = Bytes;

    fn deserialize<D: Deserializer<'de>>(self, parser: D) -> Result<Bytes, D::Error> {
        parser.deserialize_str(self)
    }
}

impl Visitor<'_> for Name {
    type Value = Bytes;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the name of a member")
    }

    fn visit_str<E>(self, name: &str) -> Result<Bytes, E> {
        Ok(Bytes::copy_from_slice(name.as_bytes()))
    }
}

/// What an object with the reserved member stands for.
fn unescape(members: Vec<(Bytes, Value)>) -> Result<Value, String> {
    let mut form = None;
    let mut others = Vec::with_capacity(members.len());
    for (name, value) in members {
        if name == ESCAPE.as_bytes() {
            form = Some(value);
        } else {
            let name = String::from_utf8(name.into()).expect("a JSON name is UTF-8");
            others.push((name, value));
        }
    }
    let value = match (form.as_ref().and_then(Value::as_str), others.as_slice()) {
        (Some("table"), _) => unescape_table(others),
        (Some("float"), [(name, value)]) if name == "value" => unescape_float(value),
        (Some("bytes"), [(name, value)]) if name == "hex" => {
            value.as_str().and_then(from_hex).map(Value::from)
        }
        _ => None,
    };
    value.ok_or_else(|| {
        format!("an object with the reserved member {ESCAPE:?} that has no form of this store")
    })
}

fn unescape_float(text: &Value) -> Option<Value> {
    match text.as_str()? {
        "nan" => Some(Value::Float(f64::NAN)),
        "inf" => Some(Value::Float(f64::INFINITY)),
        "-inf" => Some(Value::Float(f64::NEG_INFINITY)),
        "-0" => Some(Value::Float(-0.0)),
        _ => None,
    }
}

fn unescape_table(members: Vec<(String, Value)>) -> Option<Value> {
    let mut table = Table::new();
    for (name, value) in members {
        table.insert(parse_typed_name(&name)?, value);
    }
    Some(Value::Table(table))
}

fn to_hex(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let digits = bytes.iter().flat_map(|byte| [byte >> 4, byte & 0xf]);
    digits.map(|digit| char::from(DIGITS[usize::from(digit)])).collect()
}

fn from_hex(text: &str) -> Option<Vec<u8>> {
    let digit = |byte: &u8| char::from(*byte).to_digit(16);
    let pairs = text.as_bytes().chunks(2).map(|pair| match pair {
        [high, low] => u8::try_from(digit(high)? << 4 | digit(low)?).ok(),
        _ => None,
    });
    pairs.collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn json(value: &Value) -> String {
        String::from_utf8(encode(value).expect("within the limits")).expect("JSON is UTF-8")
    }

    fn read(payload: &str) -> Value {
        decode(payload.as_bytes()).unwrap_or_else(|error| panic!("{payload}: {error}"))
    }

    fn table(pairs: impl IntoIterator<Item = (TableKey, Value)>) -> Value {
        Value::Table(pairs.into_iter().collect())
    }

    /// The text is a format that other programs read: it may only be added to.
    #[test]
    fn golden_payloads() {
        let key = TableKey::from;
        for (value, payload) in [
            (Value::from(true), "true"),
            (Value::from(i64::MIN), "-9223372036854775808"),
            (Value::from(i64::MAX), "9223372036854775807"),
            (Value::from(1.0), "1.0"),
            (Value::from(-0.0), "-0.0"),
            (Value::from(0.1), "0.1"),
            (Value::from(1e300), "1e+300"),
            (Value::from(5e-324), "5e-324"),
            (Value::from("é\n\0\"\u{1f600}"), "\"é\\n\\u0000\\\"\u{1f600}\""),
            (Value::table(), "{}"),
            (table([(1.into(), "a".into()), (2.into(), Value::table())]), r#"["a",{}]"#),
            (table([(key("b"), 1.into()), (key("a"), 1.5.into())]), r#"{"a":1.5,"b":1}"#),
            (Value::from(f64::NAN), r#"{"$plimsoll":"float","value":"nan"}"#),
            (Value::from(f64::NEG_INFINITY), r#"{"$plimsoll":"float","value":"-inf"}"#),
            (Value::from(vec![0xff, 0]), r#"{"$plimsoll":"bytes","hex":"ff00"}"#),
            (
                table([
                    (1.into(), "a".into()),
                    (5.into(), "b".into()),
                    (TableKey::Float(0.5), 1.into()),
                    (TableKey::Float(f64::INFINITY), 2.into()),
                    (true.into(), 3.into()),
                    (key("i:1"), 4.into()),
                    (TableKey::String(Bytes::from_static(b"\xff")), 5.into()),
                ]),
                concat!(
                    r#"{"$plimsoll":"table","i:1":"a","b:true":3,"i:5":"b","#,
                    r#""f:0.5":1,"f:inf":2,"s:i:1":4,"x:ff":5}"#
                ),
            ),
            (
                table([(key(ESCAPE), "float".into()), (key("value"), "nan".into())]),
                r#"{"$plimsoll":"table","s:$plimsoll":"float","s:value":"nan"}"#,
            ),
        ] {
            assert_eq!(json(&value), payload);
            assert_eq!(read(payload), value);
        }
    }

    /// What `jsonb` would change is written so that it does not.
    #[test]
    fn golden_jsonb_payloads() {
        let key = TableKey::from;
        for (value, payload) in [
            (Value::from(-0.0), r#"{"$plimsoll": "float", "value": "-0"}"#),
            (Value::from(0.0), "0.0"),
            (Value::from(1e16), "10000000000000000.0"),
            (Value::from("a\0"), r#"{"$plimsoll": "bytes", "hex": "6100"}"#),
            (table([(1.into(), 1.into()), (2.into(), 0.5.into())]), "[1, 0.5]"),
            (table([(key("a"), 1.into()), (key("b"), 2.into())]), r#"{"a": 1, "b": 2}"#),
            (table([(key("a\0"), 1.into())]), r#"{"$plimsoll": "table", "x:6100": 1}"#),
        ] {
            let json = encode_jsonb(&value).expect("within the limits");
            assert_eq!(std::str::from_utf8(&json), Ok(payload));
            assert_eq!(read(payload), value);
        }
        let tiny: Table = (1..60_000).map(|i| (i, 5e-324)).collect();
        let error = encode_jsonb(&tiny.into()).expect_err("too many digits");
        assert_eq!(error.detail("limit"), Some(&PAYLOAD_BYTES_MAX.into()));
    }

    #[test]
    fn plain_json_of_other_programs_reads_naturally() {
        let key = TableKey::from;
        for (payload, value) in [
            (" [ ] ", Value::table()),
            ("1.50", 1.5.into()),
            ("1E2", 100.0.into()),
            ("-0", (-0.0).into()),
            ("9223372036854775808", 9_223_372_036_854_775_808.0.into()),
            ("-9223372036854775809", (-9_223_372_036_854_775_808.0).into()),
            ("123456789012345678901234567890", 123_456_789_012_345_678_901_234_567_890.0.into()),
            (r#""\u00e9\ud83d\ude00""#, "é\u{1f600}".into()),
            (r#"{"a":1,"a":2}"#, table([(key("a"), 2.into())])),
            (r#"{"a":null,"b":1}"#, table([(key("b"), 1.into())])),
            (r#"{"$plimsoll":null,"b":1}"#, table([(key("b"), 1.into())])),
            ("[1,null,3]", table([(1.into(), 1.into()), (3.into(), 3.into())])),
            ("[null]", Value::table()),
            (r#"{"1":"a"}"#, table([(key("1"), "a".into())])),
            (r#"{"i:1":2,"$plimsoll":"table"}"#, table([(1.into(), 2.into())])),
        ] {
            assert_eq!(read(payload), value, "{payload}");
        }
    }

    #[test]
    fn what_is_no_value_is_an_internal_error() {
        let too_deep = "[".repeat(VALUE_DEPTH_MAX + 1) + &"]".repeat(VALUE_DEPTH_MAX + 1);
        let far_too_deep = "[".repeat(100_000);
        let too_large = format!("[{}0]", "0e0,".repeat(VALUE_BYTES_MAX / 9 + 1));
        let far_too_large = " ".repeat(PAYLOAD_BYTES_MAX + 1);
        for (payload, message) in [
            ("", "EOF"),
            ("hello", "expected value"),
            ("{\"a\":1", "EOF"),
            ("1 2", "trailing"),
            ("null", "null"),
            ("NaN", "expected value"),
            ("1e999", "out of range"),
            (r#""\ud800""#, "hex escape"),
            (r#"{"$plimsoll":"set"}"#, "reserved"),
            (r#"{"$plimsoll":1}"#, "reserved"),
            (r#"{"$plimsoll":"float","value":"1"}"#, "reserved"),
            (r#"{"$plimsoll":"bytes","hex":"f"}"#, "reserved"),
            (r#"{"$plimsoll":"bytes","hex":"zz"}"#, "reserved"),
            (r#"{"$plimsoll":"bytes","hex":"","more":1}"#, "reserved"),
            (r#"{"$plimsoll":"table","a":1}"#, "reserved"),
            (r#"{"$plimsoll":"table","f:nan":1}"#, "reserved"),
            (&too_deep, "deeper than 64"),
            (&far_too_deep, "deeper than 64"),
            (&too_large, "too large"),
            (&far_too_large, "the limit is"),
        ] {
            let error = decode(payload.as_bytes()).expect_err(message);
            assert_eq!(error.kind(), crate::error::ErrorKind::Internal);
            assert!(error.message().contains(message), "{error}");
        }
        assert!(decode(b"\"\xff\"").is_err());
    }

    #[test]
    fn the_longest_payload_is_within_its_limit() {
        let mut strings = Table::new();
        for _ in 0..(VALUE_BYTES_MAX - 5) / 3 {
            strings.push(vec![0xff]);
        }
        let value = Value::from(strings);
        let payload = encode(&value).expect("just within the limit of a value");
        assert!(payload.len() > 10 * VALUE_BYTES_MAX && payload.len() <= PAYLOAD_BYTES_MAX);
        assert_eq!(decode(&payload), Ok(value));
    }

    #[test]
    fn the_deepest_value_round_trips_in_every_form() {
        for key in [TableKey::from("a"), 1.into(), 7.into()] {
            let leaf = table([(key.clone(), vec![0xff].into())]);
            let value = (1..VALUE_DEPTH_MAX).fold(leaf, |inner, _| table([(key.clone(), inner)]));
            assert_eq!(read(&json(&value)), value);
            assert!(encode(&table([(key, value)])).is_err());
        }
    }

    fn any_key() -> impl Strategy<Value = TableKey> {
        prop_oneof![
            any::<bool>().prop_map(TableKey::Boolean),
            (-2_i64..6).prop_map(TableKey::Integer),
            any::<i64>().prop_map(TableKey::Integer),
            any::<f64>().prop_filter_map("NaN is no key", TableKey::float),
            "[a-z$:]{0,4}|\\$plimsoll|[ifbsx]:[0-9a-f]{1,2}".prop_map(TableKey::from),
            prop::collection::vec(any::<u8>(), 0..4)
                .prop_map(|bytes| TableKey::String(bytes.into())),
        ]
    }

    fn any_value() -> impl Strategy<Value = Value> {
        let scalar = prop_oneof![
            any::<bool>().prop_map(Value::from),
            any::<i64>().prop_map(Value::from),
            any::<u64>().prop_map(|bits| Value::from(f64::from_bits(bits))),
            (-9_i32..9).prop_map(|i| Value::from(f64::from(i) / 2.0)),
            ".{0,8}".prop_map(Value::from),
            prop::collection::vec(any::<u8>(), 0..8).prop_map(Value::from),
            prop::sample::select(vec!["nan", "table", "bytes", "ff"]).prop_map(Value::from),
        ];
        scalar.prop_recursive(5, 64, 8, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..5).prop_map(|values| {
                    let pairs = (1_i64..).zip(values);
                    Value::Table(pairs.collect())
                }),
                prop::collection::vec((any_key(), inner), 0..6)
                    .prop_map(|pairs| Value::Table(pairs.into_iter().collect())),
            ]
        })
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(2_000))]

        #[test]
        fn every_value_round_trips(value in any_value()) {
            for payload in [encode(&value), encode_jsonb(&value)] {
                prop_assert_eq!(decode(&payload.expect("small")), Ok(value.clone()));
            }
        }

        #[test]
        fn no_bytes_panic(payload in prop::collection::vec(any::<u8>(), 0..64)) {
            let _ = decode(&payload);
        }
    }
}
