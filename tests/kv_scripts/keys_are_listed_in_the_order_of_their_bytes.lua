for _, key in ipairs {"b", "a", "B", "é", "z", "10", "9", "\u{10000}", "\u{ffff}", "a b", "a/b"} do kv:put(key, 1) end
local names = {}
for _, key in ipairs(kv:list().keys) do names[#names + 1] = key.name end
local sorted = table.move(names, 1, #names, 1, {})
table.sort(sorted, function(a, b)
  for i = 1, math.min(#a, #b) do
    if a:byte(i) ~= b:byte(i) then return a:byte(i) < b:byte(i) end
  end
  return #a < #b
end)
assert(table.concat(names, " ") == table.concat(sorted, " "))
print(table.concat(names, " "))
