//! Typed access to the fields of a mapping, with every problem in its place.
//!
//! A reader takes the fields that it knows out of [`Fields`] and then calls [`Fields::finish`],
//! which reports the rest as unknown. A field that is wrong is reported and taken as absent, so
//! that reading goes on; a configuration with a problem is refused as a whole, whatever was read.

use std::borrow::Cow;
use std::cell::RefCell;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use super::duration::parse_duration;
use super::environment::Environment;
use super::problem::{FieldPath, Origin, Position, Problem, Refusal};
use super::suggest::did_you_mean;
use super::yaml::{Content, Member, Node, ScalarType};
use crate::value::Value;

/// What the readers of one file share.
pub(super) struct Context<'a> {
    pub(super) file: &'a Arc<str>,
    /// Where variables are looked up; none where text means itself.
    pub(super) environment: Option<&'a Environment>,
    pub(super) problems: RefCell<Vec<Problem>>,
}

impl Context<'_> {
    pub(super) fn report(&self, origin: &Origin, refusal: impl Into<Refusal>) {
        self.problems.borrow_mut().push(Problem::new(origin.clone(), refusal));
    }

    /// How many problems were reported.
    pub(super) fn count(&self) -> usize {
        self.problems.borrow().len()
    }

    fn origin(&self, position: Position, path: FieldPath) -> Origin {
        Origin { file: self.file.clone(), position: Some(position), path }
    }
}

/// The fields of a mapping that were not taken yet.
pub(super) struct Fields<'a> {
    context: &'a Context<'a>,
    origin: Origin,
    members: Vec<&'a Member>,
    known: Vec<&'static str>,
}

impl<'a> Fields<'a> {
    /// The fields of a node; none, and a report, if it is no mapping.
    pub(super) fn new(context: &'a Context<'a>, node: &'a Node, path: FieldPath) -> Option<Self> {
        let origin = context.origin(node.position, path);
        match &*node.content {
            Content::Mapping(members) => {
                let members = members.iter().collect();
                Some(Self { context, origin, members, known: Vec::new() })
            }
            other => {
                context.report(&origin, format!("expected a mapping of fields, found {other}"));
                None
            }
        }
    }

    /// Where the mapping stands.
    pub(super) fn origin(&self) -> &Origin {
        &self.origin
    }

    /// What goes on when the fields are finished.
    pub(super) fn context(&self) -> &'a Context<'a> {
        self.context
    }

    /// The problems of the file go here.
    pub(super) fn report(&self, origin: &Origin, refusal: impl Into<Refusal>) {
        self.context.report(origin, refusal);
    }

