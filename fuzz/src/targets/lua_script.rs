//! Scripts that are not trusted: the sandbox answers in time, within its memory, without a panic,
//! and keeps from the script what its actor may not have.
//!
//! The first byte chooses: the rest is the source as it is, or choices of [`program`], which writes
//! a script that parses and calls whatever a sandbox has; or a pattern and a subject, which the
//! sandbox must match as Lua itself does.

use std::cell::RefCell;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use plimsoll::entry::{Entry, ListQuery};
use plimsoll::error::ErrorKind;
use plimsoll::limits::SANDBOX_GRACE_MS;
use plimsoll::lua::mlua::{Lua, LuaString};
use plimsoll::lua::{Sandbox, SandboxOptions};
use plimsoll::policy::Actor;
use plimsoll::registry::{Config, LoadOptions, Plimsoll};
use plimsoll::store::StoreHandle;
use tokio::runtime::{Builder, Runtime};

use super::input::Input;
use super::program;
use crate::expressions::string_expression;

pub fn run(data: &[u8]) {
    let mut input = Input::new(data);
    let choice = input.below(8);
    WORLD.with_borrow_mut(|world| match choice {
        0 => world.run_script(input.rest()),
        1 => world.match_pattern(&mut input),
        _ => world.run_script(program::written(input).as_bytes()),
    });
}

/// What executions have in common: an engine, of which scripts may use one store of two.
struct World {
    runtime: Runtime,
    /// As the actor of the scripts.
    engine: Plimsoll,
    cache: StoreHandle,
    secret: StoreHandle,
    /// What the secret store has for ever.
    kept: Entry,
    plain: Lua,
}

thread_local! {
    static WORLD: RefCell<World> = RefCell::new(World::new());
}

const CONFIGURATION: &str = r#"
version: "1.0"
namespace: app
entries:
  - {name: cache, kind: store.memory, max_size: 100}
  - {name: secret, kind: store.memory}
  - {name: all, kind: security.policy, policy: {effect: allow, actions: "*", resources: "*"}}
  - name: not-scripts
    kind: security.policy
    policy:
      effect: deny
      actions: "*"
      resources: app:secret
      conditions: [{field: actor.id, operator: eq, value: script}]
"#;

impl World {
    fn new() -> Self {
        let runtime = Builder::new_current_thread().enable_all().build().unwrap();
        let config = Config::parse(CONFIGURATION, ".", "app.yaml", LoadOptions::default());
        let (engine, cache, secret, kept) = runtime.block_on(async {
            let engine = Plimsoll::open(config.unwrap()).await.unwrap();
            let host = engine.as_actor(Actor::new("host"));
            let secret = host.store("app:secret").await.unwrap();
            secret.set("key", SECRET, None).await.unwrap();
            let kept = secret.entry("key").await.unwrap().unwrap();
            let cache = host.store("app:cache").await.unwrap();
            (engine.as_actor(Actor::new("script")), cache, secret, kept)
        });
        Self { runtime, engine, cache, secret, kept, plain: Lua::new() }
    }

    fn run_script(&self, source: &[u8]) {
        let printed = Arc::new(Mutex::new(Vec::new()));
        let sink = Arc::clone(&printed);
        let options =
            SandboxOptions::default().memory_bytes(MEMORY_BYTES).time(TIME).print(move |line| {
                sink.lock().unwrap_or_else(PoisonError::into_inner).extend_from_slice(line)
            });
        self.runtime.block_on(async {
            self.empty_cache().await;
            let mut sandbox = Sandbox::open(&self.engine, options).unwrap();
            let start = Instant::now();
            let result = sandbox.eval("script", source, [1.into(), "a".into()]).await;
            let text = || String::from_utf8_lossy(source);
            assert!(start.elapsed() < ANSWER_AFTER_MAX, "not in time: {}", text());
            if let Err(error) = &result {
                assert!(error.kind() != ErrorKind::Internal, "{error:?} of {}", text());
                assert!(!error.message().contains("panic"), "{error:?} of {}", text());
            }
            if let Some(lua) = sandbox.lua() {
                assert!(lua.used_memory() <= MEMORY_BYTES, "{}", text());
            }
            let printed =
                std::mem::take(&mut *printed.lock().unwrap_or_else(PoisonError::into_inner));
            let told = format!("{result:?} {}", String::from_utf8_lossy(&printed));
            let is_told = told.contains(SECRET) && !text().contains(SECRET);
            assert!(!is_told, "told what is secret: {}", text());
            let entry = self.secret.entry("key").await.unwrap();
            assert_eq!(entry.as_ref(), Some(&self.kept), "{}", text());
            let all = self.secret.list(&ListQuery::new()).await.unwrap();
            assert_eq!(all.items.len(), 1, "{}", text());
        });
    }

