//! Typed values as the nodes of a text that says the same: the way back from `fields`.
//!
//! Each kind writes its options beside where it reads them. A builder's entries go through these
//! nodes, so that there is one reader, and one set of checks and messages.

use std::fmt::Display;
use std::path::Path;
use std::rc::Rc;
use std::time::Duration;

use super::duration::duration_text;
use super::problem::Position;
use super::yaml::{Content, Member, Node, Scalar};
use crate::value::Value;

/// The fields of a mapping, all of which stand in one place.
pub(super) struct Nodes {
    position: Position,
    members: Vec<Member>,
    /// What no text could say: the field, and why.
    refusals: Vec<(String, &'static str)>,
}

impl Nodes {
    pub(super) const fn new(position: Position) -> Self {
        Self { position, members: Vec::new(), refusals: Vec::new() }
    }

    /// A mapping for a field of this one.
    pub(super) const fn nested(&self) -> Self {
        Self::new(self.position)
    }

    /// A string: whatever it holds, it is no number.
    pub(super) fn text(&mut self, name: &str, text: &str) {
        self.add(name, Content::Scalar(Scalar { text: text.to_owned(), is_plain: false }));
    }

    /// A number, or `true` or `false`.
    pub(super) fn plain(&mut self, name: &str, given: impl Display) {
        self.add(name, plain(given));
    }

    pub(super) fn duration(&mut self, name: &str, duration: Duration) {
        self.text(name, &duration_text(duration));
    }

    /// How often something is done; none means never.
    pub(super) fn interval(&mut self, name: &str, interval: Option<Duration>) {
        self.duration(name, interval.unwrap_or_default());
    }

    pub(super) fn path(&mut self, name: &str, path: &Path) {
        if path.to_str().is_none() {
            self.refusals.push((name.to_owned(), "the path is not UTF-8; rename it"));
        }
        self.text(name, &path.to_string_lossy());
    }

    pub(super) fn value(&mut self, name: &str, value: &Value) {
        self.add(name, content_of(value));
    }

    pub(super) fn values<'a>(&mut self, name: &str, values: impl IntoIterator<Item = &'a Value>) {
        let items = values.into_iter().map(|value| self.node(content_of(value))).collect();
        self.add(name, Content::List(items));
    }

    pub(super) fn texts(&mut self, name: &str, texts: impl IntoIterator<Item = String>) {
        let item = |text| self.node(Content::Scalar(Scalar { text, is_plain: false }));
        let items = texts.into_iter().map(item).collect();
        self.add(name, Content::List(items));
    }

    pub(super) fn mapping(&mut self, name: &str, fields: Self) {
        let refusals = fields.refusals.into_iter();
        self.refusals.extend(refusals.map(|(field, why)| (format!("{name}.{field}"), why)));
        self.add(name, Content::Mapping(fields.members));
    }

    pub(super) fn mappings(&mut self, name: &str, items: impl IntoIterator<Item = Self>) {
        let items = items.into_iter().map(Self::finish).collect();
        self.add(name, Content::List(items));
    }

    pub(super) fn refusals(&self) -> &[(String, &'static str)] {
        &self.refusals
    }

    /// The mapping as a node.
    pub(super) fn finish(self) -> Node {
        Node { position: self.position, content: Rc::new(Content::Mapping(self.members)) }
    }

    fn add(&mut self, name: &str, content: Content) {
        let (name, value) = (name.to_owned(), self.node(content));
        self.members.push(Member { name, position: self.position, value });
    }

    fn node(&self, content: Content) -> Node {
        Node { position: self.position, content: Rc::new(content) }
    }
}

fn plain(given: impl Display) -> Content {
    Content::Scalar(Scalar { text: given.to_string(), is_plain: true })
}

fn content_of(value: &Value) -> Content {
    match value {
        Value::Boolean(boolean) => plain(boolean),
        Value::Integer(integer) => plain(integer),
        Value::Float(float) if float.is_finite() => plain(format!("{float:?}")),
        Value::Float(float) if float.is_nan() => plain(".nan"),
        Value::Float(float) => plain(if *float > 0.0 { ".inf" } else { "-.inf" }),
        Value::String(bytes) => match std::str::from_utf8(bytes) {
            Ok(text) => Content::Scalar(Scalar { text: text.to_owned(), is_plain: false }),
            // A text has no such strings, and the reader refuses what is nothing.
            Err(_) => Content::Scalar(Scalar { text: String::new(), is_plain: true }),
        },
        Value::Table(_) => Content::Mapping(Vec::new()),
    }
}
