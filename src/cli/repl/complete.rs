//! Completion: what the word before the cursor can become.
//!
//! It only looks: nothing is called, no metamethod runs, so that pressing Tab changes nothing. So
//! what stands before a `.` or `:` is known if it is a name, or names joined by dots, or the call
//! `store.get("...")` itself.

use std::collections::BTreeMap;

use super::literal::{KEYWORDS, is_name};
use crate::limits::REPL_CANDIDATES_MAX;
use crate::lua::handle_value;
use crate::lua::mlua::{self, Lua, LuaString, MetaMethod, Table, Value};
use crate::registry::Plimsoll;
use crate::store::{MemoryOptions, MemoryStore, StoreHandle};

/// What completes words.
pub struct Completer {
    lua: Lua,
    store_ids: Vec<String>,
    /// Some handle, for its methods.
    handle: Value,
}

/// The words that the one before the cursor can become.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Candidates {
    /// Where in the line the word starts.
    pub start: usize,
    pub words: Vec<Candidate>,
}

/// A word.
#[derive(Debug, PartialEq, Eq)]
pub struct Candidate {
    /// What lists show.
    pub word: String,
    /// What is put in the place of the word before the cursor.
    pub replacement: String,
}

impl Completer {
    /// Of a state with the stores of an engine.
    pub fn new(lua: &Lua, engine: &Plimsoll) -> mlua::Result<Self> {
        let some_store = MemoryStore::open(MemoryOptions { max_size: 0, cleanup_interval: None });
        let handle = handle_value(lua, StoreHandle::new("some:store", some_store))?;
        let store_ids = engine.store_ids().map(str::to_owned).collect();
        Ok(Self { lua: lua.clone(), store_ids, handle })
    }

    /// What the word that ends at a position of a line can become.
    pub fn complete(&self, line: &str, position: usize) -> Candidates {
        let (before, after) = line.split_at(position);
        let mut candidates = match open_string(before) {
            Place::Comment => Candidates::default(),
            Place::String(quote) => self.argument(before, quote, after),
            Place::Code => self.name(before, after),
        };
        candidates.words.truncate(REPL_CANDIDATES_MAX);
        candidates
    }

    /// Within a string: the ids of stores, and the modules.
    fn argument(&self, before: &str, quote: usize, after: &str) -> Candidates {
        let (call, argument) = before.split_at(quote);
        let (quote, word) = argument.split_at(1);
        let call = call.trim_end();
        let (function, parenthesis) = match call.strip_suffix('(') {
            Some(function) => (function.trim_end(), ")"),
            None => (call, ""),
        };
        let known = if function.ends_with("store.get") {
            self.store_ids.clone()
        } else if function.ends_with("require") {
            self.modules()
        } else {
            Vec::new()
        };
        let end = if after.is_empty() { format!("{quote}{parenthesis}") } else { String::new() };
        let words = known.into_iter().filter(|known| known.starts_with(word));
        let words = words.map(|word| Candidate { replacement: format!("{word}{end}"), word });
        Candidates { start: before.len() - word.len(), words: words.collect() }
    }

    /// Outside strings: a global, a keyword, a field or a method.
    fn name(&self, before: &str, after: &str) -> Candidates {
        let is_part = |c: char| c.is_ascii_alphanumeric() || c == '_';
        let word_start = before.trim_end_matches(is_part).len();
        let (rest, word) = before.split_at(word_start);
        let mut members = if let Some(owner) = rest.strip_suffix(':') {
            let mut members = self.owner(owner).map(|value| self.methods(&value));
            if let Some(members) = &mut members {
                members.retain(|_, is_function| *is_function);
            }
            members.unwrap_or_default()
        } else if let Some(owner) = rest.strip_suffix('.').filter(|owner| !owner.ends_with('.')) {
            match self.owner(owner) {
                Some(Value::Table(table)) => members(&table),
                _ => BTreeMap::new(),
            }
        } else {
            let mut globals = members(&self.lua.globals());
            globals.extend(KEYWORDS.map(|keyword| (keyword.to_owned(), false)));
            globals
        };
        members.retain(|name, _| name.starts_with(word));
        let is_called = after.starts_with(['(', '"', '\'', '{']);
        let words = members.into_iter().map(|(word, is_function)| {
            let parenthesis = if is_function && !is_called { "(" } else { "" };
            Candidate { replacement: format!("{word}{parenthesis}"), word }
        });
        Candidates { start: word_start, words: words.collect() }
    }

