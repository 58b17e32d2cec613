local other = store.get("app:cache")
print(cache, other)
print(cache:release(), cache:release())
print(cache, other)
print(cache:get("k"))
print(cache:has("k"))
print(cache:set("k", 1))
print(other:set("k", 1))
-- A `<close>` variable gives its handle back at the end of the block.
do
  local scoped <close> = other
  print(scoped:get("k"))
end
print(other)
