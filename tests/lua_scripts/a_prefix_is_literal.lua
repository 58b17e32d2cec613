-- In a prefix every character means itself, in SQL too; case counts.
for _, key in ipairs {"a%b", "a_b", "axb", "A_b", "a", "b", "\u{e9}t\u{e9}"} do cache:set(key, 1) end
local function list(prefix)
  local keys = {}
  for _, entry in ipairs(cache:list{prefix = prefix}.items) do keys[#keys + 1] = entry.key end
  print(prefix .. ":", table.concat(keys, " "))
end
list("a%")
list("a_")
list("a")
list("A")
list("\u{e9}")
list("")
