-- Not in that of a language: capitals come first, and 10 before 9.
for _, key in ipairs {"b", "a", "B", "\u{e9}", "z", "9", "10", "a/b", "a b", "ab"} do
  cache:set(key, 1)
end
for _, entry in ipairs(cache:list().items) do print(entry.key) end
