-- Every byte comes back, in text and in arrayBuffer alike.
local all = {}
for byte = 0, 255 do all[#all + 1] = string.char(byte) end
all = table.concat(all)
kv:put("bytes", all)
print(#kv:get("bytes"), kv:get("bytes") == all, kv:get("bytes", "arrayBuffer") == all)
kv:put("empty", "")
print(#kv:get("empty"), kv:list().keys[2].name)
print(pcall(kv.get, kv, "bytes", "json"))
print(pcall(kv.get, kv, "empty", "json"))
