//! Two Lua scripts that count with the same counter while nodes die.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use tokio::task::JoinSet;

use super::Told;
use crate::lua::mlua::{Lua, MultiValue};
use crate::lua::{install, run_script};
use crate::registry::Plimsoll;
use crate::value::Value;

/// The scripts at work.
pub(super) struct Counters {
    tasks: JoinSet<Told<i64>>,
    is_over: Arc<AtomicBool>,
}

impl Counters {
    /// Starts them, each in a Lua of its own.
    pub fn start(engine: &Plimsoll) -> Self {
        let is_over = Arc::new(AtomicBool::new(false));
        let mut tasks = JoinSet::new();
        for _ in 0..SCRIPTS {
            tasks.spawn(count(engine.clone(), Arc::clone(&is_over)));
        }
        Self { tasks, is_over }
    }

    /// Lets them come to an end; answers how often they have counted, and what the store says.
    pub async fn finish(self, engine: &Plimsoll) -> Told<(i64, i64)> {
        self.is_over.store(true, Ordering::Relaxed);
        let mut counted = 0;
        for one in self.tasks.join_all().await {
            counted += one?;
        }
        let text = |error: crate::error::Error| error.to_string();
        let store = engine.store("app:deployments").await.map_err(text)?;
        match store.get("counter").await.map_err(text)? {
            Some(Value::Integer(in_store)) => Ok((counted, in_store)),
            other => Err(format!("the counter is {other:?}")),
        }
    }
}

async fn count(engine: Plimsoll, is_over: Arc<AtomicBool>) -> Told<i64> {
    let lua = Lua::new();
    let prepared = || {
        install(&lua, &engine)?;
        let is_over = lua.create_function(move |_, ()| Ok(is_over.load(Ordering::Relaxed)))?;
        lua.globals().set("is_over", is_over)?;
        lua.load(SCRIPT).set_name("@counter.lua").into_function()
    };
    let script = prepared().map_err(|error| error.to_string())?;
    let results = run_script(&lua, script, MultiValue::new()).await?;
    let counted = results.into_iter().next().and_then(|value| value.as_integer());
    counted.ok_or_else(|| "counter.lua gives no number".to_owned())
}

const SCRIPT: &str = include_str!("counter.lua");
/// How many scripts count.
const SCRIPTS: usize = 2;
