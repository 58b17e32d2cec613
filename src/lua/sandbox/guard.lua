-- What stands in a sandbox in place of functions that could run for ever where no hook reaches, or
-- that could hide that a limit was exceeded. Each does what Lua's own does.
--
-- Code that C calls can't be suspended. So nothing here lets C call what a script may have written,
-- but `pcall` and `coroutine.resume`, which Lua makes so that it can: metamethods, comparisons and
-- handlers are called from Lua.
local rust, limits = ...

local error, ipairs, next, rawget, select, setmetatable, tonumber, tostring, type =
  error, ipairs, next, rawget, select, setmetatable, tonumber, tostring, type
local pcall, resume = pcall, coroutine.resume
local byte, format, rep, sub = string.byte, string.format, string.rep, string.sub
local concat, insert, move, pack, remove, unpack =
  table.concat, table.insert, table.move, table.pack, table.remove, table.unpack
local tointeger, maxinteger = math.tointeger, math.maxinteger
local date, time = os.date, os.time

-- The metatable of a table, whatever its field `__metatable` says; nil for everything else.
local metatable_of = rust.metatable_of

-- Errors. `rust.failed` raises again where a limit was exceeded, so nothing catches that.

local function caught(ok, ...)
  if not ok then rust.failed((...)) end
  return ok, ...
end

function _G.pcall(...)
  return caught(pcall(...))
end

-- The handler is called once the error is caught, and not where it is raised.
local function handled(handler, ok, ...)
  if ok then return true, ... end
  rust.failed((...))
  return false, select(2, caught(pcall(handler, ...)))
end

function _G.xpcall(f, handler, ...)
  return handled(handler, pcall(f, ...))
end

function coroutine.resume(...)
  return caught(resume(...))
end

-- What a coroutine holds in `<close>` variables when it ends by an error is not closed: C would
-- call `__close`. This one is for the engine's own `coroutine.wrap`, and then taken away.
function coroutine.close()
  return true
end

-- Finalizers run without hooks.
function _G.setmetatable(t, metatable)
  if type(metatable) == "table" and rawget(metatable, "__gc") ~= nil then
    error("a sandbox has no finalizers: remove __gc from the metatable", 2)
  end
  return setmetatable(t, metatable)
end

function _G.tostring(...)
  local value = ...
  local metatable = metatable_of(value)
  local convert = metatable and rawget(metatable, "__tostring")
  if convert == nil then return tostring(...) end
  local text = convert(value)
  if type(text) ~= "string" then error("'__tostring' must return a string", 2) end
  return text
end
local to_text = _G.tostring

local function next_item(list, position)
  position = position + 1
  local item = list[position]
  if item ~= nil then return position, item end
end

function _G.ipairs(...)
  if metatable_of((...)) == nil then return ipairs(...) end
  return next_item, (...), 0
end

-- Strings.

-- Arithmetic on strings: the metamethods of the other operand are the script's.
local strings = rust.metatable_of_strings
local arithmetic = {
  __add = function(a, b) return a + b end,
  __sub = function(a, b) return a - b end,
  __mul = function(a, b) return a * b end,
  __mod = function(a, b) return a % b end,
  __pow = function(a, b) return a ^ b end,
  __div = function(a, b) return a / b end,
  __idiv = function(a, b) return a // b end,
  __unm = function(a) return -a end,
}
for name, calculate in next, arithmetic do
  strings[name] = function(a, b)
    local x, y = tonumber(a), tonumber(b)
    if x and y then return calculate(x, y) end
    local metatable = metatable_of(b)
    local method = metatable and rawget(metatable, name)
    if method ~= nil then return method(a, b) end
    local what = "attempt to " .. sub(name, 3) .. " a '" .. type(a) .. "' with a '" .. type(b) .. "'"
    error(what, 2)
  end
end
strings.__metatable = false

-- The results of a Rust function, or the error that it tells, raised `level` functions above.
local function told(level, first, ...)
  if first == rust.FAULT then error((...), level + 1) end
  return first, ...
end

function string.find(...)
  return told(1, rust.find(...))
end

function string.match(...)
  return told(1, rust.match(...))
end

-- The captures of a match, or the whole of it.
local function captured(s, start, stop, ...)
  if select("#", ...) == 0 then return sub(s, start, stop) end
  return ...
end

