//! The Lua stack at the making of an error.
//!
//! Frames are captured one by one instead of with `debug.traceback`, which searches all loaded
//! modules for a name for every function and costs several times as much; a missing key makes an
//! error too, so this has to be cheap. At most [`FRAMES_MAX`] innermost frames are kept.
//!
//! No frames of our own glue, and no C functions above the innermost Lua function: the first frame
//! is the line of the script that made the call.

use std::fmt::Write;

use mlua::{Lua, Table};

/// Most frames that a stack keeps.
pub(super) const FRAMES_MAX: usize = 32;

/// A captured stack, innermost frame first.
#[derive(Clone, Debug, Default)]
pub(super) struct Stack {
    /// A name of the coroutine. The one that the host made to run a script has that of the thread
    /// it belongs to.
    thread: String,
    frames: Vec<Frame>,
}

#[derive(Clone, Debug)]
struct Frame {
    source: String,
    line: Option<usize>,
    name: String,
}

impl Stack {
    /// The stack of the running coroutine.
    pub(super) fn capture(lua: &Lua) -> Self {
        let thread = format!("thread: {:?}", lua.current_thread().to_pointer());
        let mut frames = Vec::new();
        let mut level = 0;
        while frames.len() < FRAMES_MAX
            && let Some(frame) = lua.inspect_stack(level, |debug| {
                let source = debug.source();
                let file = source.short_src.unwrap_or_default();
                let is_ours = matches!(&*file, "[plimsoll]" | "__mlua_async_poll")
                    || (frames.is_empty() && file == "[C]");
                (!is_ours).then(|| Frame {
                    line: debug.current_line(),
                    name: match debug.names().name {
                        Some(name) => name.into_owned(),
                        None if source.what == "main" => "main chunk".to_owned(),
                        None => "anonymous function".to_owned(),
                    },
                    source: file.into_owned(),
                })
            })
        {
            frames.extend(frame);
            level += 1;
        }
        Self { thread, frames }
    }

    /// What it holds.
    pub(super) fn bytes(&self) -> usize {
        let frames = self.frames.iter();
        let frames = frames.map(|f| size_of::<Frame>() + f.source.len() + f.name.len());
        self.thread.len() + frames.sum::<usize>()
    }

    /// Appends the frames to a text, each on a line of its own.
    pub(super) fn write(&self, text: &mut String) {
        for frame in &self.frames {
            let _ = write!(text, "\n\t{}:", frame.source);
            if let Some(line) = frame.line {
                let _ = write!(text, "{line}:");
            }
            match &*frame.name {
                name @ ("main chunk" | "anonymous function") => {
                    let _ = write!(text, " in {name}");
                }
                name => {
                    let _ = write!(text, " in function '{name}'");
                }
            }
        }
    }

    /// The stack as `errors.call_stack` answers it.
    pub(super) fn to_lua(&self, lua: &Lua) -> mlua::Result<Table> {
        let frames = lua.create_table_with_capacity(self.frames.len(), 0)?;
        for frame in &self.frames {
            let table = lua.create_table_with_capacity(0, 3)?;
            table.raw_set("source", &*frame.source)?;
            table.raw_set("line", frame.line)?;
            table.raw_set("name", &*frame.name)?;
            frames.raw_push(table)?;
        }
        let stack = lua.create_table_with_capacity(0, 2)?;
        stack.raw_set("thread", &*self.thread)?;
        stack.raw_set("frames", frames)?;
        Ok(stack)
    }
}
