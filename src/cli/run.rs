//! `plimsoll run`: a Lua script with the stores of a configuration.
//!
//! The script has the full standard library of Lua, the modules `store`, `errors`, `json` and
//! `time`, and the global `KV`. `require` also looks in the script's folder. An uncaught error, or a chunk that returns
//! `nil, err`, ends with the message and its stack on standard error and exit code 1; `os.exit`
//! keeps its code.
//!
//! With `--sandbox` the script runs in a [`Sandbox`]: it has no files, no `require` of files, no
//! `os.exit` and no `KV`.

use std::ffi::OsString;
use std::io::Write as _;
use std::path::Path;

use super::args::RunArgs;
use super::{Exit, namespaces, open};
use crate::error::Error;
use crate::lua::mlua::{self, Function, Lua, MultiValue, Table, Value};
use crate::lua::{Sandbox, SandboxOptions, install, install_kv, run_script};
use crate::namespaces::Namespaces;
use crate::registry::Plimsoll;
use crate::value;

/// Runs a script to its end.
pub async fn run(args: RunArgs) -> Exit {
    let source = match std::fs::read(&args.script) {
        Ok(source) => source,
        Err(error) => {
            let script = args.script.display();
            return Error::invalid(format!("{script} could not be read: {error}")).into();
        }
    };
    let engine = match open(&args.config).await {
        Ok(engine) => engine,
        Err(error) => return error.into(),
    };
    if args.sandbox {
        let ended = run_in_sandbox(&engine, &args, &source).await;
        engine.close().await;
        return ended.unwrap_or_else(Exit::from);
    }
    let namespaces = match namespaces(&engine) {
        Ok(namespaces) => namespaces,
        Err(error) => return error.into(),
    };
    let lua = Lua::new();
    let result = match load(&lua, &engine, &namespaces, &args, &source) {
        Ok((chunk, arguments)) => run_script(&lua, chunk, arguments).await,
        Err(error) => Err(error.to_string()),
    };
    namespaces.close().await;
    engine.close().await;
    match result {
        Ok(_) => Exit::Done,
        Err(message) => Exit::ScriptFailed(message),
    }
}

/// Runs a script that is not trusted.
async fn run_in_sandbox(engine: &Plimsoll, args: &RunArgs, source: &[u8]) -> Result<Exit, Error> {
    let mut options = SandboxOptions::default().print(|text| {
        // A reader that has gone away is no error: it has read enough.
        let _ = std::io::stdout().lock().write_all(text);
    });
    if let Some(memory_bytes) = args.memory {
        options = options.memory_bytes(memory_bytes);
    }
    if let Some(time) = args.time {
        options = options.time(time);
    }
    let mut sandbox = Sandbox::open(engine, options)?;
    let lua = sandbox.lua().expect("nothing has run yet");
    set_arguments(lua, &args.script, &args.arguments)
        .map_err(|error| Error::invalid(format!("the arguments are too large: {error}")))?;
    let arguments = args.arguments.iter().map(|argument| argument.as_encoded_bytes().into());
    let name = args.script.display().to_string();
    let ended = sandbox.run(&name, without_shebang(source), arguments).await;
    Ok(ended.map_or_else(script_failed, |()| Exit::Done))
}

fn script_failed(error: Error) -> Exit {
    let stack = error.detail("stack").and_then(value::Value::as_str).unwrap_or_default();
    Exit::ScriptFailed(format!("{error}{stack}"))
}

/// The script as a function, and its arguments.
fn load(
    lua: &Lua,
    engine: &Plimsoll,
    namespaces: &Namespaces,
    args: &RunArgs,
    source: &[u8],
) -> mlua::Result<(Function, MultiValue)> {
    install(lua, engine)?;
    install_kv(lua, namespaces)?;
    let arguments = prepare(lua, &args.script, &args.arguments)?;
    let name = format!("@{}", args.script.display());
    let chunk = lua.load(without_shebang(source)).set_name(name).into_function()?;
    Ok((chunk, arguments))
}

/// Sets `arg`; answers the arguments of the chunk.
fn set_arguments(lua: &Lua, script: &Path, arguments: &[OsString]) -> mlua::Result<MultiValue> {
    let arg = lua.create_table()?;
    arg.raw_set(0, lua.create_string(script.as_os_str().as_encoded_bytes())?)?;
    let mut values = MultiValue::new();
    for (position, argument) in arguments.iter().enumerate() {
        let argument = lua.create_string(argument.as_encoded_bytes())?;
        arg.raw_set(position + 1, &argument)?;
        values.push_back(Value::String(argument));
    }
    lua.globals().raw_set("arg", arg)?;
    Ok(values)
}

/// Sets `arg`, the path of `require` and `os.exit`; answers the arguments of the chunk.
fn prepare(lua: &Lua, script: &Path, arguments: &[OsString]) -> mlua::Result<MultiValue> {
    let globals = lua.globals();
    let folder = script.parent().filter(|folder| !folder.as_os_str().is_empty());
    let folder = folder.map_or(".".to_owned(), |folder| folder.display().to_string());
    let package: Table = globals.raw_get("package")?;
    let path: String = package.raw_get("path")?;
    package.raw_set("path", format!("{folder}/?.lua;{folder}/?/init.lua;{path}"))?;

    let os: Table = globals.raw_get("os")?;
    os.raw_set("exit", exit_function(lua)?)?;
    set_arguments(lua, script, arguments)
}

/// `os.exit`. Lua's own may close the state while the host is still inside it.
pub fn exit_function(lua: &Lua) -> mlua::Result<Function> {
    lua.create_function(|_, code: Option<Value>| -> mlua::Result<()> {
        let code = match code {
            None | Some(Value::Nil | Value::Boolean(true)) => 0,
            Some(Value::Boolean(false)) => 1,
            Some(value) => value.as_i32().ok_or_else(|| {
                mlua::Error::runtime("bad argument #1 to 'exit' (an integer or a boolean)")
            })?,
        };
        std::process::exit(code)
    })
}

/// The source without a first line that starts with `#`, whose newline stays for the line numbers.
fn without_shebang(source: &[u8]) -> &[u8] {
    if !source.starts_with(b"#") {
        return source;
    }
    let end = source.iter().position(|byte| *byte == b'\n').unwrap_or(source.len());
    &source[end..]
}
