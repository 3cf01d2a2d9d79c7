//! `observer install`: what a cluster needs, as text.

use std::{
    io::{self, Write as _},
    process::ExitCode,
};

use anyhow::Context as _;
use clap::{Args, Subcommand};
use sha2::{Digest as _, Sha256};
use url::Url;

use crate::config::Endpoint;

/// The chart, rendered with its defaults, as `cargo xtask chart --check` holds it; it begins with a line `---`.
const MANIFESTS: &str = include_str!("../../../deploy/kubernetes/observer.yaml");

/// What stands in [`MANIFESTS`] for the image, which no registry of ours has.
const IMAGE: &str = concat!("registry.example/observer:", env!("CARGO_PKG_VERSION"));

/// What stands in [`MANIFESTS`] for the namespace.
const NAMESPACE: &str = "observer";

/// What stands in [`MANIFESTS`] before observer's configuration, each line of which is indented by [`INDENT`].
const CONFIGURATION: &str = "\n  observer.yaml: |\n";
const INDENT: &str = "    ";

/// The configuration's checksum, by which a changed one starts the pods anew.
const CHECKSUM: &str = "checksum/config: ";

/// The last port of [`MANIFESTS`] that the network policy lets out.
const LAST_PORT: &str = "        - port: 4318\n          protocol: TCP\n";
/// Those of OTLP that it lets out anyhow.
const OTLP_PORTS: [u16; 2] = [4317, 4318];

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
    /// Where spans and metrics go by OTLP [default: nowhere]
    #[arg(long, value_name = "URL", value_parser = endpoint)]
    pub otlp_endpoint: Option<String>,
}

/// Prints what is asked for.
///
/// # Errors
/// When it can't be written.
pub fn run(arguments: &InstallArguments) -> anyhow::Result<ExitCode> {
    let Place::Kubernetes(kubernetes) = &arguments.place;
    let endpoint = kubernetes.otlp_endpoint.as_deref();
    let manifests = manifests(&kubernetes.image, &kubernetes.namespace, endpoint);
    io::stdout()
        .write_all(manifests.as_bytes())
        .context("cannot write to standard output")?;
    Ok(ExitCode::SUCCESS)
}

/// All of them, the namespace first.
fn manifests(image: &str, namespace: &str, endpoint: Option<&str>) -> String {
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
    let chart = match endpoint {
        Some(endpoint) => sending(MANIFESTS, endpoint),
        None => MANIFESTS.to_owned(),
    };
    let manifests: String = chart.lines().map(line).collect();
    of_namespace(namespace) + &manifests
}

/// The same manifests as the chart makes them with `otlp.endpoint`, and its port let out.
fn sending(manifests: &str, endpoint: &str) -> String {
    let (before, configuration, after) = split(manifests);
    // The chart writes keys in this order.
    let at = configuration.find("prometheus: ").unwrap_or_default();
    let (first, last) = configuration.split_at(at);
    let changed = format!("{first}otlp:\n  endpoint: {endpoint}\n{last}");
    let indented = changed.lines().map(|line| format!("{INDENT}{line}\n"));
    let indented: String = indented.collect();
    let sums = [&configuration, &changed].map(|text| format!("{CHECKSUM}{}", checksum(text)));
    let manifests = format!("{before}{CONFIGURATION}{indented}{after}").replace(&sums[0], &sums[1]);
    let port = Url::parse(endpoint).ok();
    let port = port.and_then(|url| url.port_or_known_default());
    match port.filter(|port| !OTLP_PORTS.contains(port)) {
        Some(port) => {
            let own = LAST_PORT.replace("4318", &port.to_string());
            manifests.replace(LAST_PORT, &format!("{LAST_PORT}{own}"))
        }
        None => manifests,
    }
}

/// What stands before the configuration, the configuration without its indentation, what stands behind it.
fn split(manifests: &str) -> (&str, String, &str) {
    let (before, rest) = manifests.split_once(CONFIGURATION).unwrap_or_default();
    let (mut configuration, mut after) = (String::new(), rest);
    for line in rest.split_inclusive('\n') {
        let Some(own) = line.strip_prefix(INDENT) else {
            break;
        };
        configuration.push_str(own);
        after = &after[line.len()..];
    }
    (before, configuration, after)
}

