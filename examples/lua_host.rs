//! A program with a Lua state of its own that gives scripts the stores, with the rights of whom they
//! run for. `cargo run --example lua_host`
use std::error::Error;
use std::io::{Write, stdout};

use plimsoll::lua::mlua::{Function, Lua};
use plimsoll::policy::{Actor, Effect, Field, Operand, Operator, Pattern, Policy, PolicyCondition};
use plimsoll::store::MemoryOptions;
use plimsoll::{Config, Plimsoll};

const SCRIPT: &str = r#"
local store = require("store")

function visit(name)
    local cache = assert(store.get("app:cache"))
    local visits = (cache:get("visits:" .. name) or 0) + 1
    local done, err = cache:set("visits:" .. name, visits)
    if err then return nil, err:kind() end
    return visits
end
"#;

/// Everyone may acquire the store; what may be read and written is under `visits:`.
fn policies() -> plimsoll::error::Result<[Policy; 2]> {
    let pattern = |text| Ok::<_, plimsoll::error::Error>(vec![Pattern::parse(text)?]);
    let own = Operand::One("^visits:[a-z]+$".into());
    let acquire = Policy::new(Effect::Allow, pattern("store.get")?, pattern("app:cache")?);
    let write = Policy::new(Effect::Allow, pattern("store.key.*")?, pattern("app:cache")?)
        .with_condition(PolicyCondition::new(Field::Key, Operator::Matches, own)?);
    Ok([acquire, write])
}

/// What the program does; it prints to `out`.
pub async fn run(out: &mut impl Write) -> Result<(), Box<dyn Error>> {
    let [acquire, write] = policies()?;
    let config = Config::builder()
        .memory("app:cache", MemoryOptions::default())
        .policy("app:acquire", acquire)
        .policy("app:write", write);
    let engine = Plimsoll::open(config.build()?).await?;

    let lua = Lua::new();
    plimsoll::lua::install(&lua, &engine.as_actor(Actor::new("scripts")))?;
    lua.load(SCRIPT).set_name("=visits").exec_async().await?;
    let visit: Function = lua.globals().get("visit")?;
    for name in ["alice", "alice", "BOB"] {
        let answer: (Option<i64>, Option<String>) = visit.call_async(name).await?;
        writeln!(out, "{name}: {answer:?}")?;
    }
    engine.close().await;
    Ok(())
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn Error>> {
    run(&mut stdout()).await
}
