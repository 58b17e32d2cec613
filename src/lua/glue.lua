-- The half of call.rs that only Lua can do: wait, raise values, and keep waiting calls
-- out of the sight of the script's own coroutines.
local MARK, PENDING, waits, await, now, set_undriven, take_undriven = ...

local error, next, select, setmetatable = error, next, select, setmetatable
local tostring, type = tostring, type
local create, resume, yield = coroutine.create, coroutine.resume, coroutine.yield
local status, close, isyieldable = coroutine.status, coroutine.close, coroutine.isyieldable

-- At its default pause (200) the collector never catches up with garbage that has finalizers, as
-- every error object has: a script that misses a million keys would keep a third of the errors.
-- The mode, and a pause that is shorter already, stay as the host set them.
local PAUSE_MAX = 160
if collectgarbage then
  local before = collectgarbage("setpause", PAUSE_MAX)
  if before < PAUSE_MAX then collectgarbage("setpause", before) end
end

-- A call that was not done at once: `left` is what to wait for, or an error to raise.
local function settle(left)
  if waits(left) then
    local result, err
    if isyieldable() then
      result, err = await(left)
    else
      result, err = now(left)
    end
    if result ~= MARK then
      if err == nil then return result end
      return result, err
    end
    left = err
  end
  error(left, 0)
end

-- Makes the function that scripts see out of one of Rust. No engine call has more than four
-- arguments; a fixed number is faster than `...`.
local function wrap(call)
  return function(a, b, c, d)
    local result, err = call(a, b, c, d)
    if result == MARK then return settle(err) end
    if err == nil then return result end
    return result, err
  end
end

-- As wrap, for a call that answers two values, the first of which may be nil: as a table of both.
local function wrap_pair(call)
  local get = wrap(call)
  return function(a, b, c, d)
    local pair = get(a, b, c, d)
    if pair == nil then return nil, nil end
    return pair[1], pair[2]
  end
end

-- As wrap, for a call that answers nothing.
local function wrap_silent(call)
  local run = wrap(call)
  return function(a, b, c, d)
    run(a, b, c, d)
  end
end

-- As wrap, for a call that answers a stream of `for`: Lua closes the fourth value when the loop
-- ends, however it does.
local function wrap_stream(call)
  local open = wrap(call)
  return function(a, b)
    local stream, err = open(a, b)
    if stream == nil then return nil, err end
    return stream, nil, nil, stream
  end
end

-- A coroutine of the script may have to wait for the engine. That is no value for whoever resumed
-- it: pass it up to the host's runtime, and go on once that wakes us. Where nothing above can
-- wait, the call gets its last poll, and is given up if that does not help.
local pass_up

local function last_poll_done(co, ...)
  -- Not taken: a function of the host's own is waiting, of which we know nothing.
  if take_undriven() then return ... end
  return pass_up(co, ...)
end

function pass_up(co, ok, ...)
  if not ok or ... ~= PENDING or select("#", ...) ~= 1 then return ok, ... end
  if isyieldable() then
    yield(PENDING)
    return pass_up(co, resume(co))
  end
  set_undriven()
  return last_poll_done(co, resume(co))
end

function coroutine.resume(co, ...)
  return pass_up(co, resume(co, ...))
end

local function unwrap(co, ok, ...)
  if ok then return ... end
  local err = ...
  if status(co) == "dead" then
    local is_clean, closing_err = close(co)
    if not is_clean then err = closing_err end
  end
  error(err, type(err) == "string" and 2 or 0)
end

function coroutine.wrap(f)
  local co = create(f)
  return function(...) return unwrap(co, pass_up(co, resume(co, ...))) end
end

-- A view of a table that refuses writes; `name` is what messages call it.
local function read_only(name, values)
  return setmetatable({}, {
    __index = values,
    __newindex = function(_, key)
      error(name .. " is read-only: " .. tostring(key) .. " can't be set", 2)
    end,
    __pairs = function() return next, values, nil end,
    __metatable = name,
  })
end

return {
  wrap = wrap,
  wrap_pair = wrap_pair,
  wrap_silent = wrap_silent,
  wrap_stream = wrap_stream,
  read_only = read_only,
}
