//! Python: a thread a connection.

use super::super::case::{AFTER, CALLS, HANDOFF, PARALLEL, TIMER};
use super::{Machine, Runtime, nothing, script};

pub(super) const THREADS: Runtime = Runtime {
    name: "python-threads",
    about: "http.server, a thread a connection; http.client over connections shared by all threads, urllib for fresh ones",
    cases: &[
        (&CALLS, 1.0),
        (&PARALLEL, 0.0),
        (&HANDOFF, 0.0),
        (&AFTER, 1.0),
        (&TIMER, 1.0),
    ],
    prepare: nothing,
    command: |machine, place| {
        let mut python = script(python(machine), &machine.programs.join("threads.py"));
        python
            .args(place.ports())
            .env("PYTHONDONTWRITEBYTECODE", "1");
        Ok(python)
    },
};

fn python(machine: &Machine) -> std::path::PathBuf {
    machine.environment.join("venv/bin/python")
}
