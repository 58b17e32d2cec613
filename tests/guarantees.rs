//! `docs/guarantees.md` claims nothing without its check: every claim names at least one, and every
//! check that it names exists.
#![allow(clippy::unwrap_used)]

use std::fs;
use std::path::Path;

const GUARANTEES: &str = include_str!("../docs/guarantees.md");

/// The rows of the tables of claims: a claim, and its checks in backticks.
fn claims() -> Vec<(String, Vec<String>)> {
    let mut claims = Vec::new();
    for line in GUARANTEES.lines().filter(|line| line.starts_with("| ")) {
        let cells: Vec<_> = line.trim_matches('|').split('|').map(str::trim).collect();
        let [claim, checks] = cells[..] else { panic!("not two cells: {line}") };
        if claim == "claim" {
            continue;
        }
        let checks = checks.split('`').skip(1).step_by(2).map(str::to_owned).collect();
        claims.push((claim.to_owned(), checks));
    }
    claims
}

#[test]
fn every_claim_names_its_checks() {
    let claims = claims();
    assert!(claims.len() >= 25, "the claims were found: {}", claims.len());
    for (claim, checks) in claims {
        assert!(!checks.is_empty(), "no check stands beside: {claim}");
    }
}

/// A check is `path`, `path::function`, `mutant: name`, `fuzz: target`, `scenario: name` or `madsim: fault`.
#[test]
fn every_check_exists() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mutants = fs::read_to_string(root.join("src/mutant.rs")).unwrap();
    let scenarios = fs::read_to_string(root.join("sim/src/scenario.rs")).unwrap();
    let processes = fs::read_to_string(root.join("sim/src/production/faults.rs")).unwrap();
    let mut missing = Vec::new();
    for (claim, checks) in claims() {
        for check in checks {
            let exists = if let Some(mutant) = check.strip_prefix("mutant: ") {
                mutants.contains(&format!("\"{mutant}\""))
            } else if let Some(target) = check.strip_prefix("fuzz: ") {
                root.join("fuzz/fuzz_targets").join(format!("{target}.rs")).exists()
            } else if let Some(scenario) = check.strip_prefix("scenario: ") {
                scenarios.contains(&format!("new(\"{scenario}\","))
            } else if let Some(fault) = check.strip_prefix("madsim: ") {
                processes.contains(&format!("= \"{fault}\","))
            } else if let Some((path, function)) = check.split_once("::") {
                fs::read_to_string(root.join(path))
                    .is_ok_and(|text| text.contains(&format!("fn {function}(")))
            } else {
                root.join(&check).exists()
            };
            if !exists {
                missing.push(format!("{check} (of: {claim})"));
            }
        }
    }
    assert!(missing.is_empty(), "{missing:#?}");
}
