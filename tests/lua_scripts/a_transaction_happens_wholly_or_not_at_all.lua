-- kinds: memory
-- Money moves between two accounts, if both are as they were read.
cache:set("account:a", 100)
cache:set("account:b", 0)
local function transfer(amount, meanwhile)
  local a, b = cache:entry("account:a"), cache:entry("account:b")
  if meanwhile then meanwhile() end
  return cache:transact {
    {op = "put", key = "account:a", value = a.value - amount, if_version = a.version},
    {op = "put", key = "account:b", value = b.value + amount, if_version = b.version},
    {op = "check", key = "frozen", absent = true},
  }
end
local function show(label, results, err)
  print(label, results and #results .. " results" or err)
  if err then print("  failed at operation", err:details().index) end
  print("  a", cache:get("account:a"), "b", cache:get("account:b"))
end
show("moved:", transfer(30))
show("raced:", transfer(30, function() cache:set("account:b", 31) end))
show("frozen:", transfer(30, function() cache:set("frozen", true) end))
