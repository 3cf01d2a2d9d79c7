//! The table for a terminal: everything of each row.

use std::fmt::Write as _;

use super::chain::Outcome;
use super::judge::Edges;

/// One line a row.
pub(super) fn text(outcomes: &[Outcome<'_>]) -> String {
    let mut out = format!(
        "{:15} {:9} {:>5} {:5} {:>5}  {:>20} {:>20} {:>12} {:>11} {:>5} {:>5} {:>5}  {}\n",
        "RUNTIME",
        "CASE",
        "AT",
        "CONN",
        "REQS",
        "CALLS right/miss/WRONG",
        "JOINS right/miss/WRONG",
        "ROOTS ok/WRONG",
        "LINKS ok/no",
        "LOST",
        "FORM",
        "RIGHT",
        ""
    );
    for outcome in outcomes {
        let (row, verdict) = (outcome.row, &outcome.verdict);
        let edges = |edges: Edges| format!("{}/{}/{}", edges.right, edges.missing, edges.wrong);
        let roots = format!(
            "{}/{}",
            verdict.roots.right,
            verdict.roots.wrong + verdict.merged
        );
        let _ = writeln!(
            out,
            "{:15} {:9} {:>5} {:5} {:>5}  {:>20} {:>20} {:>12} {:>11} {:>5} {:>5} {:>5.1}  {}",
            row.runtime,
            row.case.name,
            row.concurrency,
            row.connections.as_str(),
            row.requests,
            edges(verdict.calls),
            edges(verdict.joins),
            roots,
            format!("{}/{}", verdict.links.right, verdict.links.wrong),
            verdict.lost,
            verdict.malformed,
            outcome.right() * 100.0,
            remarks(outcome),
        );
    }
    out
}

/// What is not as it should be, in words.
fn remarks(outcome: &Outcome<'_>) -> String {
    let mut remarks = Vec::new();
    let mut count = |number: usize, what: &str| {
        if number > 0 {
            remarks.push(format!("{number} {what}"));
        }
    };
    count(outcome.wrong(), "WRONG");
    count(outcome.verdict.malformed, "MALFORMED");
    count(outcome.failed, "requests FAILED");
    count(outcome.verdict.repeated, "repeated");
    remarks.extend(outcome.is_void().map(str::to_owned));
    if outcome.right() < outcome.row.floor {
        remarks.push(format!("below {:.0} %", outcome.row.floor * 100.0));
    }
    remarks.join(", ")
}

/// Every wrong, merged, malformed or wrongly linked span of each row, and some of the lost ones.
pub(super) fn details(outcomes: &[Outcome<'_>]) -> String {
    let mut out = String::new();
    for outcome in outcomes {
        if !outcome.verdict.details.is_empty() {
            let _ = writeln!(out, "{}", outcome.row);
        }
        for detail in &outcome.verdict.details {
            let _ = writeln!(out, "  {detail}");
        }
    }
    out
}
