//! `observer install`: what a cluster needs, as text.

use std::{
    io::{self, Write as _},
    process::ExitCode,
};

use anyhow::Context as _;
use clap::{Args, Subcommand};

/// The chart, rendered with its defaults, as `cargo xtask chart --check` holds it; it begins with a line `---`.
const MANIFESTS: &str = include_str!("../../../deploy/kubernetes/observer.yaml");

/// What stands in [`MANIFESTS`] for the image, which no registry of ours has.
const IMAGE: &str = concat!("registry.example/observer:", env!("CARGO_PKG_VERSION"));

/// What stands in [`MANIFESTS`] for the namespace.
const NAMESPACE: &str = "observer";

/// `observer install`.
#[derive(Debug, Args)]
pub struct InstallArguments {
    /// Where
    #[command(subcommand)]
    pub place: Place,
}

/// Where observer can be installed.
#[derive(Debug, Subcommand)]
pub enum Place {
    /// Print the manifests for a Kubernetes cluster, for `kubectl apply -f -`
    Kubernetes(KubernetesArguments),
}

/// `observer install kubernetes`.
#[derive(Debug, Args)]
#[command(
    after_help = "Example:\n  observer install kubernetes --dry-run --image registry.example/observer:0.1.0 | kubectl apply -f -\n\n\
        These are the objects of the Helm chart with its defaults. What else can be set, the chart sets: deploy/helm/observer."
)]
pub struct KubernetesArguments {
    /// Print and change nothing: the only way there is, kubectl applies what is printed
    #[arg(long, required = true)]
    pub dry_run: bool,
    /// The image, as your registry has it
    #[arg(long, value_name = "REFERENCE", value_parser = image)]
    pub image: String,
    /// The namespace, which is among the manifests
    #[arg(long, value_name = "NAME", default_value = NAMESPACE, value_parser = namespace)]
    pub namespace: String,
}

/// Prints what is asked for.
///
/// # Errors
/// When it can't be written.
pub fn run(arguments: &InstallArguments) -> anyhow::Result<ExitCode> {
    let Place::Kubernetes(kubernetes) = &arguments.place;
    let manifests = manifests(&kubernetes.image, &kubernetes.namespace);
    io::stdout()
        .write_all(manifests.as_bytes())
        .context("cannot write to standard output")?;
    Ok(ExitCode::SUCCESS)
}

fn manifests(image: &str, namespace: &str) -> String {
    let line = |line: &str| {
        let line = line.replace(IMAGE, image);
        let named = line
            .strip_suffix(NAMESPACE)
            .filter(|before| before.trim_start() == "namespace: ");
        match named {
            Some(before) => format!("{before}{namespace}\n"),
            None => format!("{line}\n"),
        }
    };
    let manifests: String = MANIFESTS.lines().map(line).collect();
    of_namespace(namespace) + &manifests
}

/// The namespace, with the policy of pod security that the agent's pods need: they share the node's process ids.
fn of_namespace(name: &str) -> String {
    format!(
        "apiVersion: v1\nkind: Namespace\nmetadata:\n  name: {name}\n  labels:\n    \
         pod-security.kubernetes.io/enforce: privileged\n"
    )
}

/// A reference to an image: what a manifest's value may hold without quotes.
fn image(said: &str) -> Result<String, String> {
    let is_fine = |c: char| c.is_ascii_alphanumeric() || "._-/:@".contains(c);
    let begins = said.starts_with(|c: char| c.is_ascii_alphanumeric());
    if begins && said.chars().all(is_fine) && !said.ends_with([':', '/', '@']) {
        Ok(said.to_owned())
    } else {
        Err("write it as REGISTRY/NAME:TAG or REGISTRY/NAME@sha256:DIGEST".to_owned())
    }
}

/// A DNS label (RFC 1123), as namespaces are.
fn namespace(said: &str) -> Result<String, String> {
    let is_fine = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
    let ends = !said.starts_with('-') && !said.ends_with('-');
    if (1..=63).contains(&said.len()) && said.chars().all(is_fine) && ends {
        Ok(said.to_owned())
    } else {
        Err("write up to 63 of a-z, 0-9 and -, no - at an end".to_owned())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn image_and_namespace_are_put_in_at_every_place() {
        let ours = manifests("registry.test/o@sha256:00", "tracing");
        assert!(!ours.contains("registry.example"), "{ours}");
        assert!(
            ours.contains("image: \"registry.test/o@sha256:00\""),
            "{ours}"
        );
        assert!(!ours.contains("namespace: observer"), "{ours}");
        let places = ours.matches("namespace: tracing\n").count();
        assert_eq!(places, MANIFESTS.matches("namespace: observer\n").count());
        assert!(places > 1);
        assert!(ours.starts_with("apiVersion: v1\nkind: Namespace\nmetadata:\n  name: tracing\n"));
    }

    #[test]
    fn the_configuration_among_the_manifests_is_accepted() {
        let (_, rest) = MANIFESTS.split_once("  observer.yaml: |\n").unwrap();
        let lines = rest.lines().map_while(|line| line.strip_prefix("    "));
        let text: String = lines.map(|line| format!("{line}\n")).collect();
        assert!(text.contains("prometheus: 0.0.0.0:9464\n"), "{text}");
        let name = format!("observer-install-{}.yaml", std::process::id());
        let path = std::env::temp_dir().join(name);
        std::fs::write(&path, &text).unwrap();
        let read = crate::config::File::read(&path);
        std::fs::remove_file(&path).unwrap();
        assert!(read.is_ok(), "{read:?}\n{text}");
    }

    #[test]
    fn what_would_break_a_manifest_is_refused() {
        for fine in ["o", "registry.test:5000/a/o:1.0", "r/o@sha256:0a"] {
            assert_eq!(image(fine).as_deref(), Ok(fine));
        }
        for wrong in ["", "a b", "a\nb", "\"a\"", "a:", "@a", "{{a}}"] {
            assert!(image(wrong).is_err(), "{wrong}");
        }
        for fine in ["o", "a-1"] {
            assert_eq!(namespace(fine).as_deref(), Ok(fine));
        }
        for wrong in ["", "-a", "a-", "A", "a.b", "a b", &"a".repeat(64)] {
            assert!(namespace(wrong).is_err(), "{wrong}");
        }
    }
}
