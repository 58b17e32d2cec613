-- kinds: kv.crdt
--
-- A version is the stamp of its write. It is opaque, and yet sorts: whatever was written here before
-- has a smaller one, deletes and expiries in between or not.
local first = cache:put("k", "one")
assert(cache:entry("k").version == first.version, "it does not change by being read")
local second = cache:put("k", "one")
print("the same value again", second.version > first.version)
print("deleted", cache:delete("k"), cache:delete("k"))
local third = cache:put("k", "one", { ttl = 0.02 })
print("created again", third.version > second.version)
time.sleep(0.03)
print("expired", cache:has("k"))
local fourth = cache:put("k", "one")
print("and once more", fourth.version > third.version, cache:entry("k").expires_at)
local other = cache:put("another key", 1)
print("of any key", other.version > fourth.version)
print("in a page", cache:list{ prefix = "k" }.items[1].version == fourth.version)
print("its form", first.version:find("^%x+%-%x%x%x%x%x%x%x%x%-%x+%-%x+$") ~= nil, #first.version)
