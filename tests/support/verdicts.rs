//! Histories in `tests/histories`, each named after what happens in it, and what the checkers say.
//!
//! `UPDATE_GOLDENFILES=1` writes what they say now beside each.
#![allow(dead_code)]

use std::fs;
use std::path::{Path, PathBuf};

use plimsoll::check::history::History;
use plimsoll::check::verdict::{Verdict, judge};
use plimsoll::check::witness::{self, Fault};
use plimsoll::check::zones;
use plimsoll::history_file;

/// The files of histories, in order.
pub fn files() -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/histories");
    let mut files: Vec<_> =
        fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.retain(|file| file.extension().is_some_and(|extension| extension == "jsonl"));
    files.sort();
    files
}

pub fn read(file: &Path) -> History {
    let text = fs::read(file).unwrap();
    history_file::read(text.as_slice()).unwrap_or_else(|error| panic!("{file:?}: {error}"))
}

/// What the checkers say about a history.
pub fn said(history: &History) -> String {
    let verdict = match judge(history) {
        Verdict::Linearizable(_) => "linearizable".to_owned(),
        Verdict::Violated(violation) => format!("not linearizable: {violation}"),
        Verdict::Undecided(why) => format!("undecided: {why}"),
        Verdict::Empty => "nothing to check".to_owned(),
    };
    let witness = match witness::check(history) {
        Ok(_) => "a certificate".to_owned(),
        Err(Fault::Violation(violation)) => violation.explanation,
        Err(Fault::Unlabelled(why)) => format!("no label: {}", why.explanation),
    };
    let zones = match zones::check(history) {
        Ok(()) => "nothing".to_owned(),
        Err(violation) => violation.explanation,
    };
    format!("{verdict}\n\nrecorded order: {witness}\nzones: {zones}\n")
}

/// What the checkers should say.
pub fn expected(file: &Path) -> String {
    let beside = file.with_extension("txt");
    if std::env::var_os("UPDATE_GOLDENFILES").is_some() {
        fs::write(&beside, said(&read(file))).unwrap();
    }
    fs::read_to_string(&beside).unwrap_or_else(|error| panic!("{beside:?}: {error}"))
}
