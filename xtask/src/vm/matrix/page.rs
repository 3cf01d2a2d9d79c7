//! `docs/kernels.md`.

use std::collections::BTreeMap;
use std::fmt::Write;

use super::cell::{Cell, Row, TIERS};
use super::made::Made;

const HEAD: &str = "# Kernels

Which tier does what on which kernel. `cargo xtask vm` writes this page: it boots each kernel, asks `observer doctor`, and
runs the behaviour suite (`tests/src/bin/behaviours/`) in every tier that the kernel allows. The kernels are Debian's;
*lockdown* is the same kernel with `lockdown=confidentiality`. 5.10 has control groups v1, 6.1 hybrid ones, the others v2.

✓ holds · ✗ fails · a number: does not hold, see the note · – can't be tried, see the note
";
/// Begins what differs from run to run.
pub(super) const MEASURED: &str = "\n## Measured\n";
pub(super) const INSTRUCTIONS: &str = "\n### Instructions that the verifier looks at\n";
/// Begins the notes' texts.
pub(super) const NOTES: &str = "\n## Notes\n";

/// Numbered notes, each text once.
#[derive(Default)]
struct Notes(Vec<String>);

impl Notes {
    fn number(&mut self, text: &str) -> usize {
        let known = self.0.iter().position(|note| note == text);
        known.map_or_else(
            || {
                self.0.push(text.to_owned());
                self.0.len()
            },
            |at| at + 1,
        )
    }
}

/// The whole page.
pub(super) fn render(rows: &[Row], made: &Made) -> String {
    let mut page = HEAD.to_owned();
    line(&mut page, &format!("\n{}", made.line()));
    let mut notes = Notes::default();
    page += "\n## Tiers\n\n";
    overview(&mut page, rows, &mut notes);
    for tier in TIERS {
        behaviours(&mut page, rows, tier, &mut notes);
    }
    page += NOTES;
    page.push('\n');
    for (number, note) in notes.0.iter().enumerate() {
        line(&mut page, &format!("{}. {}", number + 1, escape(note)));
    }
    page += MEASURED;
    releases(&mut page, rows);
    instructions(&mut page, rows);
    times(&mut page, rows);
    page
}

fn line(page: &mut String, text: &str) {
    page.push_str(text);
    page.push('\n');
}

/// A table's head: a first column, then one a kernel.
fn head(page: &mut String, first: &str, rows: &[Row]) {
    let names: String = rows.iter().map(|row| format!(" {} |", row.name)).collect();
    line(page, &format!("| {first} |{names}"));
    line(page, &format!("|---|{}", "---|".repeat(rows.len())));
}

/// Behaviours that hold, of those that were tried.
fn overview(page: &mut String, rows: &[Row], notes: &mut Notes) {
    head(page, "tier", rows);
    for tier in TIERS {
        let mut text = format!("| `{tier}` |");
        for row in rows {
            let mark = match row.cells.get(tier) {
                None => String::new(),
                Some(Cell::Unavailable(why_not)) => format!("– ({})", notes.number(why_not)),
                Some(Cell::Broken(reason)) => {
                    let reason = reason.lines().next().unwrap_or_default();
                    format!("✗ ({})", notes.number(reason))
                }
                Some(Cell::Ran { behaviours, .. }) => {
                    let count = |result| behaviours.iter().filter(|it| it.result == result).count();
                    format!("{} of {}", count("pass"), behaviours.len() - count("skip"))
                }
            };
            // Writing to a String does not fail.
            let _ = write!(text, " {mark} |");
        }
        line(page, &text);
    }
}

fn behaviours(page: &mut String, rows: &[Row], tier: &str, notes: &mut Notes) {
    let mut names: Vec<&str> = Vec::new();
    for row in rows {
        if let Some(Cell::Ran { behaviours, .. }) = row.cells.get(tier) {
            for behaviour in behaviours {
                if !names.contains(&behaviour.name.as_str()) {
                    names.push(&behaviour.name);
                }
            }
        }
    }
    if names.is_empty() {
        return;
    }
    line(page, &format!("\n## `{tier}`\n"));
    head(page, "behaviour", rows);
    for name in names {
        let mut text = format!("| {name} |");
        for row in rows {
            let found = match row.cells.get(tier) {
                Some(Cell::Ran { behaviours, .. }) => behaviours.iter().find(|it| it.name == name),
                _ => None,
            };
            let mark = match found.map(|it| (it.result.as_str(), &it.reason)) {
                None => String::new(),
                Some(("pass", _)) => "✓".to_owned(),
                Some(("gap", why)) => format!("({})", notes.number(why)),
                Some(("skip", why)) => format!("– ({})", notes.number(why)),
                Some(_) => "✗".to_owned(),
            };
            let _ = write!(text, " {mark} |");
        }
        line(page, &text);
    }
}

fn releases(page: &mut String, rows: &[Row]) {
    page.push('\n');
    for row in rows {
        line(page, &format!("- {}: `{}`", row.name, row.kernel.release));
    }
}

fn loads(row: &Row) -> impl Iterator<Item = (&'static str, &super::cell::Load)> {
    row.cells.iter().filter_map(|(tier, cell)| match cell {
        Cell::Ran {
            load: Some(load), ..
        } => Some((*tier, load)),
        _ => None,
    })
}

fn instructions(page: &mut String, rows: &[Row]) {
    page.push_str(INSTRUCTIONS);
    line(
        page,
        "\nThe kernel's limit is a million a program. 5.10 does not tell.\n",
    );
    head(page, "program", rows);
    let mut programs: BTreeMap<&str, Vec<Option<u64>>> = BTreeMap::new();
    for (at, row) in rows.iter().enumerate() {
        for (_, load) in loads(row) {
            for (name, count) in &load.instructions {
                let counts = programs
                    .entry(name)
                    .or_insert_with(|| vec![None; rows.len()]);
                counts[at] = counts[at].max(Some(*count));
            }
        }
    }
    for (name, counts) in programs {
        let mut text = format!("| `{name}` |");
        for count in counts {
            let _ = write!(
                text,
                " {} |",
                count.map(|it| it.to_string()).unwrap_or_default()
            );
        }
        line(page, &text);
    }
}

fn times(page: &mut String, rows: &[Row]) {
    line(page, "\n### Loading and detaching, in seconds\n");
    line(
        page,
        "Load, verify and attach all programs / from SIGTERM until nothing is left. Under software emulation, which is \
         ten times and more slower than a machine, beside other guests: compare within a column only.\n",
    );
    head(page, "tier", rows);
    for tier in TIERS {
        let mut text = format!("| `{tier}` |");
        for row in rows {
            let load = loads(row).find(|(name, _)| *name == tier);
            let cell = load.map(|(_, load)| format!("{:.1} / {:.1}", load.programs, load.end));
            let _ = write!(text, " {} |", cell.unwrap_or_default());
        }
        line(page, &text);
    }
}

/// Text inside a page: one line, no table's border.
fn escape(text: &str) -> String {
    text.replace('\n', " ").replace('|', "\\|")
}
