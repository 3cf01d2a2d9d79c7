//! The daemon's folders use each other in one direction only.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
};

/// The folders of `observer/src`, in the order of the flow. Each may use those before it, and none behind it. A file beside
/// them is a leaf.
///
/// `exchange` and `tls` stand before `stream`: what a connection carried is handed down, and a message knows no connection.
const ORDER: [&[&str]; 15] = [
    // Leaves: they use nothing, each other neither.
    &["identity", "elf", "kubernetes"],
    &["kernel"],
    &["process"],
    &["protocol"],
    &["exchange"],
    &["tls"],
    &["stream"],
    &["trace"],
    &["metrics"],
    &["export"],
    &["store"],
    &["ui"],
    &["config"],
    // It puts the stages together.
    &["daemon"],
    &["cli"],
];

/// `crate::folder` in a file.
#[derive(Debug, PartialEq, Eq)]
struct Arrow {
    line: usize,
    to: String,
}

#[test]
fn no_folder_uses_one_that_stands_behind_it() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut order: BTreeMap<String, usize> = ORDER
        .iter()
        .zip(0..)
        .flat_map(|(folders, place)| {
            folders
                .iter()
                .map(move |folder| ((*folder).to_owned(), place))
        })
        .collect();
    for file in sources(&root) {
        if file.parent() == Some(&*root) {
            let modules = modules_of(file.strip_prefix(&root).expect("below the root"));
            order.extend(modules.into_iter().map(|leaf| (leaf, 0)));
        }
    }
    let mut unknown = BTreeSet::new();
    let mut upward = Vec::new();
    let mut arrows = 0;
    for file in sources(&root) {
        let inside = file.strip_prefix(&root).expect("below the root");
        let modules = modules_of(inside);
        let Some(from) = modules.first() else {
            // These name all of them.
            continue;
        };
        let Some(place) = order.get(from) else {
            unknown.insert(from.clone());
            continue;
        };
        let text = fs::read_to_string(&file).expect("a source");
        for Arrow { line, to } in arrows_of(&text, modules.len()) {
            arrows += 1;
            let allowed = match order.get(&to) {
                Some(other) => to == *from || other < place,
                // An item of the crate itself: a macro.
                None => true,
            };
            if !allowed {
                upward.push(format!("{}:{line}: {from} uses {to}", inside.display()));
            }
        }
    }
    assert!(
        arrows > 200,
        "only {arrows} found: the reading of `use` broke"
    );
    assert!(
        unknown.is_empty(),
        "folders with no place in the order: {unknown:?}"
    );
    assert!(upward.is_empty(), "these run up:\n{}", upward.join("\n"));
}

fn sources(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).expect("a folder").flatten() {
        let path = entry.path();
        if path.is_dir() {
            found.extend(sources(&path));
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path);
        }
    }
    found
}

/// The modules that a file stands for: none for the crate's root.
fn modules_of(file: &Path) -> Vec<String> {
    let parts = file.with_extension("");
    let mut modules: Vec<String> = parts
        .iter()
        .map(|part| part.to_string_lossy().into_owned())
        .collect();
    if modules.last().is_some_and(|last| last == "mod") {
        modules.pop();
    }
    match modules.as_slice() {
        [only] if ["lib", "main", "arrows_tests"].contains(&only.as_str()) => Vec::new(),
        _ => modules,
    }
}

/// Which folders a file names, in a module so many levels below the root. Comments name what they like.
fn arrows_of(text: &str, depth: usize) -> Vec<Arrow> {
    let code = without_comments(text);
    let mut arrows = Vec::new();
    let climbing = "super::".repeat(depth);
    for prefix in ["crate::", climbing.as_str()] {
        for (at, _) in code.match_indices(prefix) {
            let before = code[..at].chars().next_back();
            if before.is_some_and(|before| before.is_alphanumeric() || "_:$".contains(before)) {
                continue;
            }
            let line = 1 + code[..at].matches('\n').count();
            let names = first_names(&code[at + prefix.len()..]);
            arrows.extend(names.into_iter().map(|(below, to)| Arrow {
                line: line + below,
                to,
            }));
        }
    }
    arrows
}

/// The first name of each path: of `a::b` it is `a`, of `{a::b, c::{d, e}}` they are `a` and `c`; each with the lines before
/// it.
fn first_names(text: &str) -> Vec<(usize, String)> {
    let name = |text: &str| -> String {
        text.chars()
            .take_while(|c| c.is_alphanumeric() || *c == '_')
            .collect()
    };
    if !text.starts_with('{') {
        return vec![(0, name(text))];
    }
    let (mut depth, mut names) = (0, Vec::new());
    for (at, c) in text.char_indices() {
        let begins = match c {
            '{' => {
                depth += 1;
                depth == 1
            }
            '}' => {
                depth -= 1;
                false
            }
            ',' => depth == 1,
            _ => false,
        };
        if depth == 0 {
            break;
        }
        if begins {
            let rest = &text[at + 1..];
            let trimmed = rest.trim_start();
            let start = at + 1 + rest.len() - trimmed.len();
            names.push((text[..start].matches('\n').count(), name(trimmed)));
        }
    }
    names.retain(|(_, name)| !name.is_empty());
    names
}

fn without_comments(text: &str) -> String {
    let lines = text.lines().map(|line| match line.find("//") {
        Some(at) => &line[..at],
        None => line,
    });
    lines.collect::<Vec<_>>().join("\n")
}

#[test]
fn every_way_of_naming_a_folder_is_read() {
    let text = "\
use crate::kernel::Kernel;
use crate::{
    process::{Service, Value},
    // config::Settings,
    trace::Span,
};
fn f(x: crate::export::Span) -> other_crate::cli::Span { super::super::cli::f() }
macro_rules! m { () => { $crate::config::f() } }
";
    let found: Vec<(usize, String)> = arrows_of(text, 2)
        .into_iter()
        .map(|arrow| (arrow.line, arrow.to))
        .collect();
    let expected = [
        (1, "kernel"),
        (3, "process"),
        (5, "trace"),
        (7, "export"),
        (7, "cli"),
    ];
    assert_eq!(found, expected.map(|(line, to)| (line, to.to_owned())));
    // One level higher up it is the folder's own.
    assert_eq!(arrows_of("use super::super::cli;", 3), []);
    assert_eq!(
        modules_of(Path::new("kernel/load/mod.rs")),
        ["kernel", "load"]
    );
    assert_eq!(modules_of(Path::new("lib.rs")), [""; 0]);
}
