//! x
#![allow(dead_code)]
mod duration;
mod entry_id;
mod problem;
mod suggest;
mod yaml;
pub use duration::parse_duration;
