//! A configuration: entries that were read, checked and are ready to be opened.
//!
//! Invariant: in a [`Config`] that exists every id is unique, every reference leads to an entry of
//! the right kind, and there is no cycle. Nothing was opened to find that out.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::path::Path;

use super::builder::ConfigBuilder;
use super::cluster::{self, ClusterOptions};
use super::crdt_store;
use super::entry::{self, EntryKind, Parsed, RegistryEntry, SkippedEntry};
use super::entry_id::{self, EntryId};
use super::environment::Environment;
use super::fields::{Context, Fields};
use super::kv::{self, KvEntry};
use super::problem::{self, FieldPath, Origin, Problem, Refusal};
use super::references;
use super::source::{self, Source};
use super::yaml;
use crate::error::Result;

/// How a configuration is read.
#[derive(Clone, Debug, Default)]
pub struct LoadOptions {
    /// Leaves out entries of kinds that belong to other programs, instead of refusing them.
    pub skip_foreign_kinds: bool,
    /// Where `${env:NAME}` is looked up.
    pub environment: Environment,
}

/// The checked entries of a configuration.
#[derive(Clone, Debug, Default)]
pub struct Config {
    entries: Vec<RegistryEntry>,
    /// Where the entry of an id stands in `entries`.
    positions: BTreeMap<EntryId, usize>,
    skipped: Vec<SkippedEntry>,
    cluster: Option<ClusterOptions>,
    /// Of the section `cluster`, whether it is enabled or not.
    cluster_origin: Option<Origin>,
}

impl Config {
    /// Reads a file, or the `_index.yaml` files of a folder and of those below.
    ///
    /// # Errors
    /// `INVALID` with every problem that does not follow from another: file, line, column, field,
    /// what is wrong and what to do. The details `file`, `line`, `column` and `field` are those of
    /// the first.
    pub fn load(path: impl AsRef<Path>, options: LoadOptions) -> Result<Self> {
        let sources = source::read(path.as_ref()).map_err(problem::into_error)?;
        Self::from_sources(&sources, &options)
    }

    /// Reads a text. Relative paths in it resolve from `folder`; messages call it `file_name`.
    ///
    /// # Errors
    /// As [`Config::load`].
    pub fn parse(
        text: &str,
        folder: impl AsRef<Path>,
        file_name: &str,
        options: LoadOptions,
    ) -> Result<Self> {
        let source = Source::new(file_name.into(), folder.as_ref(), text.to_owned());
        Self::from_sources(&[source], &options)
    }

    /// A configuration made in Rust, entry by entry. It is checked as a text is.
    pub fn builder() -> ConfigBuilder {
        ConfigBuilder::new()
    }

    /// What is used without a configuration: `app:cache`, a `store.memory`; and, with the feature
    /// `sql`, what keeps its state in `.plimsoll` in `folder`: `app:records`, a `store.sql`, and on a
    /// cluster of this process alone `app:deployments`, a `store.kv.raft`, and `app:sessions`, a
    /// `store.kv.crdt`.
    #[must_use]
    pub fn builtin(folder: impl AsRef<Path>) -> Self {
        Self::parse(BUILTIN, folder, "built-in configuration", LoadOptions::default())
            .expect("the built-in configuration is tested")
    }

    /// The entries, in the order of the files and within them.
    #[must_use]
    pub fn entries(&self) -> &[RegistryEntry] {
        &self.entries
    }

    /// The entry of an id.
    #[must_use]
    pub fn entry(&self, id: &str) -> Option<&RegistryEntry> {
        self.positions.get(id).map(|position| &self.entries[*position])
    }

    /// The entry that says in which store the namespaces of `KV` are kept, if there is one.
    #[must_use]
    pub fn kv(&self) -> Option<&KvEntry> {
        self.entries.iter().find_map(|entry| match entry.kind() {
            EntryKind::Kv(kv) => Some(kv),
            _ => None,
        })
    }

    /// The options of the cluster; none if there is no section `cluster`, or it is not enabled.
    #[must_use]
    pub fn cluster(&self) -> Option<&ClusterOptions> {
        self.cluster.as_ref()
    }

    /// The entries of foreign kinds that were left out.
    #[must_use]
    pub fn skipped(&self) -> &[SkippedEntry] {
        &self.skipped
    }

    fn from_sources(sources: &[Source], options: &LoadOptions) -> Result<Self> {
        let (mut config, mut problems) = (Self::default(), Vec::new());
        for source in sources {
            config.read(source, options, &mut problems);
        }
        config.checked(problems)
    }

