//! Lua values as text for people: literals that can be pasted back, sorted, nested and bounded.
//!
//! A table is on one line where it fits, else a field a line. What is no data (functions, userdata,
//! a table within itself) stands in angle brackets, which Lua does not read: nothing is pasted back
//! as something else. What is beyond a bound is left out, and a comment says so.
//!
//! Tables are read raw, but for those that say how: `__tostring` is shown as it says, and `__pairs`
//! is asked for the fields.

use std::cmp::Ordering;

use crate::limits::{REPL_SHOWN_DEPTH_MAX, REPL_SHOWN_FIELDS_MAX, REPL_SHOWN_STRING_BYTES_MAX};
use crate::lua::mlua::{AnyUserData, Lua, MultiValue, Table, Value};
use crate::lua::{describe, is_error};
use crate::store::StoreHandle;

/// A value as a literal.
pub fn literal(lua: &Lua, value: &Value) -> String {
    let mut reader = Reader { lua, ancestors: Vec::new(), fields_left: REPL_SHOWN_FIELDS_MAX };
    let mut text = String::new();
    reader.shown(value).write(&mut text, 0);
    text
}

/// Whether a text is a name that Lua takes without brackets and quotes.
pub fn is_name(text: &str) -> bool {
    let mut bytes = text.bytes();
    bytes.next().is_some_and(|byte| byte.is_ascii_alphabetic() || byte == b'_')
        && bytes.all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
        && !KEYWORDS.contains(&text)
}

/// A value that was read, on its way to text.
enum Shown {
    Atom(String),
    /// The fields, each with what stands before its value; and what is said of those left out.
    Table(Vec<(String, Shown)>, Option<String>),
}

struct Reader<'a> {
    lua: &'a Lua,
    /// The tables that the present one is in.
    ancestors: Vec<Table>,
    fields_left: usize,
}

impl Reader<'_> {
    fn shown(&mut self, value: &Value) -> Shown {
        match value {
            Value::Table(table) => self.table(table),
            value => Shown::Atom(atom(value)),
        }
    }

    fn table(&mut self, table: &Table) -> Shown {
        let metatable = table.metatable();
        let has = |name: &str| {
            let field = metatable.as_ref().map(|metatable| metatable.raw_get::<Value>(name));
            field.is_some_and(|field| field.is_ok_and(|field| !field.is_nil()))
        };
        if has("__tostring") {
            return Shown::Atom(to_string(&Value::Table(table.clone())));
        }
        if self.ancestors.contains(table) {
            return Shown::Atom("<the table it is in>".to_owned());
        }
        let fields = if has("__pairs") { self.pairs(table) } else { raw_fields(table) };
        if !fields.is_empty() && self.ancestors.len() == REPL_SHOWN_DEPTH_MAX {
            return Shown::Table(Vec::new(), Some("deeper".to_owned()));
        }
        self.ancestors.push(table.clone());
        let shown = self.fields(fields);
        self.ancestors.pop();
        shown
    }

    fn fields(&mut self, mut fields: Vec<(Value, Value)>) -> Shown {
        let order = if is_entry(&fields) { entry_order } else { key_order };
        fields.sort_by(|(left, _), (right, _)| order(left, right));
        let mut shown = Vec::new();
        let mut next_position = 1;
        for (key, value) in &fields {
            if self.fields_left == 0 {
                let rest = format!("{} more", fields.len() - shown.len());
                return Shown::Table(shown, Some(rest));
            }
            self.fields_left -= 1;
            let before = match key {
                Value::Integer(position) if *position == next_position => {
                    next_position += 1;
                    String::new()
                }
                Value::String(name) => match name.to_str() {
                    Ok(name) if is_name(&name) => format!("{} = ", &*name),
                    _ => format!("[{}] = ", atom(key)),
                },
                key => format!("[{}] = ", atom(key)),
            };
            shown.push((before, self.shown(value)));
        }
        Shown::Table(shown, None)
    }

    /// The fields that `__pairs` tells; those of a table that tells none are its own.
    fn pairs(&self, table: &Table) -> Vec<(Value, Value)> {
        let chunk = self.lua.load(include_str!("pairs.lua")).set_name("=[plimsoll]");
        let most = REPL_SHOWN_FIELDS_MAX + 1;
        let told = chunk.call::<MultiValue>((table, most));
        let Ok(told) = told else { return raw_fields(table) };
        let mut told = told.into_iter();
        let mut fields = Vec::new();
        while let (Some(key), Some(value)) = (told.next(), told.next()) {
            fields.push((key, value));
        }
        fields
    }
}

