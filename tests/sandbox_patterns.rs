//! Patterns in a sandbox mean what they mean in Lua: both match generated subjects with generated
//! patterns, and answer the same.
#![cfg(feature = "lua")]
#![allow(clippy::unwrap_used)]

use plimsoll::lua::mlua::{Function, Lua, LuaString, Variadic};
use plimsoll::lua::{Sandbox, SandboxOptions};
use plimsoll::registry::{Config, LoadOptions, Plimsoll};
use proptest::prelude::*;
use proptest::test_runner::{Config as RunnerConfig, TestRunner};

/// All functions on one subject and pattern, their answers in one string; errors as their message
/// without the place.
const ALL: &str = r##"
local s, pattern, init, replacement = ...
local answers = {}
local function tell(name, ok, ...)
  local texts = {name, tostring(ok)}
  for i = 1, select("#", ...) do
    local text = tostring((select(i, ...)))
    texts[#texts + 1] = ok and math.type((select(i, ...))) or ""
    texts[#texts + 1] = ok and text or text:gsub("^[^:]*:%d+: ", "")
  end
  answers[#answers + 1] = table.concat(texts, "|")
end
tell("find", pcall(string.find, s, pattern, init))
tell("plain", pcall(string.find, s, pattern, init, true))
tell("match", pcall(string.match, s, pattern, init))
tell("gmatch", pcall(function()
  local all = {}
  for a, b, c in s:gmatch(pattern, init) do
    all[#all + 1] = tostring(a) .. "," .. tostring(b) .. "," .. tostring(c)
  end
  return table.concat(all, ";")
end))
tell("gsub", pcall(string.gsub, s, pattern, replacement))
tell("gsub n", pcall(string.gsub, s, pattern, "<%0>", 2))
tell("gsub table", pcall(string.gsub, s, pattern, {a = "A", b = false, ab = 7}))
tell("gsub function", pcall(string.gsub, s, pattern, function(a, b)
  if a == "b" then return nil end
  return "[" .. tostring(a) .. tostring(b) .. "]"
end))
return table.unpack(answers)
"##;

fn subjects() -> impl Strategy<Value = Vec<u8>> {
    let byte = prop_oneof![
        8 => prop::sample::select(b"aab(bc)] -%1.\n\0X_".to_vec()),
        1 => any::<u8>(),
    ];
    prop::collection::vec(byte, 0..14)
}

/// Mostly patterns, sometimes anything.
fn patterns() -> impl Strategy<Value = Vec<u8>> {
    let set = prop::sample::select(vec![
        "[ab]", "[^a]", "[a-c]", "[%w_]", "[]]", "[^]]", "[%]a]", "[a-]", "[%a-z]", "[a-%z]",
        "[^%s%p]",
    ]);
    let class = prop::sample::select(vec![
        ".", "%a", "%A", "%d", "%s", "%S", "%w", "%p", "%x", "%u", "%l", "%c", "%g", "%.", "%%",
        "%]", "%z", "a", "b", "c", "(", "-", "]",
    ]);
    let single = (prop_oneof![set, class], prop::sample::select(vec!["", "", "*", "+", "-", "?"]))
        .prop_map(|(single, repeat)| format!("{single}{repeat}"));
    let other = prop::sample::select(vec![
        "()", "%b()", "%bab", "%f[%w]", "%f[^a]", "%1", "$", "^", "(a)", "(.-)", "(b*)", "(%a)%1",
    ]);
    let item = prop_oneof![6 => single, 2 => other.prop_map(str::to_owned)];
    let grouped = (prop::collection::vec(item, 0..5), any::<[bool; 3]>()).prop_map(
        |(mut items, [anchored, grouped, ended])| {
            if grouped && items.len() > 1 {
                items.insert(1, "(".to_owned());
                items.push(")".to_owned());
            }
            let start = if anchored { "^" } else { "" };
            let end = if ended { "$" } else { "" };
            format!("{start}{}{end}", items.concat()).into_bytes()
        },
    );
    let bytes = prop::sample::select(b"a%[]()^$*+-?.b1fz\0".to_vec());
    prop_oneof![5 => grouped, 1 => prop::collection::vec(bytes, 0..8)]
}

fn replacements() -> impl Strategy<Value = String> {
    let piece = prop::sample::select(vec!["x", "%0", "%1", "%2", "%%", "%", "%a", "-"]);
    prop::collection::vec(piece, 0..4).prop_map(|pieces| pieces.concat())
}

/// Whether what Lua answered came before it reached what makes the pattern malformed: there a
/// pattern that is malformed anywhere is refused.
fn is_refused_earlier(plain: &str, guarded: &str) -> bool {
    const MALFORMED: &[&str] = &[
        "malformed pattern",
        "missing '[' after '%f' in pattern",
        "invalid capture index",
        "invalid pattern capture",
        "unfinished capture",
    ];
    plain == guarded
        || guarded.contains("|false|") && MALFORMED.iter().any(|part| guarded.contains(part))
}

#[test]
fn patterns_mean_what_they_mean_in_lua() {
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let text = "version: \"1.0\"\nnamespace: app\nentries: []\n";
    let config = Config::parse(text, ".", "app.yaml", LoadOptions::default()).unwrap();
    let engine = runtime.block_on(Plimsoll::open(config)).unwrap();
    let sandbox = Sandbox::open(&engine, SandboxOptions::default()).unwrap();
    let plain = Lua::new();
    let in_plain: Function = plain.load(ALL).into_function().unwrap();
    let in_sandbox: Function = sandbox.lua().unwrap().load(ALL).into_function().unwrap();

    let mut runner = TestRunner::new(RunnerConfig {
        cases: 20_000,
        failure_persistence: None,
        ..RunnerConfig::default()
    });
    let init = prop_oneof![3 => Just(1), 2 => -16_i64..18];
    runner
        .run(&(subjects(), patterns(), init, replacements()), |(subject, pattern, init, new)| {
            let call = |lua: &Lua, function: &Function| -> Vec<String> {
                let subject = lua.create_string(&subject).unwrap();
                let pattern = lua.create_string(&pattern).unwrap();
                let answers =
                    function.call::<Variadic<LuaString>>((subject, pattern, init, new.as_str()));
                answers.unwrap().iter().map(|answer| answer.to_string_lossy()).collect()
            };
            let expected = call(&plain, &in_plain);
            let actual = call(sandbox.lua().unwrap(), &in_sandbox);
            for (expected, actual) in expected.iter().zip(&actual) {
                prop_assert!(is_refused_earlier(expected, actual), "{expected}\n{actual}");
            }
            prop_assert_eq!(expected.len(), actual.len());
            Ok(())
        })
        .unwrap();
}
