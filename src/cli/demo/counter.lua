-- A counter that several scripts share: compare and set, and no count is lost or made twice.
-- `is_over()` says when to stop; the result is how often this script has counted.
local store = require("store")
local deployments = assert(store.get("app:deployments"))

local function add_one()
    while true do
        local seen, err = deployments:entry("counter")
        if seen or err:kind() == errors.NOT_FOUND then
            local condition = seen and { if_version = seen.version } or { only_if_absent = true }
            local done, err = deployments:put("counter", (seen and seen.value or 0) + 1, condition)
            -- Whether the write was done may be unknown: the cluster is asked until it says.
            while err and err:details().outcome == "unknown" do
                done, err = deployments:resolve(err)
            end
            if done then
                return
            end
        end
        -- Somebody else was first, or nobody could answer.
        time.sleep(0.01)
    end
end

local counted = 0
while not is_over() do
    add_one()
    counted = counted + 1
    time.sleep(0.002)
end
return counted
