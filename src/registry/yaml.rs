//! YAML text to a tree of nodes that know where they stand.
//!
//! The parser's events carry positions; this file composes them into a tree and refuses what a
//! configuration has no use for: tags, keys that are no scalars, a second document, control
//! characters. A mapping keeps the order of its fields and has none twice. Aliases are written
//! out, within [`CONFIG_NODES_MAX`]; merge keys (`<<`) are refused.
//!
//! No types here: a scalar keeps its text, and what it stands for is asked where it is used (YAML
//! 1.2 core schema: `yes` is a string, `1e3` a number).

use std::collections::BTreeMap;
use std::fmt;
use std::rc::Rc;
use std::sync::Arc;

use granit_parser::{ErrorKind, Event, Parser, ScalarStyle, ScanError, Span, StrInput, Tag};

use super::problem::{FieldPath, Origin, Position, Problem, Refusal};
use crate::limits::{CONFIG_DEPTH_MAX, CONFIG_NODES_MAX};

/// A node of the tree. Cloning shares the content, so that anchors and aliases cost nothing.
#[derive(Clone, Debug)]
pub(super) struct Node {
    pub(super) position: Position,
    pub(super) content: Rc<Content>,
}

/// What a node holds.
#[derive(Clone, Debug)]
pub(super) enum Content {
    Scalar(Scalar),
    List(Vec<Node>),
    Mapping(Vec<Member>),
}

/// A field of a mapping.
#[derive(Clone, Debug)]
pub(super) struct Member {
    pub(super) name: String,
    pub(super) position: Position,
    pub(super) value: Node,
}

/// A scalar as it is written, quotes and escapes resolved.
#[derive(Clone, Debug)]
pub(super) struct Scalar {
    pub(super) text: String,
    pub(super) is_plain: bool,
}

/// What a plain scalar stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ScalarType {
    Null,
    Boolean,
    Integer,
    Float,
    String,
}

impl Scalar {
    pub(super) fn scalar_type(&self) -> ScalarType {
        let unsigned = self.text.strip_prefix(['+', '-']).unwrap_or(&self.text);
        let is_digits = |digits: &str, radix| {
            !digits.is_empty() && digits.chars().all(|digit| digit.is_digit(radix))
        };
        match &*self.text {
            _ if !self.is_plain => ScalarType::String,
            "" | "~" | "null" | "Null" | "NULL" => ScalarType::Null,
            "true" | "True" | "TRUE" | "false" | "False" | "FALSE" => ScalarType::Boolean,
            _ if is_digits(unsigned, 10) => ScalarType::Integer,
            text if text.strip_prefix("0x").is_some_and(|rest| is_digits(rest, 16)) => {
                ScalarType::Integer
            }
            text if text.strip_prefix("0o").is_some_and(|rest| is_digits(rest, 8)) => {
                ScalarType::Integer
            }
            _ if matches!(unsigned, ".inf" | ".Inf" | ".INF") => ScalarType::Float,
            ".nan" | ".NaN" | ".NAN" => ScalarType::Float,
            // Rust also reads `inf` and `nan`, which are strings in YAML.
            text if text.contains(|c: char| c.is_ascii_digit()) && text.parse::<f64>().is_ok() => {
                ScalarType::Float
            }
            _ => ScalarType::String,
        }
    }
}

/// As a message names it: `the integer 5`, `a list`.
impl fmt::Display for Content {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::List(_) => f.write_str("a list"),
            Self::Mapping(_) => f.write_str("a mapping"),
            Self::Scalar(scalar) => match scalar.scalar_type() {
                ScalarType::Null => f.write_str("nothing"),
                ScalarType::Boolean => write!(f, "the boolean {}", scalar.text),
                ScalarType::Integer => write!(f, "the integer {}", scalar.text),
                ScalarType::Float => write!(f, "the number {}", scalar.text),
                ScalarType::String => write!(f, "the string {:?}", scalar.text),
            },
        }
    }
}

/// Composes the one document of a file; none if the file has nothing but comments.
///
/// Fields that occur twice and merge keys are reported to `problems`, and the reading goes on.
///
/// # Errors
/// The problem that ended the reading.
pub(super) fn parse(
    file: &Arc<str>,
    text: &str,
    problems: &mut Vec<Problem>,
) -> Result<Option<Node>, Problem> {
    refuse_control_characters(file, text)?;
    let options = granit_parser::options! {
        flow_nesting_limit: CONFIG_DEPTH_MAX,
        block_nesting_limit: CONFIG_DEPTH_MAX,
    };
    let mut composer = Composer {
        file,
        parser: Parser::new_from_str_with_options(text, options),
        anchors: BTreeMap::new(),
        nodes: 0,
        problems,
    };
    composer.document()
}

