local e, err = cache:entry("user:123")
if e then
    print(e.key, e.value, e.version)
end
