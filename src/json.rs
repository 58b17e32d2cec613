//! Plain JSON and values, as scripts and the command line write them.
//!
//! | JSON | value |
//! |---|---|
//! | null | no value: an absent key, a hole in an array |
//! | boolean, string | the same |
//! | number without fraction and exponent, within 64 bits | integer |
//! | any other number | float |
//! | array, object | table |
//!
//! The other way a table is an array if its keys are positive integers and at most half of the
//! places up to the greatest are holes (they become null), and an object if its keys are strings;
//! the empty table is `{}`. Members stand in the order of their names.
//!
//! What JSON cannot carry is an error here: NaN, infinities, strings and names that are not UTF-8,
//! other keys and mixed ones. No escapes: `store.sql` has those, for what must come back exactly.

use serde_json::{Map, Number, Value as Json};

use crate::error::{Error, Result};
use crate::value::{Table, TableKey, Value};

/// Parses a text; none for `null`.
///
/// # Errors
/// `INVALID` if the text is no JSON or is nested deeper than
/// [`JSON_DEPTH_MAX`](crate::limits::JSON_DEPTH_MAX), naming line and column.
pub fn parse(text: &[u8]) -> Result<Option<Value>> {
    let json = serde_json::from_slice(text)
        .map_err(|error| Error::invalid(format!("this is no JSON: {error}")))?;
    Ok(from_json(json))
}

/// Writes a value as JSON text on one line; `name` is what messages call it.
///
/// # Errors
/// `INVALID`, naming the path, for what JSON cannot carry.
pub fn to_text(name: &str, value: &Value) -> Result<String> {
    Ok(to_json(name, value)?.to_string())
}

/// The value of a parsed text; none for `null`.
pub(crate) fn from_json(json: Json) -> Option<Value> {
    Some(match json {
        Json::Null => return None,
        Json::Bool(boolean) => boolean.into(),
        Json::Number(number) => from_number(&number),
        Json::String(text) => text.into(),
        Json::Array(items) => (1_i64..)
            .zip(items)
            .filter_map(|(position, item)| Some((position, from_json(item)?)))
            .collect::<Table>()
            .into(),
        Json::Object(members) => members
            .into_iter()
            .filter_map(|(name, member)| Some((name, from_json(member)?)))
            .collect::<Table>()
            .into(),
    })
}

fn from_number(number: &Number) -> Value {
    match number.as_i64() {
        Some(integer) => integer.into(),
        None => number.as_f64().expect("without arbitrary precision it is a float").into(),
    }
}

/// A value as JSON, as [`to_text`] writes it.
pub(crate) fn to_json(name: &str, value: &Value) -> Result<Json> {
    convert(value).map_err(|problem| {
        let path: String = problem.path.into_iter().rev().collect();
        Error::invalid(format!("{name}{path}: {}", problem.what))
    })
}

/// What cannot be carried, and where; the path grows on the way back, innermost step first.
struct Problem {
    what: &'static str,
    path: Vec<String>,
}

impl Problem {
    const fn new(what: &'static str) -> Self {
        Self { what, path: Vec::new() }
    }

    fn at(mut self, key: &TableKey) -> Self {
        self.path.push(key.path_step());
        self
    }
}

fn convert(value: &Value) -> Result<Json, Problem> {
    Ok(match value {
        Value::Boolean(boolean) => Json::Bool(*boolean),
        Value::Integer(integer) => Json::Number((*integer).into()),
        Value::Float(float) => Json::Number(
            Number::from_f64(*float).ok_or(Problem::new("NaN and infinities can't be JSON"))?,
        ),
        Value::String(bytes) => Json::String(text(bytes)?),
        Value::Table(table) => convert_table(table)?,
    })
}

fn text(bytes: &[u8]) -> Result<String, Problem> {
    let text = std::str::from_utf8(bytes)
        .map_err(|_| Problem::new("a string that is not UTF-8 can't be JSON"))?;
    Ok(text.to_owned())
}

fn convert_table(table: &Table) -> Result<Json, Problem> {
    if table.array().is_empty() && table.other().all(|(key, _)| matches!(key, TableKey::String(_)))
    {
        return convert_object(table);
    }
    let mut items = Vec::with_capacity(table.len());
    for (position, value) in (1..).zip(table.array()) {
        items.push(convert(value).map_err(|p| p.at(&TableKey::Integer(position)))?);
    }
    for (key, value) in table.other() {
        let TableKey::Integer(position) = key else {
            return Err(Problem::new(MIXED_KEYS));
        };
        let holes_allowed = table.len();
        let position = usize::try_from(*position)
            .ok()
            .filter(|position| *position > items.len())
            .ok_or(Problem::new(MIXED_KEYS))?;
        if position > table.len() + holes_allowed {
            return Err(Problem::new("an array with more holes than values can't be JSON"));
        }
        items.resize(position - 1, Json::Null);
        items.push(convert(value).map_err(|problem| problem.at(key))?);
    }
    Ok(Json::Array(items))
}

fn convert_object(table: &Table) -> Result<Json, Problem> {
    let mut members = Map::with_capacity(table.len());
    for (key, value) in table.other() {
        let TableKey::String(name) = key else { unreachable!("the caller checked the keys") };
        let name = text(name).map_err(|problem| problem.at(key))?;
        members.insert(name, convert(value).map_err(|problem| problem.at(key))?);
    }
    Ok(Json::Object(members))
}

const MIXED_KEYS: &str =
    "a table can be JSON only if its keys are all strings, or all positions counted from 1";
