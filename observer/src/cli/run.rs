//! `observer run`.

use std::process::ExitCode;

use anyhow::bail;

use crate::config::Settings;

/// Traces until a signal or the end of the duration.
pub fn run(settings: Settings) -> anyhow::Result<ExitCode> {
    let _ = settings;
    bail!("not wired yet")
}
