local start = now() // 1 | 0
kv:put("k", "v", {expiration = start + 100, expirationTtl = 5})
print(select(2, kv:getWithMetadata("k")).expiration - start)
kv:put("k", "v", {expiration = start - 1, expirationTtl = 5})
print(kv:get("k"))
print(pcall(kv.put, kv, "k", "v", {expiration = start + 100, expirationTtl = -5}))
