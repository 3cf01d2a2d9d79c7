//! `observer doctor --tls`: where a program's or library's TLS secrets pass, or why that is not known.
//!
//! Reads files only. Nothing is attached.

use std::{
    collections::BTreeSet,
    fmt::Write as _,
    fs::{self, File},
    io::{self, Write as _},
    path::{Path, PathBuf},
    process::ExitCode,
    time::Instant,
};

use anyhow::{Context as _, bail};
use serde_json::json;

use crate::{
    cli::{escape::push, exit},
    tls::points::{Cache, FoundBy, KeyPoints, Kind, Unknown},
};

/// One file that was searched.
struct Searched {
    /// What it is called.
    name: String,
    found: Result<std::sync::Arc<KeyPoints>, Unknown>,
    milliseconds: f64,
}

/// Searches a file, or all that a process has mapped to be executed; the exit code is 1 where nothing is found.
pub(super) fn run(what: &str, json: bool) -> anyhow::Result<ExitCode> {
    let files = match what.parse() {
        Ok(pid) => mapped(Path::new("/proc"), pid)?,
        Err(_) => vec![(what.to_owned(), PathBuf::from(what))],
    };
    let mut cache = Cache::default();
    let mut searched = Vec::new();
    for (name, path) in files {
        let file = File::open(&path).with_context(|| format!("cannot read {name}"))?;
        let begun = Instant::now();
        let found = cache.find(&file);
        searched.push(Searched {
            name,
            found,
            milliseconds: begun.elapsed().as_secs_f64() * 1e3,
        });
    }
    let text = if json {
        as_json(&searched)
    } else {
        as_text(&searched)
    };
    match io::stdout().lock().write_all(text.as_bytes()) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => return Err(error.into()),
        _ => {}
    }
    let any = searched.iter().any(|file| file.found.is_ok());
    Ok(ExitCode::from(if any {
        exit::OK
    } else {
        exit::CANNOT_TRACE
    }))
}

/// The files that a process has mapped to be executed: what each is called, and where it can be read even if its name
/// is gone or belongs to another root.
fn mapped(proc: &Path, pid: u32) -> anyhow::Result<Vec<(String, PathBuf)>> {
    let folder = proc.join(pid.to_string());
    let maps = fs::read_to_string(folder.join("maps"))
        .with_context(|| format!("cannot read what process {pid} has mapped"))?;
    let mut seen = BTreeSet::new();
    let mut files = Vec::new();
    for line in maps.lines() {
        let Some((range, name)) = executable(line) else {
            continue;
        };
        if !seen.insert(name) {
            continue;
        }
        let by_range = folder.join("map_files").join(range);
        let by_name = folder.join("root").join(name.trim_start_matches('/'));
        let path = if File::open(&by_range).is_ok() {
            by_range
        } else {
            by_name
        };
        files.push((name.to_owned(), path));
    }
    if files.is_empty() {
        bail!(
            "process {pid} has mapped no file to be executed: it ended, or is part of the kernel"
        );
    }
    Ok(files)
}

/// Range and name of a file's mapping that is executed, as `/proc/PID/maps` writes it.
fn executable(line: &str) -> Option<(&str, &str)> {
    // address perms offset device inode path
    let mut fields = line.splitn(6, ' ');
    let (range, permissions) = (fields.next()?, fields.next()?);
    let name = fields.nth(3)?.trim_start();
    (permissions.contains('x') && name.starts_with('/')).then_some((range, name))
}

fn as_text(searched: &[Searched]) -> String {
    let mut out = String::new();
    let mut without = 0;
    for file in searched {
        // Most libraries of a process have nothing to do with TLS.
        if searched.len() > 1 && matches!(file.found, Err(Unknown::NoLabels)) {
            without += 1;
            continue;
        }
        push(&mut out, &file.name);
        let _ = writeln!(out, " ({:.1} ms)", file.milliseconds);
        match &file.found {
            Ok(found) => {
                for point in &found.points {
                    let _ = writeln!(
                        out,
                        "  {} at file offset {:#x}, {}",
                        kind(point.kind),
                        point.offset,
                        found_by(point.found_by)
                    );
                }
                let _ = writeln!(out, "  labels in the file: {}", found.labels.len());
            }
            Err(reason) => {
                let _ = writeln!(out, "  {reason}");
            }
        }
    }
    if without > 0 {
        let _ = writeln!(out, "{without} other files: {}", Unknown::NoLabels);
    }
    out
}

