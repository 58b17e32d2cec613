-- What each code block of the published documentation needs and does.
--
-- A case runs `before`, the block and `after` as one chunk, so that `after` sees the block's locals.
-- `returns` checks what the chunk returned, as `...`; `prints` is a pattern for all that it printed.
-- The globals `store`, `errors`, `json` and `cache` (the store app:cache) are there; whatever else
-- a block uses is defined in `before`. `unless` skips a case where `cache:info()` has that
-- capability, `only` where it has not.
return {
  {
    block = "loading",
    cases = {
      { before = [[store = nil]], after = [[assert(type(store.get) == "function")]] },
    },
  },
  {
    block = "acquiring",
    cases = {
      {
        name = "the value is stored for an hour and the handle given back",
        after = [[
          assert(user.name == "Alice")
          assert(tostring(cache) == "store.Store{released}")
          local entry = store.get("app:cache"):entry("user:123")
          local left = entry.expires_at - require("time").now()
          assert(left > 3590 and left < 3610, left)
        ]],
      },
      {
        name = "an unknown id is returned as an error",
        before = [[
          local real = store
          local store = { get = function() return real.get("app:nowhere") end }
        ]],
        returns = [[
          local value, err = ...
          assert(value == nil and err:kind() == errors.NOT_FOUND)
        ]],
      },
    },
  },
  {
    block = "storing",
    cases = {
      {
        after = [[
          assert(cache:get("user:123:name") == "Alice")
          assert(cache:entry("user:123:name").expires_at == nil)
          local session = cache:entry("session:abc")
          assert(session.value.user_id == 123 and session.value.role == "admin")
          local left = session.expires_at - require("time").now()
          assert(left > 290 and left < 310, left)
        ]],
      },
    },
  },
  {
    block = "retrieving",
    cases = {
      {
        name = "a present key",
        before = [[cache:set("user:123", {name = "Alice"})]],
        after = [[assert(user.name == "Alice")]],
      },
      { name = "an absent key", after = [[assert(user == nil)]] },
    },
  },
  {
    block = "checking_existence",
    cases = {
      {
        name = "the lock is held",
        before = [[resource_id = "door" cache:set("lock:door", "someone")]],
        returns = [[
          local value, err = ...
          assert(value == nil)
          assert(err:kind() == errors.CONFLICT and err:message() == "Resource is locked")
        ]],
      },
      {
        name = "the lock is free",
        before = [[resource_id = "door"]],
        returns = [[assert(select("#", ...) == 0)]],
      },
    },
  },
  {
    block = "deleting",
    cases = {
      {
        before = [[session_id = "abc" cache:set("session:abc", 1) cache:set("session:abd", 2)]],
        after = [[
          assert(not cache:has("session:abc") and cache:has("session:abd"))
          assert(cache:delete("session:abc") == false)
        ]],
      },
    },
  },
  {
    block = "reading_entry_metadata",
    cases = {
      {
        name = "a present key",
        before = [[cache:set("user:123", "Alice")]],
        after = [[
          assert(e.key == "user:123" and e.value == "Alice" and type(e.version) == "string")
          assert(err == nil)
        ]],
        prints = "^user:123\tAlice\t%S+\n$",
      },
      {
        name = "an absent key",
        after = [[assert(e == nil and err:kind() == errors.NOT_FOUND)]],
        prints = "^$",
      },
    },
  },
  {
    block = "listing",
    cases = {
      {
        name = "one page",
        before = [[
          cache:set("session:b", 2) cache:set("session:a", 1) cache:set("sessions", 3)
        ]],
        after = [[assert(page.cursor == "session:b" and page.has_more == false)]],
        prints = "^session:a\t1\nsession:b\t2\n$",
      },
      {
        name = "two pages",
        before = [[
          for i = 1, 150 do assert(cache:set(("session:%03d"):format(i), i)) end
        ]],
        after = [[
          assert(#page.items == 50 and page.items[1].key == "session:101")
          assert(page.cursor == "session:150" and page.has_more == false)
        ]],
        prints = "^session:001\t1\n.*session:100\t100\n$",
      },
    },
  },
  {
    block = "conditional_writes",
    cases = {
      {
        name = "both conditions hold",
        only = "conditional_put",
        before = [[owner = "me" new_value = "new" cache:set("config", "old")]],
        after = [[
          assert(err == nil and e.value == "me" and cache:get("lock:job-1") == "me")
          assert(err2 == nil and e2.value == "new" and e2.version ~= cur.version)
          assert(cache:get("config") == "new")
        ]],
      },
      {
        name = "the lock is held and another wrote in between",
        only = "conditional_put",
        before = [[
          owner = "me" new_value = "new"
          cache:set("lock:job-1", "you") cache:set("config", "old")
          local real = cache
          local cache = {
            put = function(_, ...) return real:put(...) end,
            entry = function(_, key)
              local entry = real:entry(key)
              real:set(key, "theirs")
              return entry
            end,
          }
        ]],
        after = [[
          assert(e == nil and err:kind() == errors.ALREADY_EXISTS and not err:retryable())
          assert(real:get("lock:job-1") == "you")
          assert(e2 == nil and err2:kind() == errors.CONFLICT and err2:retryable())
          assert(real:get("config") == "theirs")
        ]],
      },
      {
        name = "a store without conditional writes refuses both",
        unless = "conditional_put",
        before = [[owner = "me" new_value = "new" cache:set("config", "old")]],
        after = [[
          assert(e == nil and err:kind() == errors.INVALID)
          assert(not cache:has("lock:job-1"))
          assert(e2 == nil and err2:kind() == errors.INVALID)
          assert(cache:get("config") == "old")
        ]],
      },
    },
  },
  {
    block = "capabilities",
    cases = {
      {
        after = [[
          local function is_in(constants, value)
            for _, constant in pairs(constants) do
              if constant == value then return true end
            end
          end
          assert(info.id == "app:cache")
          assert(is_in(store.backend, info.backend) and info.backend ~= store.backend.UNKNOWN)
          assert(is_in(store.consistency, info.consistency))
          for _, name in ipairs { "durable", "list", "versioned", "conditional_put", "ttl" } do
            assert(type(info[name]) == "boolean", name)
          end
        ]],
      },
    },
  },
  {
    block = "constants",
    cases = {
      {
        after = [[
          for name, value in pairs {
            MEMORY = "memory", SQL = "sql", KV_RAFT = "kv.raft", KV_CRDT = "kv.crdt",
            UNKNOWN = "unknown",
          } do
            assert(store.backend[name] == value, name)
          end
          for name, value in pairs {
            LINEARIZABLE = "linearizable", EVENTUAL = "eventual", LOCAL = "local",
            UNKNOWN = "unknown",
          } do
            assert(store.consistency[name] == value, name)
          end
        ]],
      },
    },
  },
}
