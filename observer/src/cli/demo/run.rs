//! Starts the services, traces them, shows what comes of it.

use std::{process::ExitCode, time::Instant};

use super::{Screen, Services};
use crate::{
    cli::{args::DemoArguments, log, run::announce},
    config::{Pid, Settings},
    daemon::{Daemon, Show, SpanSink},
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

/// Traces until a signal or the end of the duration; `sink` gets every kept span, and all metrics every few seconds.
fn trace(settings: Settings, sink: Box<dyn SpanSink>) -> anyhow::Result<ExitCode> {
    log::start(&settings.log);
    let daemon = Daemon::start(&settings, Some(Show { sink, all: true }), Instant::now())?;
    announce(&daemon);
    let ended = daemon.wait(settings.duration, || {});
    daemon.stop();
    ended.map(|()| ExitCode::SUCCESS)
}