fn refuse_control_characters(file: &Arc<str>, text: &str) -> Result<(), Problem> {
    let is_refused = |c: char| c.is_control() && !matches!(c, '\t' | '\n' | '\r' | '\u{85}');
    let Some(at) = text.find(is_refused) else {
        return Ok(());
    };
    let position = Some(Position::of_byte(&text[..at]));
    let origin = Origin { file: file.clone(), position, path: FieldPath::default() };
    let character = text[at..].chars().next().expect("found there");
    let code = u32::from(character);
    Err(Problem::new(
        origin,
        format!("the control character U+{code:04X} is not allowed; remove it"),
    ))
}

struct Composer<'a> {
    file: &'a Arc<str>,
    parser: Parser<'a, StrInput<'a>>,
    /// Finished nodes that an alias may name, by the parser's number, with their size in nodes.
    anchors: BTreeMap<usize, (Node, usize)>,
    nodes: usize,
    problems: &'a mut Vec<Problem>,
}

impl<'a> Composer<'a> {
    fn document(&mut self) -> Result<Option<Node>, Problem> {
        let top = FieldPath::default();
        let mut root = None;
        loop {
            let (event, span) = self.next(&top)?;
            match event {
                Event::StreamStart | Event::DocumentEnd => {}
                Event::StreamEnd => return Ok(root),
                Event::DocumentStart(..) if root.is_some() => {
                    let message = "a second document starts here; a configuration file has one, \
                                   so split the file or remove the line with ---";
                    return Err(self.problem(&span, &top, message));
                }
                Event::DocumentStart(..) => {}
                _ => root = Some(self.node(event, &span, &top)?),
            }
        }
    }

    /// The node that starts with an event.
    fn node(&mut self, event: Event<'a>, span: &Span, path: &FieldPath) -> Result<Node, Problem> {
        self.refuse_tag(event.tag(), span, path)?;
        if let Some(anchor) = event.alias_id() {
            return self.alias(anchor, span, path);
        }
        let nodes_before = self.nodes;
        self.count(1, span, path)?;
        let anchor = event.anchor_id();
        let content = match event {
            Event::Scalar(text, style, ..) => Content::Scalar(Scalar {
                text: text.into_owned(),
                is_plain: style == ScalarStyle::Plain,
            }),
            Event::SequenceStart(..) => self.list(path)?,
            Event::MappingStart(..) => self.mapping(path)?,
            _ => return Err(self.problem(span, path, "a value is missing here")),
        };
        let node = Node { position: position(span), content: Rc::new(content) };
        if let Some(anchor) = anchor {
            self.anchors.insert(anchor, (node.clone(), self.nodes - nodes_before));
        }
        Ok(node)
    }

    fn list(&mut self, path: &FieldPath) -> Result<Content, Problem> {
        let mut items = Vec::new();
        loop {
            let (event, span) = self.next(path)?;
            if event == Event::SequenceEnd {
                return Ok(Content::List(items));
            }
            items.push(self.node(event, &span, &path.item(items.len()))?);
        }
    }

    fn mapping(&mut self, path: &FieldPath) -> Result<Content, Problem> {
        let mut members: Vec<Member> = Vec::new();
        // Where each name stands, to find one that occurs twice without a walk.
        let mut positions: BTreeMap<String, Position> = BTreeMap::new();
        loop {
            let (event, span) = self.next(path)?;
            if event == Event::MappingEnd {
                return Ok(Content::Mapping(members));
            }
            let key = self.node(event, &span, path)?.content;
            let Content::Scalar(key) = &*key else {
                let message = "a list or a mapping can't be the name of a field; use a plain name";
                return Err(self.problem(&span, path, message));
            };
            let (name, at) = (key.text.clone(), position(&span));
            let field = path.field(&name);
            let (event, value_span) = self.next(&field)?;
            let value = self.node(event, &value_span, &field)?;
            if name == MERGE_KEY && key.is_plain {
                let message = "merge keys are not supported; write the fields out";
                let problem = self.problem(&span, &field, message);
                self.problems.push(problem);
            } else if let Some(first) = positions.get(&name) {
                let message = format!(
                    "the field occurs twice, first in line {}; remove one of them",
                    first.line
                );
                let problem = self.problem(&span, &field, message);
                self.problems.push(problem);
            } else {
                positions.insert(name.clone(), at);
                members.push(Member { name, position: at, value });
            }
        }
    }

