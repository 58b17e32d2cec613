//! The oldest Rust that builds this is stated once in each place that states it, and everywhere the
//! same. That it really builds it, `.ci/run` checks.
#![allow(clippy::unwrap_used)]

use std::fs;
use std::path::Path;

fn read(file: &str) -> String {
    fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(file)).unwrap()
}

/// What stands between two texts, wherever they stand on one line.
fn between<'a>(text: &'a str, start: &str, end: &str) -> Vec<&'a str> {
    let lines = text.lines();
    let behind = lines.flat_map(|line| line.split(start).skip(1));
    behind.filter_map(|rest| Some(rest.split_once(end)?.0)).collect()
}

#[test]
fn every_place_states_the_same_version_of_rust() {
    let manifest = read("Cargo.toml");
    let versions = between(&manifest, "rust-version = \"", "\"");
    let [version] = versions[..] else { panic!("the workspace states one: {versions:?}") };
    assert!(version.split('.').all(|part| part.parse::<u32>().is_ok()), "{version}");
    assert_eq!(between(&read("clippy.toml"), "msrv = \"", "\""), [version]);
    assert_eq!(between(&read("README.md"), "beyond Rust (", ")"), [version]);
}

#[test]
fn every_package_takes_the_version_of_the_workspace() {
    let manifest = read("Cargo.toml");
    let (_, members) = manifest.split_once("\nmembers = [").unwrap();
    let (members, _) = members.split_once(']').unwrap();
    let members: Vec<_> = members.split('"').skip(1).step_by(2).collect();
    assert!(members.contains(&"."), "the members were found: {members:?}");
    for member in members {
        let manifest = read(&format!("{member}/Cargo.toml"));
        assert!(manifest.contains("\nrust-version.workspace = true\n"), "{member}");
    }
}
