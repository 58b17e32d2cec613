-- kinds: memory sqlite
local name, key = ("n"):rep(512), ("k"):rep(1024)
KV.namespace(name):put(key, "v")
print(KV.namespace(name):get(key), #KV.namespace(name):list().keys[1].name)
local ok, err = pcall(KV.namespace, name .. "n")
print(ok, err, err:details().limit, err:details().actual)
ok, err = pcall(kv.put, kv, key .. "k", "v")
print(ok, err, err:details().limit, err:details().outcome)
-- Longer keys can be asked for: a file of another program may have them.
print(kv:get(key .. "k"), select("#", kv:delete(key .. "k")))
-- Any bytes are a key.
kv:put("a\0b", 1)
kv:put("\xff", 2)
print(kv:get("a\0b"), kv:get("\xff"), kv:get("a"), #kv:list{prefix = "a\0"}.keys)
ok, err = pcall(kv.put, kv, "k", ("v"):rep(64 * 1024 * 1024 + 1))
print(ok, err, err:details().limit)
ok, err = pcall(kv.put, kv, "k", "v", {metadata = {("m"):rep(1024 * 1024)}})
print(ok, err, err:details().limit)
