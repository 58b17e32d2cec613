//! Scripts that are not trusted: the escape list, and what a sandbox gives its host.
#![cfg(feature = "lua")]
#![allow(clippy::unwrap_used)]

use std::time::{Duration, Instant};

use plimsoll::error::{Error, ErrorKind};
use plimsoll::limits::{SANDBOX_GRACE_MS, SANDBOX_MEMORY_BYTES_MIN, SANDBOX_SOURCE_BYTES_MAX};
use plimsoll::lua::{Sandbox, SandboxOptions};
use plimsoll::registry::{Config, LoadOptions, Plimsoll};
use plimsoll::value::{Table, Value};

async fn engine() -> Plimsoll {
    let text =
        "version: \"1.0\"\nnamespace: app\nentries:\n  - name: cache\n    kind: store.memory\n";
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
const TIME_TO_SPARE: Duration = Duration::from_secs(60);
const MEMORY_BYTES: usize = 16 << 20;

/// Each row: what is tried, the script, and how it has to end.
const ESCAPES: &[(&str, End, &str)] = &[
    ("an endless loop", Time, "while true do end"),
    ("a loop that catches every error", Time, "while true do pcall(function() while true do end end) end"),
    ("errors caught at every level", Memory, "local function f() while true do pcall(f) end end f()"),
    ("a handler that never ends", Time, "xpcall(function() while true do end end, function() while true do end end)"),
    ("a handler that fails", Returns, "
        local ok, err = xpcall(error, function() error('again', 0) end)
        return not ok and err == 'again'"),
    ("a handler that fails for ever", Time, "local function h() error(h) end while true do xpcall(error, h) end"),
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
    ("__tostring without end in an error", Fails("the error is a table"), "error(setmetatable({}, {__tostring = function() while true do end end}))"),
    ("__tostring without end in print", Time, "print(setmetatable({}, {__tostring = function() while true do end end}))"),
    ("recursion without end", Memory, "local function f() return 1 + f() end f()"),
    ("recursion caught without end", Memory, "local function f() return 1 + f() end while true do pcall(f) end"),
    ("recursion through metamethods", Memory, "
        local t = setmetatable({}, {})
        getmetatable(t).__tostring = function(t) return tostring(t) end
        while true do pcall(tostring, t) end"),
    ("recursion through gsub", Memory, "
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
    ("a string beyond all memory", Memory, "return ('x'):rep(1 << 30)"),
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
    ("an insert into a length that changes", Returns, "
        local lengths = {0, math.maxinteger - 1}
        table.insert(setmetatable({}, {__len = function() return table.remove(lengths, 1) or 1 << 60 end}), 1, 1)
        return true"),
    ("an insert into a border far away", Time, "
        local t = {} for i = 62, 0, -1 do t[1 << i] = 1 end
        table.insert(t, 1, 1)"),
    ("a remove from a border far away", Time, "
        local t = {} for i = 62, 0, -1 do t[1 << i] = 1 end
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
        local globals = _G
          for name in pairs(globals) do globals[name] = nil end
        return true"),
];

async fn run(script: &str, time: Duration) -> (Result<Option<Value>, Error>, Duration) {
    let engine = engine().await;
    let options = SandboxOptions::default().time(time).memory_bytes(MEMORY_BYTES);
    let mut sandbox = Sandbox::open(&engine, options).unwrap();
    let started = Instant::now();
    let ended = sandbox.eval("script", script.as_bytes(), []).await;
    (ended, started.elapsed())
}

#[tokio::test]
async fn every_escape_is_closed() {
    for (what, end, script) in ESCAPES {
        let time = if *end == Time { TIME } else { TIME_TO_SPARE };
        let (ended, took) = run(script, time).await;
        let label = format!("{what}: {ended:?} after {took:?}");
        match (end, &ended) {
            (Time, Err(error)) => {
                assert_eq!(error.kind(), ErrorKind::Timeout, "{label}");
                let message = "the script ran longer than its time limit of 250ms";
                assert_eq!(error.message(), message, "{label}");
                assert!(took >= TIME, "{label}");
            }
            (Memory, Err(error)) => {
                let message = "the script needed more memory than its limit of 16 MiB";
                assert_eq!(error.message(), message, "{label}");
            }
            (Fails(part), Err(error)) => assert!(error.message().contains(part), "{label}"),
            (Returns, Ok(value)) => assert_eq!(*value, Some(true.into()), "{label}"),
            _ => panic!("{label}"),
        }
    }
}

/// Arithmetic as a script's own coroutine, its metamethods and C see it.
#[tokio::test]
async fn what_stands_in_for_luas_own_does_the_same() {
    let lua = plimsoll::lua::mlua::Lua::new();
    for script in SAME {
        let wrapped = format!("return tostring((function() {script} end)())");
        let plain: String = lua.load(&wrapped).eval().unwrap_or_else(|e| panic!("{script}: {e}"));
        let (ended, _) = run(&wrapped, TIME_TO_SPARE).await;
        let value = ended.unwrap_or_else(|error| panic!("{script}: {error}"));
        assert_eq!(value, Some(plain.into()), "{script}");
    }
}

/// Chunks that answer one value, in a sandbox as in Lua itself.
const SAME: &[&str] = &[
    "return select('#', pcall(error))",
    "local ok, err = pcall(error, 'x') return tostring(ok) .. err",
    "local ok, err = xpcall(error, function(e) return e .. '!' end, 'x') return tostring(ok) .. err",
    "return (select(3, xpcall(function(...) return ... end, print, 1, 2)))",
    "local co = coroutine.wrap(function(a) return coroutine.yield(a + 1) end) return co(1) + co(5)",
    "local ok, err = coroutine.resume(coroutine.create(error), 'x') return tostring(ok) .. err",
    "local t = setmetatable({}, {__tostring = function() return 'mine' end}) return t",
    "local t = setmetatable({}, {__tostring = function() return 'mine' end}) return ('%s|%q'):format(t, 1)",
    "local t = setmetatable({}, {__name = 'Name'}) return (tostring(t):gsub(':.*', ''))",
    "local s = '' for i, v in ipairs{1, 2, nil, 4} do s = s .. i .. v end return s",
    "local s = '' for i, v in ipairs(setmetatable({}, {__index = function(_, i) if i < 4 then return i * i end end})) do s = s .. v end return s",
    "return '10' + 1",
    "return '0x10' * '2'",
    "return 10 - '2.5'",
    "return -'3'",
    "return '7' // 2",
    "return '7' % '4'",
    "return '2' ^ 3",
    "return '1' / 2",
    "local t = setmetatable({}, {__add = function(a, b) return 'sum' end}) return ('x' + t) .. (t + 'x') .. (t + 1)",
    "return (select(2, pcall(function() return 'x' + 1 end)):gsub('^.-: ', ''))",
    "return (select(2, pcall(function() return {} + '1' end)):gsub('^.-: ', ''))",
    "return string.rep('ab', 3, '-') .. string.rep('x', 0) .. string.rep('', 5) .. string.rep('', 3, ',')",
    "return string.format('%5.2f|%d|%s|%q|%x', 1.5, 3, nil, 'a\\n', 255)",
    "return os.date('!%Y-%m-%d', 0) .. os.time{year = 2020, month = 1, day = 1, hour = 12}",
    "return table.concat({1, 2, 'x'}, ', ') .. table.concat({}) .. table.concat({1, 2, 3}, '', 2, 3)",
    "return table.concat(setmetatable({}, {__index = function(_, i) return i end}), ',', 3, 6)",
    "return select('#', table.unpack({1, nil, 3}, 1, 3)) .. table.unpack({5, 6}, 2)",
    "return table.concat({table.unpack(setmetatable({}, {__index = function(_, i) return i end, __len = function() return 3 end}))}, ',')",
    "local t = {1, 2, 3} table.insert(t, 4) table.insert(t, 1, 0) table.insert(t, 6, 9) return table.concat(t, ',')",
    "local t = {1, 2, 3, 4} local a, b, c = table.remove(t), table.remove(t, 1), table.remove(t, 3) return table.concat(t, ',') .. a .. b .. tostring(c)",
    "return tostring(table.remove({})) .. tostring(table.remove({}, 0)) .. tostring(table.remove({[0] = 5}, 0))",
    "return (select(2, pcall(table.insert, {1}, 5, 1)):gsub('^.-%(', ''))",
    "return (select(2, pcall(table.remove, {1}, 5)):gsub('^.-%(', ''))",
    "return select('#', table.insert({}, 1))",
    "local t = {} for i = 1, 5000 do t[i] = i end table.insert(t, 2, -1) local x = table.remove(t, 1) return x .. t[1] .. t[2] .. #t .. t[#t]",
    "local t = {} for i = 1, 5000 do t[i] = i end table.move(t, 1, 5000, 3) local s = 0 for i, v in ipairs(t) do s = s + i * v end return s .. #t",
    "local t = {} for i = 1, 5000 do t[i] = i end table.move(t, 3, 5000, 1) local s = 0 for i, v in ipairs(t) do s = s + i * v end return s .. #t",
    "local t = {} for i = 1, 5000 do t[i] = i end return #table.move(t, 1, 5000, 2001, {}) .. #table.move(t, 1, 0, 1)",
    "local log = '' local t = setmetatable({}, {__index = function(_, i) return i end, __newindex = function(_, k, v) log = log .. k .. '=' .. v .. ' ' end}) table.move(t, 1, 3, 2) return log",
    "local t = setmetatable({1, 2, 3}, {__len = function() return 2 end}) table.insert(t, 'x') table.insert(t, 1, 'y') return rawlen(t) .. table.concat({t[1], t[2], t[3]})",
    "local t = {5, 3, 8, 1, 9, 2} table.sort(t) local u = {5, 3, 8} table.sort(u, function(a, b) return a > b end) return table.concat(t, ',') .. table.concat(u, ',')",
    "local t = {} for i = 1, 999 do t[i] = (i * 7919) % 1009 end table.sort(t) for i = 2, #t do assert(t[i - 1] <= t[i]) end return table.concat(t, ',')",
    "local t = {'b', 'a', 'c', 'B', ''} table.sort(t) return table.concat(t, ',')",
    "return tostring(pcall(table.sort, {1, 'x', 2}))",
    "return tostring(getmetatable(setmetatable({}, {__metatable = 'locked'})))",
    "local log = '' do local x <close> = setmetatable({}, {__close = function() log = 'closed' end}) end return log",
    "local log = '' pcall(function() local x <close> = setmetatable({}, {__close = function(_, e) log = e end}) error('x', 0) end) return log",
    "local co = coroutine.wrap(function() local x <close> = setmetatable({}, {__close = function() coroutine.yield('in close') end}) end) return co()",
    "return tostring(require == nil) .. type(print)",
];

#[tokio::test]
async fn a_limit_is_told_with_its_value_and_ends_the_sandbox() {
    let engine = engine().await;
    let options = SandboxOptions::default().time(Duration::from_millis(50));
    let mut sandbox = Sandbox::open(&engine, options).unwrap();
    let error = sandbox.run("endless", b"while true do end", []).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Timeout);
    assert_eq!(error.detail("limit"), Some(&0.05.into()));
    assert!(!error.retryable());
    assert_eq!(sandbox.run("after", b"return 1", []).await.unwrap_err(), error);
    assert!(sandbox.lua().is_none());

    let options = SandboxOptions::default().memory_bytes(3 << 20);
    let mut sandbox = Sandbox::open(&engine, options).unwrap();
    let script = b"local t = {} while true do t[#t + 1] = {} end";
    let error = sandbox.run("large", script, []).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Invalid);
    assert_eq!(error.message(), "the script needed more memory than its limit of 3 MiB");
    assert_eq!(error.detail("limit"), Some(&(3 << 20).into()));
    assert_eq!(sandbox.run("after", b"return 1", []).await.unwrap_err(), error);
}

/// The result is copied within the limits of the script, and meets them as the script does.
#[tokio::test]
async fn a_limit_that_the_result_meets_is_told_as_one() {
    let engine = engine().await;
    let options = SandboxOptions::default().time(Duration::from_secs(1));
    let mut sandbox = Sandbox::open(&engine, options).unwrap();
    let script = b"
        local start, result = time.now(), {}
        for i = 1, 200000 do result[i] = {} end
        while time.now() - start < 0.98 do end
        return result";
    let error = sandbox.eval("large", script, []).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Timeout, "{error:?}");
    assert_eq!(error.detail("limit"), Some(&1.0.into()));
    let next = sandbox.eval("next", b"return 1", []).await.unwrap_err();
    assert_eq!(next, error);
}

/// The table of `docs/sandbox.md`, as `library.function`.
fn documented() -> Vec<String> {
    let rows = include_str!("../docs/sandbox.md").lines();
    let rows = rows.skip_while(|line| *line != "| library | functions |").skip(2);
    let mut names = Vec::new();
    for row in rows.take_while(|line| line.starts_with('|')) {
        let cells: Vec<_> = row.trim_matches('|').split('|').map(str::trim).collect();
        let [library, functions] = cells[..] else { panic!("not two cells: {row}") };
        let prefix = match library.trim_matches('`') {
            "global" => String::new(),
            library => {
                names.push(library.to_owned());
                format!("{library}.")
            }
        };
        names.extend(functions.split('`').skip(1).step_by(2).map(|name| format!("{prefix}{name}")));
    }
    names.extend(["errors", "json", "time"].map(str::to_owned));
    names.sort();
    names
}

#[tokio::test]
async fn what_there_is_is_documented() {
    let engine = engine().await;
    let mut sandbox = Sandbox::open(&engine, SandboxOptions::default()).unwrap();
    let script = b"
        local names, libraries = {}, {}
        for _, name in ipairs{'coroutine', 'math', 'os', 'string', 'table', 'utf8'} do
          libraries[_G[name]] = name .. '.'
        end
        for name, value in pairs(_G) do
          names[#names + 1] = name
          if libraries[value] then
            for field in pairs(value) do names[#names + 1] = libraries[value] .. field end
          end
        end
        return names";
    let names = sandbox.eval("names", script, []).await.unwrap().unwrap();
    let names = names.as_table().unwrap().array().iter().map(|name| name.as_str().unwrap());
    let mut names: Vec<_> = names.map(str::to_owned).collect();
    names.sort();
    assert_eq!(names, documented());
}

#[tokio::test]
async fn limits_that_make_no_sense_are_refused() {
    let engine = engine().await;
    let small = SandboxOptions::default().memory_bytes(SANDBOX_MEMORY_BYTES_MIN - 1);
    let none = SandboxOptions::default().time(Duration::ZERO);
    for (options, message) in
        [(small, "a memory limit of 1048575 bytes is too small"), (none, "a time limit of 0")]
    {
        let error = Sandbox::open(&engine, options).err().unwrap();
        assert_eq!(error.kind(), ErrorKind::Invalid);
        assert!(error.message().contains(message), "{error}");
    }
    let least = SandboxOptions::default().memory_bytes(SANDBOX_MEMORY_BYTES_MIN);
    let mut sandbox = Sandbox::open(&engine, least).unwrap();
    let script = b"return require('store').get('app:cache'):set('k', {1, 2, 3})";
    assert_eq!(sandbox.eval("small", script, []).await.unwrap(), Some(true.into()));

    let long = vec![b'-'; SANDBOX_SOURCE_BYTES_MAX + 1];
    let error = sandbox.run("long", &long, []).await.unwrap_err();
    assert!(error.message().contains("has 262145 bytes"), "{error}");
    assert_eq!(sandbox.eval("next", b"return 1", []).await.unwrap(), Some(1.into()));
}

#[tokio::test]
async fn a_script_gets_arguments_gives_a_result_and_prints_where_the_host_says() {
    let engine = engine().await;
    let (sender, receiver) = std::sync::mpsc::channel();
    let options = SandboxOptions::default().print(move |text| {
        sender.send(String::from_utf8_lossy(text).into_owned()).unwrap();
    });
    let mut sandbox = Sandbox::open(&engine, options).unwrap();
    let script = b"local a, t = ... print(a, t.x, nil) count = (count or 0) + 1 return {a, count}";
    let arguments = [Value::from(7), [("x", 1.5)].into_iter().collect::<Table>().into()];
    for count in 1..=2 {
        let result = sandbox.eval("script", script, arguments.clone()).await.unwrap();
        assert_eq!(
            result,
            Some([7, count].into_iter().zip(1..).map(|(v, k)| (k, v)).collect::<Table>().into())
        );
        assert_eq!(receiver.recv().unwrap(), "7\t1.5\tnil\n");
    }
    sandbox.lua().unwrap().globals().set("given", 42).unwrap();
    assert_eq!(sandbox.eval("given", b"return given", []).await.unwrap(), Some(42.into()));
    assert_eq!(sandbox.eval("nothing", b"", []).await.unwrap(), None);
    sandbox.run("a function", b"return print", []).await.unwrap();
    let error = sandbox.eval("a function", b"return print", []).await.unwrap_err();
    assert_eq!(error.message(), "the result: a function can't be returned");
}

#[tokio::test]
async fn a_script_that_fails_tells_its_error_and_its_stack() {
    let engine = engine().await;
    let mut sandbox = Sandbox::open(&engine, SandboxOptions::default()).unwrap();
    let cache = "local c = require('store').get('app:cache')";
    for (script, kind, message) in [
        ("local function f()\nerror('boom') end f()", ErrorKind::Unknown, "app.lua:2: boom"),
        ("error('plain', 0)", ErrorKind::Unknown, "plain"),
        ("return nil, 'went wrong'", ErrorKind::Unknown, "went wrong"),
        ("local x = = 1", ErrorKind::Unknown, "app.lua:1: unexpected symbol"),
        ("return nil, errors.new('CONFLICT', 'mine')", ErrorKind::Unknown, "Conflict: mine"),
        (
            "local e, err = c:put('k', 1, {ttl = -1}) return e, err",
            ErrorKind::Invalid,
            "ttl must be 0 or a positive",
        ),
        ("error(select(2, c:put('k', 1, {ttl = -1})))", ErrorKind::Invalid, "ttl must be 0"),
        ("; ('x'):bad()", ErrorKind::Unknown, "attempt to call a nil value (method 'bad')"),
    ] {
        let script = format!("{cache} {script}");
        let error = sandbox.run("app.lua", script.as_bytes(), []).await.unwrap_err();
        assert_eq!(error.kind(), kind, "{script}: {error:?}");
        assert!(error.message().contains(message), "{script}: {error:?}");
        let stack = error.detail("stack").and_then(Value::as_str).unwrap();
        let has_stack = !script.contains("= =") && !script.contains("'went wrong'");
        assert_eq!(stack.contains("app.lua:"), has_stack, "{script}: {stack:?}");
    }
}

/// The host goes on while a script computes, even on one thread.
#[tokio::test]
async fn the_hosts_runtime_goes_on_while_a_script_computes() {
    let engine = engine().await;
    let options = SandboxOptions::default().time(TIME);
    let mut sandbox = Sandbox::open(&engine, options).unwrap();
    let ticks = tokio::spawn(async {
        let mut longest = Duration::ZERO;
        for _ in 0..20 {
            let started = Instant::now();
            tokio::time::sleep(Duration::from_millis(5)).await;
            longest = longest.max(started.elapsed());
        }
        longest
    });
    sandbox.run("endless", b"while true do end", []).await.unwrap_err();
    let longest = ticks.await.unwrap();
    assert!(longest < Duration::from_millis(150), "blocked for {longest:?}");
}

#[tokio::test]
async fn dropping_the_future_stops_the_script() {
    let engine = engine().await;
    let stopped = std::sync::Arc::new(());
    let held = std::sync::Arc::downgrade(&stopped);
    let options = SandboxOptions::default().print(move |_| assert_eq!(*stopped, ()));
    let mut sandbox = Sandbox::open(&engine, options).unwrap();
    let run = sandbox.run("endless", b"while true do pcall(print) end", []);
    assert!(tokio::time::timeout(Duration::from_millis(50), run).await.is_err());
    let error = sandbox.run("after", b"", []).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Canceled);
    drop(sandbox);
    let started = Instant::now();
    while held.strong_count() > 0 {
        assert!(started.elapsed() < Duration::from_secs(2), "the script still runs");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// The collector of a chain of weak keys takes a time that grows with its square, without a hook.
#[test]
fn a_script_that_cannot_be_stopped_is_left_behind_in_time() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let script = "
        local t, keys = setmetatable({}, {__mode = 'k'}), {}
        for i = 1, 60000 do keys[i] = {} end
        for i = #keys, 2, -1 do
          local k = math.random(i)
          keys[i], keys[k] = keys[k], keys[i]
        end
        for i = 1, #keys - 1 do t[keys[i]] = keys[i + 1] end
        root, keys = keys[1], nil
        while true do local garbage = {} end";
    runtime.block_on(async {
        let engine = engine().await;
        let options = SandboxOptions::default().time(TIME);
        let mut sandbox = Sandbox::open(&engine, options).unwrap();
        let started = Instant::now();
        let error = sandbox.run("weak", script.as_bytes(), []).await.unwrap_err();
        let took = started.elapsed();
        assert!(error.message().contains("its time limit of 250ms"), "{error}");
        let most = TIME + Duration::from_millis(SANDBOX_GRACE_MS + 500);
        assert!(took < most, "answered after {took:?}");
        drop(sandbox);
    });
    runtime.shutdown_background();
}

/// Wherever the memory runs out, it ends the script and nothing else.
#[tokio::test]
async fn memory_may_run_out_anywhere() {
    let engine = engine().await;
    let script = "
        local cache, kept = require('store').get('app:cache'), {}
        for i = 1, 1e9 do
          kept[#kept + 1] = coroutine.wrap(function(k)
            local _, err = pcall(error, errors.wrap(errors.new{message = 'm', details = {}}, 'w'))
            cache:set('k' .. k, {k, tostring(err), ('x'):rep(k % 50)})
            return {cache:get('k' .. k), (('a,b'):gsub('%w', {a = 'y'})), json.encode{k}, err}
          end)(i)
        end";
    for step in 0..25 {
        let options = SandboxOptions::default().memory_bytes((1 << 20) + step * 2_117);
        let mut sandbox = Sandbox::open(&engine, options).unwrap();
        let error = sandbox.run("script", script.as_bytes(), []).await.unwrap_err();
        assert!(error.message().contains("more memory than its limit"), "{step}: {error:?}");
    }
}