function string.gmatch(s, pattern, init)
  s = told(2, rust.text(s, 1, "gmatch"))
  pattern = told(2, rust.text(pattern, 2, "gmatch"))
  local from, last = told(2, rust.place(s, init)), nil
  local function step(start, ...)
    if start == nil then return nil end
    last = (...)
    from = last + 1
    return captured(s, start, ...)
  end
  return function()
    return step(told(2, rust.search(s, pattern, from, last, false)))
  end
end

local function replaced(s, pattern, value, start, stop, ...)
  if type(value) == "string" then
    return told(3, rust.expand(value, sub(s, start, stop), ...))
  end
  if type(value) == "table" then
    value = value[captured(s, start, stop, ...)]
  else
    value = value(captured(s, start, stop, ...))
  end
  if not value then return sub(s, start, stop) end
  if type(value) == "string" or type(value) == "number" then return value end
  error("invalid replacement value (a " .. type(value) .. ")", 4)
end

function string.gsub(s, pattern, value, limit)
  s = told(2, rust.text(s, 1, "gsub"))
  pattern = told(2, rust.text(pattern, 2, "gsub"))
  if type(value) == "number" then value = tostring(value) end
  local kind = type(value)
  if kind ~= "string" and kind ~= "function" and kind ~= "table" then
    error("bad argument #3 to 'gsub' (string/function/table expected, got " .. kind .. ")", 2)
  end
  limit = limit == nil and #s + 1 or tointeger(limit)
  if not limit then error("bad argument #4 to 'gsub' (number expected)", 2) end

  local parts, size, count, from, last = {}, 0, 0, 1, nil
  local function step(start, ...)
    if start == nil then return false end
    count = count + 1
    parts[size + 1] = sub(s, from, start - 1)
    parts[size + 2] = replaced(s, pattern, value, start, ...)
    size = size + 2
    last = (...)
    from = last + 1
    return true
  end
  local is_anchored = byte(pattern) == byte("^")
  while count < limit and step(told(2, rust.search(s, pattern, from, last, true))) do
    if is_anchored then break end
  end
  parts[size + 1] = sub(s, from)
  return concat(parts), count
end

-- Lua's own counts to n even if there is nothing to repeat.
function string.rep(s, n, separator)
  if s == "" and (separator == nil or separator == "") and (tointeger(n) or 0) > 1 then n = 1 end
  return rep(s, n, separator)
end

-- An argument can take long and add nothing to the result (`%.0s`).
function string.format(...)
  local count = select("#", ...) - 1
  if count > limits.format_arguments then
    error("string.format takes at most " .. limits.format_arguments .. " arguments in a sandbox", 2)
  end
  for i = 2, count + 1 do
    if metatable_of((select(i, ...))) then
      local arguments = pack(...)
      for k = i, arguments.n do
        if metatable_of(arguments[k]) then arguments[k] = to_text(arguments[k]) end
      end
      return format(unpack(arguments, 1, arguments.n))
    end
  end
  return format(...)
end

function os.time(...)
  if metatable_of((...)) then error("the table of os.time has a metatable", 2) end
  return time(...)
end

function os.date(pattern, ...)
  if type(pattern) == "string" and #pattern > limits.date_format_bytes then
    error("the format of os.date has at most " .. limits.date_format_bytes .. " bytes in a sandbox", 2)
  end
  return date(pattern, ...)
end

-- Tables. A length need not be what the table holds: `#` finds any border, and `__len` answers
-- anything. So what goes through all of a table does so in slices, and where there is a metatable,
-- item by item.

local SLICE = 1000

local function is_plain(t)
  return metatable_of(t) == nil
end

local function move_items(source, first, last, at, target)
  if at > last or at <= first or source ~= target then
    for i = 0, last - first do target[at + i] = source[first + i] end
  else
    for i = last - first, 0, -1 do target[at + i] = source[first + i] end
  end
end

local function move_in_slices(source, first, last, at, target)
  if not (is_plain(source) and is_plain(target)) then
    return move_items(source, first, last, at, target)
  end
  local is_forward = at > last or at <= first or source ~= target
  local slice_first, slice_last = first, last
  while true do
    if is_forward then
      slice_last = last - slice_first < SLICE and last or slice_first + SLICE - 1
    else
      slice_first = slice_last - first < SLICE and first or slice_last - SLICE + 1
    end
    move(source, slice_first, slice_last, at + (slice_first - first), target)
    if is_forward then
      if slice_last == last then return end
      slice_first = slice_last + 1
    else
      if slice_first == first then return end
      slice_last = slice_first - 1
    end
  end