/// As the chart makes it: of the text without its last line break.
fn checksum(configuration: &str) -> String {
    format!("{:x}", Sha256::digest(configuration.trim_end()))
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

/// A URL that stands in a manifest without quotes.
fn endpoint(said: &str) -> Result<String, String> {
    // YAML takes none of these for anything but text, behind a scheme and with no space between.
    let is_fine = |c: char| c.is_ascii_alphanumeric() || "._~-/:@%[]+=&?".contains(c);
    match said.parse::<Endpoint>() {
        Ok(Endpoint::Url(url)) if url.chars().all(is_fine) => Ok(url),
        Ok(_) => Err("write a URL, e.g. http://gateway.observability:4317".to_owned()),
        Err(error) => Err(error.to_string()),
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
        let ours = manifests("registry.test/o@sha256:00", "tracing", None);
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
        let (_, text, _) = split(MANIFESTS);
        assert!(text.contains("prometheus: 0.0.0.0:9464\n"), "{text}");
        let name = format!("observer-install-{}.yaml", std::process::id());
        let path = std::env::temp_dir().join(name);
        std::fs::write(&path, &text).unwrap();
        let read = crate::config::File::read(&path);
        std::fs::remove_file(&path).unwrap();
        assert!(read.is_ok(), "{read:?}\n{text}");
    }

    #[test]
    fn an_endpoint_makes_what_the_chart_makes_with_one() {
        // `cargo xtask chart --check` holds it to what Helm renders.
        let chart = include_str!("../../../deploy/helm/observer/examples/otlp.rendered.yaml");
        let ours = manifests(IMAGE, NAMESPACE, Some("http://gateway.observability:4317"));
        let ours = ours.strip_prefix(&of_namespace(NAMESPACE)).unwrap();
        assert_eq!(ours, chart);
        assert_ne!(chart, MANIFESTS);
    }

    #[test]
    fn the_port_of_an_endpoint_is_let_out() {
        for (endpoint, port) in [
            ("http://gateway:4999", 4999),
            ("http://gateway/otlp", 80),
            ("https://[fd00::1]/otlp?key=a", 443),
        ] {
            let ours = manifests(IMAGE, NAMESPACE, Some(endpoint));
            let out = format!("{LAST_PORT}        - port: {port}\n          protocol: TCP\n---\n");
            assert_eq!(ours.matches(&out).count(), 1, "{ours}");
            let (_, configuration, _) = split(&ours);
            assert!(configuration.contains(&format!("otlp:\n  endpoint: {endpoint}\n")));
            let sum = format!("{CHECKSUM}{}\n", checksum(&configuration));
            assert_eq!(ours.matches(&sum).count(), 1, "{ours}");
        }
    }

    #[test]
    fn what_would_break_a_manifest_is_refused() {
        for fine in ["o", "registry.test:5000/a/o:1.0", "r/o@sha256:0a"] {
            assert_eq!(image(fine).as_deref(), Ok(fine));
        }
        for wrong in ["", "a b", "a\nb", "\"a\"", "a:", "@a", "{{a}}"] {
            assert!(image(wrong).is_err(), "{wrong}");
        }
        for fine in ["http://gateway:4317", "https://otlp.test/v1?a=b"] {
            assert_eq!(endpoint(fine).as_deref(), Ok(fine));
        }
        for wrong in [
            "",
            "off",
            "gateway:4317",
            "http://a b",
            "http://a/#x",
            "http://a/\"",
            "http://a/{{b}}",
        ] {
            assert!(endpoint(wrong).is_err(), "{wrong}");
        }
        for fine in ["o", "a-1"] {
            assert_eq!(namespace(fine).as_deref(), Ok(fine));
        }
        for wrong in ["", "-a", "a-", "A", "a.b", "a b", &"a".repeat(64)] {
            assert!(namespace(wrong).is_err(), "{wrong}");
        }
    }
}
