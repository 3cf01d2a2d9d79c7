//! Go: a goroutine a connection, and another that writes the client's requests.

use std::process::Command;

use anyhow::Result;

use super::super::case::{self, AFTER, CALLS, HANDOFF, PARALLEL, PIECES, TIMER};
use super::{Machine, Place, Runtime};
use crate::test::environment;

const PROGRAM: &str = "truth_go";

pub(super) const NET_HTTP: Runtime = Runtime {
    name: "go",
    about: "net/http server and client; a pool of goroutines on a channel for handoff",
    cases: &[
        (&CALLS, 0.99),
        (&PARALLEL, 0.99),
        (&HANDOFF, 0.0),
        (&PIECES, 0.0),
        (&AFTER, 0.99),
        (&TIMER, 0.99),
    ],
    prepare,
    command: |machine, place| command(machine, place, "service"),
};

pub(super) const PROXY: Runtime = Runtime {
    name: "go-proxy",
    about: "net/http/httputil's reverse proxy",
    cases: &[(&case::PROXY, 0.99)],
    prepare,
    command: |machine, place| command(machine, place, "proxy"),
};

fn prepare(machine: &Machine) -> Result<()> {
    let sources = machine.programs.join("go");
    environment::build_go(&machine.environment, PROGRAM, &sources)
}

#[allow(clippy::unnecessary_wraps, reason = "the shape of Runtime::command")]
fn command(machine: &Machine, place: &Place, model: &str) -> Result<Command> {
    let mut go = Command::new(machine.environment.join(PROGRAM));
    go.args(place.ports()).arg(model);
    Ok(go)
}
