//! What a chunk came to, in words: its values, or how it failed.

use crate::cli::output::{RED, RESET};
use crate::lua::mlua::{AnyUserData, Lua, MultiValue, ObjectLike, Table, Value};
use crate::lua::{describe, is_error};

use super::literal::literal;

/// What is to be printed of a chunk.
#[derive(Default)]
pub struct Report {
    /// A line or more for each value.
    pub values: Vec<String>,
    /// How it failed.
    pub failure: Option<String>,
    /// What `_` is from now on, if it changes: the last value, or the error that was shown.
    pub last: Option<Value>,
}

impl Report {
    /// Of the values of a chunk. `nil, err` and `false, err` are failures.
    pub fn of_values(lua: &Lua, values: &MultiValue) -> Self {
        let mut report = Self::default();
        if let (2, Some(first @ (Value::Nil | Value::Boolean(false))), Some(error)) =
            (values.len(), values.front(), values.back())
            && is_error(error)
        {
            if !first.is_nil() {
                report.values.push(literal(lua, first));
            }
            report.fail(lua, error);
            return report;
        }
        report.values = values.iter().map(|value| shown(lua, value)).collect();
        report.last = values.front().filter(|value| !value.is_nil()).cloned();
        report
    }

    /// Of what a chunk threw.
    pub fn of_thrown(lua: &Lua, thrown: &Value) -> Self {
        let mut report = Self::default();
        report.fail(lua, thrown);
        report
    }

    fn fail(&mut self, lua: &Lua, thrown: &Value) {
        let text = match thrown {
            Value::String(message) => trimmed(&message.to_string_lossy()),
            Value::Error(error) => error.to_string(),
            thrown => shown(lua, thrown),
        };
        self.failure = Some(format!("{RED}error{RESET}: {text}"));
        self.last = is_error(thrown).then(|| thrown.clone());
    }
}

/// A value; an error object with everything that it knows.
fn shown(lua: &Lua, value: &Value) -> String {
    match value.as_userdata() {
        Some(error) if is_error(value) => error_object(lua, value, error),
        _ => literal(lua, value),
    }
}

/// The message, and a line each for what else there is to know.
fn error_object(lua: &Lua, value: &Value, error: &AnyUserData) -> String {
    let text = trimmed(&describe(value));
    let (message, stack) = match text.split_once(STACK) {
        Some((message, stack)) => (message, format!("{STACK}{stack}")),
        None => (&*text, String::new()),
    };
    let mut lines = message.to_owned();
    let mut line = |name: &str, value: &Value| match value {
        Value::Nil => {}
        Value::String(text) => lines.push_str(&format!("\n  {name}: {}", text.display())),
        value => lines.push_str(&format!("\n  {name}: {}", literal(lua, value))),
    };
    let ask = |method: &str| error.call_method::<Value>(method, ()).unwrap_or(Value::Nil);
    line("kind", &ask("kind"));
    line("retryable", &ask("retryable"));
    match ask("details") {
        Value::Table(details) => {
            let (outcome, rest) = without_outcome(lua, details);
            line("outcome", &outcome);
            line("details", &rest);
        }
        details => line("details", &details),
    }
    lines + &stack
}

/// The outcome among the details, and the others; nil for what there is not.
fn without_outcome(lua: &Lua, details: Table) -> (Value, Value) {
    let outcome = details.raw_get(OUTCOME).unwrap_or(Value::Nil);
    let rest = lua.create_table().and_then(|rest| {
        details.for_each(|key: Value, value: Value| {
            let is_outcome = key.as_string().is_some_and(|name| name == OUTCOME);
            if is_outcome { Ok(()) } else { rest.raw_set(key, value) }
        })?;
        Ok(if rest.is_empty() { Value::Nil } else { Value::Table(rest) })
    });
    (outcome, rest.unwrap_or(Value::Table(details)))
}

/// A message with its stack, without the frames of what runs the chunk; and without any stack if
/// the chunk itself went wrong, because the message says where.
fn trimmed(text: &str) -> String {
    let Some((message, stack)) = text.split_once(STACK) else { return text.to_owned() };
    let frames: Vec<_> = stack.lines().filter(|line| !line.is_empty()).collect();
    // Outermost is what runs the chunk. A chunk that is a call is not there itself: Lua made room.
    let is_outside =
        |frame: &&str| frame.ends_with("'xpcall'") || frame.ends_with("tail calls...)");
    let inside = frames.len() - frames.iter().rev().take_while(|frame| is_outside(frame)).count();
    let says_nothing = |frame: &&str| frame.contains("[C]:") || frame.ends_with("in main chunk");
    if frames[..inside].iter().all(says_nothing) {
        return message.to_owned();
    }
    format!("{message}{STACK}\n{}", frames[..inside].join("\n"))
}

const STACK: &str = "\nstack traceback:";
const OUTCOME: &str = "outcome";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stack_is_shown_as_far_as_it_tells_something() {
        let thrown = "repl:1: no\nstack traceback:\n\t[C]: in function 'error'\n\t\
                      repl:1: in main chunk\n\t[C]: in function 'xpcall'";
        assert_eq!(trimmed(thrown), "repl:1: no");
        let thrown = "repl:1: no\nstack traceback:\n\trepl:1: in function 'f'\n\t\
                      repl:2: in main chunk\n\t[C]: in function 'xpcall'";
        let shown = "repl:1: no\nstack traceback:\n\trepl:1: in function 'f'\n\t\
                     repl:2: in main chunk";
        assert_eq!(trimmed(thrown), shown);
        let thrown = "repl:1: no\nstack traceback:\n\trepl:1: in function 'f'\n\t\
                      (...tail calls...)\n\t[C]: in function 'xpcall'";
        assert_eq!(trimmed(thrown), "repl:1: no\nstack traceback:\n\trepl:1: in function 'f'");
        assert_eq!(trimmed("no\nstack traceback:"), "no");
        assert_eq!(trimmed("no"), "no");
    }
}