    /// So that no execution finds what another one has left.
    async fn empty_cache(&self) {
        for entry in self.cache.list(&ListQuery::new()).await.unwrap().items {
            self.cache.delete(entry.key.as_str(), None).await.unwrap();
        }
    }

    /// Short ones: Lua itself takes a time that grows with the power of the length.
    fn match_pattern(&self, input: &mut Input<'_>) {
        let (pattern, subject) = (input.fewer_than(12), input.fewer_than(20));
        let script = format!(
            "local s, p = {}, {} {MATCHES}",
            string_expression(subject),
            string_expression(pattern)
        );
        let chunk = self.plain.load(&script).set_name("=script");
        let expected: Vec<LuaString> = chunk.eval().unwrap();
        let found = self.runtime.block_on(async {
            let options = SandboxOptions::default().time(Duration::from_secs(10));
            let mut sandbox = Sandbox::open(&self.engine, options).unwrap();
            sandbox.eval("script", script.as_bytes(), []).await.unwrap().unwrap()
        });
        let found = found.as_table().unwrap().array();
        assert_eq!(found.len(), expected.len());
        for (found, expected) in found.iter().zip(&expected) {
            let (found, expected) = (found.as_bytes().unwrap(), &*expected.as_bytes());
            assert!(
                found == expected || is_malformed(found),
                "{} of {}: {}, not {}",
                pattern.escape_ascii(),
                subject.escape_ascii(),
                found.escape_ascii(),
                expected.escape_ascii()
            );
        }
    }
}

/// A malformed pattern is always an error in a sandbox, in Lua only where that part is reached.
fn is_malformed(answer: &[u8]) -> bool {
    let message = answer.strip_prefix(b"false,").map(String::from_utf8_lossy);
    message.is_some_and(|message| MALFORMED.iter().any(|part| message.contains(part)))
}

const MALFORMED: [&str; 5] = [
    "malformed pattern",
    "missing '[' after '%f' in pattern",
    "invalid capture index",
    "invalid pattern capture",
    "unfinished capture",
];

/// What patterns answer, a text for each function; errors without their place.
const MATCHES: &str = r##"
local answers = {}
local function tell(ok, ...)
  local texts = {tostring(ok)}
  for i = 1, select("#", ...) do
    local text = tostring((select(i, ...)))
    texts[#texts + 1] = ok and text or text:gsub("^[^:]*:%d+: ", "")
  end
  answers[#answers + 1] = table.concat(texts, ",")
end
tell(pcall(string.find, s, p))
tell(pcall(string.match, s, p, -3))
tell(pcall(string.gsub, s, p, "<%0>"))
tell(pcall(function()
  local all = {}
  for a, b in s:gmatch(p) do all[#all + 1] = tostring(a) .. "," .. tostring(b) end
  return table.concat(all, ";")
end))
return answers
"##;

const SECRET: &str = "nobody may know this sentence";
const MEMORY_BYTES: usize = 2 << 20;
const TIME: Duration = Duration::from_millis(10);

/// Time limit and grace, and much to spare: machines that run tests are busy.
const ANSWER_AFTER_MAX: Duration = Duration::from_millis(SANDBOX_GRACE_MS + 20_000);
