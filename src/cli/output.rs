//! What the command line prints: plain text for people, JSON for programs.

use std::io::Write as _;

use anstream::{eprint, eprintln};

use super::Exit;
use super::args::FormatArgs;
use crate::entry::{Change, Entry, Event, Page};
use crate::error::Error;
use crate::namespaces::{self, Record, Row};
use crate::registry::Config;
use crate::sql::payload;
use crate::store::Info;
use crate::value::{Table, Value};

/// Prints a line. A reader that has gone away is no error: it has read enough.
macro_rules! say {
    ($($arg:tt)*) => {{
        use std::io::Write as _;
        let _ = writeln!(anstream::stdout(), $($arg)*);
    }};
}
pub(super) use say;

/// Prints a value: a string as its bytes, anything else as JSON.
pub fn value(value: &Value, format: &FormatArgs) {
    match value {
        Value::String(bytes) if !format.json => print_bytes(bytes),
        value => say!("{}", json(value)),
    }
}

/// Prints an entry, a field a line.
pub fn entry(entry: &Entry, format: &FormatArgs) {
    if format.json {
        say!("{}", entry_json(entry));
        return;
    }
    say!("key:     {}", entry.key);
    let _ = write!(anstream::stdout(), "value:   ");
    value(&entry.value, format);
    say!("version: {}", entry.version);
    match entry.expires_at {
        Some(deadline) => say!("expires: {} (unix seconds)", deadline.as_seconds()),
        None => say!("expires: never"),
    }
}

