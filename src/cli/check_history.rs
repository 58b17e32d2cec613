//! `plimsoll check-history`: reads a history, judges it, prints the verdict.
//!
//! The exit code is the verdict: 0 linearizable, 1 not, 2 if that can't be said. A history with
//! nothing in it to check is of the third kind: whoever runs this believes that something was
//! checked.

use std::fs::File;
use std::io::{self, BufReader};

use super::Exit;
use super::args::CheckHistoryArgs;
use super::output::say;
use crate::check::history::History;
use crate::check::verdict::{Verdict, judge};
use crate::check::violation::Violation;
use crate::error::Error;
use crate::history_file;

pub fn check_history(args: &CheckHistoryArgs) -> Result<Exit, Error> {
    let history = read(args)?;
    let (calls, deliveries) = (history.calls.len(), history.deliveries.len());
    match judge(&history) {
        Verdict::Linearizable(_) if args.json => {
            say!(r#"{{"verdict":"linearizable","calls":{calls},"deliveries":{deliveries}}}"#);
            Ok(Exit::Done)
        }
        Verdict::Linearizable(_) => {
            say!("linearizable: {calls} calls, {deliveries} deliveries; the order was verified");
            Ok(Exit::Done)
        }
        Verdict::Violated(violation) if args.json => {
            say!("{}", violation_json(&violation));
            Ok(Exit::Negative)
        }
        Verdict::Violated(violation) => {
            say!("not linearizable: {violation}");
            Ok(Exit::Negative)
        }
        Verdict::Undecided(why) => Err(Error::invalid(format!(
            "undecided: no violation was found, but nothing is proved either: {why}"
        ))),
        Verdict::Empty => Err(Error::invalid(
            "nothing to check: no call in the history says anything about the state",
        )),
    }
}

/// Whatever keeps the file from being read, the history is unreadable.
fn read(args: &CheckHistoryArgs) -> Result<History, Error> {
    let path = args.file.display();
    let unreadable = |error: &dyn std::fmt::Display| Error::invalid(format!("{path}: {error}"));
    if args.file.as_os_str() == "-" {
        return history_file::read(io::stdin().lock())
            .map_err(|error| unreadable(&error.message()));
    }
    let file = File::open(&args.file).map_err(|error| unreadable(&error))?;
    history_file::read(BufReader::new(file)).map_err(|error| unreadable(&error.message()))
}

/// The counterexample: its words, and its calls as they stand in the file.
fn violation_json(violation: &Violation) -> String {
    let explanation = serde_json::Value::from(violation.explanation.as_str());
    let calls: Vec<String> = violation.calls.iter().map(history_file::call_line).collect();
    let calls = calls.join(",");
    format!(r#"{{"verdict":"violated","explanation":{explanation},"calls":[{calls}]}}"#)
}
