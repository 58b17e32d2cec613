//! The Lua state of a session, and the running of chunks in it.
//!
//! Beside what a script finds there are the global `store`, so that nobody has to require it, and
//! `_`, the last value that was shown.

use std::io::Write as _;

use anstream::{eprintln, stdout};

use super::report::Report;
use super::stop::{StopButton, Stopped};
use crate::cli::run::exit_function;
use crate::lua::mlua::{self, AnyUserData, Function, Lua, ObjectLike, Table, Value};
use crate::lua::{Interrupt, call_stoppable, install, install_kv};
use crate::namespaces::Namespaces;
use crate::registry::Plimsoll;

/// A Lua state with the stores of an engine.
pub struct Session {
    lua: Lua,
    button: StopButton,
    /// Lua's own standard output, which it buffers apart from ours.
    lua_stdout: AnyUserData,
}

impl Session {
    /// Makes the state.
    pub fn open(engine: &Plimsoll, namespaces: &Namespaces) -> mlua::Result<Self> {
        let lua = Lua::new();
        install(&lua, engine)?;
        install_kv(&lua, namespaces)?;
        let button = StopButton::new(Interrupt::install(&lua)?);
        let globals = lua.globals();
        let loaded: Table = globals.raw_get::<Table>("package")?.raw_get("loaded")?;
        globals.raw_set("store", loaded.raw_get::<Table>("store")?)?;
        globals.raw_get::<Table>("os")?.raw_set("exit", exit_function(&lua)?)?;
        let lua_stdout = globals.raw_get::<Table>("io")?.raw_get("stdout")?;
        Ok(Self { lua, button, lua_stdout })
    }

    /// The state.
    pub fn lua(&self) -> &Lua {
        &self.lua
    }

    /// From now on Ctrl-C stops what runs, and not the program.
    pub fn listen_to_ctrl_c(&self) -> std::io::Result<()> {
        self.button.listen()
    }

    /// Runs a chunk and prints what it came to; answers whether it succeeded.
    pub async fn run(&self, chunk: Function) -> bool {
        // The report is part of the run: it may call what a script made, and be stopped as well.
        let ended = self.button.run(async {
            let report = match call_stoppable(&self.lua, chunk).await {
                Ok(values) => Report::of_values(&self.lua, &values),
                Err(thrown) => Report::of_thrown(&self.lua, &thrown),
            };
            self.keep_last(report.last.as_ref());
            report
        });
        let ended = ended.await;
        self.flush();
        match ended {
            Ok(report) => print(&report),
            Err(stopped) => {
                // Behind the ^C that the terminal shows.
                eprintln!("\n{}", words(stopped));
                false
            }
        }
    }

    fn keep_last(&self, last: Option<&Value>) {
        if let Some(last) = last {
            // A full memory is told by whatever comes next.
            let _ = self.lua.globals().raw_set("_", last);
        }
    }

    /// What was printed by Lua comes before what is printed by us.
    fn flush(&self) {
        // A reader that has gone away is no error here either.
        let _ = self.lua_stdout.call_method::<Value>("flush", ());
    }
}

fn print(report: &Report) -> bool {
    let mut stdout = stdout().lock();
    for value in &report.values {
        // A reader that has gone away is no error: it has read enough.
        let _ = writeln!(stdout, "{value}");
    }
    if let Some(failure) = &report.failure {
        eprintln!("{failure}");
    }
    report.failure.is_none()
}

fn words(stopped: Stopped) -> &'static str {
    match stopped {
        Stopped::Computing => "interrupted",
        Stopped::Waiting => "interrupted while it waited: a write may have been done or not",
    }
}