end

function table.move(source, first, last, at, target)
  target = target == nil and source or target
  local f, l, t = tointeger(first), tointeger(last), tointeger(at)
  local is_valid = type(source) == "table" and type(target) == "table" and f and l and t and f <= l
    and (f > 0 or l < maxinteger + f) and t <= maxinteger - (l - f)
  -- Lua's own says what is wrong, or has nothing to do.
  if not is_valid then return move(source, first, last, at, target) end
  move_in_slices(source, f, l, t, target)
  return target
end

local function check_position(name, position, last)
  if position < 1 or position > last then
    error("bad argument #2 to '" .. name .. "' (position out of bounds)", 3)
  end
end

function table.insert(list, ...)
  local count, position, value = select("#", ...), ...
  if type(list) ~= "table" or count == 0 or count > 2 then return insert(list, ...) end
  local size = #list
  if count == 1 then
    list[size + 1] = position
    return
  end
  position = tointeger(position)
  if not position then return insert(list, ...) end
  check_position("insert", position, size + 1)
  if position <= size then move_in_slices(list, position, size, position + 1, list) end
  list[position] = value
end

function table.remove(list, ...)
  if type(list) ~= "table" then return remove(list, ...) end
  local size = #list
  local position = size
  if select("#", ...) > 0 then
    position = tointeger((...))
    if not position then return remove(list, ...) end
    if position ~= size then check_position("remove", position, size + 1) end
  end
  local value = list[position]
  if position < size then move_in_slices(list, position + 1, size, position, list) end
  list[position < size and size or position] = nil
  return value
end

-- A copy of a part of a list, for functions of C: without metamethods, with its items from 1 on.
local function plain_part(list, first, last)
  local part, count = {}, 0
  for i = first, last do
    count = count + 1
    part[count] = list[i]
  end
  return part, count
end

function table.concat(list, separator, first, last)
  if is_plain(list) then return concat(list, separator, first, last) end
  first, last = tointeger(first == nil and 1 or first), tointeger(last == nil and #list or last)
  if not (first and last) then return concat({}, separator, {}) end
  local part, count = plain_part(list, first, last)
  return concat(part, separator, 1, count)
end

function table.unpack(list, first, last)
  if is_plain(list) then return unpack(list, first, last) end
  first, last = tointeger(first == nil and 1 or first), tointeger(last == nil and #list or last)
  if not (first and last) then return unpack({}, {}) end
  local part, count = plain_part(list, first, last)
  return unpack(part, 1, count)
end

-- Merges the sorted runs [first, middle] and [middle + 1, last] of `from` into `to`.
local function merge(from, to, first, middle, last, is_less)
  local left, right = first, middle + 1
  for i = first, last do
    if left <= middle and (right > last or not is_less(from[right], from[left])) then
      to[i] = from[left]
      left = left + 1
    else
      to[i] = from[right]
      right = right + 1
    end
  end
end

local function is_below(a, b)
  return a < b
end

-- A merge sort: whatever the comparison answers, it ends.
function table.sort(list, is_less)
  if type(list) ~= "table" then
    error("bad argument #1 to 'sort' (table expected, got " .. type(list) .. ")", 2)
  end
  if is_less == nil then is_less = is_below end
  local from, size = plain_part(list, 1, #list)
  local to = {}
  local width = 1
  while width < size do
    for first = 1, size, 2 * width do
      local middle, last = first + width - 1, first + 2 * width - 1
      merge(from, to, first, middle < size and middle or size, last < size and last or size, is_less)
    end
    from, to = to, from
    width = 2 * width
  end
  move_in_slices(from, 1, size, 1, list)
end

-- The host.

function print(...)
  local texts = pack(...)
  for i = 1, texts.n do texts[i] = to_text(texts[i]) end
  rust.print(concat(texts, "\t", 1, texts.n) .. "\n")
end

function require(name)
  local module = rust.modules[name]
  if module == nil then
    error("a sandbox has no module " .. format("%q", name) .. ": it has only the engine's own", 2)
  end
  return module
end
