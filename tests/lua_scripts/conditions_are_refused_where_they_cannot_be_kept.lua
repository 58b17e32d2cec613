-- kinds: sql
-- On a kind without versions a condition is an error, never ignored.
cache:set("k", "before")
print(cache:put("k", 1, {only_if_absent = true}))
print(cache:put("k", 1, {if_version = cache:entry("k").version}))
print(cache:delete("k", {if_version = "0"}))
print(cache:transact {{op = "delete", key = "k"}})
print(cache:watch())
print(cache:put("k", "after", {only_if_absent = false}).value)
local info = cache:info()
print(info.backend, info.consistency, info.conditional_put, info.transact, info.watch)
