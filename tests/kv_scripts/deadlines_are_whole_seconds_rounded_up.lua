advance(0.4)
local start = now() // 1 | 0
local function expiration(options)
  kv:put("k", "v", options)
  local value, about = kv:getWithMetadata("k")
  if value == nil then return "absent" end
  print(value, about.expiration and about.expiration - start, math.type(about.expiration), kv:list().keys[1].expiration == about.expiration)
end
expiration {expirationTtl = 10}       -- 10.4 s after the start of this second
expiration {expirationTtl = 0.5}
expiration {expirationTtl = 0.6}
expiration {expirationTtl = 0.001}
expiration {expiration = start + 5}
expiration {expiration = start + 4.2}
expiration {expiration = start + 0.5} -- ahead, though in this second
-- The whole of the second before the deadline counts.
kv:put("k", "v", {expirationTtl = 1})
advance(1.5)
print(kv:get("k"))
advance(0.1)
print(kv:get("k"))
