//! The same chains in an emulated machine with another kernel, for the tiers that this machine's kernel refuses.
//!
//! A guest for each runtime, two guests at a time. It runs this same program, which writes what it found as JSON.

use std::collections::VecDeque;
use std::path::Path;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use serde_json::{Value, json};

use super::Options;
use super::chain::Outcome;
use super::judge::{Edges, Links, Verdict};
use super::report::Where;
use super::row::Row;
use super::runtimes::Runtime;
use crate::vm::{self, Job, Kernel, Machine};

/// A guest that takes longer hangs.
const TIMEOUT: Duration = Duration::from_mins(20);
/// Guests at a time; each keeps one processor busy.
const AT_ONCE: usize = 2;

/// Runs the plan, a guest for each runtime.
///
/// # Errors
/// When a guest can't be run, or the chains in it.
pub(super) fn run<'a>(
    options: &Options,
    version: &str,
    binary: &Path,
    plan: &'a [(&'static Runtime, Vec<Row>)],
) -> Result<(Vec<Outcome<'a>>, Where)> {
    vm::prepare()?;
    let kernel = Kernel::get(version)?;
    let waiting: Mutex<VecDeque<_>> = Mutex::new(plan.iter().enumerate().collect());
    let done = Mutex::new(Vec::new());
    std::thread::scope(|scope| {
        for _ in 0..AT_ONCE {
            scope.spawn(|| {
                loop {
                    let next = lock(&waiting).pop_front();
                    let Some((index, (runtime, rows))) = next else {
                        return;
                    };
                    let found = in_guest(options, &kernel, binary, runtime, rows);
                    lock(&done).push((index, found.context(runtime.name)));
                }
            });
        }
    });
    let mut done = done.into_inner().unwrap_or_else(PoisonError::into_inner);
    done.sort_by_key(|(index, _)| *index);
    let (mut outcomes, mut place) = (Vec::new(), None);
    for (_, found) in done {
        let (of_runtime, where_from) = found?;
        outcomes.extend(of_runtime);
        place = Some(where_from);
    }
    Ok((outcomes, place.context("nothing was run")?))
}

fn lock<T>(of: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    of.lock().unwrap_or_else(PoisonError::into_inner)
}

fn in_guest<'a>(
    options: &Options,
    kernel: &Kernel,
    binary: &Path,
    runtime: &Runtime,
    rows: &'a [Row],
) -> Result<(Vec<Outcome<'a>>, Where)> {
    let mut words = vec![
        std::env::current_exe()?.to_string_lossy().into_owned(),
        "truth".to_owned(),
        "--json".to_owned(),
        "--no-floors".to_owned(),
        format!("--binary={}", binary.display()),
        format!("--tier={}", options.tier),
        format!("--runtime={}", runtime.name),
    ];
    words.extend(options.rows.words());
    let mut output = Vec::new();
    let outcome = vm::run_job(Job {
        kernel,
        machine: Machine {
            append: String::new(),
            cpus: 2,
            memory: 3072,
            count_instructions: false,
        },
        script: vm::script(&words),
        timeout: TIMEOUT,
        stdout: &mut output,
        stderr: &mut std::io::stderr(),
    })?;
    // It ends with a status when a row fails; what it wrote says more.
    let found: Value = serde_json::from_slice(&output)
        .with_context(|| format!("reading what the guest wrote: {outcome:?}"))?;
    read(&found, rows)
}

