-- kinds: memory
-- Not after delete and re-create, nor after expiry: an old version never matches again.
local seen = {}
local function fresh(entry)
  assert(not seen[entry.version], "used before: " .. entry.version)
  seen[entry.version] = true
  return entry
end
local first = fresh(cache:put("k", "first"))
cache:delete("k")
fresh(cache:put("k", "second"))
print("stale write:", select(2, cache:put("k", "third", {if_version = first.version})))
local short = fresh(cache:put("k", "short", {ttl = 0.02}))
time.sleep(0.04)
fresh(cache:put("k", "again", {only_if_absent = true}))
print("after expiry:", select(2, cache:delete("k", {if_version = short.version})))
print("left:", cache:get("k"))
