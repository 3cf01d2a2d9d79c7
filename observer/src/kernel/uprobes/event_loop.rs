//! The one table of programs that run each event to completion on one thread, but for Node (`node`).
//!
//! A program is in it because the truth harness found no wrong parent with it, and it counts as an event loop only
//! where every function is found at which its loop turns to something else: a timer that fires in between must not
//! inherit what was done before it.

use iced_x86::Register;
use observer_abi::process::{Runtime, runtime, strict};

use super::{
    code,
    plan::{Plan, Probe},
};
use crate::elf::Image;

struct Program {
    /// The executable's file name begins so.
    name: &'static str,
    /// Functions and the program for each; all must be there.
    required: &'static [(&'static str, &'static str)],
    /// The same, where they are there.
    optional: &'static [(&'static str, &'static str)],
    /// Extensions that keep work waiting: with a symbol that begins so it is no event loop.
    excluded: &'static [&'static str],
}

const TURNED: &str = "loop_turned";

const PROGRAMS: &[Program] = &[
    // Answers are handled for the request that waits for them; what waits otherwise waits for a timer. Retries close
    // the upstream's connection first. Scripts may keep requests waiting for one another.
    Program {
        name: "nginx",
        required: &[
            ("ngx_process_events_and_timers", TURNED),
            ("ngx_event_expire_timers", TURNED),
            ("ngx_event_process_posted", TURNED),
            ("ngx_event_accept", TURNED),
            ("ngx_udp_unix_recv", TURNED),
        ],
        optional: &[],
        excluded: &["ngx_http_lua_", "ngx_http_js_", "ngx_http_perl_"],
    },
];

/// What an executable of this name needs, if it is in the table.
pub(super) fn plan(name: &str, image: &Image<'_>) -> Option<Plan> {
    let program = PROGRAMS.iter().find(|program| name == program.name)?;
    if program
        .excluded
        .iter()
        .any(|prefix| image.has_symbol_like(prefix))
    {
        return None;
    }
    let functions = program.required.iter().chain(program.optional);
    let names: Vec<&str> = functions.clone().map(|(name, _)| *name).collect();
    let found = image.symbols(&names);
    if program
        .required
        .iter()
        .any(|(name, _)| !found.contains_key(*name))
    {
        return None;
    }
    let probes = functions
        .filter_map(|(name, program)| {
            Some(Probe {
                program,
                offset: image.file_offset(code::cheap_place(
                    image,
                    *found.get(*name)?,
                    Register::RDI,
                ))?,
            })
        })
        .collect();
    Some(Plan {
        runtime: Runtime {
            kind: runtime::EVENT_LOOP,
            strict: strict::NO,
            ..Runtime::default()
        },
        probes,
    })
}
