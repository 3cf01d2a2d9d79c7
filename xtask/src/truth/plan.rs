//! Which rows are run.

use std::fmt::Write as _;

use anyhow::{Result, bail};

use super::Rows;
use super::row::{Connections, Row};
use super::runtimes::{self, Runtime};

/// Requests at once.
const CONCURRENCY: [usize; 4] = [1, 8, 64, 256];
/// (requests at once, how connections are used) of a quick run.
const QUICK: [(usize, Connections); 3] = [
    (1, Connections::Keep),
    (8, Connections::Fresh),
    (64, Connections::Keep),
];

/// The same for an emulated machine, and requests in each.
const EMULATED: [(usize, Connections); 2] = [(8, Connections::Fresh), (64, Connections::Keep)];
const EMULATED_REQUESTS: usize = 72;

/// The runtimes that were asked for, with the rows of each.
///
/// # Errors
/// When a name is unknown, or nothing is left to do.
pub(super) fn make(wanted: &[String], options: &Rows) -> Result<Vec<(&'static Runtime, Vec<Row>)>> {
    for name in wanted {
        if !runtimes::all().any(|runtime| runtime.name == name) {
            bail!("there is no runtime `{name}`; `cargo xtask truth --list` names them");
        }
    }
    let mut plan = Vec::new();
    for runtime in runtimes::all() {
        if !wanted.is_empty() && !wanted.iter().any(|name| name == runtime.name) {
            continue;
        }
        let mut rows = Vec::new();
        for &(case, floor) in runtime.cases {
            if !options.cases.is_empty() && !options.cases.iter().any(|name| name == case.name) {
                continue;
            }
            for (concurrency, connections) in loads(options) {
                let requests = options.requests.unwrap_or(match options.emulated {
                    true => EMULATED_REQUESTS,
                    false => requests(concurrency, options.quick),
                });
                rows.push(Row {
                    number: rows.len(),
                    runtime: runtime.name,
                    over_tls: runtimes::is_over_tls(runtime.name),
                    case,
                    concurrency,
                    connections,
                    requests,
                    floor,
                });
            }
        }
        if !rows.is_empty() {
            plan.push((runtime, rows));
        }
    }
    if plan.is_empty() {
        bail!("nothing is left to run: `cargo xtask truth --list` names what there is");
    }
    Ok(plan)
}

/// (requests at once, how connections are used), as asked for.
fn loads(options: &Rows) -> Vec<(usize, Connections)> {
    let both = [Connections::Keep, Connections::Fresh];
    let asked: Vec<usize> = options.concurrency.iter().map(|&n| n as usize).collect();
    let wanted = if asked.is_empty() {
        &CONCURRENCY[..]
    } else {
        &asked
    };
    let all: Vec<_> = match asked.is_empty() {
        true if options.emulated => EMULATED.to_vec(),
        true if options.quick => QUICK.to_vec(),
        _ => wanted
            .iter()
            .flat_map(|&concurrency| both.map(|connections| (concurrency, connections)))
            .collect(),
    };
    let is_wanted = |connections| options.connections.is_none_or(|only| only == connections);
    all.into_iter()
        .filter(|&(_, connections)| is_wanted(connections))
        .collect()
}

/// Enough that each of the connections is used several times, and no row takes long.
fn requests(concurrency: usize, quick: bool) -> usize {
    let all = 90 + 6 * concurrency;
    if quick { all / 2 } else { all }
}

/// All runtimes and their cases, for people.
pub(super) fn list() -> String {
    let mut out = String::new();
    for runtime in runtimes::all() {
        let _ = writeln!(out, "{:16} {}", runtime.name, runtime.about);
        for (case, floor) in runtime.cases {
            let floor = floor * 100.0;
            let _ = writeln!(out, "    {:10} {floor:>5.1} %  {}", case.name, case.about);
        }
    }
    out
}
