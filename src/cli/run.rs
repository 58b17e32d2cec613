//! `plimsoll run`: a Lua script with the stores of a configuration.
//!
//! The script has the full standard library of Lua, the modules `store`, `errors`, `json` and
//! `time`, and the global `KV`. `require` also looks in the script's folder. An uncaught error, or a chunk that returns
//! `nil, err`, ends with the message and its stack on standard error and exit code 1; `os.exit`
//! keeps its code.

use std::ffi::OsString;
use std::path::Path;

use super::args::RunArgs;
use super::{Exit, namespaces, open};
use crate::error::Error;
use crate::lua::mlua::{self, Function, Lua, MultiValue, Table, Value};
use crate::lua::{install, install_kv, run_script};
use crate::namespaces::Namespaces;
use crate::registry::Plimsoll;

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

/// Sets `arg`, the path of `require` and `os.exit`; answers the arguments of the chunk.
fn prepare(lua: &Lua, script: &Path, arguments: &[OsString]) -> mlua::Result<MultiValue> {
    let globals = lua.globals();
    let arg = lua.create_table()?;
    arg.raw_set(0, lua.create_string(script.as_os_str().as_encoded_bytes())?)?;
    let mut values = MultiValue::new();
    for (position, argument) in arguments.iter().enumerate() {
        let argument = lua.create_string(argument.as_encoded_bytes())?;
        arg.raw_set(position + 1, &argument)?;
        values.push_back(Value::String(argument));
    }
    globals.raw_set("arg", arg)?;

    let folder = script.parent().filter(|folder| !folder.as_os_str().is_empty());
    let folder = folder.map_or(".".to_owned(), |folder| folder.display().to_string());
    let package: Table = globals.raw_get("package")?;
    let path: String = package.raw_get("path")?;
    package.raw_set("path", format!("{folder}/?.lua;{folder}/?/init.lua;{path}"))?;

    let os: Table = globals.raw_get("os")?;
    os.raw_set("exit", exit_function(lua)?)?;
    Ok(values)
}

/// `os.exit`. Lua's own may close the state while the host is still inside it.
fn exit_function(lua: &Lua) -> mlua::Result<Function> {
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
