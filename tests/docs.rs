//! The documents: every Lua block in `docs/*.md` and the README runs, on every kind of store, and
//! prints what its comments `-->` say.
//!
//! A block has the globals `store`, `errors`, `json`, `time` and `cache` (the store app:cache). A
//! line `<!-- kinds: memory -->` before it names the kinds of store that it is about. Below a line
//! `<!-- actor: ann -->` it runs as this actor, with the configuration that the page shows last.
//! Those of `lua-kv.md` run on every backend of namespaces instead, with `KV`, `errors`, `json` and
//! `kv` (a namespace).
#![cfg(feature = "lua")]
#![allow(clippy::unwrap_used)]

#[path = "support/host.rs"]
mod host;
#[cfg(feature = "sql")]
#[path = "support/kv_host.rs"]
mod kv_host;

use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};

use host::{Host, KINDS, Kind};
use plimsoll::policy::Actor;

struct Block {
    /// File and line, for messages.
    place: String,
    runs: Vec<Run>,
    code: String,
}

/// What a block is run with.
enum Run {
    Kind(Kind),
    Actor { id: String, config: String },
}

impl Run {
    async fn host(&self) -> Host {
        match self {
            Self::Kind(kind) => Host::new(*kind).await,
            Self::Actor { id, config } => Host::on(config, Actor::new(id)).await,
        }
    }
}

impl fmt::Display for Run {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Kind(kind) => f.write_str(kind.backend),
            Self::Actor { id, .. } => f.write_str(id),
        }
    }
}

fn documents() -> Vec<PathBuf> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut documents: Vec<_> = fs::read_dir(root.join("docs"))
        .unwrap()
        .map(|file| file.unwrap().path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "md"))
        .collect();
    documents.push(root.join("README.md"));
    documents.sort();
    documents
}

fn blocks_of(path: &Path) -> Vec<Block> {
    let text = fs::read_to_string(path).unwrap();
    let mut blocks = Vec::new();
    let mut previous = "";
    let mut lines = text.lines().enumerate();
    while let Some((number, line)) = lines.next() {
        if line.trim_start().starts_with("```lua") {
            assert_eq!(line.trim_start(), "```lua", "{}: no other marks", path.display());
            let place = format!("{}:{}", path.file_name().unwrap().display(), number + 1);
            let code: Vec<_> = lines
                .by_ref()
                .map(|(_, line)| line)
                .take_while(|line| line.trim_start() != "```")
                .collect();
            let runs = runs_of(previous, || last_configuration(&text, number));
            blocks.push(Block { place, runs, code: code.join("\n") });
        }
        if !line.is_empty() {
            previous = line;
        }
    }
    blocks
}

/// The last YAML block above a line.
fn last_configuration(text: &str, line: usize) -> String {
    let above: Vec<_> = text.lines().take(line).collect();
    let above = above.join("\n");
    let (_, block) = above.rsplit_once("```yaml\n").expect("the page shows a configuration");
    block.split("```").next().unwrap_or_default().to_owned()
}

fn runs_of(line_before: &str, config: impl Fn() -> String) -> Vec<Run> {
    let actor = line_before.strip_prefix("<!-- actor: ").and_then(|l| l.strip_suffix(" -->"));
    if let Some(id) = actor {
        return vec![Run::Actor { id: id.to_owned(), config: config() }];
    }
    let named = line_before.strip_prefix("<!-- kinds: ").and_then(|l| l.strip_suffix(" -->"));
    KINDS
        .iter()
        .copied()
        .filter(|kind| named.is_none_or(|named| named.split(' ').any(|name| name == kind.backend)))
        .map(Run::Kind)
        .collect()
}

/// What the comments say is printed, a line each.
fn expected(code: &str) -> String {
    code.lines()
        .filter_map(|line| line.split_once("-->"))
        .map(|(_, text)| format!("{}\n", text.strip_prefix(' ').unwrap_or(text)))
        .collect()
}

#[tokio::test]
async fn every_lua_block_runs_and_prints_what_it_says() {
    let mut ran = 0;
    for path in documents().iter().filter(|path| !path.ends_with(KV_DOCUMENT)) {
        for block in blocks_of(path) {
            for run in &block.runs {
                let place = format!("{} with {run}", block.place);
                let host = run.host().await;
                let ended = host.lua.load(&block.code).set_name("=doc").exec_async().await;
                ended.unwrap_or_else(|error| panic!("{place}: {error}"));
                let said = expected(&block.code);
                if !said.is_empty() {
                    assert_eq!(host.printed(), said, "{place}");
                }
                ran += 1;
            }
        }
    }
    assert!(ran > 20, "only {ran} blocks ran");
}

#[cfg(feature = "sql")]
#[tokio::test]
async fn every_lua_block_about_kv_runs_on_every_backend_and_prints_what_it_says() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs").join(KV_DOCUMENT);
    let mut ran = 0;
    for block in blocks_of(&path) {
        for kind in kv_host::KvKind::ALL {
            let place = format!("{} on {}", block.place, kind.name());
            let host = kv_host::KvHost::new(kind).await;
            host.try_run("kv = KV.namespace('example')").await.unwrap();
            let ended = host.lua.load(&block.code).set_name("=doc").exec_async().await;
            ended.unwrap_or_else(|error| panic!("{place}: {error}"));
            let said = expected(&block.code);
            if !said.is_empty() {
                assert_eq!(host.printed(), said, "{place}");
            }
            ran += 1;
        }
    }
    assert!(ran > 30, "only {ran} blocks ran");
}

/// Its blocks are about namespaces, not about stores.
const KV_DOCUMENT: &str = "lua-kv.md";
