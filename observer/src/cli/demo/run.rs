//! Starts the services, traces them, shows what comes of it.

use std::process::ExitCode;

use anyhow::bail;

use crate::cli::args::DemoArguments;

/// Runs `observer demo`.
pub fn run(arguments: &DemoArguments) -> anyhow::Result<ExitCode> {
    let settings = arguments.settings();
    let _ = settings;
    bail!("not wired yet")
}