    /// The value of what stands before a `.` or `:`, if it can be known without running anything.
    fn owner(&self, before: &str) -> Option<Value> {
        if before.ends_with([')', '"', '\'']) {
            return is_store_get(before).then(|| self.handle.clone());
        }
        let is_part = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '.';
        let path = &before[before.trim_end_matches(is_part).len()..];
        let mut value = Value::Table(self.lua.globals());
        for name in path.split('.') {
            let Value::Table(table) = value else { return None };
            value = field(&table, name)?;
        }
        Some(value)
    }

    fn methods(&self, value: &Value) -> BTreeMap<String, bool> {
        match value {
            Value::Table(table) => members(table),
            Value::UserData(userdata) => {
                let metatable = userdata.metatable();
                let index = metatable.and_then(|metatable| metatable.get(MetaMethod::Index.name()));
                index.map(|index: Table| members(&index)).unwrap_or_default()
            }
            Value::String(_) => {
                let metatable = self.lua.type_metatable::<LuaString>();
                metatable
                    .as_ref()
                    .and_then(index_of)
                    .map(|index| members(&index))
                    .unwrap_or_default()
            }
            _ => BTreeMap::new(),
        }
    }

    fn modules(&self) -> Vec<String> {
        let Some(Value::Table(loaded)) = self.owner("package.loaded") else { return Vec::new() };
        let names = loaded.pairs::<String, Value>().filter_map(|pair| Some(pair.ok()?.0));
        let mut names: Vec<_> = names.collect();
        names.sort_unstable();
        names
    }
}

/// Where the cursor is.
#[derive(Debug, PartialEq, Eq)]
enum Place {
    Code,
    Comment,
    /// Within a string, whose quote stands at an index.
    String(usize),
}

fn open_string(before: &str) -> Place {
    let mut place = Place::Code;
    let mut characters = before.char_indices().peekable();
    while let Some((index, character)) = characters.next() {
        match place {
            Place::String(start) if before[start..].starts_with(character) => place = Place::Code,
            Place::String(_) if character == '\\' => {
                characters.next();
            }
            Place::Code if matches!(character, '"' | '\'') => place = Place::String(index),
            Place::Code if before[index..].starts_with("--") => return Place::Comment,
            _ => {}
        }
    }
    place
}

/// Whether a text ends with a call of `store.get` with a string.
fn is_store_get(text: &str) -> bool {
    let text = text.strip_suffix(')').map_or(text, str::trim_end);
    let Some(quote) = text.chars().next_back().filter(|quote| matches!(quote, '"' | '\'')) else {
        return false;
    };
    let Some((call, _)) = text[..text.len() - 1].rsplit_once(quote) else { return false };
    call.trim_end().trim_end_matches('(').trim_end().ends_with("store.get")
}

/// The fields with a name, those of its `__index` tables too; and whether each is a function.
fn members(table: &Table) -> BTreeMap<String, bool> {
    let mut members = BTreeMap::new();
    let mut next = Some(table.clone());
    for _ in 0..INDEX_TABLES_MAX {
        let Some(table) = next else { break };
        for (name, value) in table.pairs::<Value, Value>().filter_map(Result::ok) {
            if let Some(name) = name.as_string().and_then(|name| name.to_str().ok())
                && is_name(&name)
            {
                members.entry(name.to_owned()).or_insert(value.is_function());
            }
        }
        next = table.metatable().as_ref().and_then(index_of);
    }
    members
}

/// A field, in the table or in its `__index` tables.
fn field(table: &Table, name: &str) -> Option<Value> {
    let mut next = Some(table.clone());
    for _ in 0..INDEX_TABLES_MAX {
        let table = next?;
        match table.raw_get(name) {
            Ok(Value::Nil) | Err(_) => next = table.metatable().as_ref().and_then(index_of),
            Ok(value) => return Some(value),
        }
    }
    None
}

fn index_of(metatable: &Table) -> Option<Table> {
    metatable.raw_get(MetaMethod::Index.name()).ok()
}

