//! The architecture, checked mechanically: imports point down only, the core keeps its bans, and
//! files stay readable. `docs/ARCHITECTURE.md` says why.
#![allow(clippy::unwrap_used)]

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

/// The floor of each top-level module of `src/`. A module may use those on lower floors, and those
/// of its own floor where [`SIDEWAYS`] allows it.
const FLOORS: &[(&str, u32)] = &[
    ("clock", 0),
    ("codec", 0),
    ("entry", 0),
    ("error", 0),
    ("hlc", 0),
    ("keyspace", 0),
    ("limits", 0),
    ("mutant", 0),
    ("value", 0),
    ("check", 1),
    ("kv", 1),
    ("policy", 1),
    ("namespaces", 1),
    ("storage", 1),
    ("crdt", 2),
    ("gossip", 2),
    ("raft", 2),
    ("json", 3),
    ("recorder", 3),
    ("sql", 3),
    ("storage_fs", 3),
    ("transport", 3),
    ("history_file", 4),
    ("node", 4),
    ("http", 5),
    ("store", 5),
    ("registry", 6),
    ("blocking", 7),
    ("lua", 7),
    ("cli", 8),
];

/// Floors whose modules may use each other. On floor 1 they may not: the specification that shares
/// code with the machine would check the machine with itself.
const SIDEWAYS: &[u32] = &[0];

/// Who may use whom on its own floor beside that: what spreads a replica stands beside it.
const BESIDE: &[(&str, &str)] = &[("gossip", "crdt")];

/// Floors 0 to 2 are the core: no clock, no random number, no IO, no thread, no hash order.
const CORE_FLOORS: std::ops::RangeInclusive<u32> = 0..=2;

const FILE_LINES_MAX: usize = 800;

struct Source {
    path: PathBuf,
    /// The top-level module that the file belongs to; empty for `lib.rs` and `main.rs`.
    module: String,
    text: String,
}

fn sources() -> Vec<Source> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut sources = Vec::new();
    let mut folders = vec![root.clone()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                let relative = path.strip_prefix(&root).unwrap();
                let first = relative.iter().next().unwrap().to_str().unwrap();
                let module = match first {
                    "lib.rs" | "main.rs" => String::new(),
                    first => first.trim_end_matches(".rs").to_owned(),
                };
                let text = fs::read_to_string(&path).unwrap();
                sources.push(Source { path, module, text });
            }
        }
    }
    assert!(sources.len() > 10, "the sources were found");
    sources
}

/// The top-level modules that a file names after `crate::`, braces included, with their lines.
/// Test modules count too: a test that looks up is a dependency as well.
fn used_modules(text: &str) -> Vec<(usize, String)> {
    let mut used = Vec::new();
    for (line, content) in text.lines().enumerate() {
        let code = content.split("//").next().unwrap();
        for (start, _) in code.match_indices("crate::") {
            let rest = &code[start + "crate::".len()..];
            assert!(!rest.starts_with('{'), "write one `use crate::module` per line: {content}");
            let name: String =
                rest.chars().take_while(|c| c.is_ascii_lowercase() || *c == '_').collect();
            used.push((line + 1, name));
        }
    }
    used
}

#[test]
fn imports_point_down_only() {
    let floors: BTreeMap<_, _> = FLOORS.iter().copied().collect();
    let mut edges = 0;
    let mut violations = Vec::new();
    for source in sources().iter().filter(|source| !source.module.is_empty()) {
        let own = *floors
            .get(source.module.as_str())
            .unwrap_or_else(|| panic!("{} stands on no floor", source.module));
        for (line, used) in used_modules(&source.text) {
            // Names at the crate's root, such as the public re-exports, are not modules.
            let Some(&floor) = floors.get(used.as_str()) else { continue };
            let is_beside = SIDEWAYS.contains(&own)
                || BESIDE.contains(&(source.module.as_str(), used.as_str()));
            let is_allowed = used == source.module || floor < own || floor == own && is_beside;
            edges += 1;
            if !is_allowed {
                let path = source.path.display();
                violations.push(format!("{path}:{line}: floor {own} uses {used}, floor {floor}"));
            }
        }
    }
    assert!(edges > 50, "the imports were found");
    assert!(violations.is_empty(), "{violations:#?}");
}

#[test]
fn every_file_of_the_core_denies_what_is_banned() {
    let floors: BTreeMap<_, _> = FLOORS.iter().copied().collect();
    let attribute = "#![deny(clippy::disallowed_types, clippy::disallowed_methods)]";
    let bare: Vec<_> = sources()
        .into_iter()
        .filter(|source| {
            floors.get(source.module.as_str()).is_some_and(|f| CORE_FLOORS.contains(f))
        })
        // These two hold constants and a switch of the tests.
        .filter(|source| !matches!(source.module.as_str(), "limits" | "mutant"))
        .filter(|source| !source.text.contains(attribute))
        .map(|source| source.path)
        .collect();
    assert!(bare.is_empty(), "without {attribute}: {bare:?}");
}

#[test]
fn files_say_what_they_are_and_stay_short() {
    let mut offences = Vec::new();
    for source in sources() {
        let path = source.path.display();
        if !source.text.starts_with("//!") {
            offences.push(format!("{path} does not open with //!"));
        }
        let lines = source.text.lines().count();
        if lines > FILE_LINES_MAX {
            offences.push(format!("{path} has {lines} lines"));
        }
        for banned in ["cfg(madsim)", "#[ignore", "todo!(", "unimplemented!("] {
            if source.text.contains(banned) {
                offences.push(format!("{path} contains {banned}"));
            }
        }
    }
    assert!(offences.is_empty(), "{offences:#?}");
}

/// What chooses by chance among ready branches would make a simulated run another one the next time.
#[test]
fn what_runs_under_the_simulator_selects_in_order() {
    let mut selects = 0;
    for source in sources().iter().filter(|it| ["node", "transport"].contains(&&*it.module)) {
        for (_, rest) in source
            .text
            .match_indices("select! {")
            .map(|(at, it)| source.text.split_at(at + it.len()))
        {
            selects += 1;
            assert!(rest.trim_start().starts_with("biased;"), "{}", source.path.display());
        }
    }
    assert!(selects > 0, "they were found");
}
