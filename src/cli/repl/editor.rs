//! The line editor: keys, history and completion on a terminal.
//!
//! Chunks are remembered whole, lines and all, in `.plimsoll/history` of the user's home folder,
//! which only the user may read. If that can't be, it is said once, and the session goes on with a
//! history of its own.

use std::io::Write as _;
use std::path::{Path, PathBuf};

use rustyline::completion::{Completer as Completes, Pair};
use rustyline::error::ReadlineError;
use rustyline::highlight::Highlighter;
use rustyline::hint::Hinter;
use rustyline::history::FileHistory;
use rustyline::validate::Validator;
use rustyline::{CompletionType, Config, Context, Editor, Helper};

use super::complete::Completer;
use crate::cli::output;
use crate::limits::REPL_HISTORY_CHUNKS_MAX;

/// A line editor with history and completion.
pub struct LineEditor {
    editor: Editor<Help, FileHistory>,
    /// Where chunks are remembered.
    file: Option<PathBuf>,
}

/// What was typed.
pub enum Typed {
    Line(String),
    /// Ctrl-C.
    Discarded,
    /// Ctrl-D on an empty line, or a terminal that is gone.
    End,
}

impl LineEditor {
    /// Takes over the terminal's lines.
    pub fn open(completer: Completer) -> rustyline::Result<Self> {
        let config = Config::builder()
            .completion_type(CompletionType::List)
            .history_ignore_space(true)
            .max_history_size(REPL_HISTORY_CHUNKS_MAX)?
            .build();
        let mut editor = Editor::with_config(config)?;
        editor.set_helper(Some(Help(completer)));
        let mut editor = Self { editor, file: None };
        editor.file = editor.load_history();
        Ok(editor)
    }

    /// Goes to a new line if something stands on the present one, such as what `io.write` wrote: the
    /// editor would write over it. The terminal is not asked where it is, because its answer would
    /// come among the keys: as many spaces as fill a line end on the next one if this one was begun.
    pub fn start_line(&mut self) {
        let columns = self.editor.dimensions().map_or(0, |(columns, _)| usize::from(columns));
        let mut stdout = std::io::stdout().lock();
        let spaces = columns.saturating_sub(1);
        // A terminal that is gone is told by the reading that follows.
        let _ = write!(stdout, "{:spaces$}\r", "").and_then(|()| stdout.flush());
    }

    /// Reads a line.
    pub fn read_line(&mut self, prompt: &str) -> Typed {
        match self.editor.readline(prompt) {
            Ok(line) => Typed::Line(line),
            Err(ReadlineError::Interrupted | ReadlineError::Signal(_)) => Typed::Discarded,
            Err(ReadlineError::Eof) => Typed::End,
            Err(error) => {
                output::warning(&format!("the terminal can't be read: {error}"));
                Typed::End
            }
        }
    }

    /// Adds a chunk to the history, unless it starts with a space.
    pub fn remember(&mut self, chunk: &str) {
        // In memory this can't fail.
        let _ = self.editor.add_history_entry(chunk);
        if let Some(file) = &self.file
            && let Err(error) = self.editor.append_history(file)
        {
            not_kept(&format!("{}: {error}", file.display()));
            self.file = None;
        }
    }

    /// Loads the history; answers the file if it can be kept there.
    fn load_history(&mut self) -> Option<PathBuf> {
        let Some(file) = std::env::home_dir().map(|home| home.join(FOLDER).join(FILE)) else {
            not_kept("there is no home folder");
            return None;
        };
        match self.try_load(&file) {
            Ok(()) => Some(file),
            Err(error) => {
                not_kept(&format!("{}: {error}", file.display()));
                None
            }
        }
    }

    fn try_load(&mut self, file: &Path) -> rustyline::Result<()> {
        if let Some(folder) = file.parent() {
            std::fs::create_dir_all(folder)?;
        }
        // Opened for writing too: a history that can't be kept is told at the start.
        std::fs::OpenOptions::new().append(true).create(true).open(file)?;
        self.editor.load_history(file)
    }
}

fn not_kept(why: &str) {
    output::warning(&format!("the history of this session is not kept: {why}"));
}

/// What the editor asks for help.
struct Help(Completer);

impl Helper for Help {}
impl Highlighter for Help {}
impl Hinter for Help {
    type Hint = String;
}
impl Validator for Help {}

impl Completes for Help {
    type Candidate = Pair;

    fn complete(
        &self,
        line: &str,
        position: usize,
        _: &Context<'_>,
    ) -> rustyline::Result<(usize, Vec<Pair>)> {
        let candidates = self.0.complete(line, position);
        let pairs = candidates
            .words
            .into_iter()
            .map(|candidate| Pair { display: candidate.word, replacement: candidate.replacement });
        Ok((candidates.start, pairs.collect()))
    }
}

const FOLDER: &str = ".plimsoll";
const FILE: &str = "history";
