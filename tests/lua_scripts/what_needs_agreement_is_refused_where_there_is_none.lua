-- kinds: kv.crdt
--
-- Every node writes by itself, so no condition can be decided anywhere: a store that is eventually
-- consistent says so, and writes nothing.
local info = cache:info()
print(info.backend, info.consistency, info.consistency == store.consistency.EVENTUAL)
print(info.durable, info.list, info.versioned, info.conditional_put, info.ttl, info.transact, info.watch)

local entry = cache:put("k", "kept")
local function refused(_, err)
    assert(err:kind() == errors.INVALID and not err:retryable())
    print(err:message())
    return err
end
refused(cache:put("k", "lost", { only_if_absent = true }))
refused(cache:put("k", "lost", { if_version = entry.version }))
refused(cache:delete("k", { if_version = entry.version }))
refused(cache:transact{ { op = "put", key = "k", value = "lost" } })
refused(cache:watch())
local err = refused(cache:put("", "lost"))
print(err:details().outcome, cache:get("k"))
