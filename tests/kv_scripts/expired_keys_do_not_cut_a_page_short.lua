-- Of 60 keys every second one expires, and a run of thirty in the middle.
for i = 1, 60 do
  local expires = i % 2 == 0 or (i > 15 and i <= 45)
  kv:put(("k%02d"):format(i), i, expires and {expirationTtl = 1} or nil)
end
advance(1)
local cursor
repeat
  local page = kv:list{limit = 4, cursor = cursor}
  local names = {}
  for _, key in ipairs(page.keys) do names[#names + 1] = key.name end
  print(#page.keys, page.list_complete, table.concat(names, " "))
  cursor = page.cursor
until page.list_complete
-- What has expired behind a full page does not make it look incomplete.
kv:put("z", 1, {expirationTtl = 1})
advance(1)
local page = kv:list{limit = 15}
print(#page.keys, page.list_complete)
