//! `docs/models.md` says what there is: every model with its number of states, every mutant with the
//! sentence that it weakens and the steps of its shortest trace. And the engine's rule is the model's: the
//! same twelve sentences, and a mutant for each of the model's.
#![allow(clippy::unwrap_used)]

use plimsoll_models::catalogue;
use plimsoll_models::collection::mutants::Mutant;

const PAGE: &str = include_str!("../../docs/models.md");

fn rows() -> Vec<Vec<&'static str>> {
    PAGE.lines()
        .filter(|line| line.starts_with("| `"))
        .map(|line| line.trim_matches('|').split('|').map(str::trim).collect())
        .collect()
}

#[test]
fn every_model_stands_in_the_page_with_its_states() {
    for entry in catalogue::ALL {
        let name = format!("`{}`", entry.name);
        let row = rows().into_iter().find(|row| row[0] == name).unwrap();
        let [standard, deep] = [entry.standard.unique, entry.deep.unique].map(grouped);
        assert_eq!(row[2..4], [standard, deep], "{name}");
    }
}

#[test]
fn every_mutant_stands_in_the_page_with_its_sentence_and_steps() {
    for mutant in Mutant::ALL {
        let name = format!("`{}`", mutant.name());
        let row = rows().into_iter().find(|row| row[0] == name).unwrap();
        let sentence = mutant.sentence();
        let sentence = if sentence == 0 { String::new() } else { sentence.to_string() };
        assert_eq!(row[1..3], [sentence, mutant.steps().to_string()], "{name}");
    }
}

/// The engine's mutants of the rule come first in its list, in the order of the sentences.
#[test]
fn every_mutant_of_the_model_is_one_of_the_engine() {
    let source = include_str!("../../src/mutant.rs");
    let (_, list) = source.split_once("pub const CRDT: &[&str] = &[").unwrap();
    let (list, _) = list.split_once("];").unwrap();
    let names = list.split(',').map(|name| name.trim().trim_matches('"').to_owned());
    let ours: Vec<_> = Mutant::ALL.iter().map(|mutant| mutant.name().replace('-', " ")).collect();
    assert_eq!(names.take(ours.len()).collect::<Vec<_>>(), ours);
}

#[test]
fn the_engine_has_the_twelve_sentences_of_the_model() {
    let model = sentences(include_str!("../src/collection/rule.rs"), "//! ");
    let engine = sentences(include_str!("../../docs/design/crdt.md"), "");
    assert_eq!(model.len(), 12);
    assert_eq!(engine, model);
}

/// The first numbered list of a text, unwrapped.
fn sentences(text: &str, prefix: &str) -> Vec<String> {
    let lines = text.lines().map(|line| line.strip_prefix(prefix).unwrap_or_default());
    let list = lines.skip_while(|line| !line.starts_with("1. "));
    let mut sentences: Vec<String> = Vec::new();
    for line in list.take_while(|line| !line.is_empty()) {
        match line.strip_prefix("   ") {
            Some(more) => sentences.last_mut().unwrap().extend([" ", more.trim_start()]),
            None => sentences.push(line.to_owned()),
        }
    }
    sentences
}

/// With commas between thousands.
fn grouped(number: usize) -> String {
    let digits = number.to_string();
    let groups: Vec<_> =
        digits.as_bytes().rchunks(3).rev().map(|group| str::from_utf8(group).unwrap()).collect();
    groups.join(",")
}
