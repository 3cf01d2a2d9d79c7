//! One of the demo's services: the whole program of a child process.

use std::process::ExitCode;

use anyhow::bail;

/// Arguments of the hidden command.
#[derive(Clone, Debug, PartialEq, Eq, clap::Args)]
pub struct Arguments {}

/// Runs the service.
pub fn run(arguments: &Arguments) -> anyhow::Result<ExitCode> {
    let _ = arguments;
    bail!("not written yet")
}
