//! What was found, against what the committed page says: each cell by itself, so that some kernels can be compared, too.

use std::collections::BTreeMap;

use super::page::{INSTRUCTIONS, MEASURED, NOTES};

/// A program may grow by this factor before `--check` objects: kernels change a little, too.
const GROWTH: f64 = 1.25;

/// What is no larger than this may grow as it likes: a fifth of what the kernel's limit is.
const SMALL: u64 = 200_000;

/// Section, row, kernel.
type Key = (String, String, String);

/// What a new page says otherwise than the committed one, a line each: every behaviour, and programs that have grown. The
/// new page may tell of fewer kernels; then only these are compared, and the counts that stand for all behaviours are not,
/// since a behaviour that the committed page does not know of yet is no difference then.
pub(super) fn differences(committed: &str, new: &str, whole: bool) -> Vec<String> {
    let (old, now) = (behaviours(committed), behaviours(new));
    let kernels: Vec<&String> = now.keys().map(|(_, _, kernel)| kernel).collect();
    let mut lines = Vec::new();
    let mut tell = |(section, row, kernel): &Key, says: &str, found: &str| {
        lines.push(format!(
            "docs/kernels.md, {section}, {row} on {kernel}: says \"{says}\", found \"{found}\""
        ));
    };
    let is_compared = |key: &Key| whole || key.0 != OVERVIEW;
    for (key, says) in old.iter().filter(|(key, _)| is_compared(key)) {
        match now.get(key) {
            Some(found) if found != says => tell(key, says, found),
            None if whole || kernels.contains(&&key.2) => tell(key, says, "nothing"),
            _ => {}
        }
    }
    for (key, found) in now.iter().filter(|_| whole) {
        if !old.contains_key(key) {
            tell(key, "nothing", found);
        }
    }
    let old = counts(committed);
    for (key, count) in counts(new) {
        if let Some(before) = old.get(&key)
            && count > SMALL
            && count as f64 > *before as f64 * GROWTH
        {
            let (program, kernel) = key;
            lines.push(format!(
                "{program} on {kernel}: the verifier looks at {count} instructions, was {before}"
            ));
        }
    }
    lines
}

/// The section that counts the behaviours of a tier.
const OVERVIEW: &str = "Tiers";

/// All that is said of behaviours, with the notes' texts in place of their numbers. Empty cells say nothing.
fn behaviours(page: &str) -> BTreeMap<Key, String> {
    let (part, _) = page.split_once(MEASURED).unwrap_or((page, ""));
    let (tables, notes) = part.split_once(NOTES).unwrap_or((part, ""));
    let mut found = BTreeMap::new();
    for section in tables.split("\n## ").skip(1) {
        let title = section.lines().next().unwrap_or_default();
        for ((row, kernel), cell) in table(section) {
            let cell = with_notes(&cell, notes);
            found.insert((title.trim_matches('`').to_owned(), row, kernel), cell);
        }
    }
    found
}

/// `– (2)` → `– (the second note)`
fn with_notes(cell: &str, notes: &str) -> String {
    let number = cell
        .split_once('(')
        .and_then(|(_, rest)| rest.strip_suffix(')'));
    let note = number.and_then(|number| {
        let begin = format!("{number}. ");
        notes.lines().find_map(|line| line.strip_prefix(&begin))
    });
    match (number, note) {
        (Some(number), Some(note)) => cell.replace(&format!("({number})"), &format!("({note})")),
        _ => cell.to_owned(),
    }
}

/// The table of instructions: (program, kernel) to count.
fn counts(page: &str) -> BTreeMap<(String, String), u64> {
    let (_, table_and_more) = page.split_once(INSTRUCTIONS).unwrap_or_default();
    let cells = table(table_and_more).into_iter();
    cells
        .filter_map(|(key, count)| Some((key, count.parse().ok()?)))
        .collect()
}

