//! The libraries that are in the daemon's executable, as cargo resolved them.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};
use serde_json::Value;

use super::sha256;
use crate::{command, workspace};

/// One library.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Component {
    pub(crate) name: String,
    pub(crate) version: String,
    /// As an SPDX expression, where its author says one.
    pub(crate) licence: Option<String>,
    /// SHA-256 of the file that cargo fetched; none for libraries of this workspace.
    pub(crate) checksum: Option<String>,
    /// Package URLs of what it uses.
    pub(crate) uses: BTreeSet<String>,
    folder: PathBuf,
}

/// By package URL.
pub(crate) type Components = BTreeMap<String, Component>;

/// The package URL of the daemon itself.
pub(crate) fn own(version: &str) -> String {
    url("observer", version)
}

fn url(name: &str, version: &str) -> String {
    format!("pkg:cargo/{name}@{version}")
}

/// The daemon and all that is compiled into it; no macros, which only run in the compiler, and nothing of build scripts and
/// tests.
///
/// # Errors
/// When cargo does not tell.
pub(crate) fn of_daemon() -> Result<Components> {
    let metadata = command::output(workspace::cargo().args([
        "metadata",
        "--locked",
        "--format-version=1",
        "--features",
        &format!("observer/{}", super::executable::FEATURES),
        "--filter-platform=x86_64-unknown-linux-gnu",
    ]))?;
    let lock = fs::read_to_string(workspace::root().join("Cargo.lock"))?;
    reachable(&serde_json::from_str(&metadata)?, &checksums(&lock))
}

/// What else is in an executable that is linked statically: the C library of the machine that links it.
///
/// # Errors
/// When its version can't be had.
pub(crate) fn linked_statically() -> Result<Components> {
    let said = command::output(Command::new("getconf").arg("GNU_LIBC_VERSION"))?;
    let version = said.split_whitespace().last();
    let version = version.context("getconf names no version of the C library")?;
    let library = Component {
        name: "glibc".to_owned(),
        version: version.to_owned(),
        licence: Some("LGPL-2.1-or-later".to_owned()),
        checksum: None,
        uses: BTreeSet::new(),
        folder: PathBuf::new(),
    };
    Ok([(format!("pkg:generic/glibc@{version}"), library)].into())
}

/// What the package `observer` reaches in cargo's metadata.
fn reachable(metadata: &Value, checksums: &BTreeMap<String, String>) -> Result<Components> {
    let list = |value: &Value| value.as_array().cloned().unwrap_or_default();
    let packages: BTreeMap<String, Value> = list(&metadata["packages"])
        .into_iter()
        .filter_map(|package| Some((package["id"].as_str()?.to_owned(), package)))
        .collect();
    let nodes: BTreeMap<String, Value> = list(&metadata["resolve"]["nodes"])
        .into_iter()
        .filter_map(|node| Some((node["id"].as_str()?.to_owned(), node)))
        .collect();
    let is_macro = |id: &str| {
        list(&packages[id]["targets"])
            .iter()
            .any(|target| list(&target["kind"]).contains(&"proc-macro".into()))
    };
    let first = packages
        .iter()
        .find(|(_, package)| package["name"] == "observer")
        .context("cargo knows no package `observer`")?;
    let mut components = Components::new();
    let mut waiting = vec![first.0.clone()];
    let mut seen = BTreeSet::new();
    while let Some(id) = waiting.pop() {
        if !seen.insert(id.clone()) {
            continue;
        }
        let package = packages
            .get(&id)
            .with_context(|| format!("cargo says nothing of {id}"))?;
        let text = |key: &str| package[key].as_str().map(str::to_owned);
        let (Some(name), Some(version), Some(manifest)) =
            (text("name"), text("version"), text("manifest_path"))
        else {
            bail!("cargo does not name {id}");
        };
        let mut uses = BTreeSet::new();
        for dependency in list(&nodes[&id]["deps"]) {
            let other = dependency["pkg"].as_str().unwrap_or_default().to_owned();
            let is_compiled_in = list(&dependency["dep_kinds"])
                .iter()
                .any(|kind| kind["kind"].is_null());
            if !is_compiled_in || !packages.contains_key(&other) || is_macro(&other) {
                continue;
            }
            let named = |key: &str| packages[&other][key].as_str().unwrap_or_default();
            uses.insert(url(named("name"), named("version")));
            waiting.push(other);
        }
        let url = url(&name, &version);
        let component = Component {
            // Older ones have a slash for "or".
            licence: text("license").map(|licence| licence.replace('/', " OR ")),
            checksum: checksums.get(&url).cloned(),
            uses,
            folder: Path::new(&manifest)
                .parent()
                .map_or_else(PathBuf::new, Path::to_owned),
            name,
            version,
        };
        components.insert(url, component);
    }
    Ok(components)
}

