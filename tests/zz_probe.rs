#![allow(missing_docs, clippy::unwrap_used)]
use plimsoll::lua::mlua::*;
use std::sync::atomic::*;
use std::sync::Arc;
#[tokio::test]
async fn probe() {
    let script = std::env::var("PROBE").unwrap();
    let lua = Lua::new();
    let n = Arc::new(AtomicU64::new(0));
    let c = n.clone();
    fn hook(lua: &Lua, c: Arc<AtomicU64>, every: u32) -> Result<()> {
        lua.set_global_hook(HookTriggers::ON_CALLS.every_nth_instruction(every), move |lua, d| {
            let n = c.fetch_add(1, Ordering::Relaxed);
            if n < 1000 { return Ok(VmState::Continue); }
            if n < 1040 || n > 1000000 { println!("{n} {:?} {:?}", d.event(), d.current_line()); }
            if n > 1000010 { std::process::exit(0); }
            if std::env::var("KEEP").is_err() { hook(lua, c.clone(), 1)?; }
            Err(Error::external("stop"))
        })
    }
    hook(&lua, c, 100).unwrap();
    std::thread::spawn(move || { std::thread::sleep(std::time::Duration::from_secs(std::env::var("STUCK").ok().and_then(|s| s.parse().ok()).unwrap_or(3))); println!("stuck {}", n.load(Ordering::Relaxed)); std::process::exit(1) });
    if std::env::var("SYNC").is_ok() { println!("{:?}", lua.load(script).exec()); } else { println!("{:?}", lua.load(script).exec_async().await); }
}