/// The first table of a text: (row, column) to the cell, where that is not empty.
fn table(text: &str) -> BTreeMap<(String, String), String> {
    let cells = |line: &str| -> Vec<String> {
        let line = line.strip_prefix('|').unwrap_or(line);
        let cells = line.strip_suffix('|').unwrap_or(line).split('|');
        cells
            .map(|cell| cell.trim().trim_matches('`').to_owned())
            .collect()
    };
    let lines = text.lines().skip_while(|line| !line.starts_with('|'));
    let mut lines = lines.take_while(|line| line.starts_with('|')).map(cells);
    let columns = lines.next().unwrap_or_default();
    let mut found = BTreeMap::new();
    for line in lines.filter(|line| line.iter().any(|cell| !cell.starts_with("---"))) {
        for (column, cell) in columns.iter().zip(&line).skip(1) {
            if !cell.is_empty() {
                found.insert((line[0].clone(), column.clone()), cell.clone());
            }
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Two kernels; `mark` and `note` are the second one's.
    fn page(mark: &str, note: &str, count: u64) -> String {
        format!(
            "# Kernels\n\n## Tiers\n\n| tier | 5.10 | 6.12, lockdown |\n|---|---|---|\n| `fentry` | 1 of 1 | – (1) |\n\n\
             ## `fentry`\n\n| behaviour | 5.10 | 6.12, lockdown |\n|---|---|---|\n| older |  | {mark} |\n| upload | ✓ | ✓ |\n\
             {NOTES}\n1. lockdown\n2. {note}\n{MEASURED}\n- x: `y`\n{INSTRUCTIONS}\ntext\n\n\
             | program | 6.1 | 6.12, lockdown |\n|---|---|---|\n| `a` | {count} | |\n\n### next\n| `b` | 9 |\n"
        )
    }

    /// Only the second kernel, whose notes have other numbers, with a behaviour that `page` does not know.
    fn part(mark: &str, upload: &str, note: &str) -> String {
        format!(
            "# Kernels\n\n## Tiers\n\n| tier | 6.12, lockdown |\n|---|---|\n| `fentry` | 2 of 3 |\n\n\
             ## `fentry`\n\n| behaviour | 6.12, lockdown |\n|---|---|\n| older | {mark} |\n{upload}| newer | ✓ |\n\
             {NOTES}\n1. {note}\n{MEASURED}\n"
        )
    }

    const UPLOAD: &str = "| upload | ✓ |\n";

    #[test]
    fn equal_pages_do_not_differ_and_a_little_growth_is_none() {
        let old = page("✓", "it", 300_000);
        assert!(differences(&old, &page("✓", "it", 300_000), true).is_empty());
        assert!(differences(&old, &page("✓", "it", 360_000), true).is_empty());
        let small = |count| page("✓", "it", count);
        assert!(differences(&small(1000), &small(SMALL), true).is_empty());
        assert_eq!(differences(&small(1000), &small(SMALL + 1), true).len(), 1);
        assert_eq!(counts(&old).len(), 1);
        assert_eq!(behaviours(&old).len(), 5);
    }

    #[test]
    fn another_behaviour_and_a_program_that_has_grown_are_told() {
        let told = differences(&page("✓", "it", 300_000), &page("✗", "it", 390_000), true);
        assert_eq!(told.len(), 2, "{told:?}");
        assert!(told[0].contains("fentry, older on 6.12, lockdown: says \"✓\", found \"✗\""));
        assert!(told[1].starts_with("a on 6.1: the verifier looks at 390000"));
    }

    #[test]
    fn another_reason_is_told_and_another_number_is_not() {
        let old = page("(2)", "reads too late", 1);
        assert_eq!(
            differences(&old, &page("(2)", "reads too soon", 1), true).len(),
            1
        );
        assert!(differences(&old, &part("(1)", UPLOAD, "reads too late"), false).is_empty());
        assert_eq!(
            differences(&old, &part("(1)", UPLOAD, "reads too soon"), false).len(),
            1
        );
    }

    #[test]
    fn of_some_kernels_only_these_are_compared() {
        let old = page("✓", "it", 1);
        assert!(differences(&old, &part("✓", UPLOAD, "it"), false).is_empty());
        assert_eq!(differences(&old, &part("✗", UPLOAD, "it"), false).len(), 1);
        // A behaviour that is not tried any more.
        assert_eq!(differences(&old, &part("✓", "", "it"), false).len(), 1);
        // The whole page lacks the other kernel, and has another count and the new behaviour.
        assert!(differences(&old, &part("✓", UPLOAD, "it"), true).len() > 2);
    }

    #[test]
    fn the_committed_page_can_be_read() {
        let file = crate::workspace::root().join("docs/kernels.md");
        let page = std::fs::read_to_string(file).unwrap();
        let behaviours = behaviours(&page);
        for kernel in ["5.10", "6.12"] {
            let of = behaviours.keys().filter(|(_, _, column)| column == kernel);
            assert!(of.count() > 100, "{kernel}");
        }
        assert!(super::super::made::Made::of_page(&page).is_some());
    }
}
