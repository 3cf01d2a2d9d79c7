//! The behaviour suite: what observer must do in every tier, on every kernel. behaviours [NAME…]
//!
//! Comes in: the machine that `cargo xtask test` or `cargo xtask vm` prepared, the tier in `OBSERVER_TEST_TIER`. Goes
//! out: one JSON object a line on stdout, see [`report`]; panics of checks on stderr; status 1 when one failed. Owns:
//! every process that it starts.
//!
//! Loading the programs takes seconds in an emulated machine, so all behaviours share one daemon: first each of them is
//! driven, then the daemon is asked to end, then each looks for its exchanges in what the daemon wrote. The last ones,
//! which mistreat a daemon, share another.
//!
//! Where kernel code can be preempted, a program may be missed with its spare; the daemon counts that. It is a matter of
//! one call in many thousands on a machine, of one in hundreds in an emulated one. What failed beside such a miss is
//! tried again.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "these are tests: they panic, they don't return errors"
)]

mod behaviour;
mod connections;
mod context;
mod daemon;
mod files;
mod gaps;
mod harm;
mod http;
mod identity;
mod kernel_tls;
mod late_module;
mod lookups;
mod namespace;
mod report;
mod rings;
mod secrets;
mod stage;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::process::ExitCode;

use behaviour::{Behaviour, Drive};
use observer_tests::Environment;
use report::{Outcome, Report};
use stage::Stage;

/// Everything that is driven beside one daemon, in order.
const SHARED: &[&[Behaviour]] = &[
    connections::BEHAVIOURS,
    http::BEHAVIOURS,
    files::BEHAVIOURS,
    namespace::BEHAVIOURS,
    rings::BEHAVIOURS,
    kernel_tls::BEHAVIOURS,
    lookups::BEHAVIOURS,
    identity::BEHAVIOURS,
    context::BEHAVIOURS,
    secrets::BEHAVIOURS,
];

fn main() -> ExitCode {
    let wanted: Vec<String> = std::env::args().skip(1).collect();
    let is_wanted = |name: &str| wanted.is_empty() || wanted.iter().any(|it| it == name);
    let Some(environment) = Environment::enter() else {
        return ExitCode::FAILURE;
    };
    let mut report = Report::default();
    let shared: Vec<&Behaviour> = SHARED
        .iter()
        .flat_map(|group| group.iter())
        .filter(|behaviour| is_wanted(behaviour.name))
        .collect();
    let mut left = shared;
    for attempt in 1..=ATTEMPTS {
        if left.is_empty() {
            break;
        }
        left = run_shared(&environment, &left, attempt == ATTEMPTS, &mut report);
    }
    harm::run(&environment, &is_wanted, &mut report);
    late_module::run(&environment, &is_wanted, &mut report);
    ExitCode::from(u8::from(report.has_failures()))
}

/// Tries for behaviours that fail beside a missed program.
const ATTEMPTS: u32 = 4;

/// Returns what is to be tried again: nothing, where this is the last attempt.
fn run_shared<'a>(
    environment: &Environment,
    behaviours: &[&'a Behaviour],
    is_last: bool,
    report: &mut Report,
) -> Vec<&'a Behaviour> {
    let stage = match attempt(|| Stage::set(environment)) {
        Ok(stage) => stage,
        Err(reason) => {
            for behaviour in behaviours {
                report.say(behaviour.name, &Outcome::Fail(reason.clone()));
            }
            return Vec::new();
        }
    };
    let driven: Vec<(&Behaviour, Result<Drive, String>)> = behaviours
        .iter()
        .map(|behaviour| (*behaviour, attempt(|| (behaviour.drive)(&stage))))
        .collect();
    let expected = driven
        .iter()
        .flat_map(|(_, drive)| drive)
        .map(Drive::served);
    let ended = attempt(|| stage.end(expected.sum()));
    if let Ok((_, load)) = &ended {
        report.load(load);
    }
    let release = rustix::system::uname();
    let release = release.release().to_string_lossy();
    let locked_down = gaps::is_locked_down();
    let missed = matches!(&ended, Ok((evidence, _)) if evidence.missed() > 0);
    let mut again = Vec::new();
    for (behaviour, drive) in driven {
        let name = behaviour.name;
        let outcome = match (drive, &ended) {
            (Ok(Drive::Skip(reason)), _) => Outcome::Skip(reason),
            (Err(reason), _) => Outcome::Fail(reason),
            (Ok(Drive::Check { .. }), Err(reason)) => Outcome::Fail(reason.clone()),
            (Ok(Drive::Check { check, .. }), Ok((evidence, load))) => {
                let gap = gaps::known(name, &load.tier, &release, locked_down);
                match (attempt(|| check(evidence)), gap) {
                    // Where it is a matter of luck it may hold, but nobody should count on it.
                    (held, Some(why)) => Outcome::Gap {
                        why,
                        held: held.is_ok(),
                    },
                    (Ok(()), None) => Outcome::Pass,
                    (Err(reason), None) => {
                        let counted = evidence.page.troubles();
                        Outcome::Fail(format!("{reason}; the daemon counted {counted}"))
                    }
                }
            }
        };
        match outcome {
            Outcome::Fail(reason) if missed && !is_last => {
                eprintln!("{name} is tried again, since programs were missed: {reason}");
                again.push(behaviour);
            }
            outcome => report.say(name, &outcome),
        }
    }
    again
}

/// Runs something that panics when it fails; the error is what it said.
fn attempt<T>(work: impl FnOnce() -> T) -> Result<T, String> {
    catch_unwind(AssertUnwindSafe(work)).map_err(|panic| {
        let text = panic.downcast_ref::<String>().map(String::as_str);
        let text = text.or_else(|| panic.downcast_ref::<&str>().copied());
        text.unwrap_or("a panic without words").to_owned()
    })
}
