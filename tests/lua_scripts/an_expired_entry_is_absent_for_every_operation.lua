-- From its deadline on an entry is an absent key, swept or not.
cache:set("short", "soon gone", 0.04)
cache:set("long", "still there", 60)
print("before:", cache:has("short"), cache:get("short"))
time.sleep(0.08)
print("get:", select(2, cache:get("short")):kind())
print("entry:", select(2, cache:entry("short")):kind())
print("has:", cache:has("short"))
for _, entry in ipairs(cache:list().items) do print("list:", entry.key) end
print("delete:", cache:delete("short"))
