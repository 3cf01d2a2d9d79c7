//! The `observer` binary.

use std::process::ExitCode;

use clap::Parser;
use observer::cli::{self, args::Arguments};

fn main() -> ExitCode {
    cli::main(Arguments::parse())
}
