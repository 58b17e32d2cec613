//! A web application on `KV`: sessions, a cache and a blog with forms, in Lua files that a small
//! host routes to. `cargo run --example kv_application`
use std::path::{Path, PathBuf};

use plimsoll::lua::mlua::{self, Function, Lua, Table};
use plimsoll::namespaces::Namespaces;

/// The pages under `src/routes`, in one Lua state.
pub struct Application {
    /// Where the pages run.
    pub lua: Lua,
    routes: PathBuf,
}

impl Application {
    /// Gives the pages `KV`, on whatever keeps the namespaces.
    pub fn new(namespaces: &Namespaces) -> mlua::Result<Self> {
        let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/kv_application/src");
        let lua = Lua::new();
        plimsoll::lua::install_kv(&lua, namespaces)?;
        lua.load(source.join("host.lua")).call::<()>(source.join("lib").to_str())?;
        Ok(Self { lua, routes: source.join("routes") })
    }

    /// Answers a request: a method of `+server.lua`, or of `+page.server.lua` the function `load`
    /// or an action, which a path names behind `?/`.
    pub async fn request(&self, method: &str, path: &str, context: Table) -> mlua::Result<Table> {
        let (path, action) = path.split_once("?/").unwrap_or((path, "default"));
        let (mut folder, params) = (self.routes.clone(), self.lua.create_table()?);
        for part in path.split('/').filter(|part| !part.is_empty() && !part.starts_with('.')) {
            if !folder.join(part).is_dir() {
                params.set("slug", part)?;
            }
            folder.push(if folder.join(part).is_dir() { part } else { "[slug]" });
        }
        context.set("params", params)?;
        // Each file has globals of its own; what it does not define, it has from the host.
        let page = self.lua.create_table()?;
        page.set_metatable(Some(self.lua.create_table_from([("__index", self.lua.globals())])?))?;
        let is_page = folder.join("+page.server.lua").is_file();
        let file = folder.join(if is_page { "+page.server.lua" } else { "+server.lua" });
        self.lua.load(file).set_environment(page.clone()).exec_async().await?;
        let answer: Function = match (is_page, method) {
            (true, "GET") => page.get("load")?,
            (true, _) => page.get::<Table>("actions")?.get(action)?,
            (false, method) => page.get(method)?,
        };
        answer.call_async(context).await
    }
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let file = plimsoll::sql::SqliteNamespaces::open(std::env::temp_dir().join("example-kv.db"));
    let kv = Namespaces::new(file, std::sync::Arc::new(plimsoll::store::WallClock::new()));
    let app = Application::new(&kv)?;
    let posts = app.request("GET", "/api/posts", app.lua.create_table()?).await?;
    println!("the posts come with a {}", posts.get::<Table>("headers")?.get::<String>("X-Cache")?);
    Ok(())
}
