-- kinds: memory bound.memory
for i = 1, 1100 do kv:put(("k%05d"):format(i), "v") end
print(#kv:list().keys, kv:list().list_complete)
print(#kv:list{limit = 1100}.keys, kv:list{limit = 1100}.list_complete)
print(#kv:list{limit = 1099}.keys, kv:list{limit = 1099}.list_complete)
