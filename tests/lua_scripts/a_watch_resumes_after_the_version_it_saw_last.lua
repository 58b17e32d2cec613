-- kinds: memory
local last
for change in (function() local watch = cache:watch() for i = 1, 4 do cache:set("k", i) end return watch end)() do
  print("first reader:", change.events[1].entry.value)
  last = change.revision
  if change.events[1].entry.value == 2 then break end
end
cache:set("k", 5)
local watch <close> = cache:watch{after = last}
for _ = 1, 3 do print("second reader:", watch:next(1).events[1].entry.value) end
local _, err = cache:watch{after = "0123456789abcdef-1"}
print(err:kind(), err:details().reason)
