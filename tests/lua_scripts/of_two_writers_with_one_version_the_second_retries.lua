-- kinds: memory
-- Two coroutines count to five each; nothing is lost, because a conflict is retried.
cache:set("counter", 0)
local conflicts = 0
local function increment(pause)
  while true do
    local entry = cache:entry("counter")
    pause()
    local written, err = cache:put("counter", entry.value + 1, {if_version = entry.version})
    if written then return end
    assert(err:kind() == errors.CONFLICT and err:retryable() and err:details().outcome == "none")
    conflicts = conflicts + 1
  end
end
local writers = {}
for i = 1, 2 do
  writers[i] = coroutine.create(function()
    for _ = 1, 5 do increment(coroutine.yield) end
  end)
end
local running = true
while running do
  running = false
  for _, writer in ipairs(writers) do
    if coroutine.status(writer) == "suspended" then
      assert(coroutine.resume(writer))
      running = true
    end
  end
end
print("counter:", cache:get("counter"))
print("conflicts:", conflicts)
