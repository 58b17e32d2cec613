local at = now() // 1 | 0
kv:put("at", "v", {expiration = at + 10})
kv:put("ttl", "v", {expirationTtl = 10})
kv:put("never", "v")
local function show()
  local names = {}
  for _, key in ipairs(kv:list().keys) do names[#names + 1] = key.name end
  print(kv:get("at"), kv:get("ttl"), (kv:getWithMetadata("ttl")), table.concat(names, " "))
end
advance(9.999)
show()
advance(0.001)
show()
-- Written again, it is a new entry.
kv:put("at", "again")
advance(1000)
show()
