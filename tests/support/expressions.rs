//! Values as Lua source.
#![allow(clippy::unwrap_used)]

use std::fmt::Write;

use plimsoll::value::{TableKey, Value};

/// A value as a Lua expression, without a literal that Lua could read as something else.
pub fn expression(value: &Value) -> String {
    match value {
        Value::Boolean(boolean) => boolean.to_string(),
        Value::Integer(i64::MIN) => "math.mininteger".to_owned(),
        Value::Integer(integer) => integer.to_string(),
        Value::Float(float) => float_expression(*float),
        Value::String(bytes) => string_expression(bytes),
        Value::Table(table) => {
            let mut text = String::from("{");
            for value in table.array() {
                write!(text, "{},", expression(value)).unwrap();
            }
            for (key, value) in table.other() {
                let key = key_expression(key);
                write!(text, "[{key}]={},", expression(value)).unwrap();
            }
            text + "}"
        }
    }
}

/// A key as a Lua expression.
pub fn key_expression(key: &TableKey) -> String {
    match key {
        TableKey::Boolean(boolean) => boolean.to_string(),
        TableKey::Integer(integer) => expression(&Value::Integer(*integer)),
        TableKey::Float(float) => float_expression(*float),
        TableKey::String(bytes) => string_expression(bytes),
    }
}

fn float_expression(float: f64) -> String {
    format!("(string.unpack('<d', {}))", string_expression(&float.to_le_bytes()))
}

/// Bytes as a Lua expression.
pub fn string_expression(bytes: &[u8]) -> String {
    let mut text = String::from("\"");
    for byte in bytes {
        write!(text, "\\{byte:03}").unwrap();
    }
    text + "\""
}
