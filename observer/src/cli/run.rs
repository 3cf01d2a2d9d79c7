//! `observer run`.

use std::{process::ExitCode, time::Instant};

use anyhow::Context as _;

use crate::{
    cli::{
        log,
        manager::{self, Watchdog},
        print::Printer,
        privileges,
    },
    config::{Print, Settings},
    daemon::{Daemon, Show},
};

/// Traces until a signal or the end of the duration.
pub(crate) fn run(settings: Settings) -> anyhow::Result<ExitCode> {
    let began = Instant::now();
    log::start(&settings.log);
    privileges::require()?;
    let show = Printer::stdout(settings.print)
        .context("cannot write to standard output")?
        .map(|printer| Show {
            sink: Box::new(printer),
            all: settings.print != Print::Off,
        });
    let daemon = Daemon::start(&settings, show, began)?;
    announce(&daemon);
    let mut watchdog = Watchdog::from_environment();
    let ended = daemon.wait(settings.duration, || watchdog.alive());
    manager::stopping();
    daemon.stop();
    ended.map(|()| ExitCode::SUCCESS)
}

/// One line for people, and the service manager's protocol.
pub(crate) fn announce(daemon: &Daemon) {
    let page = daemon.page_address();
    let metrics = page.map(|address| format!(" metrics=http://{address}/metrics"));
    eprintln!(
        "observer: ready tier={} after={:.2}s{}",
        daemon.tier(),
        daemon.ready_after().as_secs_f64(),
        metrics.unwrap_or_default()
    );
    manager::ready(daemon.tier());
}
