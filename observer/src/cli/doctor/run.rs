//! Probes, then says what was found.

use std::{
    io::{self, Write},
    process::ExitCode,
};

use anyhow::bail;

use super::Report;
use crate::cli::{exit, palette::Palette};

/// Runs `observer doctor`.
pub fn run(json: bool) -> anyhow::Result<ExitCode> {
    say(&probe()?, json)
}

/// What this machine allows.
fn probe() -> anyhow::Result<Report> {
    bail!("not wired yet")
}

/// Writes the report to standard output; the exit code is 1 where nothing can be traced.
fn say(report: &Report, json: bool) -> anyhow::Result<ExitCode> {
    let text = if json {
        report.json() + "\n"
    } else {
        report.text(Palette::of(&io::stdout()))
    };
    match io::stdout().lock().write_all(text.as_bytes()) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => return Err(error.into()),
        _ => {}
    }
    Ok(ExitCode::from(if report.can_trace() {
        exit::OK
    } else {
        exit::CANNOT_TRACE
    }))
}
