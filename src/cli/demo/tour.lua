-- The tour of `plimsoll demo`. It is an ordinary script as well:
--   plimsoll run src/cli/demo/tour.lua
-- A line `-- #` starts a step; the comment behind it is the step's story.

-- # A store is found by its id
-- Its id and options stand in a YAML file; scripts do not change with the kind. In memory, in SQL,
-- agreed on by the nodes of a cluster, or gossiped between them: what differs is what a store can
-- promise, and it says so.
store = require("store")
cache = assert(store.get("app:cache"))
records = assert(store.get("app:records"))
deployments = assert(store.get("app:deployments"))
sessions = assert(store.get("app:sessions"))
for _, s in ipairs({ cache, records, deployments, sessions }) do
    local info = s:info()
    print(info.id, info.backend, info.consistency, info.durable and "durable" or "gone with the process")
end

-- # What goes in comes out, exactly
-- Integers stay integers, floats floats; strings keep every byte, tables every key.
-- All kinds pass this: SQLite keeps JSON that other programs can read, and loses nothing.
order = { id = 7, total = 7.0, raw = "\0\xff", lines = { "a", "b", [10] = "sparse" }, [true] = 1 }
for _, s in ipairs({ cache, records, deployments, sessions }) do
    assert(s:set("order", order))
    local back = s:get("order")
    assert(math.type(back.id) == "integer" and math.type(back.total) == "float")
    assert(back.raw == "\0\xff" and back.lines[10] == "sparse" and back[true] == 1)
    print(s:info().id, back.id, back.total, #back.raw .. " bytes")
end

-- # Nothing is stored that could not be returned
-- A value that cannot be kept is refused whole, with the path to its bad part.
local ok, err = cache:set("order", { items = { 1, 2, print } })
assert(ok == nil and err:kind() == errors.INVALID)
print(err)
assert(cache:get("order").id == 7)

-- # An expired entry is an absent key
-- From its deadline on, for every operation, swept or not: reading it, listing it, and creating
-- it again only if absent.
cache:set("session:1", { user = "alice" }, 0.05)
print("before", cache:has("session:1"))
time.sleep(0.06)
print("after", cache:has("session:1"))
local _, err = cache:get("session:1")
assert(err:kind() == errors.NOT_FOUND)
assert(cache:put("session:1", {}, { only_if_absent = true }))

-- # A lock that is won once
-- only_if_absent decides inside the store: of many writers one wins, the others learn it, on
-- whichever node they ask. The version of the winner's entry is a fencing token: it is never used
-- twice.
local first = deployments:put("lock:job", "worker-1", { only_if_absent = true, ttl = 30 })
local second, err = deployments:put("lock:job", "worker-2", { only_if_absent = true, ttl = 30 })
assert(first and not second and err:kind() == errors.ALREADY_EXISTS)
print("holder", deployments:get("lock:job"), "token", first.version)

-- # Compare and set: no update is lost
-- Two readers saw the same version; only the first write goes through. The loser gets CONFLICT,
-- which is safe to retry: its write did nothing, and the error says so.
cache:set("counter", 1)
local mine, theirs = cache:entry("counter"), cache:entry("counter")
assert(cache:put("counter", theirs.value + 1, { if_version = theirs.version }))
local e, err = cache:put("counter", mine.value + 1, { if_version = mine.version })
assert(e == nil and err:kind() == errors.CONFLICT and err:retryable())
print(err:kind(), "outcome: " .. err:details().outcome, "value is", cache:get("counter"))

-- # A version is not reused, even by the same value
-- Delete and create again: a reader that still holds the old version cannot win by accident.
local old = cache:entry("counter").version
cache:delete("counter")
cache:set("counter", 2)
local _, err = cache:put("counter", 100, { if_version = old })
assert(err:kind() == errors.CONFLICT)
print(old, "is not", cache:entry("counter").version)

-- # Several keys at once, or none
-- A transaction checks everything against the state before and then does all or nothing.
local done, err = deployments:transact({
    { op = "put", key = "account:a", value = 90 },
    { op = "put", key = "account:b", value = 110 },
    { op = "check", key = "lock:job", absent = true },
})
assert(done == nil and not deployments:has("account:a"))
print("operation " .. err:details().index .. " failed:", err:message())

-- # Paging sees each key once
-- Keys come in byte order. `_` and `%` in a prefix mean themselves, in SQL too.
for i = 1, 5 do
    records:set("user_" .. i, i)
end
records:set("userX", "not listed")
local after, seen = nil, {}
repeat
    local page = assert(records:list({ prefix = "user_", after = after, limit = 2 }))
    for _, item in ipairs(page.items) do
        seen[#seen + 1] = item.key
    end
    after = page.cursor
until not page.has_more
print(table.concat(seen, " "))
assert(#seen == 5)

-- # Watching instead of polling
-- Every change, in order, without a gap; what expires is an event too.
local watch = assert(deployments:watch({ prefix = "job:" }))
deployments:set("job:1", "queued")
deployments:set("other", "not watched")
deployments:delete("job:1")
for _ = 1, 2 do
    local change = assert(watch:next(1))
    print(change.revision, change.events[1].type, change.events[1].key)
end
watch:close()

-- # Writing without asking anybody
-- app:sessions lives on every node: one of them takes the write at once, majority or not, and gossip
-- brings it to the others. The last write of a key wins, on every node the same: versions are stamps
-- of the cluster's clock, and sort.
local mine = sessions:put("session:1", { user = "alice" }, { ttl = 3600 })
local again = sessions:put("session:1", { user = "bob" })
assert(again.version > mine.version and sessions:get("session:1").user == "bob")
print(sessions:info().consistency, again.version)
print("deleted", sessions:delete("session:1"), "and again", sessions:delete("session:1"))

-- # Stores say what they can
-- A kind that cannot keep a promise refuses it, instead of keeping it most of the time.
for _, s in ipairs({ records, sessions }) do
    local _, err = s:put("k", 1, { only_if_absent = true })
    assert(err:kind() == errors.INVALID)
    print(s:info().conditional_put, err:message())
end
