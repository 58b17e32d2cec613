//! The example application, driven as its users would, on every backend of namespaces.
#![cfg(all(feature = "lua", feature = "sql"))]
#![allow(clippy::unwrap_used)]

#[path = "../examples/kv_application/main.rs"]
#[allow(dead_code)]
mod application;
#[path = "support/host.rs"]
mod host;
#[path = "support/kv_host.rs"]
mod kv_host;

use application::Application;
use kv_host::{KvFixture, KvKind};
use plimsoll::lua::mlua::Lua;

/// The requests, and what they must answer. `request` and `advance` are the test's.
const STORY: &str = r#"
local function answer(method, path, context) return request(method, path, context or {}) end

-- Nobody is logged in.
assert(answer("GET", "/login").status == 401)
assert(answer("POST", "/blog/new", {form = {slug = "hello", title = "Hello"}}).status == 401)
local session = answer("POST", "/login", {form = {user = "alice"}}).session
assert(answer("GET", "/login", {session = session}).body.user_id == "alice")
assert(answer("GET", "/login", {session = session .. "0"}).status == 401)

-- The list of posts is cached for five minutes.
local function posts(expected_cache)
  local response = answer("GET", "/api/posts")
  assert(response.status == 200 and response.headers["X-Cache"] == expected_cache)
  return response.body
end
assert(#posts("MISS") == 0)
local post = answer("POST", "/blog/new", {session = session, form = {slug = "hello", title = "Hello"}})
assert(post.author == "alice" and math.abs(post.created - os.time()) < 10)
assert(#posts("HIT") == 0)
advance(300)
assert(posts("MISS")[1].title == "Hello")
assert(posts("HIT")[1].author == "alice")

-- Posts are edited and deleted by the actions of their page.
assert(answer("GET", "/blog/hello/edit").post.title == "Hello")
local missing = answer("GET", "/blog/nothing/edit")
assert(missing.status == 404 and missing.error == "Post not found")
assert(answer("POST", "/blog/hello/edit", {form = {title = "Hi", content = "Text"}}).saved)
post = answer("GET", "/blog/hello/edit").post
assert(post.title == "Hi" and post.content == "Text" and post.author == "alice" and post.updated)
local failed = answer("POST", "/blog/nothing/edit", {form = {title = "Hi"}})
assert(failed.status == 400 and failed.data.error == "Post not found")
assert(answer("POST", "/blog/hello/edit?/delete").redirect == "/blog")
assert(answer("GET", "/blog/hello/edit").status == 404)

-- Sessions end when they are destroyed, and after a day.
local other = answer("POST", "/login", {form = {user = "bob"}}).session
assert(answer("DELETE", "/login", {session = session}).status == 200)
assert(answer("GET", "/login", {session = session}).status == 401)
advance(86399)
assert(answer("GET", "/login", {session = other}).body.user_id == "bob")
advance(1)
assert(answer("GET", "/login", {session = other}).status == 401)
"#;

#[tokio::test]
async fn the_application_does_what_its_users_expect_on_every_backend() {
    for kind in KvKind::ALL {
        let fixture = KvFixture::new(kind).await;
        let application = std::sync::Arc::new(Application::new(&fixture.namespaces).unwrap());
        let lua: &Lua = &application.lua;
        let routed = application.clone();
        let request = lua.create_async_function(move |_, (method, path, context)| {
            let application = routed.clone();
            let (method, path): (String, String) = (method, path);
            async move { application.request(&method, &path, context).await }
        });
        lua.globals().set("request", request.unwrap()).unwrap();
        let clock = fixture.clock.clone();
        let advance = lua.create_function(move |_, seconds: u64| {
            clock.advance_ms(seconds * 1_000);
            Ok(())
        });
        lua.globals().set("advance", advance.unwrap()).unwrap();
        let story = lua.load(STORY).set_name("=story").exec_async().await;
        story.unwrap_or_else(|error| panic!("{}: {error}", kind.name()));
    }
}