/// Prints a page: a line with key, tab and value for each entry.
pub fn page(page: &Page, format: &FormatArgs) {
    if format.json {
        let items: Vec<_> = page.items.iter().map(entry_json).collect();
        let cursor = json(&page.cursor.as_str().into());
        let has_more = page.has_more;
        say!(r#"{{"items":[{}],"cursor":{cursor},"has_more":{has_more}}}"#, items.join(","));
        return;
    }
    for entry in &page.items {
        say!("{}\t{}", entry.key, json(&entry.value));
    }
    if page.has_more {
        eprintln!("more: --after '{}'", page.cursor);
    }
}

/// Prints a change: a line with version, kind, key and value for each event.
pub fn change(change: &Change, format: &FormatArgs) {
    let revision = change.revision;
    if format.json {
        let event = |event: &Event| {
            let (kind, key) = (event.kind.as_str(), json(&event.key.as_str().into()));
            match &event.entry {
                Some(entry) => {
                    format!(r#"{{"type":"{kind}","key":{key},"entry":{}}}"#, entry_json(entry))
                }
                None => format!(r#"{{"type":"{kind}","key":{key}}}"#),
            }
        };
        let events: Vec<_> = change.events.iter().map(event).collect();
        say!(r#"{{"revision":"{revision}","events":[{}]}}"#, events.join(","));
        return;
    }
    for event in &change.events {
        let value = event.entry.as_ref().map(|entry| format!("\t{}", json(&entry.value)));
        say!("{revision}\t{}\t{}{}", event.kind.as_str(), event.key, value.unwrap_or_default());
    }
}

/// Prints an entry of a namespace, a field a line.
pub fn record(key: &str, record: &Record, format: &FormatArgs) {
    if format.json {
        let (key, value) = (json(&key.into()), json_of_bytes(&record.value));
        let about = about_json(record.expiration, record.metadata.as_deref());
        say!(r#"{{"key":{key},"value":{value}{about}}}"#);
        return;
    }
    say!("key:      {key}");
    let _ = write!(anstream::stdout(), "value:    ");
    print_bytes(&record.value);
    match record.expiration {
        Some(expiration) => say!("expires:  {expiration} (unix seconds)"),
        None => say!("expires:  never"),
    }
    if let Some(metadata) = &record.metadata {
        say!("metadata: {}", String::from_utf8_lossy(metadata));
    }
}

/// Prints a page of a namespace: a line with name, expiration and metadata for each entry, a tab
/// between them and `-` for what there is not.
pub fn names(page: &namespaces::Page, format: &FormatArgs) {
    if format.json {
        let key = |row: &Row| {
            let about = about_json(row.expiration, row.metadata.as_deref());
            format!(r#"{{"name":{}{about}}}"#, json_of_bytes(&row.name))
        };
        let keys: Vec<_> = page.keys.iter().map(key).collect();
        let cursor = page.cursor.as_ref().map(|cursor| format!(r#","cursor":"{cursor}""#));
        let (keys, is_complete) = (keys.join(","), page.is_complete());
        let cursor = cursor.unwrap_or_default();
        say!(r#"{{"keys":[{keys}],"list_complete":{is_complete}{cursor}}}"#);
        return;
    }
    for row in &page.keys {
        let name = String::from_utf8_lossy(&row.name);
        let expiration = row.expiration.map_or_else(|| "-".to_owned(), |at| at.to_string());
        let metadata = row.metadata.as_deref().unwrap_or(b"-");
        say!("{name}\t{expiration}\t{}", String::from_utf8_lossy(metadata));
    }
    if let Some(cursor) = &page.cursor {
        eprintln!("more: --after {cursor}");
    }
}

/// Prints a line.
pub fn line(text: &str) {
    say!("{text}");
}

/// Prints bytes and a newline.
pub fn bytes(bytes: &[u8]) {
    print_bytes(bytes);
}

/// Prints what a command has to say while it goes on.
pub fn progress(message: &str) {
    eprintln!("{message}");
}

/// Prints what a store is, a field a line.
pub fn info(info: &Info, format: &FormatArgs) {
    let mut table = Table::new();
    let mut rows = vec![
        ("id", info.id.clone()),
        ("backend", info.backend.as_str().to_owned()),
        ("consistency", info.consistency.as_str().to_owned()),
    ];
    for (name, value) in &rows {
        table.insert(*name, value.as_str());
    }
    for (name, value) in info.capabilities() {
        table.insert(name, value);
        rows.push((name, value.to_string()));
    }
    if let Some(synchronous) = info.synchronous {
        table.insert("synchronous", synchronous);
        rows.push(("synchronous", synchronous.to_owned()));
    }
    if format.json {
        say!("{}", json(&table.into()));
        return;
    }
    for (name, value) in rows {
        say!("{name:<16} {value}");
    }
}

/// Prints rows under a head, each column as wide as it has to be.
pub fn table(head: &[&str], rows: Vec<Vec<String>>) {
    let head = head.iter().map(|&name| name.to_owned()).collect();
    let rows: Vec<Vec<String>> = std::iter::once(head).chain(rows).collect();
    let columns = rows.iter().map(Vec::len).max().unwrap_or(0);
    let width = |column: usize| {
        let cells = rows.iter().filter(|row| row.len() > column + 1);
        cells.map(|row| row[column].chars().count()).max().unwrap_or(0)
    };
    let widths: Vec<_> = (0..columns).map(width).collect();
    for row in &rows {
        let cells = row.iter().zip(&widths).map(|(cell, width)| format!("{cell:<width$}"));
        say!("{}", cells.collect::<Vec<_>>().join("  ").trim_end());
    }
}

/// Prints what a configuration holds, an entry a line.
pub fn config(config: &Config) {
    for entry in config.entries() {
        let start = if entry.auto_start() { "  (auto_start)" } else { "" };
        say!("{}  {}{start}", entry.id(), entry.kind().name());
    }
    for skipped in config.skipped() {
        say!("{}  {}  skipped: {}", skipped.id(), skipped.kind(), skipped.location());
    }
    if let Some(cluster) = config.cluster() {
        match cluster.membership.advertised() {
            Some(address) => say!("cluster: {} at {address}", cluster.name),
            None => say!("cluster: {} alone", cluster.name),
        }
    }
    say!("{} entries, no error", config.entries().len());
}

/// Prints `true` or `false`.
pub fn boolean(answer: bool) {
    say!("{answer}");
}

/// Prints `true` or `false` and gives the exit that goes with it.
pub fn answer(is_yes: bool) -> Exit {
    boolean(is_yes);
    if is_yes { Exit::Done } else { Exit::Negative }
}

/// Prints a warning.
pub fn warning(message: &str) {
    eprintln!("{YELLOW}warning{RESET}: {message}");
}

/// Prints an error with its details.
pub fn error(error: &Error) {
    eprint!("{RED}error{RESET}: {}", error_text(error));
}

/// An error with its details, a line each.
pub fn error_text(error: &Error) -> String {
    let mut text = format!("{error}\n");
    for (name, value) in error.details() {
        text += &match value.as_str() {
            Some(value) => format!("  {name}: {value}\n"),
            None => format!("  {name}: {value:?}\n"),
        };
    }
    text
}

/// Prints an uncaught error of a script.
pub fn script_error(message: &str) {
    eprintln!("{RED}error{RESET}: {message}");
}

/// The fields of an entry as Lua shows them. Composed here, because an entry with the largest value
/// is larger than a value can be.
fn entry_json(entry: &Entry) -> String {
    let key = json(&entry.key.as_str().into());
    let (value, version) = (json(&entry.value), entry.version);
    let expires_at = match entry.expires_at {
        Some(deadline) => format!(r#","expires_at":{:?}"#, deadline.as_seconds()),
        None => String::new(),
    };
    format!(r#"{{"key":{key},"value":{value},"version":"{version}"{expires_at}}}"#)
}

/// Expiration and metadata as members of an object, a comma before each. Metadata that is no JSON
/// is a string.
fn about_json(expiration: Option<i64>, metadata: Option<&[u8]>) -> String {
    let mut members = String::new();
    if let Some(expiration) = expiration {
        members.push_str(&format!(r#","expiration":{expiration}"#));
    }
    if let Some(text) = metadata {
        let metadata = match crate::json::parse(text) {
            Ok(Some(metadata)) => crate::json::to_text("metadata", &metadata),
            Ok(None) => return members,
            Err(_) => Ok(json_of_bytes(text)),
        };
        let metadata = metadata.unwrap_or_else(|_| json_of_bytes(text));
        members.push_str(&format!(r#","metadata":{metadata}"#));
    }
    members
}

/// Bytes as JSON: a string if they are UTF-8, else the escape of `store.sql` for them.
fn json_of_bytes(bytes: &[u8]) -> String {
    match std::str::from_utf8(bytes) {
        Ok(text) => serde_json::Value::from(text).to_string(),
        Err(_) => {
            let hex: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
            format!(r#"{{"$plimsoll":"bytes","hex":"{hex}"}}"#)
        }
    }
}

/// A value as JSON, with the escape of `store.sql` for what JSON lacks.
fn json(value: &Value) -> String {
    let bytes = payload::encode(value).expect("the value was in a store");
    String::from_utf8(bytes).expect("JSON is UTF-8")
}

/// Bytes and a newline; a closed pipe is not an error.
fn print_bytes(bytes: &[u8]) {
    let mut stdout = std::io::stdout().lock();
    let _ = stdout.write_all(bytes).and_then(|()| stdout.write_all(b"\n"));
}

/// Colours are stripped where the output is no terminal.
pub const BOLD: &str = "\x1b[1m";
/// See [`BOLD`].
pub const DIM: &str = "\x1b[2m";
/// See [`BOLD`].
pub const GREEN: &str = "\x1b[32m";
/// See [`BOLD`].
pub const CYAN: &str = "\x1b[36m";
/// See [`BOLD`].
pub const RED: &str = "\x1b[31m";
/// See [`BOLD`].
pub const YELLOW: &str = "\x1b[33m";
/// See [`BOLD`].
pub const RESET: &str = "\x1b[0m";
