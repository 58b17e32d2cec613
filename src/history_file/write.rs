//! Histories as lines. Fields stand in the order of the documentation, and only where they say
//! something.

use std::io::{self, Write};

use serde_json::{Map, Value as Json};

use super::HEADER;
use crate::check::history::{
    Answer, Call, CommandId, Delivery, History, Label, Observation, Outcome, Request, Upkeep, Work,
};
use crate::check::spec::Refusal;
use crate::clock::UnixMillis;
use crate::entry::{
    Condition, Entry, Event, EventKind, Key, Operation, OperationResult, Page, Ttl, Version,
};
use crate::json;
use crate::value::{Encoded, Value};

/// Writes a history.
///
/// # Errors
/// Those of the writer.
pub fn write(history: &History, to: &mut impl Write) -> io::Result<()> {
    writeln!(to, "{HEADER}")?;
    for call in &history.calls {
        writeln!(to, "{}", call_line(call))?;
    }
    for delivery in &history.deliveries {
        writeln!(to, "{}", to_delivery(delivery))?;
    }
    for upkeep in &history.upkeep {
        writeln!(to, "{}", to_upkeep(upkeep))?;
    }
    Ok(())
}

/// The line of a call.
#[must_use]
pub fn call_line(call: &Call) -> String {
    to_call(call).to_string()
}

/// An object under construction.
#[derive(Default)]
struct Object(Map<String, Json>);

impl Object {
    fn with(mut self, name: &str, value: impl Into<Json>) -> Self {
        self.0.insert(name.to_owned(), value.into());
        self
    }

    fn with_some(self, name: &str, value: Option<impl Into<Json>>) -> Self {
        match value {
            Some(value) => self.with(name, value),
            None => self,
        }
    }

    /// Bytes: as text if they are UTF-8, else in hexadecimal under another name.
    fn with_bytes(self, name: &str, bytes: &[u8]) -> Self {
        match std::str::from_utf8(bytes) {
            Ok("") => self,
            Ok(text) => self.with(name, text),
            Err(_) => self.with(&format!("{name}_hex"), to_hex(bytes)),
        }
    }

    /// A value: as plain JSON if that reads back as the same, else its canonical encoding in
    /// hexadecimal.
    fn with_value(self, value: &Value) -> Self {
        let plain = json::to_json("value", value).ok();
        let is_exact = |json: &Json| json::from_json(json.clone()).as_ref() == Some(value);
        if let Some(plain) = plain.filter(is_exact) {
            return self.with("value", plain);
        }
        let encoded = Encoded::new(value).expect("values were checked where they came in");
        self.with("value_hex", to_hex(encoded.as_bytes()))
    }

    fn with_ttl(self, ttl: Option<Ttl>) -> Self {
        self.with_some("ttl_ms", ttl.map(Ttl::as_ms))
    }

    fn with_condition(self, condition: Condition) -> Self {
        match condition {
            Condition::None => self,
            Condition::Absent => self.with("if_absent", true),
            Condition::Version(version) => self.with("if_version", version.to_string()),
        }
    }

    fn with_entry(self, value: &Value, version: Version, deadline: Option<UnixMillis>) -> Self {
        self.with_value(value)
            .with("version", version.to_string())
            .with_some("expires_at", deadline.map(|deadline| deadline.0))
    }
}

impl From<Object> for Json {
    fn from(object: Object) -> Self {
        Self::Object(object.0)
    }
}

fn to_call(call: &Call) -> Json {
    let object = Object::default()
        .with("id", call.id)
        .with("client", call.client)
        .with("node", call.node)
        .with("from", call.called_at)
        .with_some("to", call.returned_at)
        .with("keyspace", call.keyspace.as_str());
    let object = match &call.request {
        Request::Get(key) => object.with("get", key.as_str()),
        Request::Entry(key) => object.with("entry", key.as_str()),
        Request::Has(key) => object.with("has", key.as_str()),
        Request::Put(put) => {
            object.with("put", to_put(&put.key, &put.value, put.ttl, put.condition))
        }
        Request::Delete(delete) => object.with("delete", to_delete(&delete.key, delete.if_version)),
        Request::List(query) => {
            let list = Object::default()
                .with_bytes("prefix", &query.prefix)
                .with_bytes("after", &query.after)
                .with("limit", query.items_max());
            object.with("list", list)
        }
        Request::Transact(operations) => {
            object.with("transact", operations.iter().map(to_operation).collect::<Vec<_>>())
        }
    };
    let object = match &call.outcome {
        Outcome::Ok(answer) => object.with("ok", to_answer(answer)),
        Outcome::Failed(refusal) => object.with("failed", to_refusal(refusal)),
        Outcome::Unknown => object.with("unknown", true),
    };
    object
        .with_some("command", call.command.as_deref().map(to_command))
        .with_some("label", call.label.map(to_label))
        .into()
}