/// Deepest chain of `__index` tables that is followed: one may lead in a circle.
const INDEX_TABLES_MAX: usize = 16;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lua::{install, install_kv};
    use crate::namespaces::{Memory, Namespaces};
    use crate::registry::Config;
    use crate::store::WallClock;
    use std::sync::Arc;

    /// A completer of a state with two stores, in which a chunk was run.
    async fn completer(chunk: &str) -> Completer {
        let folder = tempfile::tempdir().unwrap();
        let engine = Plimsoll::open(Config::builtin(folder.path())).await.unwrap();
        let lua = Lua::new();
        install(&lua, &engine).unwrap();
        let namespaces = Namespaces::new(Arc::new(Memory::new()), Arc::new(WallClock::new()));
        install_kv(&lua, &namespaces).unwrap();
        lua.load("store = require('store')").exec().unwrap();
        lua.load(chunk).exec_async().await.unwrap();
        Completer::new(&lua, &engine).unwrap()
    }

    /// The line with each of the words in the place of the one before the cursor, `|`.
    fn completed(completer: &Completer, line: &str) -> Vec<String> {
        let position = line.find('|').unwrap();
        let line = line.replacen('|', "", 1);
        let candidates = completer.complete(&line, position);
        let with = |word: &Candidate| {
            format!("{}{}{}", &line[..candidates.start], word.replacement, &line[position..])
        };
        candidates.words.iter().map(with).collect()
    }

    #[tokio::test]
    async fn stores_and_modules_are_completed_within_their_calls() {
        let completer = completer("").await;
        for (line, words) in [
            (
                r#"store.get("|"#,
                &[
                    r#"store.get("app:cache")"#,
                    r#"store.get("app:deployments")"#,
                    r#"store.get("app:records")"#,
                    r#"store.get("app:sessions")"#,
                ][..],
            ),
            ("x = store.get( 'app:r|", &["x = store.get( 'app:records')"]),
            (r#"store.get "app:c|"#, &[r#"store.get "app:cache""#]),
            (r#"store.get("app:c|") -- mine"#, &[r#"store.get("app:cache") -- mine"#]),
            (r#"require("ti|"#, &[r#"require("time")"#]),
            (r#"store.get("other:|"#, &[]),
            (r#"print("app:|"#, &[]),
            (r#"print("a", 'it\'s "app:|"#, &[]),
        ] {
            assert_eq!(completed(&completer, line), words, "{line}");
        }
    }

    #[tokio::test]
    async fn methods_fields_and_globals_are_completed_where_they_stand() {
        let completer = completer(
            "cache = store.get('app:cache')
            _, err = cache:get('absent')
            stream = cache:watch()
            kv = KV.namespace('users')
            text = 'abc'
            config = {server = {name = 'x', start = print}, ['a b'] = 1}",
        )
        .await;
        for (line, words) in [
            ("cache:ge|", &["cache:get("][..]),
            ("cache:de|('k')", &["cache:delete('k')"]),
            ("x = cache:re|", &["x = cache:release(", "x = cache:resolve("]),
            ("store.get('app:cache'):tr|", &["store.get('app:cache'):transact("]),
            ("err:ki|", &["err:kind("]),
            ("stream:ne|", &["stream:next("]),
            ("kv:get|", &["kv:get(", "kv:getWithMetadata("]),
            ("text:rep|", &["text:rep("]),
            ("config.|", &["config.server"]),
            ("config.server.s|", &["config.server.start("]),
            ("config.server:|", &["config.server:start("]),
            ("print(store.backend.ME|", &["print(store.backend.MEMORY"]),
            ("conf|", &["config"]),
            ("x = wh|", &["x = while"]),
            ("errors.NOT|", &["errors.NOT_FOUND"]),
            ("f():ge|", &[]),
            ("f().ge|", &[]),
            ("nothing.here.|", &[]),
            ("text.re|", &[]),
            ("a..con|", &["a..config"]),
            ("-- conf|", &[]),
        ] {
            assert_eq!(completed(&completer, line), words, "{line}");
        }
    }

    #[tokio::test]
    async fn only_what_may_be_acquired_is_offered() {
        let config = "{version: '1.0', namespace: app, entries: [
            {name: notes, kind: store.memory}, {name: secrets, kind: store.memory},
            {name: all, kind: security.policy,
             policy: {actions: store.get, resources: 'app:notes', effect: allow}}]}";
        let options = crate::registry::LoadOptions::default();
        let config = Config::parse(config, ".", "app.yaml", options).unwrap();
        let engine = Plimsoll::open(config).await.unwrap();
        let lua = Lua::new();
        install(&lua, &engine).unwrap();
        let completer = Completer::new(&lua, &engine).unwrap();
        assert_eq!(completed(&completer, "store.get('|"), ["store.get('app:notes')"]);
    }

    #[tokio::test]
    async fn completing_calls_nothing_and_ends() {
        let completer = completer(
            "asked = 0
            local function ask() asked = asked + 1 return {secret = 1} end
            proxy = setmetatable({own = 1}, {__index = ask, __pairs = ask, __tostring = ask})
            circle = setmetatable({}, {}) getmetatable(circle).__index = circle
            for i = 1, 2000 do _G['many' .. i] = i end",
        )
        .await;
        assert_eq!(completed(&completer, "proxy.|"), ["proxy.own"]);
        assert_eq!(completed(&completer, "proxy.secret.|"), [""; 0]);
        assert_eq!(completed(&completer, "circle.x.|"), [""; 0]);
        assert_eq!(completed(&completer, "many|").len(), REPL_CANDIDATES_MAX);
        let asked: i64 = completer.lua.globals().get("asked").unwrap();
        assert_eq!(asked, 0);
    }
}
