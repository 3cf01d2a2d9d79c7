//! What differs between two ELF objects, section by section, for the person whose check failed.

use std::collections::BTreeMap;

use object::{Object, ObjectSection};

use super::source_digest::of_bytes;

/// One line for every section that is not the same in both; how the sizes differ when no section does.
pub(super) fn describe(committed: &[u8], built: &[u8]) -> String {
    let (Ok(old), Ok(new)) = (sections(committed), sections(built)) else {
        return format!(
            "one of them is no ELF file: committed {} bytes, built {} bytes",
            committed.len(),
            built.len()
        );
    };
    let mut lines = Vec::new();
    for (name, old) in &old {
        match new.get(name) {
            None => lines.push(format!("  {name}: not in what was built")),
            Some(new) if new != old => lines.push(format!(
                "  {name}: committed {} bytes, built {} bytes",
                old.0, new.0
            )),
            Some(_) => {}
        }
    }
    for name in new.keys().filter(|name| !old.contains_key(*name)) {
        lines.push(format!("  {name}: not in the committed object"));
    }
    if lines.is_empty() {
        lines.push(format!(
            "  the sections are the same; the files have {} and {} bytes",
            committed.len(),
            built.len()
        ));
    }
    lines.join("\n")
}

/// Size in bytes and digest of every section, by name; relocation sections count too.
fn sections(bytes: &[u8]) -> object::Result<BTreeMap<String, (u64, String)>> {
    let file = object::File::parse(bytes)?;
    let mut sections = BTreeMap::new();
    for section in file.sections() {
        let name = section.name()?.to_owned();
        sections.insert(name, (section.size(), of_bytes(section.data()?)));
    }
    Ok(sections)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_elf_file_is_said_to_be_none() {
        assert!(describe(b"one", b"four").contains("no ELF file: committed 3 bytes, built 4"));
    }

    #[test]
    fn a_file_that_equals_itself_shows_no_section() {
        let own = std::fs::read("/proc/self/exe").unwrap();
        assert!(describe(&own, &own).contains("the sections are the same"));
    }
}
