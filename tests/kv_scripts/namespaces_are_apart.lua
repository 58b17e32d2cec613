-- Whatever is in their names and keys.
local names = {"users", "posts", "", "a", "a/", "a/b", "A", "ns%", "ns_", "ns", "\0", "\xff"}
for i, name in ipairs(names) do
  KV.namespace(name):put("key", i)
  KV.namespace(name):put("b/key", i)
end
for i, name in ipairs(names) do
  local other = KV.namespace(name)
  assert(other:get("key") == tostring(i), name)
  assert(#other:list().keys == 2, name)
end
KV.namespace("a"):delete("key")
print(KV.namespace("a"):get("key"), KV.namespace("a/"):get("key"), KV.namespace("A"):get("key"))
