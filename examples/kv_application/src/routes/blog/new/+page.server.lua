-- src/routes/blog/new/+page.server.lua
local blog = require("blog")
local session = require("session")

actions = {
    default = function(ctx)
        local user = ctx.session and session.get(ctx.session)
        if not user then
            return fail(401, { error = "Log in first" })
        end
        return blog.create_post({
            slug = ctx.form.slug,
            title = ctx.form.title,
            author = user.user_id
        })
    end
}
