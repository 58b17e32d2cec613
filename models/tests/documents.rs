//! `docs/models.md` says what there is: every model with its number of states, every mutant with the
//! sentence that it weakens and the steps of its shortest trace.
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

/// With commas between thousands.
fn grouped(number: usize) -> String {
    let digits = number.to_string();
    let groups: Vec<_> =
        digits.as_bytes().rchunks(3).rev().map(|group| str::from_utf8(group).unwrap()).collect();
    groups.join(",")
}