/// Checksums of `Cargo.lock`, by package URL.
fn checksums(lock: &str) -> BTreeMap<String, String> {
    let mut found = BTreeMap::new();
    for package in lock.split("[[package]]") {
        let value = |key: &str| {
            package.lines().find_map(|line| {
                let value = line.strip_prefix(key)?.strip_prefix(" = \"")?;
                value.strip_suffix('"')
            })
        };
        if let (Some(name), Some(version), Some(checksum)) =
            (value("name"), value("version"), value("checksum"))
        {
            found.insert(url(name, version), checksum.to_owned());
        }
    }
    found
}

/// The texts of all licences, each once, with the libraries that come under it.
///
/// # Errors
/// When a file can't be read.
pub(crate) fn licences(components: &Components) -> Result<String> {
    let mut texts: BTreeMap<String, (BTreeSet<String>, String)> = BTreeMap::new();
    let mut silent = Vec::new();
    for component in components.values() {
        let of = format!("{} {}", component.name, component.version);
        let files = licence_files(&component.folder)?;
        if files.is_empty() && component.checksum.is_some() {
            let licence = component.licence.as_deref().unwrap_or("no licence named");
            silent.push(format!("  {of}: {licence}\n"));
        }
        for file in files {
            let text = fs::read(&file).with_context(|| format!("reading {}", file.display()))?;
            let text = String::from_utf8_lossy(&text).into_owned();
            let entry = texts.entry(sha256(text.trim().as_bytes()));
            entry
                .or_insert_with(|| (BTreeSet::new(), text))
                .0
                .insert(of.clone());
        }
    }
    let mut entries: Vec<_> = texts.into_values().collect();
    entries.sort();
    let mut page = "Licences of the libraries in observer's executable.\n".to_owned();
    if !silent.is_empty() {
        page += "\nThese have no text with them, and say:\n";
        page += &silent.concat();
    }
    for (of, text) in entries {
        let of: Vec<String> = of.into_iter().collect();
        page += &format!(
            "\n{}\n{}\n\n{}\n",
            "=".repeat(78),
            of.join("\n"),
            text.trim()
        );
    }
    Ok(page)
}

fn licence_files(folder: &Path) -> Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    if !folder.is_dir() {
        return Ok(files);
    }
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        let name = path
            .file_name()
            .unwrap_or_default()
            .to_string_lossy()
            .to_uppercase();
        let is_licence = ["LICENSE", "LICENCE", "COPYING", "NOTICE", "COPYRIGHT"]
            .iter()
            .any(|begin| name.starts_with(begin));
        if is_licence && path.is_file() {
            files.push(path);
        }
    }
    files.sort();
    Ok(files)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_is_compiled_in_is_reached_and_nothing_else() {
        let package = |name: &str, kind: &str| {
            json!({"id": name, "name": name, "version": "1.0.0", "license": "MIT/Apache-2.0",
                   "manifest_path": format!("/{name}/Cargo.toml"), "targets": [{"kind": [kind]}]})
        };
        let edge = |name: &str, kind: Value| json!({"pkg": name, "dep_kinds": [{"kind": kind}]});
        let metadata = json!({
            "packages": [
                package("observer", "bin"), package("library", "lib"), package("below", "lib"),
                package("macro", "proc-macro"), package("builds", "lib"), package("tests", "lib"),
            ],
            "resolve": {"nodes": [
                {"id": "observer", "deps": [
                    edge("library", Value::Null), edge("macro", Value::Null),
                    edge("builds", "build".into()), edge("tests", "dev".into()),
                ]},
                {"id": "library", "deps": [edge("below", Value::Null)]},
                {"id": "below", "deps": []},
            ]},
        });
        let lock = "[[package]]\nname = \"below\"\nversion = \"1.0.0\"\nchecksum = \"00ff\"\n";
        let found = reachable(&metadata, &checksums(lock)).unwrap();
        let names: Vec<&str> = found.keys().map(String::as_str).collect();
        let expected = ["below", "library", "observer"].map(|name| url(name, "1.0.0"));
        assert_eq!(names, expected);
        let below = &found["pkg:cargo/below@1.0.0"];
        assert_eq!(below.checksum.as_deref(), Some("00ff"));
        assert_eq!(below.licence.as_deref(), Some("MIT OR Apache-2.0"));
        let uses: Vec<&str> = found["pkg:cargo/observer@1.0.0"]
            .uses
            .iter()
            .map(String::as_str)
            .collect();
        assert_eq!(uses, ["pkg:cargo/library@1.0.0"]);
    }
}
