//! What was typed, as something that can be run: an expression, statements, or the beginning of
//! either.
//!
//! Lua itself decides. A chunk that compiles with `return` before it is an expression, and its
//! values will be shown; one that compiles as it stands is statements; one of which Lua says that
//! it ended too early needs more lines.

use crate::lua::mlua::chunk::ChunkMode;
use crate::lua::mlua::{Error, Function, Lua};

/// What a chunk is so far.
#[derive(Debug)]
pub enum Chunk {
    /// It can be run.
    Whole(Function),
    /// More lines have to follow; what Lua says if none does.
    Begun(String),
    /// It is no Lua: why.
    Wrong(String),
}

/// Reads what was typed, with the newline of each line: a string in quotes ends before it.
pub fn parse(lua: &Lua, source: &[u8]) -> Chunk {
    let expression = match compile(lua, [b"return ", source].concat()) {
        Ok(function) => return Chunk::Whole(function),
        Err(fault) => fault,
    };
    let statements = match compile(lua, source.to_vec()) {
        Ok(function) => return Chunk::Whole(function),
        Err(fault) => fault,
    };
    if statements.ended_early {
        return Chunk::Begun(statements.message);
    }
    if expression.ended_early {
        return Chunk::Begun(expression.message);
    }
    // Of the two accounts the one that understood more than the first word.
    let first = source.trim_ascii_start();
    let got_further = statements.is_about(first) && !expression.is_about(first);
    Chunk::Wrong(if got_further { expression.message } else { statements.message })
}

/// Why something does not compile.
struct Fault {
    message: String,
    ended_early: bool,
}

impl Fault {
    /// Whether Lua stumbled over the very beginning.
    fn is_about(&self, beginning: &[u8]) -> bool {
        let Some((_, token)) = self.message.rsplit_once(" near '") else { return false };
        beginning.starts_with(token.trim_end_matches('\'').as_bytes())
    }
}

fn compile(lua: &Lua, source: Vec<u8>) -> Result<Function, Fault> {
    // Text only: Lua trusts bytecode blindly.
    let chunk = lua.load(source).set_name(CHUNK_NAME).set_mode(ChunkMode::Text);
    chunk.into_function().map_err(|error| match error {
        Error::SyntaxError { message, incomplete_input } => {
            Fault { message, ended_early: incomplete_input }
        }
        error => Fault { message: error.to_string(), ended_early: false },
    })
}

/// What messages call the place of a chunk.
const CHUNK_NAME: &str = "=repl";

#[cfg(test)]
mod tests {
    use super::*;

    fn kind(source: &str) -> &'static str {
        match parse(&Lua::new(), source.as_bytes()) {
            Chunk::Whole(_) => "whole",
            Chunk::Begun(_) => "begun",
            Chunk::Wrong(_) => "wrong",
        }
    }

    #[test]
    fn lua_says_what_is_whole_begun_and_wrong() {
        for source in ["", "1", "x = 1", "-- a remark", "return 1, 2", "f()", "local x = 1"] {
            assert_eq!(kind(source), "whole", "{source}");
        }
        for source in [
            "for i = 1, 2 do",
            "f(",
            "1 +",
            "x =",
            "{1,",
            "if x then",
            "[[a",
            "--[[ a",
            "\"abc\\\n",
        ] {
            assert_eq!(kind(source), "begun", "{source}");
        }
        for source in ["1 2", "end", "for in", "\"abc\n", "x = = 1", "\x1bLua"] {
            assert_eq!(kind(source), "wrong", "{source}");
        }
    }

    #[test]
    fn an_expression_is_compiled_with_return_before_it() {
        let lua = Lua::new();
        let Chunk::Whole(function) = parse(&lua, b"1 + 2 -- three") else { panic!("it is whole") };
        assert_eq!(function.call::<i64>(()).unwrap(), 3);
    }

    #[test]
    fn the_message_is_that_of_the_reading_that_got_further() {
        for (source, message) in [
            ("{a b}", "repl:1: '}' expected near 'b'"),
            ("for i in 3", "repl:1: 'do' expected near <eof>"),
            ("x = )", "repl:1: unexpected symbol near ')'"),
            ("local 1", "repl:1: <name> expected near '1'"),
            ("\n)", "repl:2: unexpected symbol near ')'"),
        ] {
            let (Chunk::Wrong(said) | Chunk::Begun(said)) = parse(&Lua::new(), source.as_bytes())
            else {
                panic!("{source} is whole")
            };
            assert_eq!(said, message, "{source}");
        }
    }
}
