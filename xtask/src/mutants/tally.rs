//! What became of the mutants, counted a folder.

use std::collections::BTreeMap;
use std::fmt;

use anyhow::{Context, Result};
use serde_json::Value;

/// Per cent of a folder's mutants that its tests must catch. Some can't be caught: they behave like the original.
pub(super) const WANTED: usize = 95;

/// What became of the mutants of one protocol.
#[derive(Debug, Default, PartialEq, Eq)]
struct Folder {
    /// All that there are.
    all: usize,
    /// Tests failed or hung.
    caught: usize,
    missed: usize,
    /// Did not compile: no mistake that somebody could make.
    unviable: usize,
}

impl Folder {
    fn tried(&self) -> usize {
        self.caught + self.missed
    }

    /// Too many were missed, even if those that were not tried are all caught.
    fn is_short(&self) -> bool {
        let viable = self.all - self.unviable;
        self.missed * 100 > viable * (100 - WANTED)
    }
}

/// All protocols.
pub(super) struct Tally(BTreeMap<String, Folder>);

impl Tally {
    /// From the files of all mutants, and the text of cargo-mutants' `outcomes.json`.
    ///
    /// # Errors
    /// When that is not what cargo-mutants writes, or tells of no mutant.
    pub(super) fn new(all: &[String], outcomes: &str) -> Result<Self> {
        let mut folders: BTreeMap<String, Folder> = BTreeMap::new();
        for file in all {
            folders.entry(folder(file)).or_default().all += 1;
        }
        let outcomes: Value = serde_json::from_str(outcomes)?;
        let outcomes = outcomes["outcomes"].as_array().context("no outcomes")?;
        let mut tried = 0;
        for outcome in outcomes {
            // The others are of the sources without any mistake.
            let Some(file) = outcome["scenario"]["Mutant"]["file"].as_str() else {
                continue;
            };
            let folder = folders
                .get_mut(&folder(file))
                .with_context(|| format!("{file} was not listed"))?;
            match outcome["summary"].as_str() {
                Some("CaughtMutant" | "Timeout") => folder.caught += 1,
                Some("MissedMutant") => folder.missed += 1,
                Some("Unviable") => folder.unviable += 1,
                other => anyhow::bail!("cargo-mutants says {other:?} of a mutant in {file}"),
            }
            tried += 1;
        }
        anyhow::ensure!(tried > 0, "no mutant was tried");
        Ok(Self(folders))
    }

    /// The folders whose tests catch too few.
    pub(super) fn short(&self) -> Vec<&str> {
        let short = self.0.iter().filter(|(_, folder)| folder.is_short());
        short.map(|(name, _)| name.as_str()).collect()
    }
}

impl fmt::Display for Tally {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(to, "FOLDER            MUTANTS  CAUGHT  MISSED  SHARE")?;
        for (name, folder) in &self.0 {
            let (caught, missed) = (folder.caught, folder.missed);
            // A share is never rounded up to one that it does not reach.
            let share = match (caught * 1000).checked_div(folder.tried()) {
                Some(share) => format!("{}.{} %", share / 10, share % 10),
                None => "-".to_owned(),
            };
            let mark = if folder.is_short() { "  too few" } else { "" };
            let all = folder.all - folder.unviable;
            writeln!(
                to,
                "{name:<16} {all:>8} {caught:>7} {missed:>7}  {share}{mark}"
            )?;
        }
        Ok(())
    }
}

/// The files of the mutants in cargo-mutants' list.
///
/// # Errors
/// When it is no such list.
pub(super) fn listed(list: &str) -> Result<Vec<String>> {
    let list: Value = serde_json::from_str(list).context("cargo-mutants' list")?;
    let mutants = list.as_array().context("cargo-mutants lists no mutants")?;
    let file = |mutant: &Value| Some(mutant["file"].as_str()?.to_owned());
    mutants
        .iter()
        .map(|mutant| file(mutant).context("a mutant without a file"))
        .collect()
}

/// `observer-protocol/src/http1/head.rs` → `http1`, `observer-protocol/src/b3.rs` → `b3`
fn folder(file: &str) -> String {
    let (_, inside) = file.split_once("src/").unwrap_or(("", file));
    let first = inside.split('/').next().unwrap_or_default();
    first.trim_end_matches(".rs").to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tally(all: usize, outcomes: &[(&str, usize)]) -> Tally {
        let all = vec!["observer-protocol/src/dns/name.rs".to_owned(); all];
        let mut entries = vec![r#"{"scenario":"Baseline","summary":"Success"}"#.to_owned()];
        for (summary, count) in outcomes {
            let entry = format!(
                r#"{{"scenario":{{"Mutant":{{"file":"{}"}}}},"summary":"{summary}"}}"#,
                all[0]
            );
            entries.extend(vec![entry; *count]);
        }
        Tally::new(&all, &format!(r#"{{"outcomes":[{}]}}"#, entries.join(","))).unwrap()
    }

    #[test]
    fn below_95_in_a_hundred_is_too_few() {
        assert_eq!(
            tally(100, &[("CaughtMutant", 94), ("MissedMutant", 6)]).short(),
            ["dns"]
        );
        assert!(
            tally(100, &[("CaughtMutant", 95), ("MissedMutant", 5)])
                .short()
                .is_empty()
        );
    }

    #[test]
    fn a_mutant_that_hangs_is_caught_and_one_that_does_not_compile_is_none() {
        let hung = tally(100, &[("Timeout", 95), ("MissedMutant", 5)]);
        assert!(hung.short().is_empty());
        let unviable = tally(
            100,
            &[("Unviable", 20), ("CaughtMutant", 75), ("MissedMutant", 5)],
        );
        assert_eq!(unviable.short(), ["dns"]);
        assert!(unviable.to_string().contains("93.7 %"), "{unviable}");
    }

    #[test]
    fn a_part_fails_only_when_the_whole_must() {
        let part = tally(100, &[("CaughtMutant", 7), ("MissedMutant", 5)]);
        assert!(part.short().is_empty());
        let part = tally(100, &[("CaughtMutant", 7), ("MissedMutant", 6)]);
        assert_eq!(part.short(), ["dns"]);
    }

    #[test]
    fn what_tells_of_no_mutant_is_no_proof() {
        assert!(Tally::new(&[], r#"{"outcomes":[{"scenario":"Baseline"}]}"#).is_err());
        assert!(Tally::new(&[], "{}").is_err());
        assert!(listed("").is_err());
    }

    #[test]
    fn a_file_belongs_to_its_protocol() {
        assert_eq!(
            folder("observer-protocol/src/http1/machine/mod.rs"),
            "http1"
        );
        assert_eq!(folder("observer-protocol/src/b3.rs"), "b3");
    }
}
