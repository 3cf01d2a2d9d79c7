//! Rust: tokio's multi-thread runtime, which moves tasks between threads.

use std::process::Command;

use super::super::case::{AFTER, CALLS, HANDOFF, PARALLEL, SPIN, TIMER};
use super::{Machine, Runtime};
use crate::{command, workspace};

pub(super) const MULTI_THREAD: Runtime = Runtime {
    name: "tokio",
    about: "axum and reqwest on four worker threads",
    cases: &[
        (&CALLS, 0.0),
        (&PARALLEL, 0.0),
        (&HANDOFF, 0.0),
        (&SPIN, 0.0),
        (&AFTER, 0.0),
        (&TIMER, 0.0),
    ],
    // Not `environment::once`: cargo knows best what is done already.
    prepare: |machine| {
        command::run(
            workspace::cargo()
                .args(["build", "--release", "--locked", "--quiet"])
                .arg("--manifest-path")
                .arg(machine.programs.join("tokio/Cargo.toml"))
                .arg("--target-dir")
                .arg(target(machine)),
        )
    },
    command: |machine, place| {
        let mut service = Command::new(target(machine).join("release/truth-tokio"));
        service.args(place.ports());
        Ok(service)
    },
};

fn target(machine: &Machine) -> std::path::PathBuf {
    machine.environment.join("truth_tokio")
}
