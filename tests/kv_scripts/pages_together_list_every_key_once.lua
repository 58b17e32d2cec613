for i = 1, 25 do kv:put(("post:%02d"):format(i), i) end
kv:put("other", 0)
local cursor, seen, pages = nil, {}, 0
repeat
  local page = kv:list{prefix = "post:", limit = 10, cursor = cursor}
  for _, key in ipairs(page.keys) do seen[#seen + 1] = key.name end
  print(#page.keys, page.list_complete, type(page.cursor))
  cursor, pages = page.cursor, pages + 1
until page.list_complete
print(#seen, seen[1], seen[25], pages)
-- A page that is just full is the last.
local page = kv:list{prefix = "post:", limit = 25}
print(#page.keys, page.list_complete, page.cursor)
-- The empty cursor is the start.
print(kv:list{limit = 1, cursor = ""}.keys[1].name)
