//! `cargo xtask chart`: the Helm chart, checked and rendered.
//!
//! Comes in: `deploy/helm/observer`. Goes out: `deploy/kubernetes/observer.yaml`, which `observer install kubernetes`
//! prints, and a rendered file beside each of the chart's examples. Owns: Helm, in a Go module of its own below `target/`.

mod helm;
mod schema;

use std::fs;
use std::path::PathBuf;

use anyhow::{Context, Result, bail};

use crate::workspace;
use helm::Helm;
use schema::Schema;

#[derive(clap::Args)]
pub(crate) struct Options {
    /// Fail where a rendered file is not what the chart renders, instead of writing it
    #[arg(long)]
    check: bool,
    /// This Helm instead of one that is built
    #[arg(long, value_name = "FILE")]
    helm: Option<PathBuf>,
}

/// What is rendered: a file, and the values for it.
struct Rendering {
    file: PathBuf,
    values: Option<PathBuf>,
}

/// Checks the chart and renders it.
///
/// # Errors
/// When Helm refuses the chart, accepts values that it must refuse, an object is not as Kubernetes' API has it, or, with
/// `--check`, a rendered file is old.
pub(crate) fn run(options: &Options) -> Result<()> {
    let helm = Helm::prepare(options.helm.as_deref())?;
    let chart = folder();
    helm.lint(&chart)?;
    for wrong in WRONG {
        if helm.render(&chart, None, &["--set", wrong]).is_ok() {
            bail!("the chart's schema lets {wrong} pass");
        }
    }
    let schema = Schema::fetch(helm.home())?;
    let mut old = Vec::new();
    for rendering in renderings()? {
        let text = helm.render(&chart, rendering.values.as_deref(), &[])?;
        let name = rendering.file.display();
        let objects = schema.check(&text).with_context(|| name.to_string())?;
        if fs::read_to_string(&rendering.file).is_ok_and(|there| there == text) {
            eprintln!("{name} is what the chart renders: {objects} objects");
        } else if options.check {
            old.push(name.to_string());
        } else {
            fs::write(&rendering.file, text).with_context(|| format!("writing {name}"))?;
            eprintln!("{name} is written: {objects} objects");
        }
    }
    if !old.is_empty() {
        bail!("not what the chart renders: {}", old.join(", "));
    }
    Ok(())
}

/// Values that the schema must refuse.
const WRONG: [&str; 9] = [
    "privileged=true",
    "image.repository=",
    "image.digest=latest",
    "metrics.port=0",
    "resources.limits=null",
    "extraCapabilities={ALL}",
    "seccompProfile.type=Localhost",
    "config.prometheus=off",
    "kubernetes.apiPorts={0}",
];

fn folder() -> PathBuf {
    workspace::root().join("deploy/helm/observer")
}

/// The plain manifests, and each of the chart's examples.
fn renderings() -> Result<Vec<Rendering>> {
    let mut all = vec![Rendering {
        file: workspace::root().join("deploy/kubernetes/observer.yaml"),
        values: None,
    }];
    let mut examples: Vec<PathBuf> = fs::read_dir(folder().join("examples"))?
        .map(|entry| Ok(entry?.path()))
        .collect::<Result<_>>()?;
    examples.sort();
    for values in examples {
        let name = values.file_name().unwrap_or_default().to_string_lossy();
        let Some(name) = name.strip_suffix(".values.yaml") else {
            continue;
        };
        all.push(Rendering {
            file: values.with_file_name(format!("{name}.rendered.yaml")),
            values: Some(values),
        });
    }
    Ok(all)
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    /// A line of a chart's file, `key: value`.
    fn line<'a>(text: &'a str, key: &str) -> Option<&'a str> {
        text.lines()
            .find_map(|line| line.strip_prefix(key)?.strip_prefix(": "))
    }

    fn read(path: &Path) -> String {
        fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
    }

    #[test]
    fn the_chart_has_the_workspaces_version() {
        let chart = read(&folder().join("Chart.yaml"));
        for key in ["version", "appVersion"] {
            assert_eq!(line(&chart, key), Some(env!("CARGO_PKG_VERSION")), "{key}");
        }
        let upgrading = read(&folder().join("UPGRADING.md"));
        let section = format!("\n## {}\n", env!("CARGO_PKG_VERSION"));
        assert!(upgrading.contains(&section), "{section}");
    }

    #[test]
    fn every_example_is_rendered_with_least_privilege() {
        let renderings = renderings().unwrap();
        assert!(renderings.len() > 2, "no examples");
        for Rendering { file, .. } in renderings {
            let text = read(&file);
            let name = file.display();
            for line in [
                "privileged: false",
                "allowPrivilegeEscalation: false",
                "readOnlyRootFilesystem: true",
                "automountServiceAccountToken: false",
                "hostNetwork: false",
                "- ALL",
            ] {
                let has = text.lines().any(|it| it.trim() == line);
                assert!(has, "{name} has no {line}");
            }
            for never in ["privileged: true", "hostPath:", "SYS_ADMIN", "secrets", "*"] {
                assert!(!text.contains(never), "{name}: {never}");
            }
            // A role only reads.
            let verbs = text.lines().map(str::trim);
            let verbs: Vec<&str> = verbs.filter_map(|it| it.strip_prefix("verbs: ")).collect();
            let reads = |verbs: &&str| ["[list, watch]", "[get]"].contains(verbs);
            assert!(
                !verbs.is_empty() && verbs.iter().all(reads),
                "{name}: {verbs:?}"
            );
            assert!(text.contains("memory: 512Mi"), "{name} has no limit");
        }
    }
}