fn raw_fields(table: &Table) -> Vec<(Value, Value)> {
    table.pairs::<Value, Value>().filter_map(Result::ok).collect()
}

/// What is no table.
fn atom(value: &Value) -> String {
    match value {
        Value::Integer(i64::MIN) => "math.mininteger".to_owned(),
        Value::Integer(integer) => integer.to_string(),
        Value::Number(number) if number.is_nan() => "0/0".to_owned(),
        Value::Number(number) if number.is_infinite() => {
            if *number > 0.0 { "math.huge" } else { "-math.huge" }.to_owned()
        }
        Value::Number(number) => format!("{number:?}"),
        Value::String(string) => quoted(&string.as_bytes()),
        Value::UserData(userdata) => user_data(value, userdata),
        Value::Nil | Value::Boolean(_) => to_string(value),
        value => format!("<{}>", value.type_name()),
    }
}

fn user_data(value: &Value, userdata: &AnyUserData) -> String {
    if let Ok(handle) = userdata.borrow::<StoreHandle>()
        && !handle.is_released()
    {
        return format!("store.get({})", quoted(handle.id().as_bytes()));
    }
    if is_error(value) {
        let text = describe(value);
        let message = text.split("\nstack traceback:").next().unwrap_or_default();
        return format!("<{message}>");
    }
    format!("<{}>", to_string(value))
}

/// What `tostring` says.
fn to_string(value: &Value) -> String {
    value.to_string().unwrap_or_else(|_| format!("<{}>", value.type_name()))
}

/// A string in double quotes: text as it is, everything else as an escape of Lua.
fn quoted(bytes: &[u8]) -> String {
    let shown = &bytes[..cut(bytes)];
    let mut text = String::from("\"");
    for chunk in shown.utf8_chunks() {
        for character in chunk.valid().chars() {
            match character {
                '\0' => text.push_str("\\x00"),
                '\'' => text.push('\''),
                character => text.extend(character.escape_debug()),
            }
        }
        for byte in chunk.invalid() {
            text.push_str(&format!("\\x{byte:02x}"));
        }
    }
    text.push('"');
    if shown.len() < bytes.len() {
        text.push_str(&format!(" --[[ {} more bytes ]]", bytes.len() - shown.len()));
    }
    text
}

/// How much of a string is shown: never half a character.
fn cut(bytes: &[u8]) -> usize {
    if bytes.len() <= REPL_SHOWN_STRING_BYTES_MAX {
        return bytes.len();
    }
    let continues = |end: &usize| bytes[*end] & 0xc0 != 0x80;
    let ends = (REPL_SHOWN_STRING_BYTES_MAX - 3..=REPL_SHOWN_STRING_BYTES_MAX).rev();
    ends.into_iter().find(continues).unwrap_or(REPL_SHOWN_STRING_BYTES_MAX)
}

/// Integers, floats, strings, booleans, and the rest.
fn key_order(left: &Value, right: &Value) -> Ordering {
    let rank = |key: &Value| match key {
        Value::Integer(_) => 0,
        Value::Number(_) => 1,
        Value::String(_) => 2,
        Value::Boolean(_) => 3,
        _ => 4,
    };
    rank(left).cmp(&rank(right)).then_with(|| match (left, right) {
        (Value::Integer(left), Value::Integer(right)) => left.cmp(right),
        (Value::Number(left), Value::Number(right)) => left.total_cmp(right),
        (Value::String(left), Value::String(right)) => left.as_bytes().cmp(&right.as_bytes()),
        (Value::Boolean(left), Value::Boolean(right)) => left.cmp(right),
        (left, right) => left.to_pointer().cmp(&right.to_pointer()),
    })
}

