//! Starts the services, traces them, shows what comes of it.

use std::process::ExitCode;

use anyhow::bail;

use super::{Screen, Services};
use crate::{
    cli::{SpanSink, args::DemoArguments},
    config::{Pid, Settings},
};

/// Runs `observer demo`.
pub fn run(arguments: &DemoArguments) -> anyhow::Result<ExitCode> {
    crate::cli::privileges::require()?;
    let services = Services::start(arguments.rate)?;
    let mut settings = arguments.settings();
    settings.selection.pids = services.pids().into_iter().map(Pid).collect();
    trace(settings, Box::new(Screen::stdout()?))
    // The services end here, after the tracer: their last requests are answered and seen.
}

/// Traces until a signal or the end of the duration; `sink` gets every kept span, and a snapshot every
/// [`Screen::INTERVAL`].
fn trace(settings: Settings, sink: Box<dyn SpanSink>) -> anyhow::Result<ExitCode> {
    let _ = (settings, sink);
    bail!("not wired yet")
}
