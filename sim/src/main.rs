//! `cargo sim`: simulated clusters from the command line.
fn main() -> std::process::ExitCode {
    plimsoll_sim::cli::main()
}
