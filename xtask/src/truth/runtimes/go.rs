//! Go: a goroutine a connection, and another that writes the client's requests.

use std::process::Command;

use super::super::case::{AFTER, CALLS, HANDOFF, PARALLEL, TIMER};
use super::Runtime;
use crate::test::environment;

const PROGRAM: &str = "truth_go";

pub(super) const NET_HTTP: Runtime = Runtime {
    name: "go",
    about: "net/http server and client; a pool of goroutines on a channel for handoff",
    cases: &[
        (&CALLS, 0.99),
        (&PARALLEL, 0.99),
        (&HANDOFF, 0.0),
        (&AFTER, 0.99),
        (&TIMER, 0.99),
    ],
    prepare: |machine| {
        let sources = machine.programs.join("go");
        environment::build_go(&machine.environment, PROGRAM, &sources)
    },
    command: |machine, place| {
        let mut go = Command::new(machine.environment.join(PROGRAM));
        go.args(place.ports());
        Ok(go)
    },
};
