//! puma: a reactor reads requests that are not there at once, a pool of threads answers them. Its threads are told by what
//! they do before each request, whoever read it.

use std::process::Command;

use super::super::case::{AFTER, CALLS, HANDOFF, PARALLEL, PIECES, TIMER};
use super::Runtime;
use crate::debian;

pub(super) const PUMA: Runtime = Runtime {
    name: "puma",
    about: "puma, one process of 16 threads; Net::HTTP over connections shared by all threads",
    cases: &[
        (&CALLS, 1.0),
        (&PARALLEL, 0.0),
        (&HANDOFF, 0.0),
        (&PIECES, 0.0),
        (&AFTER, 1.0),
        (&TIMER, 1.0),
    ],
    prepare: |_| debian::install(&[("puma", "puma")]),
    command: |machine, place| {
        let mut puma = Command::new("puma");
        puma.current_dir(&place.folder)
            .args(["--threads=16:16", "--quiet", "--environment=production"])
            .arg(format!(
                "--bind=tcp://127.0.0.1:{}?backlog=1024",
                place.port
            ))
            .arg(machine.programs.join("config.ru"))
            .env("TRUTH_NEXT", place.next.to_string());
        Ok(puma)
    },
};
