//! Rust: tokio's multi-thread runtime, which moves tasks between threads.

use std::process::Command;

use anyhow::Result;

use super::super::case::{AFTER, CALLS, Case, HANDOFF, PARALLEL, PIECES, SPIN, TIMER};
use super::{Machine, Place, Runtime};
use crate::{command, workspace};

/// A connection's task that is quicker than the breakpoint that tells of its request leaves that without a parent: about one
/// in a thousand at 64 at once.
const CASES: &[(&Case, f64)] = &[
    (&CALLS, 0.97),
    (&PARALLEL, 0.97),
    (&HANDOFF, 0.0),
    (&SPIN, 0.97),
    (&PIECES, 0.0),
    (&AFTER, 0.97),
    (&TIMER, 0.97),
];

/// More calls than any row has at once.
const UNLIMITED: usize = 10_000;
const FEW: usize = 4;

pub(super) const MULTI_THREAD: Runtime = Runtime {
    name: "tokio",
    about: "axum and reqwest on four worker threads",
    cases: CASES,
    prepare,
    command: |machine, place| command(machine, place, UNLIMITED),
};

pub(super) const SMALL: Runtime = Runtime {
    name: "tokio-4",
    about: "the same with at most four calls at once: others wait, and leave when another one's answer is in",
    cases: CASES,
    prepare,
    command: |machine, place| command(machine, place, FEW),
};

/// Not `environment::once`: cargo knows best what is done already.
fn prepare(machine: &Machine) -> Result<()> {
    command::run(
        workspace::cargo()
            .args(["build", "--release", "--locked", "--quiet"])
            .arg("--manifest-path")
            .arg(machine.programs.join("tokio/Cargo.toml"))
            .arg("--target-dir")
            .arg(target(machine)),
    )
}

#[allow(clippy::unnecessary_wraps, reason = "the shape of Runtime::command")]
fn command(machine: &Machine, place: &Place, calls: usize) -> Result<Command> {
    let mut service = Command::new(target(machine).join("release/truth-tokio"));
    service.args(place.ports()).arg(calls.to_string());
    Ok(service)
}

fn target(machine: &Machine) -> std::path::PathBuf {
    machine.environment.join("truth_tokio")
}