    fn alias(&mut self, anchor: usize, span: &Span, path: &FieldPath) -> Result<Node, Problem> {
        let Some((node, size)) = self.anchors.get(&anchor).cloned() else {
            let message = "the alias names a node that contains it; write the value out";
            return Err(self.problem(span, path, message));
        };
        self.count(size, span, path)?;
        // Positions inside stay those of the definition: there is what has to be corrected.
        Ok(node)
    }

    fn count(&mut self, nodes: usize, span: &Span, path: &FieldPath) -> Result<(), Problem> {
        self.nodes += nodes;
        if self.nodes > CONFIG_NODES_MAX {
            let message = format!(
                "the file has more than {CONFIG_NODES_MAX} values with its aliases written out; \
                 split it, or use fewer aliases"
            );
            return Err(self.problem(span, path, Refusal::over_limit(CONFIG_NODES_MAX, message)));
        }
        Ok(())
    }

    fn refuse_tag(&self, tag: Option<&Tag>, span: &Span, path: &FieldPath) -> Result<(), Problem> {
        let Some(tag) = tag else {
            return Ok(());
        };
        let message = format!(
            "the tag {} is not supported; remove it, and put a value in quotes to make it a string",
            tag.original()
        );
        Err(self.problem(span, path, message))
    }

    fn next(&mut self, path: &FieldPath) -> Result<(Event<'a>, Span), Problem> {
        let next = self.parser.next_event().expect("the caller stops at the end of the stream");
        next.map_err(|error| self.syntax_problem(&error, path))
    }

    fn syntax_problem(&self, error: &ScanError, path: &FieldPath) -> Problem {
        let marker = error.marker();
        let position = Some(Position { line: marker.line(), column: marker.col() + 1 });
        let refusal = match error.kind() {
            ErrorKind::RecursionLimitExceeded => Refusal::over_limit(
                CONFIG_DEPTH_MAX,
                format!(
                    "lists and mappings are nested deeper than {CONFIG_DEPTH_MAX}; flatten them"
                ),
            ),
            ErrorKind::UnknownAnchor => Refusal::new(
                "the alias names no anchor that stands before it; write the value out, or quote \
                 it if it is a string that starts with *",
            ),
            _ => Refusal::new(format!(
                "this is not YAML: {}; check indentation, colons and quotes here and in the line \
                 before",
                error.info()
            )),
        };
        Problem::new(Origin { file: self.file.clone(), position, path: path.clone() }, refusal)
    }

    fn problem(&self, span: &Span, path: &FieldPath, refusal: impl Into<Refusal>) -> Problem {
        let position = Some(position(span));
        Problem::new(Origin { file: self.file.clone(), position, path: path.clone() }, refusal)
    }
}

/// The key that merges another mapping in YAML 1.1.
const MERGE_KEY: &str = "<<";

