//! Node: one thread runs all requests; its own http client, with and without a limit of connections, and fetch.

use std::process::Command;

use anyhow::Result;

use super::super::case::{
    AFTER, CALLBACKS, CALLS, Case, HANDOFF, LIMITED, LOOP, PARALLEL, PIECES, SPIN, TIMER,
};
use super::{Machine, Place, Runtime, nothing, script};

/// With many requests open at once only first calls have parents: what handles an answer may begin what another request
/// has waiting, and nothing in the process tells that from a next call of its own.
const CASES: &[(&Case, f64)] = &[
    (&CALLS, 0.5),
    (&PARALLEL, 0.65),
    (&HANDOFF, 0.0),
    (&SPIN, 0.35),
    (&PIECES, 0.0),
    (&AFTER, 0.99),
    (&TIMER, 0.99),
    (&CALLBACKS, 0.0),
    (&LIMITED, 0.0),
    (&LOOP, 0.0),
];

pub(super) const AGENT: Runtime = Runtime {
    name: "node-http",
    about: "http.createServer; http.get with an agent, keep-alive or not",
    cases: CASES,
    prepare: nothing,
    command: |machine, place| command(machine, place, "agent"),
};

pub(super) const SMALL: Runtime = Runtime {
    name: "node-http-4",
    about: "the same with at most four connections: calls wait in the agent, and leave when another one's answer is in",
    cases: &[(&CALLS, 0.25), (&PARALLEL, 0.0), (&LIMITED, 0.0)],
    prepare: nothing,
    command: |machine, place| command(machine, place, "small"),
};

pub(super) const SMALL_FETCH: Runtime = Runtime {
    name: "node-fetch-4",
    about: "fetch with at most four connections: what waits leaves when another one's answer is in, without a word of whose it is",
    cases: &[(&CALLS, 0.0), (&PARALLEL, 0.0), (&LIMITED, 0.0)],
    prepare: nothing,
    command: |machine, place| command(machine, place, "small-fetch"),
};

pub(super) const FETCH: Runtime = Runtime {
    name: "node-fetch",
    about: "http.createServer; fetch (undici)",
    cases: CASES,
    prepare: nothing,
    command: |machine, place| command(machine, place, "fetch"),
};

#[allow(clippy::unnecessary_wraps, reason = "the shape of Runtime::command")]
fn command(machine: &Machine, place: &Place, client: &str) -> Result<Command> {
    let mut node = script("node", &machine.programs.join("node.js"));
    node.args(place.ports()).arg(client);
    Ok(node)
}