    /// The configuration, if nothing was wrong with its entries and nothing is between them.
    pub(super) fn checked(self, mut problems: Vec<Problem>) -> Result<Self> {
        problems.extend(self.duplicates());
        problems.extend(kv::check_single(&self.entries));
        problems.extend(crdt_store::check_durable(&self.entries));
        // An entry that could not be read would make every reference to it look wrong.
        if problems.is_empty() {
            problems = references::check(&self.entries, &self.skipped);
        }
        if problems.is_empty() { Ok(self) } else { Err(problem::into_error(problems)) }
    }

    pub(super) fn add(&mut self, parsed: Option<Parsed>) {
        match parsed {
            Some(Parsed::Entry(entry)) => {
                self.positions.insert(entry.id().clone(), self.entries.len());
                self.entries.push(entry);
            }
            Some(Parsed::Skipped(entry)) => self.skipped.push(entry),
            None => {}
        }
    }

    /// Adds the entries of a file.
    fn read(&mut self, source: &Source, options: &LoadOptions, problems: &mut Vec<Problem>) {
        let root = match yaml::parse(&source.file, &source.text, problems) {
            Ok(Some(root)) => root,
            Ok(None) => {
                let message = "the file is empty; it needs version: \"1.0\", namespace and entries";
                return problems.push(Problem::new(Origin::of_file(&source.file), message));
            }
            Err(problem) => return problems.push(problem),
        };
        let context = Context {
            file: &source.file,
            environment: Some(&options.environment),
            problems: RefCell::default(),
        };
        if let Some(fields) = Fields::new(&context, &root, FieldPath::default()) {
            self.read_fields(fields, source, options);
        }
        problems.extend(context.problems.into_inner());
    }

    fn read_fields(&mut self, mut fields: Fields<'_>, source: &Source, options: &LoadOptions) {
        fields.required("version", "\"1.0\"", |given| match given.text()? {
            "1.0" => Ok(()),
            other => Err(Refusal::new(format!("the version {other:?} is unknown; write \"1.0\""))),
        });
        let namespace = fields.required("namespace", "app", |given| {
            entry_id::check_part("namespace", given.text()?)?;
            Ok(given.text()?.to_owned())
        });
        if let Some(cluster) = fields.optional_mapping("cluster") {
            self.read_cluster(cluster, &source.folder, &options.environment);
        }
        for entry in fields.required_mappings("entries", "[]") {
            self.add(entry::read(entry, namespace.as_deref(), &source.folder, options));
        }
        fields.finish();
    }

    /// Reads a section `cluster`, and reports one that is not the first.
    pub(super) fn read_cluster(
        &mut self,
        fields: Fields<'_>,
        folder: &Path,
        environment: &Environment,
    ) {
        match &self.cluster_origin {
            Some(first) => {
                let message = format!(
                    "this is a second section cluster, the first stands at {first}; a process is one \
                     node, so remove one of them"
                );
                fields.report(fields.origin(), message);
            }
            None => self.cluster_origin = Some(fields.origin().clone()),
        }
        self.cluster = cluster::read(fields, folder, environment);
    }

    /// A problem for each entry whose id another has already.
    fn duplicates(&self) -> Vec<Problem> {
        let mut first_origins: BTreeMap<&str, &Origin> = BTreeMap::new();
        let entries = self.entries.iter().map(|entry| (entry.id().as_str(), entry.origin()));
        let skipped = self.skipped.iter().map(|entry| (entry.id(), entry.origin()));
        let mut problems = Vec::new();
        for (id, origin) in entries.chain(skipped) {
            if let Some(first) = first_origins.insert(id, origin) {
                let message = format!("{id} is already defined at {first}; rename one of them");
                problems.push(Problem::new(origin.clone(), message));
            }
        }
        problems
    }
}

#[cfg(feature = "sql")]
const BUILTIN: &str = include_str!("builtin.yaml");

#[cfg(not(feature = "sql"))]
const BUILTIN: &str =
    "{version: \"1.0\", namespace: app, entries: [{name: cache, kind: store.memory}]}";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_builtin_configuration_is_right() {
        let config = Config::builtin("folder");
        assert!(config.entry("app:cache").is_some_and(|entry| entry.kind().is_store()));
        for id in ["app:records", "app:deployments", "app:sessions"] {
            assert_eq!(config.entry(id).is_some(), cfg!(feature = "sql"));
        }
    }
}
