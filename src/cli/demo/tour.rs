//! The guided tour of the demo: it runs `tour.lua` step by step, prints each step's story and code, and
//! what the code prints.
//!
//! A step is a line that starts with `-- #` and all up to the next one: the comment lines behind it
//! are the story, the rest is code. The steps share their globals, so the tour is also an ordinary
//! script. An `assert` of the tour that fails ends the demo.

use super::super::output::{BOLD, CYAN, DIM, RESET, say};
use super::Told;
use crate::lua::mlua::{self, Function, Lua, LuaString, MultiValue, Value, Variadic};
use crate::lua::{install, run_script};
use crate::registry::Plimsoll;

/// One step of the tour.
#[derive(Debug, PartialEq, Eq)]
struct Step<'a> {
    title: &'a str,
    story: Vec<&'a str>,
    code: Vec<&'a str>,
    /// The line in the tour at which the code starts, counted from 1.
    line: usize,
}

/// Runs the steps.
pub(super) async fn walk(engine: &Plimsoll) -> Told<()> {
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
    Ok(())
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