/// Entries of a store are shown in the order in which people think of them.
fn entry_order(left: &Value, right: &Value) -> Ordering {
    let rank = |key: &Value| ENTRY_FIELDS.iter().position(|name| is_text(key, name));
    rank(left).cmp(&rank(right))
}

fn is_entry(fields: &[(Value, Value)]) -> bool {
    let has = |name| fields.iter().any(|(key, _)| is_text(key, name));
    has("key")
        && has("value")
        && has("version")
        && fields.iter().all(|(key, _)| ENTRY_FIELDS.iter().any(|name| is_text(key, name)))
}

fn is_text(value: &Value, text: &str) -> bool {
    value.as_string().is_some_and(|string| string.as_bytes() == text.as_bytes())
}

impl Shown {
    fn write(&self, text: &mut String, indent: usize) {
        match self {
            Self::Atom(atom) => text.push_str(atom),
            Self::Table(..) => {
                let start = text.rfind('\n').map_or(0, |newline| newline + 1);
                let left = COLUMNS.saturating_sub(text.len() - start);
                match self.on_one_line(left) {
                    Some(line) => text.push_str(&line),
                    None => self.write_fields(text, indent),
                }
            }
        }
    }

    /// The text, if it fits.
    fn on_one_line(&self, left: usize) -> Option<String> {
        let Self::Table(fields, rest) = self else {
            let Self::Atom(atom) = self else { return None };
            return (atom.len() <= left && !atom.contains('\n')).then(|| atom.clone());
        };
        let mut parts = Vec::new();
        let mut left = left.checked_sub(BRACES)?;
        for (before, value) in fields {
            let part = format!("{before}{}", value.on_one_line(left)?);
            left = left.checked_sub(part.len() + SEPARATOR)?;
            parts.push(part);
        }
        parts.extend(rest.iter().map(|rest| format!("--[[ {rest} ]]")));
        Some(match parts.is_empty() {
            true => "{}".to_owned(),
            false => format!("{{{}}}", parts.join(", ")),
        })
    }

    fn write_fields(&self, text: &mut String, indent: usize) {
        let Self::Table(fields, rest) = self else { return self.write(text, indent) };
        let inner = indent + INDENT;
        text.push('{');
        for (before, value) in fields {
            text.push_str(&format!("\n{:inner$}{before}", ""));
            value.write(text, inner);
            text.push(',');
        }
        if let Some(rest) = rest {
            text.push_str(&format!("\n{:inner$}-- {rest}", ""));
        }
        text.push_str(&format!("\n{:indent$}}}", ""));
    }
}

const COLUMNS: usize = 80;
const INDENT: usize = 2;
const BRACES: usize = 2;
const SEPARATOR: usize = 2;

const ENTRY_FIELDS: [&str; 4] = ["key", "value", "version", "expires_at"];

/// What Lua reserves.
pub const KEYWORDS: [&str; 22] = [
    "and", "break", "do", "else", "elseif", "end", "false", "for", "function", "goto", "if", "in",
    "local", "nil", "not", "or", "repeat", "return", "then", "true", "until", "while",
];

#[cfg(test)]
mod tests {
    use super::*;

    /// What is shown of the value of an expression.
    fn shown(expression: &str) -> String {
        let lua = Lua::new();
        let value: Value = lua.load(expression).eval().unwrap();
        literal(&lua, &value)
    }

