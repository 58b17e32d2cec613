-- Every successful write replaces value, version and deadline.
cache:set("k", 1, 60)
print("set with ttl:", cache:entry("k").expires_at ~= nil)
cache:set("k", 2)
print("set without:", cache:entry("k").expires_at)
print("put with ttl:", cache:put("k", 3, {ttl = 60}).expires_at ~= nil)
print("put with ttl 0:", cache:put("k", 4, {ttl = 0}).expires_at)
if cache:info().conditional_put then
  local entry = cache:put("k", 5, {ttl = 60})
  entry = cache:put("k", 6, {if_version = entry.version})
  assert(entry.expires_at == nil, "a conditional write without ttl clears it too")
end
