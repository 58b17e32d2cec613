-- `cursor` is the last key of a page, to pass as `after`; only `has_more` tells the end.
for i = 1, 7 do cache:set("item:" .. i, i) end
cache:set("other", 0)
local after, pages = nil, 0
repeat
  local page = assert(cache:list{prefix = "item:", limit = 3, after = after})
  pages = pages + 1
  local keys = {}
  for _, entry in ipairs(page.items) do keys[#keys + 1] = entry.key end
  print(("page %d: %s; cursor %s, more %s"):format(pages, table.concat(keys, " "), page.cursor, page.has_more))
  after = page.cursor
  if pages == 1 then
    cache:delete("item:3")   -- the cursor's own key may go
    cache:set("item:0", 0)   -- what is written behind the cursor is not seen
  end
until not page.has_more
local page = cache:list{prefix = "nothing"}
print("empty:", #page.items, page.cursor == "", page.has_more)
