//! `plimsoll demo`: a guided tour. It runs `tour.lua` step by step in a folder of its own, prints
//! each step's story and code, and what the code prints.
//!
//! A step is a line that starts with `-- #` and all up to the next one: the comment lines behind it
//! are the story, the rest is code. The steps share their globals, so the tour is also an ordinary
//! script. An `assert` of the tour that fails ends the demo with exit code 1.

use std::path::{Path, PathBuf};

use super::Exit;
use super::output::{BOLD, CYAN, DIM, GREEN, RESET, say};
use crate::error::Error;
use crate::lua::mlua::{self, Function, Lua, LuaString, MultiValue, Value, Variadic};
use crate::lua::{install, run_script};
use crate::registry::{Config, Plimsoll};

/// One step of the tour.
#[derive(Debug, PartialEq, Eq)]
struct Step<'a> {
    title: &'a str,
    story: Vec<&'a str>,
    code: Vec<&'a str>,
    /// The line in the tour at which the code starts, counted from 1.
    line: usize,
}

/// Walks through the tour.
pub async fn run() -> Exit {
    let folder = match Folder::create() {
        Ok(folder) => folder,
        Err(error) => return error.into(),
    };
    let engine = match Plimsoll::open(Config::builtin(folder.path())).await {
        Ok(engine) => engine,
        Err(error) => return error.into(),
    };
    say!("{BOLD}Plimsoll{RESET}, a formally tested key-value engine. A tour in Lua.\n");
    let result = walk(&engine).await;
    engine.close().await;
    match result {
        Ok(steps) => {
            say!("{GREEN}Done: {steps} steps, every assertion of the tour held.{RESET}");
            say!("Next: `plimsoll run SCRIPT`, `plimsoll --help`, docs/lua-store.md.");
            Exit::Done
        }
        Err(message) => Exit::ScriptFailed(message),
    }
}

/// Runs the steps; answers how many there are.
async fn walk(engine: &Plimsoll) -> Result<usize, String> {
    let lua = Lua::new();
    prepare(&lua, engine).map_err(|error| error.to_string())?;
    let steps = parse(TOUR);
    for (position, step) in steps.iter().enumerate() {
        say!("{BOLD}{}. {}{RESET}", position + 1, step.title);
        for line in &step.story {
            say!("{line}");
        }
        for line in &step.code {
            say!("    {DIM}{line}{RESET}");
        }
        // Blank lines in front keep the line numbers of the tour in error messages.
        let source = "\n".repeat(step.line - 1) + &step.code.join("\n");
        let chunk = lua.load(source).set_name("@tour.lua").into_function();
        let chunk = chunk.map_err(|error| error.to_string())?;
        run_script(&lua, chunk, MultiValue::new()).await?;
        say!();
    }
    Ok(steps.len())
}

/// Adds the modules, and a `print` that sets what it prints apart from the code.
fn prepare(lua: &Lua, engine: &Plimsoll) -> mlua::Result<()> {
    install(lua, engine)?;
    let tostring: Function = lua.globals().get("tostring")?;
    let print = lua.create_function(move |_, values: Variadic<Value>| {
        let texts = values.iter().map(|value| tostring.call::<LuaString>(value));
        let texts: Vec<_> = texts
            .map(|text| Ok(String::from_utf8_lossy(&text?.as_bytes()).into_owned()))
            .collect::<mlua::Result<_>>()?;
        say!("    {CYAN}-> {}{RESET}", texts.join("  "));
        Ok(())
    })?;
    lua.globals().set("print", print)
}

fn parse(tour: &str) -> Vec<Step<'_>> {
    let mut steps: Vec<Step<'_>> = Vec::new();
    for (position, line) in tour.lines().enumerate() {
        if let Some(title) = line.strip_prefix("-- # ") {
            steps.push(Step { title, story: Vec::new(), code: Vec::new(), line: position + 1 });
            continue;
        }
        let Some(step) = steps.last_mut() else { continue };
        match line.strip_prefix("--") {
            Some(story) if step.code.is_empty() => step.story.push(story.trim_start()),
            _ if step.code.is_empty() && line.is_empty() => {}
            _ => {
                if step.code.is_empty() {
                    step.line = position + 1;
                }
                step.code.push(line);
            }
        }
    }
    for step in &mut steps {
        while step.code.last().is_some_and(|line| line.is_empty()) {
            step.code.pop();
        }
    }
    steps
}

/// A fresh folder for the demo's files, removed in the end.
struct Folder(PathBuf);

impl Folder {
    fn create() -> Result<Self, Error> {
        let name = format!("plimsoll-demo-{}", std::process::id());
        let path = std::env::temp_dir().join(name);
        std::fs::create_dir_all(&path).map_err(|error| {
            Error::unavailable(format!("{} could not be made: {error}", path.display()))
        })?;
        Ok(Self(path))
    }

    fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        // Nothing depends on it: the system clears its temporary folder in time.
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

const TOUR: &str = include_str!("tour.lua");

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_tour_has_steps_with_a_story_and_code_each() {
        let steps = parse(TOUR);
        assert!(steps.len() >= 8, "{}", steps.len());
        for step in steps {
            assert!(!step.story.is_empty() && !step.code.is_empty(), "{step:?}");
            assert_eq!(TOUR.lines().nth(step.line - 1), step.code.first().copied());
        }
    }
}
