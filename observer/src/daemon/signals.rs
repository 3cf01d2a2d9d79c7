//! The signals that end the daemon.

use anyhow::{Context as _, Result};
use tokio::{
    runtime::Runtime,
    signal::unix::{Signal, SignalKind, signal},
};

/// SIGTERM and SIGINT. From the moment they are registered they end nothing by themselves.
pub(super) struct Signals {
    terminate: Signal,
    interrupt: Signal,
}

impl Signals {
    /// # Errors
    /// When the system refuses a handler.
    pub(super) fn register(runtime: &Runtime) -> Result<Self> {
        let _inside = runtime.enter();
        let register = |kind| signal(kind).context("cannot wait for signals");
        Ok(Self {
            terminate: register(SignalKind::terminate())?,
            interrupt: register(SignalKind::interrupt())?,
        })
    }

    /// Waits for one of them; one that came since they were registered counts.
    pub(super) async fn any(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }
}
