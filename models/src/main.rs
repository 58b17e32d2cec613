//! `cargo models`: the models from the command line.

use std::process::ExitCode;

fn main() -> ExitCode {
    plimsoll_models::cli::main()
}
