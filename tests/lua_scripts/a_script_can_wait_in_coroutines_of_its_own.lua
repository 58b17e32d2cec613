-- A wait goes up to the host; a coroutine of the script never sees it.
local function ticks(name, count)
  return coroutine.wrap(function()
    for i = 1, count do
      time.sleep(0.002)
      coroutine.yield(name .. " " .. i)
    end
  end)
end
local a, b = ticks("a", 2), ticks("b", 2)
print(a(), b(), b(), a())
local reader = coroutine.create(function()
  cache:set("k", "written within")
  time.sleep("2ms")
  return cache:get("k")
end)
print(coroutine.resume(reader))
print(coroutine.status(reader))
