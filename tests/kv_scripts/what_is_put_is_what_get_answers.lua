-- Whatever the type, the bytes are the same; put and delete answer nothing.
print(select("#", kv:put("user:123", "Alice")), kv:get("user:123"))
print(kv:get("absent"), select("#", kv:get("absent")))
print(select("#", kv:getWithMetadata("absent")))
print(select("#", kv:delete("user:123")), kv:get("user:123"))
print(select("#", kv:delete("user:123")))
kv:put("k", "1")
print(kv:get("k", "text"), kv:get("k", "arrayBuffer"), math.type(kv:get("k", "json")))
print(type(kv), tostring(kv), tostring(KV.namespace("a\n")))
