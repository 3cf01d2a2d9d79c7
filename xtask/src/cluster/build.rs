//! kube-apiserver, from Kubernetes' Go modules.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};

use crate::command;

/// The version that is built; its other modules have a number of their own for the same release.
const VERSION: &str = "v1.34.2";
const OTHERS: &str = "v0.34.2";

/// Builds it, once.
///
/// # Errors
/// When there is no Go, or it can't build.
pub(super) fn apiserver(folder: &Path) -> Result<PathBuf> {
    let program = folder.join(VERSION).join("kube-apiserver");
    if program.is_file() {
        return Ok(program);
    }
    let module = folder.join("module");
    fs::create_dir_all(&module)?;
    let told = command::output(
        Command::new("go")
            .args([
                "mod",
                "download",
                "-json",
                &format!("k8s.io/kubernetes@{VERSION}"),
            ])
            .current_dir(&module),
    )
    .context("fetching Kubernetes (is Go installed?)")?;
    let told: serde_json::Value = serde_json::from_str(&told)?;
    let theirs = told["GoMod"].as_str().context("no go.mod")?;
    fs::write(
        module.join("go.mod"),
        our_module(&fs::read_to_string(theirs)?),
    )?;
    let import =
        "//go:build tools\npackage server\nimport _ \"k8s.io/kubernetes/cmd/kube-apiserver\"\n";
    fs::write(module.join("tools.go"), import)?;
    let go = || {
        let mut go = Command::new("go");
        go.current_dir(&module).env("GOFLAGS", "-mod=mod");
        go
    };
    command::run(go().args(["mod", "tidy", "-e"]))?;
    command::run(
        go().args(["build", "-trimpath", "-ldflags", "-s -w", "-o"])
            .arg(&program)
            .arg("k8s.io/kubernetes/cmd/kube-apiserver"),
    )?;
    Ok(program)
}

/// A module that requires Kubernetes. In Kubernetes' own its other modules have no version, since they lie beside it.
fn our_module(theirs: &str) -> String {
    let others = theirs.lines().filter_map(|line| {
        let name = line.trim().strip_suffix(" v0.0.0")?;
        name.starts_with("k8s.io/")
            .then(|| format!("replace {name} => {name} {OTHERS}\n"))
    });
    let others: String = others.collect();
    format!("module server\ngo 1.24.0\nrequire k8s.io/kubernetes {VERSION}\n{others}")
}

#[cfg(test)]
mod tests {
    use super::our_module;

    #[test]
    fn modules_that_lie_beside_kubernetes_get_its_releases_version() {
        let module = our_module("require (\n\tk8s.io/api v0.0.0\n\tk8s.io/klog/v2 v2.130.1\n)\n");
        assert!(
            module.ends_with("replace k8s.io/api => k8s.io/api v0.34.2\n"),
            "{module}"
        );
        assert!(!module.contains("klog"), "{module}");
    }
}
