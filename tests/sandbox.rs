//! Scripts that are not trusted: the escape list, and what a sandbox gives its host.
#![cfg(feature = "lua")]
#![allow(clippy::unwrap_used)]

use std::time::{Duration, Instant};

use plimsoll::error::{Error, ErrorKind};
use plimsoll::limits::{
    SANDBOX_GRACE_MS, SANDBOX_MEMORY_BYTES_MIN, SANDBOX_SOURCE_BYTES_MAX,
};
use plimsoll::lua::{Sandbox, SandboxOptions};
use plimsoll::registry::{Config, LoadOptions, Plimsoll};
use plimsoll::value::Value;

async fn engine() -> Plimsoll {
    let text = "version: \"1.0\"\nnamespace: app\nentries:\n  - name: cache\n    kind: store.memory\n";
    let config = Config::parse(text, ".", "app.yaml", LoadOptions::default()).unwrap();
    Plimsoll::open(config).await.unwrap()
}

/// How a script has to end.
#[derive(Clone, Copy, Debug, PartialEq)]
enum End {
    /// The time limit ends it, and its thread with it.
    Time,
    /// The memory limit ends it.
    Memory,
    /// It fails by itself, with a message that has this part.
    Fails(&'static str),
    /// It goes through, and returns true.
    Returns,
}
use End::{Fails, Memory, Returns, Time};

const TIME: Duration = Duration::from_millis(250);
const MEMORY_BYTES: usize = 16 << 20;

/// Each row: what is tried, the script, and how it has to end.
const ESCAPES: &[(&str, End, &str)] = &[
    ("an endless loop", Time, "while true do end"),
    ("a loop that catches every error", Time, "while true do pcall(function() while true do end end) end"),
    ("errors caught at every level", Time, "local function f() while true do pcall(f) end end f()"),
    ("a handler that never ends", Time, "xpcall(function() while true do end end, function() while true do end end)"),
    ("a handler that fails", Time, "local function h() error(h) end while true do xpcall(error, h) end"),
    ("a handler for a handler", Time, "local function h() while true do end end xpcall(function() xpcall(h, h) end, h)"),
    ("coroutines that never end", Time, "while true do coroutine.resume(coroutine.create(function() while true do end end)) end"),
    ("coroutines that catch everything", Time, "coroutine.wrap(function() while true do pcall(function() while true do end end) end end)()"),
    ("wrapped coroutines in a loop", Time, "while true do pcall(coroutine.wrap(function() while true do end end)) end"),
    ("a tree of short coroutines", Time, "
        local function grow(depth)
          for _ = 1, 8 do
            if depth > 0 then coroutine.wrap(grow)(depth - 1) end
          end
        end
        grow(60)"),
    ("__close of a stopped block", Time, "
        local endless = setmetatable({}, {__close = function() while true do end end})
        local held <close> = endless
        while true do end"),
    ("__close of a stopped coroutine", Time, "
        local endless = setmetatable({}, {__close = function() while true do end end})
        local co = coroutine.create(function() local held <close> = endless while true do end end)
        coroutine.resume(co)
        coroutine.close(co)"),
    ("__close while waiting", Time, "
        local held <close> = setmetatable({}, {__close = function() while true do end end})
        time.sleep(10)"),
    ("many __close", Time, "
        local c = setmetatable({}, {__close = function() while true do end end})
        local function f() local x <close> = c return (f()) end
        pcall(f)
        while true do end"),
    ("a finalizer", Fails("no finalizers"), "setmetatable({}, {__gc = function() while true do end end})"),
    ("a finalizer added later", Returns, "
        local metatable, ran = {}, false
        for _ = 1, 100 do setmetatable({}, metatable) end
        metatable.__gc = function() ran = true end
        for _ = 1, 20000 do local _ = {{}, {}} end
        return not ran"),
    ("metamethods without end", Time, "
        local t = setmetatable({}, {__index = function(t, k) return t[k + 1] end})
        while true do pcall(function() return t[1] end) end"),
    ("__eq without end", Time, "
        local m = {__eq = function() while true do end end}
        return setmetatable({}, m) == setmetatable({}, m)"),
    ("__tostring without end in an error", Time, "error(setmetatable({}, {__tostring = function() while true do end end}))"),
    ("__tostring without end in print", Time, "print(setmetatable({}, {__tostring = function() while true do end end}))"),
    ("recursion without end", Fails("stack overflow"), "local function f() return 1 + f() end f()"),
    ("recursion caught without end", Time, "local function f() return 1 + f() end while true do pcall(f) end"),
    ("recursion through C", Time, "
        local t = setmetatable({}, {})
        getmetatable(t).__tostring = function(t) return tostring(t) end
        while true do pcall(tostring, t) end"),
    ("recursion through gsub", Time, "
        local function f(s) return (s:gsub('.', f)) end
        while true do pcall(f, 'x') end"),
    ("tail calls without end", Time, "local function f() return f() end f()"),
    ("goto without end", Time, "::again:: goto again"),

    ("backtracking without end", Time, "return (('a'):rep(40)):find(('a*'):rep(20) .. 'b')"),
    ("backtracking in match", Time, "return (('a'):rep(200)):match(('.-'):rep(12) .. 'b')"),
    ("backtracking in gmatch", Time, "for _ in (('a'):rep(200)):gmatch(('a?a*'):rep(12) .. 'b') do end"),
    ("backtracking in gsub", Time, "return (('a'):rep(200)):gsub(('a*'):rep(12) .. 'b', '')"),
    ("backtracking caught", Time, "while true do pcall(string.find, ('a'):rep(40), ('a*'):rep(20) .. 'b') end"),
    ("balanced in every place", Time, "while true do local _ = ('('):rep(100000):find('%b()') end"),
    ("a back reference to much", Time, "local s = ('x'):rep(1000000) while true do local _ = (s .. s):find('(x*)%1y') end"),
    ("a plain search that is a product of lengths", Returns, "
        local s = ('a'):rep(400000)
        return s:find(s:sub(1, 200000) .. 'b', 1, true) == nil"),
    ("a pattern that is too long", Fails("the limit is 65536"), "return ('a'):find(('a?'):rep(50000))"),
    ("nothing repeated without end", Returns, "return string.rep('', math.maxinteger) == ''"),
    ("nothing repeated with an empty separator", Returns, "return string.rep('', 1 << 60, '') == ''"),
    ("a string beyond all memory", Memory, "return ('x'):rep(1 << 40)"),
    ("a string beyond all numbers", Fails("resulting string too large"), "return ('xx'):rep(math.maxinteger)"),
    ("formats that take long and give nothing", Fails("at most 64 arguments"), "
        local s = ('x'):rep(1000000)
        local t = {} for i = 1, 10000 do t[i] = s end
        while true do local _ = string.format(('%.0s'):rep(10000), table.unpack(t)) end"),
    ("a date of a million parts", Fails("at most 256 bytes"), "return os.date(('%c'):rep(1000000))"),
    ("a replacement beyond all memory", Memory, "return (('x'):rep(100000)):gsub('.+', ('%0'):rep(100000))"),

    ("a move without end", Time, "table.move({}, 1, math.maxinteger - 1, 2)"),
    ("a move down without end", Time, "table.move({}, 2, math.maxinteger, 1)"),
    ("a move to elsewhere without end", Time, "table.move({}, 1, math.maxinteger - 1, 1, {})"),
    ("an insert into a length that is a lie", Time, "
        table.insert(setmetatable({}, {__len = function() return math.maxinteger - 1 end}), 1, 1)"),
    ("an insert into a length that changes", Time, "
        local lengths = {0, math.maxinteger - 1}
        table.insert(setmetatable({}, {__len = function() return table.remove(lengths, 1) or 1 << 60 end}), 1, 1)"),
    ("an insert into a border far away", Time, "
        local t = {} for i = 0, 62 do t[1 << i] = 1 end
        table.insert(t, 1, 1)"),
    ("a remove from a border far away", Time, "
        local t = {} for i = 0, 62 do t[1 << i] = 1 end
        table.remove(t, 1)"),
    ("a remove from a length that is a lie", Time, "
        table.remove(setmetatable({}, {__len = function() return math.maxinteger - 1 end}), 1)"),
    ("a sort that is never done", Time, "
        table.sort(setmetatable({}, {__len = function() return (1 << 31) - 2 end}), function() return false end)"),
    ("a sort of long strings", Time, "
        local a, b = ('x'):rep(2000000), ('x'):rep(1999999) .. 'y'
        local t = {} for i = 1, 50000 do t[i] = i % 2 == 0 and a or b end
        while true do table.sort(t) end"),
    ("a concat that calls C for ever", Time, "
        return table.concat(setmetatable({}, {__index = table.concat}), '', 1, math.maxinteger)"),
    ("an unpack that calls C for long", Time, "
        local t = {} for i = 1, 400000 do t[i] = true end
        for i = 1, 400000 do t[i] = nil end
        setmetatable(t, {__index = next})
        while true do pcall(table.unpack, t, 1, 200000) end"),
    ("long strings compared", Time, "
        local a, b = ('x'):rep(4000000), ('x'):rep(4000000)
        while true do local _ = a < b end"),
    ("long numbers", Time, "local s = ('1'):rep(4000000) while true do local _ = s + 0 end"),
    ("a C iterator that is slow", Time, "
        local t = {} for i = 1, 400000 do t[i] = true end
        for i = 1, 400000 do t[i] = nil end
        while true do next(t) end"),

    ("a table without end", Memory, "local t = {} while true do t[#t + 1] = {} end"),
    ("a string that doubles", Memory, "local s = 'x' while true do s = s .. s end"),
    ("memory errors caught", Memory, "
        local t = {}
        while true do pcall(function() while true do t[#t + 1] = ('x'):rep(1000) .. #t end end) end"),
    ("memory errors caught in coroutines", Memory, "
        local t = {}
        while true do coroutine.resume(coroutine.create(function() while true do t[#t + 1] = {} end end)) end"),
    ("memory errors in a handler", Memory, "
        local t = {}
        while true do xpcall(function() while true do t[#t + 1] = {} end end, function() while true do t[#t + 1] = {} end end) end"),
    ("coroutines without end", Memory, "local t = {} while true do t[#t + 1] = coroutine.create(print) end"),
    ("memory held by errors", Memory, "
        local t, message = {}, ('x'):rep(100000)
        while true do t[#t + 1] = errors.new(message) end"),
    ("memory held by wrapped errors", Memory, "
        local err = errors.new('x')
        while true do err = errors.wrap(err, 'and so on') end"),
    ("memory held by handles", Memory, "
        local store, t = require('store'), {}
        while true do t[#t + 1] = store.get('app:cache') end"),
    ("memory held by watches", Memory, "
        local cache, t = require('store').get('app:cache'), {}
        while true do t[#t + 1] = cache:watch() end"),
    ("garbage of errors", Time, "while true do errors.new(('x'):rep(10000)) end"),
    ("JSON that unfolds", Fails("the limit here is"), "return json.decode('[' .. ('0,'):rep(1000000) .. '0]')"),
    ("a tree that JSON unfolds", Fails("too large"), "
        local t = {} for _ = 1, 40 do t = {t, t} end
        return json.encode(t)"),
    ("patterns of many captures", Fails("too many captures"), "return ('x'):find(('()'):rep(33))"),

    ("waiting for ever", Time, "time.sleep(1e6)"),
    ("waiting in a coroutine", Time, "coroutine.wrap(function() time.sleep(1e6) end)()"),
    ("waiting in a watch", Time, "require('store').get('app:cache'):watch():next()"),
    ("waiting for ever, caught", Time, "while true do pcall(time.sleep, 1e6) end"),
    ("calls of a store without end", Time, "
        local cache = require('store').get('app:cache')
        while true do cache:set('k', 1) end"),

    ("no files", Returns, "return io == nil and dofile == nil and loadfile == nil"),
    ("no code from strings", Returns, "return load == nil and loadstring == nil and string.dump == nil"),
    ("no system", Returns, "
        return not (os.execute or os.exit or os.remove or os.rename or os.tmpname or os.getenv or os.setlocale)"),
    ("no debugger, no collector, no warnings", Returns, "return debug == nil and collectgarbage == nil and warn == nil"),
    ("no package", Returns, "return package == nil"),
    ("no modules of others", Fails("a sandbox has no module \"socket\""), "require('socket')"),
    ("no modules from files", Fails("a sandbox has no module"), "require('./helper')"),
    ("the engine's modules", Returns, "
        for _, name in ipairs{'store', 'errors', 'json', 'time', 'string'} do require(name) end
        return true"),
    ("bytecode", Fails("attempt to load a binary chunk"), "\x1bLua"),
    ("the metatable of strings", Returns, "return getmetatable('') == false"),
    ("the metatables of the engine's objects", Returns, "
        local cache = require('store').get('app:cache')
        return not getmetatable(cache) and not getmetatable(errors.new('x')) and not getmetatable(cache:watch())"),
    ("guards can't be taken away", Time, "
        pcall, xpcall, error, coroutine.resume = nil
        string.find = nil
        setmetatable(_G, {__index = function() while true do end end})
        return nothing"),
    ("fake memory errors end the script that fakes them", Memory, "pcall(error, 'not enough memory', 0) return true"),
    ("a library that is taken apart", Returns, "
        for _, library in pairs{string, table, math, coroutine, os, utf8, json, time} do
          for name in pairs(library) do library[name] = nil end
        end
        for name in pairs(_G) do _G[name] = nil end
        return true"),
];

async fn run(script: &str) -> (Result<Option<Value>, Error>, Duration) {
    let engine = engine().await;
    let options = SandboxOptions::default().time(TIME).memory_bytes(MEMORY_BYTES);
    let mut sandbox = Sandbox::open(&engine, options).unwrap();
    let started = Instant::now();
    let ended = sandbox.eval("script", script.as_bytes(), []).await;
    (ended, started.elapsed())
}

#[tokio::test]
async fn every_escape_is_closed() {
    for (what, end, script) in ESCAPES {
        let (ended, took) = run(script).await;
        println!("{what}: {took:?} {:?}", ended.as_ref().map_err(|e| e.message().to_owned()));
    }
}
