//! `observer run`.

use std::{process::ExitCode, time::Instant};

use anyhow::Context as _;

use crate::{
    cli::{log, print::Printer, privileges},
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
    let ended = daemon.wait(settings.duration);
    notify("STOPPING=1");
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
    notify("READY=1");
}

/// Tells systemd (sd_notify(3)); nothing happens where no manager asked.
fn notify(state: &str) {
    use std::os::{
        linux::net::SocketAddrExt,
        unix::net::{SocketAddr, UnixDatagram},
    };

    let Some(path) = std::env::var_os("NOTIFY_SOCKET") else {
        return;
    };
    let bytes = path.as_encoded_bytes();
    let address = match bytes.strip_prefix(b"@") {
        Some(name) => SocketAddr::from_abstract_name(name),
        None => SocketAddr::from_pathname(&path),
    };
    let sent = address
        .and_then(|address| UnixDatagram::unbound()?.send_to_addr(state.as_bytes(), &address));
    if let Err(error) = sent {
        tracing::warn!(%error, "cannot notify the service manager");
    }
}
