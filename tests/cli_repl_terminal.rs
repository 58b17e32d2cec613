//! `plimsoll repl` as a person uses it: on a terminal of its own, key by key.
#![cfg(all(feature = "cli", unix))]
#![allow(clippy::unwrap_used)]

use std::fs;
use std::io::{Read as _, Write as _};
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::Child;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, channel};
use std::thread;
use std::time::{Duration, Instant};

use plimsoll::limits::REPL_HISTORY_CHUNKS_MAX;
use pty_process::Size;
use pty_process::blocking::{Command, Pty, open};
use tempfile::TempDir;

/// A session on a terminal.
struct Terminal {
    child: Child,
    pty: Arc<Pty>,
    output: Receiver<Vec<u8>>,
    /// What was shown and not yet expected.
    unread: String,
}

impl Terminal {
    /// Starts a session for the owner of a home folder, and waits for its first prompt.
    fn start(home: &Path) -> Self {
        let mut terminal = Self::start_unread(home);
        terminal.expect("Ctrl-D leaves.");
        terminal.expect("> ");
        terminal
    }

    fn start_unread(home: &Path) -> Self {
        let (pty, pts) = open().unwrap();
        pty.resize(Size::new(24, 80)).unwrap();
        let command = Command::new(env!("CARGO_BIN_EXE_plimsoll")).arg("repl");
        let command = command.current_dir(home.parent().unwrap()).env("HOME", home);
        let command = command.env("TERM", "xterm").env_remove("PLIMSOLL_CONFIG");
        let child = command.spawn(pts).unwrap();
        let pty = Arc::new(pty);
        let (sender, output) = channel();
        let reader = Arc::clone(&pty);
        thread::spawn(move || {
            let mut buffer = [0; 4_096];
            // The terminal of a program that has ended answers with an error.
            while let Ok(bytes @ 1..) = (&*reader).read(&mut buffer) {
                if sender.send(buffer[..bytes].to_vec()).is_err() {
                    return;
                }
            }
        });
        Self { child, pty, output, unread: String::new() }
    }

    fn press(&mut self, keys: &str) {
        (&*self.pty).write_all(keys.as_bytes()).unwrap();
    }

    /// Types a line, and enters it.
    fn enter(&mut self, line: &str) {
        self.press(&format!("{line}\r"));
    }

    /// Enters a line, and waits until its answer is shown and the next prompt too: until then keys go
    /// to the terminal and not to the editor. Answers what came before the answer.
    fn ask(&mut self, line: &str, answer: &str) -> String {
        self.enter(line);
        let before = self.expect(answer);
        self.expect("> ");
        before
    }

    /// Waits until a text is shown; answers what came before it.
    fn expect(&mut self, text: &str) -> String {
        let before = self.expect_within(PATIENCE, text);
        before.unwrap_or_else(|| panic!("{text:?} was not shown, but {:?}", self.unread))
    }

    fn expect_within(&mut self, patience: Duration, text: &str) -> Option<String> {
        let deadline = Instant::now() + patience;
        loop {
            if let Some((before, after)) = self.unread.split_once(text) {
                let (before, after) = (before.to_owned(), after.to_owned());
                self.unread = after;
                return Some(before);
            }
            let left = deadline.saturating_duration_since(Instant::now());
            let bytes = self.output.recv_timeout(left).ok()?;
            self.unread.push_str(&String::from_utf8_lossy(&bytes));
        }
    }

    /// Waits until the program has ended; its exit code.
    fn exit_code(mut self) -> i32 {
        let code = self.exit_code_within(PATIENCE);
        code.unwrap_or_else(|| panic!("it goes on: {:?}", self.unread))
    }

