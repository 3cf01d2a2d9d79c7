//! What a person types, right or wrong.
#![allow(clippy::unwrap_used, reason = "tests panic, they don't return errors")]

use std::process::Command;

use observer_tests::{Environment, Folder, Observer, refused};

#[test]
fn impossible_arguments_are_refused_with_exit_code_2_and_the_reason() {
    let Some(environment) = Environment::enter() else {
        return;
    };
    for (arguments, reason) in [
        (&["run", "--port=0"][..], "port"),
        (&["run", "--port=9000-8000"], "port"),
        (&["run", "--pid=none"], "pid"),
        (&["run", "--print=xml"], "print"),
        (&["run", "--tier=magic"], "tier"),
        (&["run", "--duration=soon"], "duration"),
        (&["run", "--otlp-endpoint=not a url"], "otlp-endpoint"),
        (&["run", "--config=/nonexistent.yaml"], "/nonexistent.yaml"),
        (&["run", "--no-such-flag"], "--no-such-flag"),
        (&["dance"], "dance"),
        // It prints, and applies nothing.
        (&["install", "kubernetes", "--image=o"], "--dry-run"),
        (&["install", "kubernetes", "--dry-run"], "--image"),
        (
            &["install", "kubernetes", "--dry-run", "--image=a b"],
            "image",
        ),
    ] {
        let refused = refused(&environment, arguments);
        assert_eq!(refused.code, 2, "{arguments:?}: {}", refused.message);
        assert!(
            refused.message.contains(reason),
            "{arguments:?}: {}",
            refused.message
        );
    }
}

#[test]
fn a_wrong_configuration_names_file_line_and_what_is_accepted() {
    let Some(environment) = Environment::enter() else {
        return;
    };
    let folder = Folder::new();
    for (text, names) in [
        ("print: text\nno_such_key: 1\n", "wrong.yaml:2:"),
        ("# wrong type\nprint: [1, 2]\n", "wrong.yaml:2:"),
        ("\n\nprint: {{{\n", "wrong.yaml:3:"),
    ] {
        let file = folder.file("wrong.yaml", text);
        let refused = refused(&environment, &["run", "--config", file.to_str().unwrap()]);
        assert_eq!(refused.code, 2, "{text:?}: {}", refused.message);
        assert!(
            refused.message.contains(names),
            "{text:?}: {}",
            refused.message
        );
    }
}

#[test]
fn doctor_says_that_this_kernel_can_trace_as_text_and_as_json() {
    let Some(environment) = Environment::enter() else {
        return;
    };
    let doctor = |arguments: &[&str]| {
        let output = Command::new(environment.binary())
            .arg("doctor")
            .args(arguments)
            .output()
            .unwrap();
        assert!(output.status.success(), "{output:?}");
        String::from_utf8(output.stdout).unwrap()
    };
    assert!(doctor(&[]).contains("tier"));
    let report: serde_json::Value = serde_json::from_str(&doctor(&["--json"])).unwrap();
    assert!(report.is_object(), "{report}");
}

#[test]
fn a_run_with_a_duration_ends_by_itself_with_success() {
    let Some(environment) = Environment::enter() else {
        return;
    };
    let output = Command::new(environment.binary())
        .args(["run", "--print=off", "--prometheus=off", "--duration=300ms"])
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    assert!(
        String::from_utf8_lossy(&output.stderr).contains("ready"),
        "{output:?}"
    );
}

#[test]
fn the_page_passes_for_what_prometheus_accepts() {
    let Some(environment) = Environment::enter() else {
        return;
    };
    let observer = Observer::start(&environment, &["--exe=nothing-is-called-so"]);
    let page = observer.page();
    assert!(page.sum("observer_kernel_map_bytes", &[]) > 0.0, "{page:?}");
    assert!(page.sum("observer_resident_bytes", &[]) > 0.0, "{page:?}");
    observer.stop();
}

#[test]
fn the_demo_prints_traces_and_a_table_and_ends_in_time() {
    let Some(environment) = Environment::enter() else {
        return;
    };
    let output = Command::new(environment.binary())
        .args(["demo", "--duration=6s", "--rate=20"])
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(text.contains("GET"), "{text}");
    assert!(text.lines().count() > 10, "{text}");
}
