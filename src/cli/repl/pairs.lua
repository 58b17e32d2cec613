-- The first fields that `pairs` tells of a table: each key, and its value behind it.
local values, most = ...
local told, count = {}, 0
for key, value in pairs(values) do
  if count == most then break end
  told[2 * count + 1], told[2 * count + 2] = key, value
  count = count + 1
end
return table.unpack(told, 1, 2 * count)
