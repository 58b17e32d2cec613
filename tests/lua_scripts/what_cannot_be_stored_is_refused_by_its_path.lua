cache:set("k", "before")
local cycle = {name = "loop"}
cycle.inner = {cycle}
print(cache:set("k", {items = {1, 2, print}}))
print(cache:set("k", {["two words"] = {on = coroutine.create(print)}}))
print(cache:set("k", {[{}] = "a table as key"}))
print(cache:set("k", cycle))
print(cache:set("k", nil))
print(cache:set("k", ("x"):rep(1024 * 1024)))
print(cache:get("k"))
