//! Values and any Rust type, through serde.
//!
//! [`to_value`] tells how types become values.
//!
//! Invariant: what was made by [`to_value`] gives back the same by [`from_value`], for every type
//! whose own `Serialize` and `Deserialize` agree, but where one value has two forms in Rust:
//! `Some(None)` comes back as `None`, and a map without the keys that had `None`. The empty table is
//! both a list and a map; where serde looks without saying what it wants (an untagged or internally
//! tagged enum, a flattened field) it is a list.
#![deny(clippy::disallowed_types, clippy::disallowed_methods)]

mod from;
mod impls;
mod into;

use std::fmt;

use serde::{Deserialize, Serialize};

use super::{TableKey, Value};
use crate::error::{Error, Result};
use crate::limits::VALUE_DEPTH_MAX;

/// The value of anything that serde can serialize.
///
/// | in Rust | as a [`Value`] |
/// |---|---|
/// | `bool`, integers, floats | the same; an integer beyond 64 bits with a sign is an error |
/// | `&str`, `String`, `char`; what serde calls bytes | string |
/// | `None` | nothing: an absent key in a struct, a map, a tuple; refused in a list and by itself |
/// | `Some(x)`, a newtype struct | as `x` |
/// | a list, set, slice, tuple, tuple struct | table with the keys 1 to n |
/// | a map | table; its keys are booleans, numbers, strings or unit variants |
/// | a struct | table with its fields as string keys |
/// | `()`, a unit struct | the empty table |
/// | a unit variant | string, its name |
/// | any other variant | table with one key, its name, and its content there; the name alone if that is `None` |
///
/// What is read back is checked as strictly: a float is no integer, and an integer is a float (an
/// `f64` an `f32`) only where that changes nothing. Fields that a struct does not have are ignored,
/// unless it has `#[serde(deny_unknown_fields)]`.
///
/// `Vec<u8>` is a list of numbers to serde; a field of type [`Value`], or a type that says
/// `serialize_bytes`, is a byte string.
///
/// ```
/// # use plimsoll::value::{from_value, to_value, Value};
/// use serde::{Deserialize, Serialize};
///
/// #[derive(Debug, PartialEq, Serialize, Deserialize)]
/// struct User { name: String, visits: u32, nick: Option<String> }
///
/// let alice = User { name: "Alice".into(), visits: 1, nick: None };
/// let value = to_value(&alice)?;
/// let table = value.as_table().unwrap();
/// assert_eq!(table.get("visits"), Some(&Value::Integer(1)));
/// assert_eq!(table.get("nick"), None);
/// assert_eq!(from_value::<User>(&value)?, alice);
/// # Ok::<(), plimsoll::error::Error>(())
/// ```
///
/// # Errors
/// `INVALID`, naming the path such as `value.user.items[3]` (items count from 1), for an integer
/// beyond 64 bits with a sign, `None` where something must be, a key that is none of a table or
/// occurs twice, tables nested deeper than [`VALUE_DEPTH_MAX`], and what the type itself refuses.
pub fn to_value<T: Serialize + ?Sized>(given: &T) -> Result<Value> {
    let value = into::value_of(given).map_err(Problem::into_error)?;
    value.ok_or_else(|| Problem::new(NOTHING).into_error())
}

/// Anything that serde can deserialize out of a value. Strings may be borrowed from it.
///
/// # Errors
/// `INVALID`, naming the path, where the value is not what the type takes.
pub fn from_value<'de, T: Deserialize<'de>>(value: &'de Value) -> Result<T> {
    T::deserialize(from::Input::new(value)).map_err(Problem::into_error)
}

/// What is wrong, and where; the path grows on the way back, innermost step first.
#[derive(Debug)]
struct Problem {
    what: String,
    path: Vec<String>,
    limit: Option<usize>,
}

impl Problem {
    fn new(what: impl Into<String>) -> Self {
        Self { what: what.into(), path: Vec::new(), limit: None }
    }

    fn too_deep() -> Self {
        let what = format!(
            "the value is nested too deeply: the limit is {VALUE_DEPTH_MAX} levels of tables"
        );
        Self { limit: Some(VALUE_DEPTH_MAX), ..Self::new(what) }
    }

    fn at(mut self, key: &TableKey) -> Self {
        self.path.push(key.path_step());
        self
    }

    fn into_error(self) -> Error {
        let mut path: String = self.path.into_iter().rev().collect();
        if path.len() > PATH_BYTES_SHOWN {
            path.truncate(path.floor_char_boundary(PATH_BYTES_SHOWN));
            path.push_str("...");
        }
        let error = Error::invalid(format!("value{path}: {}", self.what));
        match self.limit {
            Some(limit) => error.with_detail("limit", limit),
            None => error,
        }
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.what)
    }
}

impl std::error::Error for Problem {}

impl serde::ser::Error for Problem {
    fn custom<T: fmt::Display>(what: T) -> Self {
        Self::new(what.to_string())
    }
}

impl serde::de::Error for Problem {
    fn custom<T: fmt::Display>(what: T) -> Self {
        Self::new(what.to_string())
    }
}

/// The key of a position in a list, counted from 0.
fn position(index: usize) -> TableKey {
    TableKey::Integer(i64::try_from(index + 1).expect("a list fits in memory"))
}

/// As much of a path is shown: names in it may be as long as values.
const PATH_BYTES_SHOWN: usize = 80;

const NOTHING: &str = "None is no value: what is not there is an absent key";
