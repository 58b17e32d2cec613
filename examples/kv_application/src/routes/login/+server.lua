-- src/routes/login/+server.lua
local session = require("session")

function GET(ctx)
    local user = ctx.session and session.get(ctx.session)
    return { status = user and 200 or 401, body = user }
end

function POST(ctx)
    return { status = 200, session = session.create(ctx.form.user) }
end

function DELETE(ctx)
    session.destroy(ctx.session)
    return { status = 200 }
end
