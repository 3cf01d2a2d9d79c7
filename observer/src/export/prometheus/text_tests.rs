//! The page against what Prometheus expects, by text and, where there is one, by promtool.

use std::{
    io::Write as _,
    process::{Command, Stdio},
    sync::Arc,
};

use super::*;
use crate::{
    exchange::Incomplete,
    identity::Role,
    metrics::{Registry, snapshot},
    process::Value,
    trace::samples::{exchange, http, service},
};

const NOW: u64 = 1_700_000_000_123_456_789;

/// One server exchange of a service with a hostile resource, and the daemon's own families.
fn page(format: Format) -> String {
    let mut registry = Registry::default();
    let mut api = Arc::into_inner(service("api \"v1\"\\\n")).unwrap();
    api.attributes.insert(0, ("process.pid", Value::Int(7)));
    api.extra_attributes = vec![
        ("team.name".into(), Value::Text("a".into())),
        ("team_name".into(), Value::Text("b".into())),
    ];
    let api = Arc::new(api);
    let mut good = exchange(Role::Server);
    http(&mut good).request_body_size = None;
    http(&mut good).response_body_size = None;
    registry.record(&api, &good, Some(&"/users/{id}".into()), true, NOW);
    let mut abandoned = exchange(Role::Server);
    abandoned.incomplete = Some(Incomplete::Abandoned);
    registry.record(&api, &abandoned, None, false, NOW);
    let open = good.detail.describe().open(Role::Server, false).unwrap();
    registry.request_started(&api, open, NOW);
    render(&snapshot(&[&registry], 500, NOW), &own(), format)
}

fn own() -> Vec<Family> {
    let lost = |reason: &str, count| (reason.to_owned(), count);
    vec![
        Family::by(
            "observer_lost_records_total",
            "Records that were lost, by reason.",
            Kind::Counter,
            "reason",
            [
                lost("ring_full", 3.0),
                lost("ring_full", 4.0),
                lost("odd\"reason", 0.5),
            ],
        ),
        Family::single(
            "observer_resident_memory_bytes",
            "Resident memory.",
            Kind::Gauge,
            1e7,
        ),
    ]
}

const ID: &str = r#"service_instance_id="api \"v1\"\\\n-1",service_name="api \"v1\"\\\n""#;

#[test]
fn the_page_is_what_prometheus_expects() {
    let head = |name: &str, kind: &str, help: &str| {
        format!("# HELP {name} {help}\n# TYPE {name} {kind}\n")
    };
    let mut expected = head("target_info", "gauge", "Target metadata");
    expected += &format!("target_info{{process_pid=\"7\",{ID},team_name=\"a;b\"}} 1\n");
    expected += &head(
        "http_server_active_requests",
        "gauge",
        "Number of active HTTP server requests.",
    );
    expected += &format!(
        "http_server_active_requests{{http_request_method=\"GET\",{ID},url_scheme=\"http\"}} 1\n"
    );
    expected += &head(
        "http_server_request_duration_seconds",
        "histogram",
        "Duration of HTTP server requests.",
    );
    let labels = format!(
        "http_request_method=\"GET\",http_response_status_code=\"200\",http_route=\"/users/{{id}}\",\
         network_protocol_version=\"1.1\",{ID},url_scheme=\"http\""
    );
    let bounds = [
        "0.005", "0.01", "0.025", "0.05", "0.075", "0.1", "0.25", "0.5", "0.75", "1", "2.5", "5",
        "7.5", "10",
    ];
    for (at, le) in bounds.into_iter().chain(["+Inf"]).enumerate() {
        let count = u8::from(at >= 3);
        expected += &format!(
            "http_server_request_duration_seconds_bucket{{{labels},le=\"{le}\"}} {count}\n"
        );
    }
    expected += &format!("http_server_request_duration_seconds_sum{{{labels}}} 0.03\n");
    expected += &format!("http_server_request_duration_seconds_count{{{labels}}} 1\n");
    expected += &head(
        "observer_exchanges_incomplete_total",
        "counter",
        "Exchanges of which a part was not seen or did not happen, by reason.",
    );
    expected += &format!(
        "observer_exchanges_incomplete_total{{observer_incomplete=\"abandoned\",{ID}}} 1\n"
    );
    expected += &head(
        "observer_lost_records_total",
        "counter",
        "Records that were lost, by reason.",
    );
    expected += "observer_lost_records_total{reason=\"ring_full\"} 3\n";
    expected += "observer_lost_records_total{reason=\"odd\\\"reason\"} 0.5\n";
    expected += &head(
        "observer_resident_memory_bytes",
        "gauge",
        "Resident memory.",
    );
    expected += "observer_resident_memory_bytes 10000000\n";
    assert_eq!(page(Format::Prometheus), expected);
}

#[test]
fn open_metrics_differs_where_it_must() {
    let page = page(Format::OpenMetrics);
    for line in [
        "# TYPE target info",
        "# TYPE observer_lost_records counter",
        "observer_lost_records_total{reason=\"ring_full\"} 3",
        "# TYPE observer_exchanges_incomplete counter",
        "# UNIT http_server_request_duration_seconds seconds",
    ] {
        assert!(page.lines().any(|found| found == line), "{line} in {page}");
    }
    let exemplar = format!(
        "# {{trace_id=\"{}\",span_id=\"{}\"}} 0.03 1700000000.123",
        "ab".repeat(16),
        "cd".repeat(8)
    );
    let with: Vec<_> = page
        .lines()
        .filter(|line| line.contains(&exemplar))
        .collect();
    assert!(
        matches!(&with[..], [line] if line.contains("le=\"0.05\"")),
        "{with:?}"
    );
    assert!(
        page.contains("le=\"1.0\"") && page.contains("le=\"+Inf\"") && page.ends_with("\n# EOF\n")
    );
}

#[test]
fn an_empty_snapshot_is_a_valid_page() {
    assert_eq!(render(&Snapshot::default(), &[], Format::Prometheus), "");
    assert_eq!(
        render(&Snapshot::default(), &[], Format::OpenMetrics),
        "# EOF\n"
    );
}

#[test]
fn promtool_finds_nothing() {
    let mut promtool = Command::new("promtool");
    promtool
        .args(["check", "metrics"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let Ok(mut child) = promtool.spawn() else {
        eprintln!("skipped: promtool is not on PATH");
        return;
    };
    child
        .stdin
        .take()
        .unwrap()
        .write_all(page(Format::Prometheus).as_bytes())
        .unwrap();
    let output = child.wait_with_output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout) + String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && said.trim().is_empty(), "{said}");
}
