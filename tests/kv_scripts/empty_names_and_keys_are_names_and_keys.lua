local empty = KV.namespace("")
empty:put("", "nothing in nothing")
empty:put("a", "1")
kv:put("", "nothing")
print(empty:get(""), kv:get(""), #kv:list().keys, #kv:list().keys[1].name)
local page = empty:list{limit = 1}
print(#page.keys, #page.keys[1].name, page.list_complete, page.cursor == "")
page = empty:list{limit = 1, cursor = page.cursor}
print(page.keys[1].name, page.list_complete)
empty:delete("")
print(empty:get(""), empty:get("a"), kv:get(""))
