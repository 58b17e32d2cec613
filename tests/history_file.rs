//! Histories in files: what is written is read back exactly, and what is wrong is named with its
//! line.
#![cfg(feature = "store")]
#![allow(clippy::unwrap_used)]

#[path = "support/histories.rs"]
mod histories;

use std::sync::Arc;

use histories::{Shape, generate};
use plimsoll::check::history::{
    Answer, CommandId, History, Label, Observation, Outcome, Request, Upkeep, Work,
};
use plimsoll::clock::UnixMillis;
use plimsoll::entry::ListQuery;
use plimsoll::error::ErrorKind;
use plimsoll::history_file::{HEADER, read, write};
use plimsoll::value::{Table, Value};

fn written(history: &History) -> String {
    let mut bytes = Vec::new();
    write(history, &mut bytes).unwrap();
    String::from_utf8(bytes).unwrap()
}

/// Values of every kind, those included that plain JSON does not carry.
fn values() -> Vec<Value> {
    let mut mixed = Table::new();
    mixed.insert(1, "one");
    mixed.insert("k", 1.0);
    let list: Table = [(1_i64, Value::from("a")), (2, 2.into())].into_iter().collect();
    vec![
        true.into(),
        i64::MIN.into(),
        0.5.into(),
        (-0.0).into(),
        1e300.into(),
        f64::NAN.into(),
        f64::INFINITY.into(),
        "text \"quoted\" \u{1f6a2}".into(),
        vec![0xff, 0x00].into(),
        Value::table(),
        mixed.into(),
        list.into(),
    ]
}

#[test]
fn what_is_written_is_read_back_exactly() {
    let values: Vec<Arc<Value>> = values().into_iter().map(Arc::new).collect();
    for seed in 0..60 {
        let mut history = generate(Shape::FULL, seed);
        for (number, call) in history.calls.iter_mut().enumerate() {
            let value = Arc::clone(&values[number % values.len()]);
            match (&mut call.request, &mut call.outcome) {
                (Request::Put(put), _) => put.value = value,
                (Request::List(query), _) if number % 7 == 0 => {
                    **query = ListQuery::new().prefix([0xff, b'a']).after([0xc3]).limit(5);
                }
                (_, Outcome::Ok(Answer::Entry(seen))) => {
                    *seen = Arc::new(Observation { value, ..seen.as_ref().clone() });
                }
                _ => {}
            }
        }
        let label = Label { index: 9, log_time: UnixMillis(8), epoch: u64::MAX };
        let command = CommandId { session: (u64::MAX, 3), seq: 4 };
        history.upkeep.push(Upkeep { label, work: Work::Execute(command) });
        let text = written(&history);
        let back = read(text.as_bytes()).unwrap_or_else(|error| panic!("seed {seed}: {error}"));
        assert_eq!(back, history, "seed {seed}");
        assert_eq!(written(&back), text, "seed {seed}");
    }
}

