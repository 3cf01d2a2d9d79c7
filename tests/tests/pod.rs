//! The chart's pod, as far as a process can be put into its place without a runtime: what it gives is enough, and without each
//! part of it observer says what is missing and what is off.
#![allow(clippy::unwrap_used, reason = "tests panic, they don't return errors")]

use std::fs;
use std::path::Path;
use std::process::{Command, Output};

use observer_tests::{Environment, Folder, Observer, Server, get};
use serde_json::Value;

/// A file of the chart's, rendered.
fn manifests(file: &str) -> String {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    fs::read_to_string(root.join("deploy").join(file)).unwrap()
}

/// The capabilities that a rendered file adds.
fn capabilities(file: &str) -> Vec<String> {
    let manifests = manifests(file);
    let lines = manifests.lines().map(str::trim);
    let added = lines.skip_while(|line| *line != "add:").skip(1);
    added
        .map_while(|line| Some(line.strip_prefix("- ")?.to_owned()))
        .collect()
}

/// The daemon as root in mount, name and IPC namespaces of its own, with the host's process ids, these capabilities and no
/// way to more.
fn with(environment: &Environment, capabilities: &[String], unshared: &[&str]) -> Command {
    let set: String = capabilities
        .iter()
        .map(|name| format!(",+{}", name.to_lowercase()))
        .collect();
    let mut command = Command::new("unshare");
    command
        .args(["--mount", "--uts", "--ipc"])
        .args(unshared)
        .args(["setpriv", "--no-new-privs"])
        .arg(format!("--bounding-set=-all{set}"))
        .arg(format!("--inh-caps=-all{set}"))
        .arg(environment.binary());
    command
}

/// What `doctor --kubernetes` lacks in a process like that: names, with what to change.
fn lacks(mut command: Command) -> (Option<i32>, Vec<(String, String)>) {
    let Output { status, stdout, .. } = command
        .args(["doctor", "--kubernetes", "--json"])
        .output()
        .unwrap();
    let report: Value = serde_json::from_slice(&stdout).unwrap();
    let findings = report["findings"].as_array().unwrap().iter();
    let lacking = findings.filter(|it| it["state"] != "ok").map(|it| {
        let text = |key: &str| it[key].as_str().unwrap_or_default().to_owned();
        (text("name"), text("remedy"))
    });
    (status.code(), lacking.collect())
}

#[test]
fn what_the_chart_gives_is_enough_to_trace() {
    let Some(environment) = Environment::enter() else {
        return;
    };
    let all = capabilities("kubernetes/observer.yaml");
    assert_eq!(all.len(), 4, "{all:?}");
    let folder = Folder::new();
    let server = Server::nginx(&folder);
    let port = format!("--port={}", server.port());
    let observer = Observer::launched(with(&environment, &all, &[]), &[&port], |_| {});
    get(server.port(), "/pod").unwrap();
    observer.page_with(1);
    let spans = observer.stop();
    assert_eq!(spans.len(), 1, "{spans:?}");
    assert_eq!((spans[0].path(), spans[0].service()), ("/pod", "nginx"));
    let (code, lacks) = lacks(with(&environment, &all, &[]));
    assert_eq!(code, Some(0));
    for name in ["capabilit", "hostPID", "other processes", "seccompProfile"] {
        assert!(
            !lacks.iter().any(|(it, _)| it.starts_with(name)),
            "{lacks:?}"
        );
    }
}

#[test]
fn without_one_capability_it_ends_and_both_it_and_doctor_say_which() {
    let Some(environment) = Environment::enter() else {
        return;
    };
    let all = capabilities("kubernetes/observer.yaml");
    for missing in &all {
        let rest: Vec<String> = all.iter().filter(|it| *it != missing).cloned().collect();
        let output = with(&environment, &rest, &[])
            .args(["run", "--prometheus=off", "--duration=1s"])
            .output()
            .unwrap();
        let message = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(1), "{missing}: {message}");
        for name in &all {
            let line = format!("\n  CAP_{name} ");
            assert_eq!(message.contains(&line), name == missing, "{message}");
        }
        let (code, lacks) = lacks(with(&environment, &rest, &[]));
        assert_eq!(code, Some(1), "{lacks:?}");
        let told = lacks.iter().filter(|(it, _)| it.starts_with("capability "));
        let told: Vec<_> = told.collect();
        let line = format!("securityContext.capabilities.add: [{missing}]");
        assert_eq!(told, [&(format!("capability {missing}"), line)]);
    }
}

#[test]
fn without_net_admin_tracing_goes_on_and_trace_context_in_tcp_options_is_off() {
    let Some(environment) = Environment::enter() else {
        return;
    };
    let with_option = capabilities("helm/observer/examples/tcp-option.rendered.yaml");
    let without = capabilities("kubernetes/observer.yaml");
    assert_eq!(
        with_option,
        [&without[..], &["NET_ADMIN".to_owned()]].concat()
    );
    let folder = Folder::new();
    let server = Server::nginx(&folder);
    let port = format!("--port={}", server.port());
    let arguments = [&*port, "--tcp-option-peers=192.0.2.0/24"];
    let said = |capabilities: &[String]| {
        let command = with(&environment, capabilities, &[]);
        let observer = Observer::launched(command, &arguments, |_| {});
        get(server.port(), "/pod").unwrap();
        observer.page_with(1);
        let said = observer.said().to_owned();
        observer.stop();
        said
    };
    let off = "no trace context in TCP options: it stays off";
    let message = said(&without);
    assert!(message.contains(off), "{message}");
    let message = said(&with_option);
    assert!(!message.contains(off), "{message}");
}

#[test]
fn without_the_hosts_process_ids_it_starts_with_a_selector_only_and_says_so() {
    let Some(environment) = Environment::enter() else {
        return;
    };
    let all = capabilities("kubernetes/observer.yaml");
    let own = ["--pid", "--fork", "--mount-proc"];
    let output = with(&environment, &all, &own)
        .args(["run", "--prometheus=off", "--duration=1s"])
        .output()
        .unwrap();
    let message = String::from_utf8_lossy(&output.stderr);
    assert!(!output.status.success(), "{message}");
    assert!(message.contains("pid namespace"), "{message}");
    let (_, lacks) = lacks(with(&environment, &all, &own));
    let told = lacks.iter().find(|(name, _)| name == "hostPID");
    assert_eq!(told.unwrap().1, "hostPID: true in the pod's spec");
}