    fn exit_code_within(&mut self, patience: Duration) -> Option<i32> {
        let deadline = Instant::now() + patience;
        while Instant::now() < deadline {
            if let Some(status) = self.child.try_wait().unwrap() {
                return Some(status.code().unwrap_or(-1));
            }
            thread::sleep(Duration::from_millis(10));
        }
        None
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A home folder in a folder of its own, which goes with the first.
fn home() -> (TempDir, std::path::PathBuf) {
    let folder = TempDir::new().unwrap();
    let home = folder.path().join("home");
    fs::create_dir(&home).unwrap();
    (folder, home)
}

#[test]
fn chunks_of_many_lines_are_prompted_for_run_and_recalled_in_the_next_session() {
    let (_folder, home) = home();
    let mut terminal = Terminal::start(&home);
    terminal.enter("for i = 1, 2 do");
    terminal.expect(">> ");
    terminal.enter("print('line ' .. i)");
    terminal.expect(">> ");
    terminal.ask("end", "line 1\r\nline 2\r\n");
    terminal.ask("6 * 7", "\r\n42\r\n");
    terminal.press(CTRL_D);
    assert_eq!(terminal.exit_code(), 0);

    let file = home.join(".plimsoll/history");
    assert_eq!(fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
    let mut terminal = Terminal::start(&home);
    terminal.press(UP);
    terminal.expect("6 * 7");
    terminal.ask(" + 1", "\r\n43\r\n");
    terminal.press(&[UP, UP, UP].concat());
    terminal.ask("", "line 1\r\nline 2\r\n");
    terminal.press(CTRL_D);
    assert_eq!(terminal.exit_code(), 0);
}

#[test]
fn tab_completes_stores_and_methods() {
    let (_folder, home) = home();
    let mut terminal = Terminal::start(&home);
    terminal.press("cache = store.get(\"app:c\t");
    terminal.expect("app:cache\")");
    terminal.enter("");
    terminal.expect("> ");
    terminal.press("cache:s\t");
    terminal.ask("\"k\", {n = 7})", "\r\ntrue\r\n");
    terminal.press("cache:\t\t");
    for method in ["delete", "get", "transact", "watch"] {
        terminal.expect(method);
    }
    terminal.enter("get('k')");
    terminal.expect("{n = 7}\r\n");
}

#[test]
fn ctrl_c_stops_what_runs_and_not_the_program() {
    let (_folder, home) = home();
    let mut terminal = Terminal::start(&home);
    for chunk in [
        "while true do end",
        "while true do pcall(error) end",
        "return setmetatable({}, {__tostring = function() while true do end end})",
        "time.sleep(1000)",
        "for change in store.get('app:cache'):watch() do print(change) end",
    ] {
        terminal.enter("kept = 6");
        terminal.expect("> ");
        // Put together, so that the echo of what was typed is not taken for the start.
        terminal.enter(&format!("print('star' .. 'ted') {chunk}"));
        terminal.expect("started\r\n");
        terminal.press(CTRL_C);
        terminal.expect("\r\ninterrupted");
        terminal.expect("> ");
        terminal.ask("kept * 7", "\r\n42\r\n");
    }
    terminal.press(CTRL_D);
    assert_eq!(terminal.exit_code(), 0);
}

#[test]
fn what_can_not_be_stopped_says_so_and_ends_at_the_third_press() {
    let (_folder, home) = home();
    let mut terminal = Terminal::start(&home);
    terminal.enter("print('star' .. 'ted') io.read()");
    terminal.expect("started\r\n");
    // Two presses at once may be heard as one.
    let mut presses = 0;
    while terminal.expect_within(A_MOMENT, "Ctrl-C once more ends plimsoll").is_none() {
        presses += 1;
        assert!(presses < 100, "{:?}", terminal.unread);
        terminal.press(CTRL_C);
    }
    assert!(presses >= 2);
    terminal.press(CTRL_C);
    assert_eq!(terminal.exit_code(), 130);
}

#[test]
fn ctrl_c_discards_what_was_typed() {
    let (_folder, home) = home();
    let mut terminal = Terminal::start(&home);
    terminal.press("half a line");
    terminal.expect("line");
    terminal.press(CTRL_C);
    terminal.expect("> ");
    terminal.enter("for i = 1, 3 do");
    terminal.expect(">> ");
    terminal.press("print(");
    terminal.expect("print(");
    terminal.press(CTRL_C);
    terminal.expect("> ");
    let before = terminal.ask("6 * 7", "\r\n42\r\n");
    assert!(!before.contains("error"), "{before}");
    terminal.press(CTRL_D);
    assert_eq!(terminal.exit_code(), 0);
}

#[test]
fn what_was_written_without_a_newline_is_not_written_over() {
    let (_folder, home) = home();
    let mut terminal = Terminal::start(&home);
    terminal.enter("do io.write('ab' .. 'cd') end");
    terminal.expect("abcd");
    let before = terminal.expect("> ");
    assert!(before.contains(&" ".repeat(79)), "{before:?}");
}

#[test]
fn a_local_is_said_to_end_with_its_chunk_once() {
    let (_folder, home) = home();
    let mut terminal = Terminal::start(&home);
    terminal.ask("local a = 1", "a local ends with its chunk");
    terminal.enter("local b = 1");
    let before = terminal.ask("6 * 7", "\r\n42\r\n");
    assert!(!before.contains("a local ends"), "{before}");
}

#[test]
fn a_history_that_can_not_be_kept_is_said_once_and_the_session_goes_on() {
    let (folder, _) = home();
    let home = folder.path().join("file");
    fs::write(&home, "").unwrap();
    let mut terminal = Terminal::start_unread(&home);
    terminal.expect("the history of this session is not kept");
    terminal.expect("> ");
    terminal.ask("6 * 7", "\r\n42\r\n");
    terminal.press(UP);
    let before = terminal.ask(" + 1", "\r\n43\r\n");
    assert!(!before.contains("not kept"), "{before}");
}

#[test]
fn the_history_is_bounded_and_keeps_no_chunk_that_starts_with_a_space() {
    let (_folder, home) = home();
    let file = home.join(".plimsoll/history");
    fs::create_dir(home.join(".plimsoll")).unwrap();
    let old: Vec<_> = (0..REPL_HISTORY_CHUNKS_MAX + 200).map(|i| format!("old({i})")).collect();
    fs::write(&file, format!("#V2\n{}\n", old.join("\n"))).unwrap();
    let mut terminal = Terminal::start(&home);
    terminal.ask(" 'sec' .. 'ret'", "\r\n\"secret\"\r\n");
    terminal.ask("6 * 7", "\r\n42\r\n");
    terminal.press(CTRL_D);
    assert_eq!(terminal.exit_code(), 0);
    let kept = fs::read_to_string(&file).unwrap();
    let chunks: Vec<_> = kept.lines().skip(1).collect();
    assert_eq!(chunks.len(), REPL_HISTORY_CHUNKS_MAX);
    assert_eq!(chunks[chunks.len() - 2..], ["old(1199)", "6 * 7"]);
}

#[test]
fn os_exit_leaves_with_its_code() {
    let (_folder, home) = home();
    let mut terminal = Terminal::start(&home);
    terminal.enter("os.exit(7)");
    assert_eq!(terminal.exit_code(), 7);
}

const CTRL_C: &str = "\x03";
const CTRL_D: &str = "\x04";
const UP: &str = "\x1b[A";

/// Longer than the answer to a key takes on a machine that is not.
const A_MOMENT: Duration = Duration::from_millis(500);
/// Longer than anything here takes on a machine that is busy.
const PATIENCE: Duration = Duration::from_secs(60);
