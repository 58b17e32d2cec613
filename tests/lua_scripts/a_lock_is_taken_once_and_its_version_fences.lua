-- kinds: memory
-- Who creates the key holds the lock; its version orders the holders.
local function take(who, ttl)
  local entry, err = cache:put("lock:job", who, {only_if_absent = true, ttl = ttl})
  print(who .. ":", entry and "holds it" or err:kind())
  return entry
end
local first = take("one", 0.04)
take("two", 60)
time.sleep(0.08)
local second = take("two", 60)
-- The first holder woke up late: its token is no longer that of the lock.
print("late release:", select(2, cache:delete("lock:job", {if_version = first.version})):kind())
print("release:", cache:delete("lock:job", {if_version = second.version}))
