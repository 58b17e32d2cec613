//! `plimsoll repl`: Lua and the stores of a configuration, chunk by chunk.
//!
//! On a terminal there are prompts, history and completion (`editor`), Ctrl-C stops what runs
//! (`stop`) or discards what was typed, and Ctrl-D leaves. Where standard input or output is no
//! terminal, chunks are read from standard input without any of that; if one fails the others are
//! run all the same, and the exit code is 1.
//!
//! A chunk is a line, or as many as Lua needs (`chunk`). Its values go to standard output
//! (`literal`), what failed to standard error (`report`).

mod chunk;
mod complete;
mod editor;
mod literal;
mod report;
mod session;
mod stop;

use std::io::{BufRead as _, IsTerminal as _, Read as _, stdin, stdout};

use tokio::task::block_in_place;

use super::args::ReplArgs;
use super::{Exit, namespaces, open, output};
use crate::error::Error;
use crate::limits::REPL_CHUNK_BYTES_MAX;
use crate::namespaces::Namespaces;
use crate::registry::Plimsoll;
use chunk::Chunk;
use complete::Completer;
use editor::{LineEditor, Typed};
use session::Session;

/// Reads and runs chunks until there are no more.
pub async fn repl(args: ReplArgs) -> Exit {
    let engine = match open(&args.config).await {
        Ok(engine) => engine,
        Err(error) => return error.into(),
    };
    let exit = match namespaces(&engine) {
        Ok(namespaces) => {
            let exit = read_and_run(&engine, &namespaces).await;
            namespaces.close().await;
            exit
        }
        Err(error) => Err(error),
    };
    engine.close().await;
    exit.unwrap_or_else(Exit::from)
}

async fn read_and_run(engine: &Plimsoll, namespaces: &Namespaces) -> Result<Exit, Error> {
    let session = Session::open(engine, namespaces).map_err(no_state)?;
    if !stdin().is_terminal() || !stdout().is_terminal() {
        return Ok(piped(&session).await);
    }
    let completer = Completer::new(session.lua(), engine).map_err(no_state)?;
    session.listen_to_ctrl_c().map_err(|error| no_terminal(&error))?;
    let editor = LineEditor::open(completer).map_err(|error| no_terminal(&error))?;
    greet(engine);
    on_terminal(&session, editor).await;
    Ok(Exit::Done)
}

fn no_state(error: crate::lua::mlua::Error) -> Error {
    Error::internal(format!("the Lua state could not be made: {error}"))
}

fn no_terminal(error: &dyn std::error::Error) -> Error {
    Error::unavailable(format!("the terminal can't be used: {error}"))
}

fn greet(engine: &Plimsoll) {
    let ids: Vec<_> = engine.store_ids().collect();
    let stores = if ids.is_empty() { "none".to_owned() } else { ids.join(", ") };
    output::line(&format!("Plimsoll {}, Lua 5.4. Stores: {stores}", env!("CARGO_PKG_VERSION")));
    output::line("Tab completes, Ctrl-C stops, Ctrl-D leaves.");
}

/// Chunks that are typed.
async fn on_terminal(session: &Session, mut editor: LineEditor) {
    let mut typed = String::new();
    let mut has_local_been_told = false;
    loop {
        let prompt = if typed.is_empty() { PROMPT } else { PROMPT_WITHIN };
        match block_in_place(|| editor.read_line(prompt)) {
            Typed::Line(line) => typed = typed + &line + "\n",
            Typed::Discarded => {
                typed.clear();
                continue;
            }
            Typed::End => return,
        }
        let chunk = parse(session, typed.as_bytes());
        if let Chunk::Begun(_) = chunk {
            continue;
        }
        editor.remember(typed.trim_end());
        let has_run = run(session, chunk).await;
        if has_run && !has_local_been_told && typed.trim_start().starts_with("local ") {
            has_local_been_told = true;
            output::progress(LOCALS);
        }
        typed.clear();
        editor.start_line();
    }
}

/// Chunks that another program gives, or a file.
async fn piped(session: &Session) -> Exit {
    let mut source = Vec::new();
    let mut has_failed = false;
    loop {
        let is_end = match block_in_place(|| read_line(&mut source)) {
            Ok(bytes) => bytes == 0,
            Err(error) => {
                output::script_error(&format!("standard input can't be read: {error}"));
                return Exit::Negative;
            }
        };
        let chunk = parse(session, &source);
        if !is_end && matches!(chunk, Chunk::Begun(_)) {
            continue;
        }
        has_failed |= !run(session, chunk).await;
        source.clear();
        if is_end {
            return if has_failed { Exit::Negative } else { Exit::Done };
        }
    }
}

/// Adds a line to a chunk; answers how many bytes there were.
fn read_line(source: &mut Vec<u8>) -> std::io::Result<usize> {
    stdin().lock().take(REPL_CHUNK_BYTES_MAX as u64 + 1).read_until(b'\n', source)
}

fn parse(session: &Session, source: &[u8]) -> Chunk {
    if source.len() > REPL_CHUNK_BYTES_MAX {
        return Chunk::Wrong(format!(
            "the chunk has more than {REPL_CHUNK_BYTES_MAX} bytes: put it in a file, and use dofile"
        ));
    }
    chunk::parse(session.lua(), source)
}

/// Runs a chunk; answers whether it succeeded.
async fn run(session: &Session, chunk: Chunk) -> bool {
    match chunk {
        Chunk::Whole(function) => session.run(function).await,
        Chunk::Begun(message) | Chunk::Wrong(message) => {
            output::script_error(&message);
            false
        }
    }
}

const PROMPT: &str = "> ";
const PROMPT_WITHIN: &str = ">> ";

const LOCALS: &str = "(a local ends with its chunk: without the word local it stays)";
