-- A stored false has no error beside it; an absent key has.
cache:set("flag", false)
local value, err = cache:get("flag")
print(value, err)
value, err = cache:get("none")
print(value, err:kind() == errors.NOT_FOUND)
print(cache:has("flag"), cache:has("none"))