    /// Takes a field that may be absent.
    pub(super) fn optional<T>(
        &mut self,
        name: &'static str,
        parse: impl FnOnce(&Given<'_>) -> Result<T, Refusal>,
    ) -> Option<T> {
        let member = self.take(name)?;
        self.parse(&member.value, self.origin.path.field(name), parse)
    }

    /// Takes a field and reports its absence; `example` shows how to write it.
    pub(super) fn required<T>(
        &mut self,
        name: &'static str,
        example: &str,
        parse: impl FnOnce(&Given<'_>) -> Result<T, Refusal>,
    ) -> Option<T> {
        self.require(name, example);
        self.optional(name, parse)
    }

    /// Takes a field whose text is told to nobody, not even where it is wrong.
    #[cfg(feature = "postgres")]
    pub(super) fn secret(&mut self, name: &'static str) -> Option<String> {
        let member = self.take(name)?;
        let origin = self.context.origin(member.value.position, self.origin.path.field(name));
        let given = Given::new(&member.value.content, self.context.environment, origin.clone());
        let refusal = match &given {
            Ok(given) => match given.text() {
                Ok(text) if text.contains('\0') => "it has a NUL character; remove it",
                Ok(text) => return Some(text.to_owned()),
                Err(_) => "expected a string, found something else; put it in quotes",
            },
            Err(_) => {
                "its variable can't be read; write ${env:NAME} of one that is set, or $${ for a \
                 literal ${"
            }
        };
        self.report(&origin, refusal);
        None
    }

    /// Takes a field that is a mapping of its own.
    pub(super) fn optional_mapping(&mut self, name: &'static str) -> Option<Self> {
        let member = self.take(name)?;
        Self::new(self.context, &member.value, self.origin.path.field(name))
    }

    /// Reads a field that is a mapping of its own; one that is absent is read as if it were empty.
    pub(super) fn nested<T>(&mut self, name: &'static str, read: impl FnOnce(&mut Self) -> T) -> T {
        let mut nested = self.optional_mapping(name).unwrap_or_else(|| {
            let origin = Origin { path: self.origin.path.field(name), ..self.origin.clone() };
            Self { context: self.context, origin, members: Vec::new(), known: Vec::new() }
        });
        let value = read(&mut nested);
        nested.finish();
        value
    }

    /// Takes a field that is a mapping of its own, and reports its absence.
    pub(super) fn required_mapping(&mut self, name: &'static str, example: &str) -> Option<Self> {
        self.require(name, example);
        self.optional_mapping(name)
    }

    /// Takes a field that is an item or a list of items; none if one of them was reported.
    pub(super) fn optional_items<T>(
        &mut self,
        name: &'static str,
        parse: impl FnMut(&Given<'_>) -> Result<T, Refusal>,
    ) -> Option<Vec<T>> {
        let member = self.take(name)?;
        if matches!(&*member.value.content, Content::List(items) if items.is_empty()) {
            let path = self.origin.path.field(name);
            let origin = self.context.origin(member.value.position, path);
            self.report(&origin, "the list is empty; write at least one item");
            return None;
        }
        self.parse_items(member, parse)
    }

    /// As [`Fields::optional_items`], but the list may be empty.
    pub(super) fn optional_list<T>(
        &mut self,
        name: &'static str,
        parse: impl FnMut(&Given<'_>) -> Result<T, Refusal>,
    ) -> Option<Vec<T>> {
        let member = self.take(name)?;
        self.parse_items(member, parse)
    }

    /// As [`Fields::optional_items`], and reports the absence of the field.
    pub(super) fn required_items<T>(
        &mut self,
        name: &'static str,
        example: &str,
        parse: impl FnMut(&Given<'_>) -> Result<T, Refusal>,
    ) -> Option<Vec<T>> {
        self.require(name, example);
        self.optional_items(name, parse)
    }

    /// Takes a field that is a list of mappings, and reports its absence.
    pub(super) fn required_mappings(&mut self, name: &'static str, example: &str) -> Vec<Self> {
        self.require(name, example);
        self.optional_mappings(name, example)
    }

    /// Takes a field that is a list of mappings; leaves out the items that are none.
    pub(super) fn optional_mappings(&mut self, name: &'static str, example: &str) -> Vec<Self> {
        let Some(member) = self.take(name) else {
            return Vec::new();
        };
        let path = self.origin.path.field(name);
        let Content::List(items) = &*member.value.content else {
            let origin = self.context.origin(member.value.position, path);
            let found = &member.value.content;
            self.report(&origin, format!("expected a list, found {found}; write it as {example}"));
            return Vec::new();
        };
        let mappings = items.iter().enumerate();
        mappings.filter_map(|(i, item)| Self::new(self.context, item, path.item(i))).collect()
    }

    /// Reports what was not taken as unknown.
    pub(super) fn finish(self) {
        for member in &self.members {
            let name = member.name.as_str();
            let origin = self.context.origin(member.position, self.origin.path.field(name));
            let near = did_you_mean(name, self.known.iter().copied());
            let known = self.known.join(", ");
            self.report(&origin, format!("the field is unknown{near} (known are {known})"));
        }
    }

    /// Parses an item or a list of items; none if one of them was reported.
    fn parse_items<T>(
        &self,
        member: &Member,
        mut parse: impl FnMut(&Given<'_>) -> Result<T, Refusal>,
    ) -> Option<Vec<T>> {
        let path = self.origin.path.field(&member.name);
        let Content::List(items) = &*member.value.content else {
            return self.parse(&member.value, path, parse).map(|item| vec![item]);
        };
        let parsed = (0..).zip(items).map(|(i, item)| self.parse(item, path.item(i), &mut parse));
        // All of them are read before the first wrong one counts.
        parsed.collect::<Vec<_>>().into_iter().collect()
    }

    /// Parses a node; none if it was reported.
    fn parse<T>(
        &self,
        node: &Node,
        path: FieldPath,
        parse: impl FnOnce(&Given<'_>) -> Result<T, Refusal>,
    ) -> Option<T> {
        let origin = self.context.origin(node.position, path);
        let parsed = Given::new(&node.content, self.context.environment, origin.clone())
            .and_then(|given| parse(&given));
        parsed.map_err(|refusal| self.report(&origin, refusal)).ok()
    }

    fn require(&self, name: &'static str, example: &str) {
        if !self.members.iter().any(|member| member.name == name) {
            let origin = Origin { path: self.origin.path.field(name), ..self.origin.clone() };
            self.report(
                &origin,
                format!("the field is missing; add one such as {name}: {example}"),
            );
        }
    }

    fn take(&mut self, name: &'static str) -> Option<&'a Member> {
        self.known.push(name);
        let at = self.members.iter().position(|member| member.name == name)?;
        Some(self.members.remove(at))
    }
}

/// The value of a field, with environment variables written out.
pub(super) struct Given<'a> {
    content: &'a Content,
    /// The text of a scalar.
    text: Cow<'a, str>,
    pub(super) origin: Origin,
}

impl<'a> Given<'a> {
    fn new(
        content: &'a Content,
        environment: Option<&Environment>,
        origin: Origin,
    ) -> Result<Self, Refusal> {
        let text = match content {
            Content::Scalar(scalar) => {
                let substituted = environment.map(|from| from.substitute(&scalar.text)).transpose();
                match substituted.map_err(Refusal::new)?.flatten() {
                    Some(substituted) => Cow::Owned(substituted),
                    None => Cow::Borrowed(scalar.text.as_str()),
                }
            }
            Content::List(_) | Content::Mapping(_) => Cow::Borrowed(""),
        };
        Ok(Self { content, text, origin })
    }

    /// A string. A number or a boolean is none unless it stands in quotes, or an environment
    /// variable holds it.
    pub(super) fn text(&self) -> Result<&str, Refusal> {
        match self.scalar_type() {
            Some(ScalarType::String) => Ok(&self.text),
            Some(ScalarType::Null) | None => self.refuse("a string", ""),
            Some(_) => self.refuse("a string", "; put it in quotes"),
        }
    }

    /// A whole number of at least 0.
    pub(super) fn count(&self) -> Result<u64, Refusal> {
        match self.scalar_type() {
            Some(ScalarType::Integer) => {}
            Some(ScalarType::String) if self.is_substituted() => {}
            Some(ScalarType::String) => {
                return self.refuse("a whole number", "; write digits, without quotes");
            }
            _ => return self.refuse("a whole number", ""),
        }
        if self.text.starts_with('-') && self.text.parse::<i64>().is_ok_and(|n| n < 0) {
            return Err(Refusal::new(format!("{} is negative; write 0 or more", self.text)));
        }
        let digits = self.text.strip_prefix(['+', '-']).unwrap_or(&self.text);
        if digits.is_empty() || !digits.bytes().all(|b| b.is_ascii_digit()) {
            let text = &self.text;
            return Err(Refusal::new(format!("{text:?} is no whole number; write decimal digits")));
        }
        digits
            .parse()
            .map_err(|_| Refusal::new(format!("{digits} is too large; write a smaller number")))
    }

    /// `true` or `false`.
    pub(super) fn boolean(&self) -> Result<bool, Refusal> {
        let is_boolean = self.scalar_type() == Some(ScalarType::Boolean) || self.is_substituted();
        match &*self.text {
            "true" | "True" | "TRUE" if is_boolean => Ok(true),
            "false" | "False" | "FALSE" if is_boolean => Ok(false),
            _ => self.refuse("true or false", "; write it without quotes"),
        }
    }

    /// A duration in Go's grammar.
    pub(super) fn duration(&self) -> Result<Duration, Refusal> {
        match self.scalar_type() {
            Some(ScalarType::Null | ScalarType::Boolean) | None => {
                self.refuse("a duration", "; write one such as 5m, or 0")
            }
            Some(_) => Ok(parse_duration(&self.text)?),
        }
    }

    /// How often something is done; 0 means never.
    pub(super) fn interval(&self) -> Result<Option<Duration>, Refusal> {
        let interval = self.duration()?;
        if !interval.is_zero() && interval < INTERVAL_MIN {
            return Err(Refusal::new(format!(
                "{} is too short: write 1ms or longer, or 0 to turn it off",
                self.text
            )));
        }
        Ok(Some(interval).filter(|interval| !interval.is_zero()))
    }

    /// A duration that is more than nothing.
    pub(super) fn positive_duration(&self) -> Result<Duration, Refusal> {
        self.interval()?.ok_or_else(|| Refusal::new("0 is no time; write 1ms or longer"))
    }

    /// A port; `example` shows one.
    pub(super) fn port(&self, example: u16) -> Result<u16, Refusal> {
        let port = u16::try_from(self.count()?).ok().filter(|port| *port > 0);
        port.ok_or_else(|| {
            let remedy = format!("write a number from 1 to 65535, such as {example}");
            Refusal::new(format!("it is no port; {remedy}"))
        })
    }

    /// A string that says something and that the system can take.
    pub(super) fn name(&self) -> Result<&str, Refusal> {
        match self.text()? {
            "" => Err(Refusal::new("it is empty; write a name")),
            text if text.contains('\0') => Err(Refusal::new("it has a NUL character; remove it")),
            text => Ok(text),
        }
    }

    /// A path, from a folder unless it is absolute.
    pub(super) fn path(&self, folder: &Path) -> Result<PathBuf, Refusal> {
        let path = self.name()?;
        if path.starts_with('~') {
            return Err(Refusal::new(
                "it starts with ~, which is not written out; write ${env:HOME} for the home folder",
            ));
        }
        Ok(folder.join(path))
    }

    /// A string, a number, `true` or `false`, as the value that it is.
    pub(super) fn scalar(&self) -> Result<Value, Refusal> {
        let number = |value: Option<Value>| {
            let text = &self.text;
            value.ok_or_else(|| {
                Refusal::new(format!("{text} is no number that is known; write a decimal one"))
            })
        };
        match self.scalar_type() {
            Some(ScalarType::String) => Ok(Value::from(&*self.text)),
            Some(ScalarType::Boolean) => Ok(Value::from(self.boolean()?)),
            Some(ScalarType::Integer) => number(self.text.parse::<i64>().ok().map(Value::from)),
            Some(ScalarType::Float) => {
                let finite = self.text.parse().ok().filter(|float: &f64| float.is_finite());
                number(finite.map(Value::from))
            }
            Some(ScalarType::Null) | None => self.refuse("a string, a number or a boolean", ""),
        }
    }

    /// Any mapping; what it holds is not read.
    pub(super) fn mapping(&self) -> Result<(), Refusal> {
        match self.content {
            Content::Mapping(_) => Ok(()),
            _ => self.refuse("a mapping of fields", ""),
        }
    }

    fn is_substituted(&self) -> bool {
        matches!(self.text, Cow::Owned(_))
    }

    /// None for what is no scalar; what came from the environment is a string here.
    fn scalar_type(&self) -> Option<ScalarType> {
        match self.content {
            Content::Scalar(_) if self.is_substituted() => Some(ScalarType::String),
            Content::Scalar(scalar) => Some(scalar.scalar_type()),
            Content::List(_) | Content::Mapping(_) => None,
        }
    }

    fn refuse<T>(&self, expected: &str, remedy: &str) -> Result<T, Refusal> {
        let found = match self.is_substituted() {
            true => format!("{:?}, from the environment", self.text),
            false => self.content.to_string(),
        };
        Err(Refusal::new(format!("expected {expected}, found {found}{remedy}")))
    }
}

/// The clock of the engine ticks in milliseconds.
const INTERVAL_MIN: Duration = Duration::from_millis(1);
