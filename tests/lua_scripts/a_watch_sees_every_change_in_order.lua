-- kinds: memory
local watch = cache:watch{prefix = "w:"}
cache:set("w:1", "a")
cache:set("unwatched", "b")
cache:set("w:1", "c")
cache:transact {
  {op = "delete", key = "w:1"},
  {op = "put", key = "w:2", value = "d"},
}
cache:set("w:2", "short", 0.02)
time.sleep(0.04)
cache:set("w:2", "late")   -- lands on the expired entry: its expiry comes first
cache:delete("w:2")
for _ = 1, 6 do
  local change, err = watch:next(0.05)
  if err then print(err) break end
  local events = {}
  for _, event in ipairs(change.events) do
    events[#events + 1] = event.type .. " " .. event.key .. (event.entry and "=" .. event.entry.value or "")
  end
  print(table.concat(events, ", "))
end
print(watch:next(0))
watch:close()
print(watch:next())
