for _, name in ipairs {"a", "b", "c", "d", "e"} do kv:put(name, name) end
local page = kv:list{limit = 2}
kv:delete("b")
kv:put("a2", "comes before the cursor")
kv:put("bb", "comes after it")
local names = {}
for _, key in ipairs(kv:list{cursor = page.cursor}.keys) do names[#names + 1] = key.name end
print(table.concat(names, " "))
-- The place after the last key is still a place.
page = kv:list{limit = 5}
for _, name in ipairs {"c", "d", "e"} do kv:delete(name) end
page = kv:list{cursor = page.cursor}
print(#page.keys, page.list_complete, page.cursor)