fn to_put(key: &Key, value: &Value, ttl: Option<Ttl>, condition: Condition) -> Object {
    let object = Object::default().with("key", key.as_str()).with_value(value);
    object.with_ttl(ttl).with_condition(condition)
}

fn to_delete(key: &Key, if_version: Option<Version>) -> Object {
    let condition = if_version.map_or(Condition::None, Condition::Version);
    Object::default().with("key", key.as_str()).with_condition(condition)
}

fn to_operation(operation: &Operation) -> Json {
    let object = Object::default();
    match operation {
        Operation::Put { key, value, options } => {
            object.with("put", to_put(key, value, options.ttl, options.condition))
        }
        Operation::Delete { key, if_version } => object.with("delete", to_delete(key, *if_version)),
        Operation::Check { key, condition } => {
            let check = Object::default().with("key", key.as_str()).with_condition(*condition);
            object.with("check", check)
        }
    }
    .into()
}

fn to_answer(answer: &Answer) -> Json {
    match answer {
        Answer::Entry(seen) => {
            let Observation { value, version, expires_at } = seen.as_ref();
            Object::default().with_entry(value, *version, *expires_at).into()
        }
        Answer::Present(is_present) => Json::Bool(*is_present),
        Answer::Page(page) => {
            let Page { items, cursor, has_more } = page.as_ref();
            Object::default()
                .with("items", items.iter().map(to_item).collect::<Vec<_>>())
                .with("cursor", cursor.as_str())
                .with("has_more", *has_more)
                .into()
        }
        Answer::Transacted(results) => results.iter().map(to_result).collect(),
    }
}

fn to_item(entry: &Entry) -> Json {
    let Entry { key, value, version, expires_at } = entry;
    Object::default().with("key", key.as_str()).with_entry(value, *version, *expires_at).into()
}

fn to_result(result: &OperationResult) -> Json {
    match result {
        OperationResult::Put(entry) => to_item(entry),
        OperationResult::Deleted(was_present) => Json::Bool(*was_present),
        OperationResult::Checked => "holds".into(),
    }
}

fn to_refusal(refusal: &Refusal) -> Object {
    Object::default()
        .with("kind", refusal.kind.constant())
        .with_some("version", refusal.current.map(|version| version.to_string()))
        .with_some("index", refusal.index)
}

fn to_command(command: &CommandId) -> Object {
    let CommandId { session: (epoch, index), seq } = *command;
    Object::default().with("epoch", to_epoch(epoch)).with("index", index).with("seq", seq)
}

fn to_label(label: Label) -> Object {
    let Label { index, log_time, epoch } = label;
    let object = Object::default().with("index", index).with("log_time", log_time.0);
    object.with("epoch", to_epoch(epoch))
}

fn to_delivery(delivery: &Delivery) -> Json {
    Object::default()
        .with("watch", delivery.watch)
        .with("client", delivery.client)
        .with("node", delivery.node)
        .with("at", delivery.delivered_at)
        .with("keyspace", delivery.keyspace.as_str())
        .with_bytes("prefix", &delivery.prefix)
        .with_some("after", delivery.after.map(|after| after.to_string()))
        .with("revision", delivery.change.revision.to_string())
        .with("events", delivery.change.events.iter().map(to_event).collect::<Vec<_>>())
        .into()
}

fn to_event(event: &Event) -> Json {
    let object = Object::default().with(event.kind.as_str(), event.key.as_str());
    match (&event.entry, event.kind) {
        (Some(entry), EventKind::Put) => {
            object.with_entry(&entry.value, entry.version, entry.expires_at).into()
        }
        _ => object.into(),
    }
}

fn to_upkeep(upkeep: &Upkeep) -> Json {
    let object = Object::default();
    let object = match upkeep.work {
        Work::Advance => object.with("upkeep", "advance"),
        Work::Restore => object.with("upkeep", "restore"),
        Work::Execute(command) => {
            object.with("upkeep", "execute").with("command", to_command(&command))
        }
    };
    object.with("label", to_label(upkeep.label)).into()
}

/// An epoch, as versions print it: JSON numbers are floats to many readers.
fn to_epoch(epoch: u64) -> String {
    format!("{epoch:016x}")
}

fn to_hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
