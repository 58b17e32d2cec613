//! `cargo sim` and `cargo madsim`: simulated clusters from the command line.

use std::process::ExitCode;

fn main() -> ExitCode {
    match std::env::args().nth(1).as_deref() {
        Some("madsim") => production(),
        Some("convergence") => plimsoll_sim::convergence::cli::main(std::env::args().skip(1)),
        _ => plimsoll_sim::cli::main(),
    }
}

#[cfg(madsim)]
fn production() -> ExitCode {
    plimsoll_sim::production::cli::main(std::env::args().skip(1))
}

/// What is not built for the simulated runtime would run nothing, and say that all is well.
#[cfg(not(madsim))]
fn production() -> ExitCode {
    eprintln!(
        "error: this was built without the cfg `madsim`: RUSTFLAGS or a build configuration of yours \
         wins over sim/madsim.toml. Unset RUSTFLAGS and CARGO_ENCODED_RUSTFLAGS, and try again."
    );
    ExitCode::from(2)
}