/// What [`read`] reads.
pub(super) fn write(outcomes: &[Outcome<'_>], place: &Where) -> Value {
    let edges = |edges: Edges| json!([edges.right, edges.missing, edges.wrong]);
    let rows: Vec<Value> = outcomes
        .iter()
        .map(|outcome| {
            let verdict = &outcome.verdict;
            json!({
                "row": outcome.row.number,
                "failed": outcome.failed,
                "tier": outcome.tier,
                "calls": edges(verdict.calls),
                "joins": edges(verdict.joins),
                "roots": edges(verdict.roots),
                "links": [verdict.links.right, verdict.links.wrong],
                "background": verdict.background,
                "lost": verdict.lost,
                "repeated": verdict.repeated,
                "malformed": verdict.malformed,
                "merged": verdict.merged,
                "details": verdict.details,
            })
        })
        .collect();
    json!({"kernel": place.kernel, "cpus": place.cpus, "rows": rows})
}

fn read<'a>(found: &Value, rows: &'a [Row]) -> Result<(Vec<Outcome<'a>>, Where)> {
    let count = |of: &Value, key: &str| {
        let number = of[key].as_u64();
        number
            .map(|number| number as usize)
            .with_context(|| format!("no {key}"))
    };
    let number = |of: &Value, key: &str, index: usize| {
        let number = of[key][index].as_u64();
        number
            .map(|number| number as usize)
            .with_context(|| format!("no {key}"))
    };
    let edges = |of: &Value, key: &str| {
        anyhow::Ok(Edges {
            right: number(of, key, 0)?,
            missing: number(of, key, 1)?,
            wrong: number(of, key, 2)?,
        })
    };
    let written = found["rows"].as_array().context("no rows")?;
    if written.len() != rows.len() {
        bail!("{} rows were run of {}", written.len(), rows.len());
    }
    let mut outcomes = Vec::new();
    for (of, row) in written.iter().zip(rows) {
        if count(of, "row")? != row.number {
            bail!("the guest ran other rows");
        }
        let details = of["details"].as_array().into_iter().flatten();
        outcomes.push(Outcome {
            row,
            failed: count(of, "failed")?,
            tier: of["tier"].as_str().context("no tier")?.to_owned(),
            verdict: Verdict {
                calls: edges(of, "calls")?,
                joins: edges(of, "joins")?,
                roots: edges(of, "roots")?,
                links: Links {
                    right: number(of, "links", 0)?,
                    wrong: number(of, "links", 1)?,
                },
                background: count(of, "background")?,
                lost: count(of, "lost")?,
                repeated: count(of, "repeated")?,
                malformed: count(of, "malformed")?,
                merged: count(of, "merged")?,
                details: details
                    .filter_map(|text| Some(text.as_str()?.to_owned()))
                    .collect(),
                ..Verdict::default()
            },
        });
    }
    let place = Where {
        kernel: found["kernel"].as_str().context("no kernel")?.to_owned(),
        cpus: count(found, "cpus")?,
    };
    Ok((outcomes, place))
}

#[cfg(test)]
mod tests {
    use super::super::case::CALLS;
    use super::super::row::Connections;
    use super::*;

    #[test]
    fn what_a_guest_writes_is_read_again() {
        let rows = [Row {
            number: 0,
            runtime: "go",
            over_tls: false,
            case: &CALLS,
            concurrency: 8,
            connections: Connections::Keep,
            requests: 10,
            floor: 0.9,
        }];
        let edges = |right, missing, wrong| Edges {
            right,
            missing,
            wrong,
        };
        let outcomes = [Outcome {
            row: &rows[0],
            failed: 1,
            tier: "fentry".to_owned(),
            verdict: Verdict {
                calls: edges(1, 2, 3),
                joins: edges(4, 5, 6),
                roots: edges(7, 8, 9),
                links: Links {
                    right: 15,
                    wrong: 16,
                },
                background: 10,
                lost: 11,
                repeated: 12,
                malformed: 13,
                merged: 14,
                details: vec!["wrong: x".to_owned()],
                ..Verdict::default()
            },
        }];
        let place = Where {
            kernel: "6.12".to_owned(),
            cpus: 2,
        };
        let (again, place) = read(&write(&outcomes, &place), &rows).unwrap();
        let (one, other) = (&outcomes[0], &again[0]);
        assert_eq!(
            format!("{:?}", one.verdict),
            format!("{:?}", other.verdict),
            "the verdict"
        );
        assert_eq!((one.failed, &one.tier), (other.failed, &other.tier));
        assert_eq!((place.kernel.as_str(), place.cpus), ("6.12", 2));
    }
}
