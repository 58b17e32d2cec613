local user = cache:get("user:123")
if not user then
    -- Key not found or expired
end
