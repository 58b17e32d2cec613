-- What this host offers its pages besides KV and json.
local lib = ...
package.path = lib .. "/?.lua;" .. package.path

function fail(status, data)
    return { status = status, data = data }
end

function generate_id()
    return ("%016x"):format(math.random(0))
end

-- The database of this application is its blog.
function fetch_posts_from_db()
    return require("blog").get_posts()
end
