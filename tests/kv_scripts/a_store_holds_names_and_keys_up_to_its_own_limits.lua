-- kinds: bound.memory bound.sql bound.crdt
-- The key of the store is the namespace in hexadecimal digits, a slash, and the key.
local key = ("k"):rep(1024 - 5)
kv:put(key, "v")
print(#kv:get(key), #kv:list().keys[1].name)
local ok, err = pcall(kv.put, kv, key .. "k", "v")
print(ok, err, err:kind(), err:details().limit, err:details().outcome)
print(pcall(kv.get, kv, key .. "k"))
print(pcall(kv.put, kv, "a\0b", 1))
ok, err = pcall(kv.put, kv, "a\xff", 1)
print(ok, err, err:details().outcome)
print(pcall(kv.get, kv, "\xff"))
print(#kv:list{prefix = "\xff"}.keys, #kv:list{prefix = "a\0"}.keys)
-- A namespace of 512 bytes leaves no room for a key.
print(pcall(function() KV.namespace(("n"):rep(512)):put("k", 1) end))
print(pcall(KV.namespace, ("n"):rep(513)))
ok, err = pcall(kv.put, kv, "large", ("v"):rep(1024 * 1024))
print(ok, err:kind(), err:details().limit)
-- A store keeps nothing for more than a hundred years.
print(pcall(kv.put, kv, "k", 1, {expirationTtl = 101 * 365.25 * 86400}))
