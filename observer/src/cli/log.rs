//! observer's own log: structured lines on standard error.

use tracing_subscriber::{EnvFilter, fmt};

use super::palette::Palette;
use crate::config::{Log, LogFormat};

/// What others say: the Kubernetes client warns of each attempt, where we do so once.
const OTHERS: &str = "kube_client=off,kube_runtime=off,warn";

/// Starts it. `RUST_LOG`, when set, stands above the level.
pub(crate) fn start(log: &Log) {
    let filter = EnvFilter::try_from_default_env()
        .unwrap_or_else(|_| EnvFilter::new(format!("observer={},{OTHERS}", log.level)));
    let builder = fmt().with_env_filter(filter).with_writer(std::io::stderr);
    // A second start (the demo's tests) keeps the first.
    let _ = match log.format {
        LogFormat::Json => builder.json().try_init(),
        LogFormat::Text => builder
            .with_target(false)
            .with_ansi(Palette::of(&std::io::stderr()).is_on())
            .try_init(),
    };
}
