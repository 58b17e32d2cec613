//! The Lua stack at the making of an error.
//!
//! Frames are captured one by one instead of with `debug.traceback`, which searches all loaded
//! modules for a name for every function and costs several times as much; a missing key makes an
//! error too, so this has to be cheap. At most [`FRAMES_MAX`] innermost frames are kept.
//!
//! No frames of our own glue, and no C functions above the innermost Lua function: the first frame
//! is the line of the script that made the call.

use std::fmt::Write;
use std::sync::Arc;

use mlua::debug::Debug;
use mlua::{Lua, Table};

/// Most frames that a stack keeps.
pub(super) const FRAMES_MAX: usize = 32;

/// A captured stack, innermost frame first.
#[derive(Clone, Debug, Default)]
pub(super) struct Stack {
    /// The address of the coroutine. The one that the host made to run a script counts as the
    /// thread that it belongs to.
    thread: usize,
    frames: Vec<Frame>,
}

#[derive(Clone, Debug)]
struct Frame {
    source: Arc<str>,
    line: Option<usize>,
    name: Name,
}

#[derive(Clone, Debug)]
enum Name {
    MainChunk,
    Anonymous,
    Function(Box<str>),
}

impl Stack {
    /// The stack of the running coroutine.
    pub(super) fn capture(lua: &Lua) -> Self {
        let thread = lua.current_thread().to_pointer().addr();
        let mut frames: Vec<Frame> = Vec::new();
        for level in 0.. {
            let Some(frame) = lua.inspect_stack(level, |debug| frame_of(debug, frames.last()))
            else {
                break;
            };
            frames.extend(frame);
            if frames.len() == FRAMES_MAX {
                break;
            }
        }
        Self { thread, frames }
    }

    /// About what it holds.
    pub(super) fn bytes(&self) -> usize {
        let frames = self.frames.iter();
        frames.map(|f| size_of::<Frame>() + f.source.len() + f.name.as_str().len()).sum()
    }

    /// Appends the frames to a text, each on a line of its own.
    pub(super) fn write(&self, text: &mut String) {
        for frame in &self.frames {
            let _ = write!(text, "\n\t{}:", frame.source);
            if let Some(line) = frame.line {
                let _ = write!(text, "{line}:");
            }
            let _ = match &frame.name {
                Name::Function(name) => write!(text, " in function '{name}'"),
                name => write!(text, " in {}", name.as_str()),
            };
        }
    }

    /// The stack as `errors.call_stack` answers it. The coroutine is called what `tostring` calls
    /// it.
    pub(super) fn to_lua(&self, lua: &Lua) -> mlua::Result<Table> {
        let frames = lua.create_table_with_capacity(self.frames.len(), 0)?;
        for frame in &self.frames {
            let table = lua.create_table_with_capacity(0, 3)?;
            table.raw_set("source", &*frame.source)?;
            table.raw_set("line", frame.line)?;
            table.raw_set("name", frame.name.as_str())?;
            frames.raw_push(table)?;
        }
        let stack = lua.create_table_with_capacity(0, 2)?;
        stack.raw_set("thread", format!("thread: {:#x}", self.thread))?;
        stack.raw_set("frames", frames)?;
        Ok(stack)
    }
}

impl Name {
    fn as_str(&self) -> &str {
        match self {
            Self::MainChunk => "main chunk",
            Self::Anonymous => "anonymous function",
            Self::Function(name) => name,
        }
    }
}

/// The frame of a level of the stack, unless it is left out; `inner` is the one inside it.
fn frame_of(debug: &Debug<'_>, inner: Option<&Frame>) -> Option<Frame> {
    let source = debug.source();
    let file = source.short_src.unwrap_or_default();
    let is_glue = matches!(&*file, "[plimsoll]" | "__mlua_async_poll");
    if is_glue || (inner.is_none() && file == "[C]") {
        return None;
    }
    let name = match debug.names().name {
        Some(name) => Name::Function(name.into()),
        None if source.what == "main" => Name::MainChunk,
        None => Name::Anonymous,
    };
    let source = match inner {
        Some(inner) if *inner.source == *file => Arc::clone(&inner.source),
        _ => file.into(),
    };
    Some(Frame { source, line: debug.current_line(), name })
}
