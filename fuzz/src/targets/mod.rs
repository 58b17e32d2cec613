//! The bodies of the fuzz targets: each takes any bytes, and panics if a promise is broken.
//!
//! No choice of bytes is wrong: every input means something, so that a change of one byte is a small
//! change of what is done. No clock and no random number decides what an input does, so an input
//! that has failed fails again; but for scripts, which may ask for both and have a time limit.
//!
//! Whoever includes this module has the support of the tests (`explore`, `kinds`, `writes`, …) at
//! its root.

pub mod codec;
pub mod conditional_write;
pub mod config;
pub mod gossip;
pub mod input;
pub mod lua_script;
pub mod lua_value;
mod program;
