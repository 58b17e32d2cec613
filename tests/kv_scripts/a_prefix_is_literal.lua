for _, key in ipairs {"a%b", "a_b", "axb", "A_b", "a", "b", "été", "*", "a*"} do kv:put(key, 1) end
local function list(prefix)
  local names = {}
  for _, key in ipairs(kv:list{prefix = prefix}.keys) do names[#names + 1] = key.name end
  print(prefix .. ":", table.concat(names, " "))
end
list("a%")
list("a_")
list("a*")
list("a")
list("A")
list("\u{e9}")
list("\xc3")
list("%")
list("nothing")
list("")
