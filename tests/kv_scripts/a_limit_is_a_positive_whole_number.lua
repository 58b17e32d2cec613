for i = 1, 3 do kv:put("k" .. i, i) end
for _, limit in ipairs {0, -1, 1.5, 0/0, -1/0, "5", true, {}} do
  local ok, err = pcall(kv.list, kv, {limit = limit})
  print(ok, (tostring(err):gsub("%-nan", "nan")))
end
for _, limit in ipairs {1, 2.0, 3, 10000, 1e9, 1/0} do print(#kv:list{limit = limit}.keys) end
