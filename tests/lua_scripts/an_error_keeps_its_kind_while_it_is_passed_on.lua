-- Each caller adds what it knows; the kind stays, for whoever decides.
local function read(id)
  local value, err = cache:get("user:" .. id)
  if err then return nil, errors.wrap(err, "reading user " .. id) end
  return value
end
local function greet(id)
  local user, err = read(id)
  if err then return nil, errors.wrap(err, "greeting") end
  return "hello " .. user.name
end
cache:set("user:1", {name = "Alice"})
print(greet(1))
local text, err = greet(2)
print(text, err)
print(err:kind() == errors.NOT_FOUND, err:message(), err:retryable())
print(err:stack())
-- Thrown, it can be caught and asked as well.
local ok, caught = pcall(function() error(err) end)
print(ok, caught == err, errors.is(caught, errors.NOT_FOUND))
