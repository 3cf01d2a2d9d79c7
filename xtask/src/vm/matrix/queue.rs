//! Boots, a few at a time.

use std::collections::VecDeque;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

use anyhow::Result;

use super::cell::{self, Bench, Cell, Row, TIERS};

/// One boot: of a row, for `doctor` without a tier.
struct Task {
    row: usize,
    tier: Option<&'static str>,
}

#[derive(Default)]
struct State {
    waiting: VecDeque<Task>,
    /// Boots under way: each may add others.
    running: usize,
    found: Vec<(usize, &'static str, Cell)>,
    error: Option<anyhow::Error>,
}

/// Fills every row's cells.
///
/// # Errors
/// When a guest can't be run at all; those under way end first.
pub(super) fn run(bench: &Bench, rows: &mut [Row], wanted: &[String]) -> Result<()> {
    let state = Mutex::new(State::default());
    let changed = Condvar::new();
    lock(&state).waiting = (0..rows.len())
        .map(|row| Task { row, tier: None })
        .collect();
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let shared: &[Row] = rows;
    std::thread::scope(|scope| {
        for _ in 0..cores.min(4) {
            scope.spawn(|| {
                while let Some(task) = next(&state, &changed) {
                    let done = perform(bench, shared, &task, wanted);
                    let mut state = lock(&state);
                    state.running -= 1;
                    match done {
                        Ok((more, found)) => {
                            // A kernel that is half done goes first, so that failures are seen early.
                            more.into_iter()
                                .rev()
                                .for_each(|task| state.waiting.push_front(task));
                            state.found.extend(found);
                        }
                        Err(error) => {
                            state.waiting.clear();
                            state.error = Some(error);
                        }
                    }
                    changed.notify_all();
                }
            });
        }
    });
    let state = state.into_inner().unwrap_or_else(PoisonError::into_inner);
    for (row, tier, cell) in state.found {
        rows[row].cells.insert(tier, cell);
    }
    state.error.map_or(Ok(()), Err)
}

/// Waits for a task; none when there will be no more.
fn next(state: &Mutex<State>, changed: &Condvar) -> Option<Task> {
    let mut state = lock(state);
    loop {
        if let Some(task) = state.waiting.pop_front() {
            state.running += 1;
            return Some(task);
        }
        if state.running == 0 {
            return None;
        }
        state = changed.wait(state).unwrap_or_else(PoisonError::into_inner);
    }
}

type Found = Vec<(usize, &'static str, Cell)>;

/// One boot: tasks that follow from it, and cells that are settled by it.
fn perform(
    bench: &Bench,
    rows: &[Row],
    task: &Task,
    wanted: &[String],
) -> Result<(Vec<Task>, Found)> {
    let row = task.row;
    if let Some(tier) = task.tier {
        let cell = cell::suite(bench, &rows[row], tier)?;
        return Ok((Vec::new(), vec![(row, tier, cell)]));
    }
    let (mut more, mut found) = (Vec::new(), Vec::new());
    let tiers = cell::doctor(bench, &rows[row])?;
    for tier in TIERS {
        if !wanted.is_empty() && !wanted.iter().any(|it| it == tier) {
            continue;
        }
        match tiers.get(tier).cloned().flatten() {
            None => more.push(Task {
                row,
                tier: Some(tier),
            }),
            Some(why_not) => {
                eprintln!("{} {tier}: – {why_not}", rows[row].name);
                found.push((row, tier, Cell::Unavailable(why_not)));
            }
        }
    }
    Ok((more, found))
}

fn lock(state: &Mutex<State>) -> MutexGuard<'_, State> {
    state.lock().unwrap_or_else(PoisonError::into_inner)
}
