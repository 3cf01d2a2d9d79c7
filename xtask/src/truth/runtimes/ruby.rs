//! puma: a reactor reads requests that are not there at once, a pool of threads answers them. Its threads are told by what
//! they do before each request, whoever read it.

use std::process::Command;

use anyhow::Result;

use super::super::case::{AFTER, CALLS, Case, HANDOFF, PARALLEL, PIECES, TIMER};
use super::{Machine, Place, Runtime};
use crate::debian;

const CASES: &[(&Case, f64)] = &[
    (&CALLS, 1.0),
    (&PARALLEL, 0.0),
    (&HANDOFF, 0.0),
    (&PIECES, 0.0),
    (&AFTER, 1.0),
    (&TIMER, 1.0),
];

pub(super) const PUMA: Runtime = Runtime {
    name: "puma",
    about: "puma, one process of 16 threads; Net::HTTP over connections shared by all threads",
    cases: CASES,
    prepare,
    command: |machine, place| command(machine, place, &[]),
};

pub(super) const CLUSTER: Runtime = Runtime {
    name: "puma-cluster",
    about: "the same with two processes",
    cases: CASES,
    prepare,
    command: |machine, place| command(machine, place, &["--workers=2"]),
};

fn prepare(_: &Machine) -> Result<()> {
    debian::install(&[("puma", "puma")])
}

#[allow(clippy::unnecessary_wraps, reason = "the shape of Runtime::command")]
fn command(machine: &Machine, place: &Place, model: &[&str]) -> Result<Command> {
    let mut puma = Command::new("puma");
    puma.current_dir(&place.folder)
        .args(model)
        .args(["--threads=16:16", "--quiet", "--environment=production"])
        .arg(format!(
            "--bind=tcp://127.0.0.1:{}?backlog=1024",
            place.port
        ))
        .arg(machine.programs.join("config.ru"))
        .env("TRUTH_NEXT", place.next.to_string());
    Ok(puma)
}