fn as_json(searched: &[Searched]) -> String {
    let files: Vec<_> = searched
        .iter()
        .map(|file| match &file.found {
            Ok(found) => {
                let points = found.points.iter().map(|point| {
                    json!({
                        "kind": kind(point.kind),
                        "offset": point.offset,
                        "address": point.address,
                        "found_by": found_by(point.found_by),
                    })
                });
                let labels = found.labels.iter().map(|label| {
                    json!({
                        "label": label.label.text(),
                        "offset": label.offset,
                        "address": label.address,
                    })
                });
                json!({
                    "file": file.name,
                    "milliseconds": file.milliseconds,
                    "points": points.collect::<Vec<_>>(),
                    "labels": labels.collect::<Vec<_>>(),
                })
            }
            Err(reason) => json!({
                "file": file.name,
                "milliseconds": file.milliseconds,
                "points": [],
                "why_not": reason.to_string(),
            }),
        })
        .collect();
    json!({ "files": files }).to_string() + "\n"
}

fn kind(kind: Kind) -> &'static str {
    match kind {
        Kind::LogSecret => "secrets with labels",
        Kind::GoWriteKeyLog => "secrets with labels (Go)",
        Kind::Sha256Blocks => "SHA-256 blocks",
        Kind::Sha512Blocks => "SHA-512 blocks",
    }
}

fn found_by(found_by: FoundBy) -> String {
    match found_by {
        FoundBy::Symbol => "by its symbol".to_owned(),
        FoundBy::Labels(1) => "by 1 label that it is called with".to_owned(),
        FoundBy::Labels(labels) => format!("by {labels} labels that it is called with"),
        FoundBy::FunctionTable => "by the table of functions".to_owned(),
        FoundBy::Constants => "by the constants that it names".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_mapped_to_be_executed_is_found_whatever_it_is_called() {
        let line = "7f00-7f10 r-xp 00001000 00:29 77                 /usr/lib/a b.so (deleted)";
        assert_eq!(
            executable(line),
            Some(("7f00-7f10", "/usr/lib/a b.so (deleted)"))
        );
        for line in [
            "7f00-7f10 r--p 00001000 00:29 77                 /usr/lib/a.so",
            "7f00-7f10 r-xp 00000000 00:00 0                  [vdso]",
            "7f00-7f10 rwxp 00000000 00:00 0 ",
            "",
        ] {
            assert_eq!(executable(line), None, "{line}");
        }
        let own = mapped(Path::new("/proc"), std::process::id()).unwrap();
        let exe = fs::read_link("/proc/self/exe").unwrap();
        assert!(own.iter().any(|(name, _)| Path::new(name) == exe));
        assert!(mapped(Path::new("/nonexistent"), 1).is_err());
    }

    #[test]
    fn files_without_tls_are_counted_and_others_have_a_line_each() {
        let searched = |name: &str, reason| Searched {
            name: name.to_owned(),
            found: Err(reason),
            milliseconds: 1.0,
        };
        let text = as_text(&[
            searched("/a", Unknown::NoLabels),
            searched("/b", Unknown::Ambiguous(2)),
        ]);
        assert_eq!(
            text,
            "/b (1.0 ms)\n  TLS library not known: the labels of a key log lead to 2 functions\n\
             1 other files: no TLS library inside that is known\n"
        );
        let one = as_text(&[searched("/a", Unknown::NoLabels)]);
        assert_eq!(one, "/a (1.0 ms)\n  no TLS library inside that is known\n");
        let json = as_json(&[searched("/b", Unknown::Ambiguous(2))]);
        let json: serde_json::Value = serde_json::from_str(&json).unwrap();
        assert_eq!(json["files"][0]["file"], "/b");
        assert!(json["files"][0]["why_not"].is_string());
    }
}