#[test]
fn equal_values_and_observations_are_shared() {
    let call = |id: u32| {
        let fields = r#""client":1,"node":0,"from":0,"to":1,"keyspace":"apps","get":"x""#;
        format!(r#"{{"id":{id},{fields},"ok":{{"value":"v","version":"0000000000000001-1"}}}}"#)
    };
    let text = format!("{HEADER}\n{}\n{}\n", call(1), call(2));
    let history = read(text.as_bytes()).unwrap();
    let seen = |position: usize| match &history.calls[position].outcome {
        Outcome::Ok(Answer::Entry(seen)) => Arc::as_ptr(seen),
        other => panic!("{other:?}"),
    };
    assert_eq!(seen(0), seen(1));
}

#[test]
fn the_lines_of_the_documentation_are_read_and_written_as_they_are() {
    let page = include_str!("../docs/design/history.md");
    let blocks = page.split("```json\n").skip(1).map(|block| block.split("```").next().unwrap());
    let text: String = blocks.collect();
    let history = read(text.as_bytes()).unwrap_or_else(|error| panic!("{error}\n{text}"));
    assert_eq!((history.calls.len(), history.deliveries.len()), (1, 1));
    assert_eq!(written(&history), text);
}

/// A line of a call that is right, with a part replaced.
fn call_with(part: &str, replacement: &str) -> String {
    let right = concat!(
        r#"{"id":1,"client":2,"node":0,"from":5,"to":9,"keyspace":"apps","#,
        r#""put":{"key":"x","value":1,"ttl_ms":50,"if_version":"00000000000000a1-1"},"#,
        r#""ok":{"value":1,"version":"00000000000000a1-2","expires_at":150},"#,
        r#""command":{"epoch":"00000000000000a1","index":3,"seq":4},"#,
        r#""label":{"index":7,"log_time":100,"epoch":"00000000000000a1"}}"#,
    );
    assert!(right.contains(part), "{part}");
    right.replacen(part, replacement, 1)
}

#[test]
fn what_is_wrong_is_named_with_its_line() {
    let right = format!("{HEADER}\n{}\n", call_with("", ""));
    read(right.as_bytes()).unwrap();
    for (part, replacement, problem) in [
        (r#""client":2"#, r#""klient":2"#, "the line needs the field client"),
        (r#""node":0"#, r#""node":0,"extra":1"#, "the line has no field \"extra\""),
        (r#""node":0"#, r#""node":-1"#, "node must be a whole number, 0 or more"),
        (r#""node":0"#, r#""node":4294967296"#, "node is too large"),
        (r#""to":9"#, r#""to":4"#, "it returned before it was made"),
        (r#""id":1"#, r#""ident":1"#, "it must have the field id, watch or upkeep"),
        (r#""apps""#, r#""Apps""#, "\"Apps\" is no namespace"),
        (r#""key":"x""#, r#""key":"""#, "the key is empty"),
        (r#""put":{"#, r#""get":"x","put":{"#, "there must be one of get, entry, has, put"),
        (r#""value":1"#, r#""value":null"#, "null is no value"),
        (r#""value":1"#, r#""value_hex":"zz""#, "value_hex is not hexadecimal"),
        (r#""value":1"#, r#""value_hex":"ffff""#, "value_hex is no canonical encoding"),
        (r#""ttl_ms":50"#, r#""ttl_ms":0"#, "ttl_ms is positive, or not there"),
        (r#""ttl_ms":50"#, r#""if_absent":true"#, "there is if_absent, which is true, or"),
        (r#""if_version":"0"#, r#""if_version":""#, "if_version: \"0000000000000a1-1\" is no"),
        (r#""ok":{"#, r#""unknown":true,"ok":{"#, "there must be one of ok, failed, and unknown"),
        (r#""ok":{"#, r#""unknown":false,"okay":{"#, "there must be one of ok, failed, and"),
        (r#""ok":{"value":1,"#, r#""ok":{"#, "there must be either value or value_hex"),
        (r#""epoch":"00"#, r#""epoch":"0"#, "epoch must be 16 hexadecimal digits"),
        (r#""seq":4"#, r#""seq":4.5"#, "seq must be a whole number"),
        (r#""index":7"#, r#""index":9223372036854775808"#, "index is too large"),
        (r#""log_time":100,"#, "", "label needs the field log_time"),
        ("}}", "}", "this is no JSON"),
    ] {
        let text = format!("{HEADER}\n{}\n", call_with(part, replacement));
        let error = read(text.as_bytes()).expect_err(problem);
        assert_eq!(error.kind(), ErrorKind::Invalid, "{replacement}");
        assert_eq!(error.detail("line"), Some(&2.into()), "{replacement}");
        assert!(error.message().starts_with("line 2: "), "{}", error.message());
        assert!(error.message().contains(problem), "{replacement}: {}", error.message());
    }
}

#[test]
fn a_file_begins_with_its_header_and_names_every_call_once() {
    for text in ["", "\n", "{}\n", "{\"plimsoll_history\":2}\n", &call_with("", "")] {
        let error = read(text.as_bytes()).expect_err(text);
        assert!(error.message().starts_with("line 1: the first line must be"), "{error}");
    }
    let twice = format!("{HEADER}\n{0}\n{0}\n", call_with("", ""));
    let error = read(twice.as_bytes()).unwrap_err();
    assert_eq!(error.message(), "line 3: the id 1 was there before");
    assert!(read(format!("{HEADER}\n").as_bytes()).unwrap().is_empty());
}