fn position(span: &Span) -> Position {
    Position { line: span.start.line(), column: span.start.col() + 1 }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<Option<Node>, String> {
        let mut problems = Vec::new();
        let root = parse(&"t.yaml".into(), text, &mut problems).map_err(|p| p.to_string())?;
        problems.first().map_or(Ok(root), |problem| Err(problem.to_string()))
    }

    fn shape(node: &Node) -> String {
        let at = format!("{}:{}", node.position.line, node.position.column);
        match &*node.content {
            Content::List(items) => {
                let items: Vec<_> = items.iter().map(shape).collect();
                format!("{at}[{}]", items.join(" "))
            }
            Content::Mapping(members) => {
                let members: Vec<_> = members
                    .iter()
                    .map(|m| {
                        format!(
                            "{}@{}:{} {}",
                            m.name,
                            m.position.line,
                            m.position.column,
                            shape(&m.value)
                        )
                    })
                    .collect();
                format!("{at}{{{}}}", members.join(", "))
            }
            scalar @ Content::Scalar(_) => format!("{at} {scalar}"),
        }
    }

    #[test]
    fn nodes_know_where_they_stand() {
        let root =
            read("# c\na: 5\n\u{e9}: [x, \"1\"] # d\nb:\n  - c: 'q'\n    d: |\n      text\ne:\n");
        let expected = "2:1{a@2:1 2:4 the integer 5, \u{e9}@3:1 3:4[3:5 the string \"x\" 3:8 the string \"1\"], \
                        b@4:1 5:3[5:5{c@5:5 5:8 the string \"q\", d@6:5 7:7 the string \"text\\n\"}], \
                        e@8:1 8:2 nothing}";
        assert_eq!(shape(&root.expect("good").expect("a document")), expected);
    }

    #[test]
    fn plain_scalars_have_the_types_of_the_core_schema() {
        use ScalarType::{Boolean, Float, Integer, Null, String};
        let table = [
            (Null, &["", "~", "null", "NULL"][..]),
            (Boolean, &["true", "False", "TRUE"]),
            (Integer, &["0", "-12", "+7", "007", "0x1F", "0o17", "99999999999999999999"]),
            (Float, &["1.0", "-.5", "5.", "1e3", "1.5E-7", ".inf", "-.INF", ".nan"]),
            (
                String,
                &["yes", "on", "inf", "nan", "1_000", "5m", "0xg", "0o9", "tRUE", "-", "1.2.3"],
            ),
        ];
        for (expected, texts) in table {
            for text in texts {
                let plain = Scalar { text: (*text).to_owned(), is_plain: true };
                assert_eq!(plain.scalar_type(), expected, "{text:?}");
                assert_eq!(Scalar { is_plain: false, ..plain }.scalar_type(), String, "{text:?}");
            }
        }
    }

    #[test]
    fn aliases_are_written_out() {
        let root = read("a: &x {k: 1}\nb: [*x, *x]\n").expect("good").expect("a document");
        let expected = "1:1{a@1:1 1:7{k@1:8 1:11 the integer 1}, \
                        b@2:1 2:4[1:7{k@1:8 1:11 the integer 1} 1:7{k@1:8 1:11 the integer 1}]}";
        assert_eq!(shape(&root), expected);
    }

    #[test]
    fn files_without_a_document_have_no_root() {
        for text in ["", "\n\n", "# only a comment\n", "\u{feff}"] {
            assert!(read(text).expect(text).is_none(), "{text:?}");
        }
        assert!(read("---\n").expect("good").is_some(), "an explicit document is null");
    }

    #[test]
    fn what_is_refused_says_where_and_why() {
        let deep_flow = format!("a: {}1{}", "[".repeat(70), "]".repeat(70));
        let deep_block = (0..70).map(|i| format!("{}a:\n", " ".repeat(i))).collect::<String>();
        let mut bomb = "a0: &a0 [1, 1, 1, 1, 1, 1, 1, 1, 1, 1]\n".to_owned();
        for i in 1..9 {
            let aliases = vec![format!("*a{}", i - 1); 10].join(", ");
            bomb.push_str(&format!("a{i}: &a{i} [{aliases}]\n"));
        }
        let table = [
            (
                "a: 1\nb:\n  x: 1\n  x: 2\n",
                "t.yaml:4:3: b.x: the field occurs twice, first in line 3",
            ),
            ("{a: 1, a: 2}", "t.yaml:1:8: a: the field occurs twice"),
            ("a: [1, 2\n", "t.yaml:1:4: a: this is not YAML: unclosed bracket"),
            ("a: 1\n b: 2\n", "this is not YAML"),
            ("a:\n\t- b\n", "t.yaml:2:"),
            ("a: 'x\n", "this is not YAML"),
            ("a: 1\n---\nb: 2\n", "t.yaml:2:1: a second document"),
            ("a: {<<: {b: 1}}", "t.yaml:1:5: a[\"<<\"]: merge keys are not supported"),
            ("a: !!str 5\n", "the tag !!str is not supported"),
            ("a: !mine {}\n", "the tag !mine is not supported"),
            ("? [a, b]\n: 1\n", "a list or a mapping can't be the name of a field"),
            ("a: *x\n", "t.yaml:1:4: a: the alias names no anchor"),
            ("a: &x [1, *x]\n", "t.yaml:1:11: a[1]: the alias names a node that contains it"),
            ("a: \"x\"\nb: \0\n", "t.yaml:2:4: the control character U+0000"),
            ("a: \u{1b}[31m\n", "the control character U+001B"),
            (&deep_flow, "nested deeper than 64"),
            (&deep_block, "nested deeper than 64"),
            (&bomb, "more than 100000 values"),
        ];
        for (text, expected) in table {
            // Not expect_err: it would print what an undetected bomb unfolds to.
            let Err(message) = read(text) else { panic!("{text:?} was read") };
            assert!(message.contains(expected), "{text:?}: {message}");
        }
    }
}
