for _, options in ipairs {
  {expirationTtl = 0}, {expirationTtl = 0.0}, {expiration = 0}, {expiration = now()},
  {expiration = now() - 0.5}, {expiration = 1},
} do
  kv:put("k", "old")
  kv:put("k", "new", options)
  print(kv:get("k"), #kv:list().keys)
end
