-- What each code block of the published documentation of KV needs and does.
--
-- A case runs `before`, the block and `after` as one chunk, so that `after` sees the block's locals.
-- `returns` checks what the chunk returned, as `...`; `prints` is all that it printed. The globals
-- KV, json, errors and kv (a namespace) are there; whatever else a block uses is defined in
-- `before`. `advance(seconds)` lets time pass.
return {
  {
    block = "basic_usage",
    cases = {
      { after = [[assert(kv:get("user:123") == nil)]], prints = "Alice\n" },
    },
  },
  {
    block = "namespaces",
    cases = {
      {
        after = [[
          assert(users:get("key") == "value1" and posts:get("key") == "value2")
          assert(KV.namespace("users"):get("key") == "value1")
        ]],
      },
    },
  },
  {
    block = "get",
    cases = {
      {
        name = "present keys",
        before = [[kv:put("key", "text") kv:put("config", {setting = "on"})]],
        after = [[assert(value == "text" and data.setting == "on" and missing == nil)]],
        prints = "on\n",
      },
    },
  },
  {
    block = "get_with_metadata",
    cases = {
      {
        name = "with both",
        before = [[
          function print(...) printed = table.pack(printed, ...) end
          kv:put("key", "text", {expiration = 1800000000, metadata = {author = "alice"}})
        ]],
        after = [[
          assert(value == "text" and meta.expiration == 1800000000)
          assert(meta.metadata.author == "alice")
          assert(printed[2] == meta.metadata and printed[1][2] == 1800000000)
        ]],
      },
      {
        name = "with neither",
        before = [[kv:put("key", "text")]],
        after = [[assert(meta.expiration == nil and meta.metadata == nil)]],
        prints = "text\nnil\nnil\n",
      },
      { name = "an absent key", after = [[assert(value == nil and meta == nil)]], prints = "" },
    },
  },
  {
    block = "put",
    cases = {
      {
        before = [[post = {title = "Hello", tags = {"a"}}]],
        after = [[
          local value, about = kv:getWithMetadata("key")
          assert(value == "value" and next(about) == nil)
          value, about = kv:getWithMetadata("session:abc")
          assert(value == "data" and about.expiration == now() + 3600)
          value, about = kv:getWithMetadata("token:xyz")
          assert(value == "secret" and math.abs(about.expiration - os.time() - 86400) < 10)
          value, about = kv:getWithMetadata("post:123", "json")
          assert(value.title == "Hello" and value.tags[1] == "a" and about.expiration == nil)
          assert(about.metadata.author == "alice")
          assert(math.type(about.metadata.created) == "integer")
          advance(3600)
          assert(kv:get("session:abc") == nil and kv:get("token:xyz") == "secret")
        ]],
      },
    },
  },
  {
    block = "delete",
    cases = {
      { name = "a present key", before = [[kv:put("key", 1)]], after = [[assert(not kv:get("key"))]] },
      { name = "an absent key" },
    },
  },
  {
    block = "list",
    cases = {
      {
        name = "more than a page",
        before = [[
          for i = 1, 150 do kv:put(("post:%03d"):format(i), i) end
          kv:put("user:1", 1)
          local print = function() end
        ]],
        after = [[
          assert(#result.keys == 151 and result.list_complete and result.cursor == nil)
          assert(#posts.keys == 150)
          assert(#page1.keys == 100 and page1.cursor)
          local page2 = kv:list({limit = 100, cursor = page1.cursor})
          assert(#page2.keys == 51 and page2.list_complete)
          assert(page2.keys[1].name == "post:101" and page2.keys[51].name == "user:1")
        ]],
      },
      {
        name = "names, expirations and metadata",
        before = [[
          kv:put("post:1", 1, {expiration = 1800000000})
          kv:put("post:2", 2)
          kv:put("user:1", 1)
        ]],
        after = [[assert(page1.list_complete)]],
        prints = "post:1\npost:2\nuser:1\npost:1\n1800000000\nnil\npost:2\nnil\nnil\n",
      },
    },
  },
  {
    block = "session",
    cases = {
      {
        before = [[local ids = 0 function generate_id() ids = ids + 1 return "id" .. ids end]],
        returns = [[
          local session = ...
          local first, second = session.create(7), session.create(8)
          assert(first == "id1" and session.get(first).user_id == 7)
          assert(math.abs(session.get(first).created - os.time()) < 10)
          session.destroy(first)
          assert(session.get(first) == nil and session.get(second).user_id == 8)
          advance(86399)
          assert(session.get(second))
          advance(1)
          assert(session.get(second) == nil)
          assert(#KV.namespace("sessions"):list().keys == 0)
        ]],
      },
    },
  },
  {
    block = "cache",
    cases = {
      {
        before = [[
          local fetched = 0
          function fetch_posts_from_db() fetched = fetched + 1 return {{id = fetched}} end
        ]],
        after = [[
          local function check(cache, id)
            local response = GET({})
            assert(response.status == 200 and response.headers["X-Cache"] == cache)
            assert(#response.body == 1 and response.body[1].id == id)
          end
          check("MISS", 1)
          check("HIT", 1)
          advance(299)
          check("HIT", 1)
          advance(1)
          check("MISS", 2)
        ]],
      },
    },
  },
  {
    block = "blog",
    cases = {
      {
        returns = [[
          local blog = ...
          assert(#blog.get_posts() == 0 and blog.get_post("hello") == nil)
          blog.create_post({slug = "hello", title = "Hello", author = "alice"})
          blog.create_post({slug = "again", title = "Again", author = "bob"})
          local posts = blog.get_posts()
          assert(#posts == 2 and posts[1].slug == "again" and posts[2].title == "Hello")
          local kept = KV.namespace("blog")
          local _, about = kept:getWithMetadata("post:hello")
          assert(about.metadata.author == "alice" and about.metadata.created == posts[2].created)
          assert(blog.update_post("hello", {title = "Hi"}).title == "Hi")
          local post = blog.get_post("hello")
          assert(post.title == "Hi" and post.author == "alice" and post.updated)
          -- The update puts without metadata, which clears what was there.
          assert(select(2, kept:getWithMetadata("post:hello")).metadata == nil)
          local missing, err = blog.update_post("missing", {})
          assert(missing == nil and err == "Post not found")
          blog.delete_post("hello")
          blog.delete_post("hello")
          assert(#blog.get_posts() == 1)
        ]],
      },
    },
  },
  {
    block = "form_actions",
    cases = {
      {
        before = [[
          local posts = {hello = {title = "Hello"}}
          package.loaded.blog = {
            get_post = function(slug) return posts[slug] end,
            update_post = function(slug, data)
              if not posts[slug] then return nil, "Post not found" end
              posts[slug] = data
              return data
            end,
            delete_post = function(slug) posts[slug] = nil end,
          }
          function fail(status, data) return {status = status, data = data} end
        ]],
        after = [[
          local function context(slug) return {params = {slug = slug}, form = {title = "T"}} end
          assert(load(context("hello")).post.title == "Hello")
          assert(load(context("missing")).status == 404)
          assert(actions.default(context("hello")).saved and posts.hello.title == "T")
          local failed = actions.default(context("missing"))
          assert(failed.status == 400 and failed.data.error == "Post not found")
          assert(actions.delete(context("hello")).redirect == "/blog" and not posts.hello)
        ]],
      },
    },
  },
  {
    block = "expiring_cache",
    cases = {
      {
        before = [[data = "computed"]],
        after = [[
          advance(3599)
          assert(kv:get("cache:key") == "computed")
          advance(1)
          assert(kv:get("cache:key") == nil)
        ]],
      },
    },
  },
  {
    -- Its dots stand for a value, which the chunk is called with.
    block = "prefixes",
    cases = {
      {
        arguments = { "a value" },
        after = [[
          assert(kv:get("user:123:profile") == "a value")
          kv:put("user:1234", "another user")
          assert(#kv:list({ prefix = "user:123:" }).keys == 2)
        ]],
      },
    },
  },
  {
    block = "metadata_for_debugging",
    cases = {
      {
        before = [[content = "text" user_id = 7]],
        after = [[
          local value, about = kv:getWithMetadata("doc:abc")
          assert(value == "text" and about.metadata.author == 7 and about.metadata.version == 1)
        ]],
      },
    },
  },
  {
    block = "missing_keys",
    cases = {
      { name = "absent", after = [[assert(next(data) == nil)]] },
      { name = "present", before = [[kv:put("key", {a = 1})]], after = [[assert(data.a == 1)]] },
    },
  },
}