    #[test]
    fn scalars_are_written_as_lua_reads_them() {
        for (expression, text) in [
            ("nil", "nil"),
            ("true", "true"),
            ("7", "7"),
            ("7.0", "7.0"),
            ("0.1", "0.1"),
            ("1e300", "1e300"),
            ("math.mininteger", "math.mininteger"),
            ("-1/0", "-math.huge"),
            ("0/0", "0/0"),
            (r#"'it\'s "so"'"#, r#""it's \"so\"""#),
            (r#""a\nb\tc\\""#, r#""a\nb\tc\\""#),
            (r#""\0001\27[31m""#, r#""\x001\u{1b}[31m""#),
            (r#""\xff\xc3""#, r#""\xff\xc3""#),
            ("'Zoë 雪'", "\"Zoë 雪\""),
            ("print", "<function>"),
        ] {
            assert_eq!(shown(expression), text, "{expression}");
        }
    }

    #[test]
    fn tables_are_sorted_and_broken_where_they_are_too_wide() {
        let table =
            "{3, 1, b = {}, a = 'x', ['end'] = 1, ['a b'] = 2, [10] = 4, [1.5] = 5, [true] = 6}";
        let text = "{\n  3,\n  1,\n  [10] = 4,\n  [1.5] = 5,\n  a = \"x\",\n  [\"a b\"] = 2,\n  \
                    b = {},\n  [\"end\"] = 1,\n  [true] = 6,\n}";
        assert_eq!(shown(table), text);
        assert_eq!(shown("{1, 2, {x = {y = 3}}}"), "{1, 2, {x = {y = 3}}}");
        let entry = "{version = '1-1', value = {1}, key = 'k', expires_at = 5.5}";
        assert_eq!(shown(entry), "{key = \"k\", value = {1}, version = \"1-1\", expires_at = 5.5}");
    }

    #[test]
    fn what_is_shown_can_be_pasted_back() {
        let lua = Lua::new();
        for expression in [
            "{1, 2, nil, 4, [-1] = 1.5, [2^53] = 'x', a = {b = {c = {'\\0\\n\\200', ''}}}}",
            "{[true] = false, [''] = {}, ['\\u{202e}'] = math.huge, [0.5] = math.mininteger}",
            "{('x'):rep(100), {('y'):rep(100), z = ('z'):rep(100)}, function_ = '--[[ no ]]'}",
        ] {
            let value: Value = lua.load(expression).eval().unwrap();
            let again: Value = lua.load(literal(&lua, &value)).eval().unwrap();
            let equal: bool = lua.load(DEEP_EQUAL).call((value, again)).unwrap();
            assert!(equal, "{expression}");
        }
    }

    #[test]
    fn what_is_beyond_a_bound_is_left_out_and_said() {
        let deep = "local t = {} for _ = 1, 20 do t = {t} end return t";
        assert_eq!(shown(deep).matches('{').count(), REPL_SHOWN_DEPTH_MAX + 1);
        assert!(shown(deep).contains("--[[ deeper ]]"));
        let many = shown("local t = {} for i = 1, 1003 do t[i] = i end return t");
        assert!(many.contains("  1000,\n") && !many.contains("1001"), "{many}");
        assert!(many.ends_with("  -- 3 more\n}"), "{many}");
        let long = shown("('é'):rep(10000)");
        assert!(long.ends_with("é\" --[[ 3616 more bytes ]]"), "{}", &long[long.len() - 60..]);
        assert_eq!(shown("local t = {} t.t = t return t"), "{t = <the table it is in>}");
    }

    #[test]
    fn tables_that_say_how_they_are_shown_are_asked() {
        assert_eq!(shown("setmetatable({}, {__tostring = function() return 'me' end})"), "me");
        let view = "setmetatable({}, {__pairs = function() return next, {a = 1}, nil end})";
        assert_eq!(shown(view), "{a = 1}");
        let broken = "setmetatable({1}, {__pairs = error})";
        assert_eq!(shown(broken), "{1}");
    }

    const DEEP_EQUAL: &str = "
        local function equal(a, b)
            if type(a) ~= 'table' then return math.type(a) == math.type(b) and a == b end
            for key, value in pairs(a) do if not equal(value, b[key]) then return false end end
            for key in pairs(b) do if a[key] == nil then return false end end
            return true
        end
        return equal(...)";
}
