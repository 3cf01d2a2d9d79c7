use std::process::{Command, Stdio};

use super::*;
use crate::{kubernetes::made, process::fixture::Fixture};

const ID: &str = "0f1e2d3c4b5a69788796a5b4c3d2e1f00f1e2d3c4b5a69788796a5b4c3d2e1f0";

fn subject(pid: u32, ticks: u64) -> Subject {
    Subject {
        pid,
        start_ticks: ticks,
        witness: pid,
        witness_ticks: ticks,
    }
}

fn identify(fixture: &Fixture, pid: u32, ticks: u64) -> Service {
    service_of(&Identifier::new(fixture.proc(), Vec::new()), pid, ticks)
}

fn service_of(identifier: &Identifier, pid: u32, ticks: u64) -> Service {
    let facts = identifier.identify(subject(pid, ticks)).unwrap();
    identifier.service(&facts).service
}

fn text<'a>(service: &'a Service, key: &str) -> Option<&'a str> {
    service
        .attributes
        .iter()
        .find(|(own, _)| *own == key)
        .map(|(_, value)| match value {
            Value::Text(text) => &**text,
            other => panic!("{key} is {other:?}"),
        })
}

#[test]
fn a_process_gets_every_attribute_that_is_known_of_it() {
    let fixture = Fixture::new();
    fixture.process(
        42,
        1,
        500,
        7,
        "/usr/bin/python3.11",
        &["python3", "/srv/shop/main.py", "--password=x"],
    );
    fixture.write(
        "42/cgroup",
        format!("0::/system.slice/docker-{ID}.scope\n").as_bytes(),
    );
    let service = identify(&fixture, 42, 500);
    assert_eq!(&*service.name, "shop");
    for (key, expected) in [
        ("service.name", "shop"),
        ("host.name", "host-1"),
        ("host.id", "0123456789abcdef0123456789abcdef"),
        ("os.type", "linux"),
        ("container.id", ID),
        ("process.executable.name", "python3.11"),
        ("process.executable.path", "/usr/bin/python3.11"),
        ("process.command", "python3"),
        ("process.owner", "shop"),
        ("process.runtime.name", "cpython"),
        ("process.runtime.version", "3.11"),
        ("telemetry.sdk.language", "python"),
    ] {
        assert_eq!(text(&service, key), Some(expected), "{key}");
    }
    assert!(
        service
            .attributes
            .contains(&("process.pid", Value::Int(42)))
    );
    assert!(
        service
            .attributes
            .is_sorted_by(|left, right| left.0 < right.0)
    );
    assert!(!format!("{service:?}").contains("password"));
}

#[test]
fn the_environment_names_the_service_and_overrides_attributes() {
    let fixture = Fixture::new();
    fixture.process(42, 1, 500, 7, "/usr/sbin/nginx", &["nginx: worker process"]);
    fixture.write("42/cgroup", b"0::/system.slice/web.service\n");
    assert_eq!(&*identify(&fixture, 42, 500).name, "web");
    let attributes = "OTEL_RESOURCE_ATTRIBUTES=service.name=a%20b,service.version=1.2,team=x,host.name=other,process.pid=1";
    fixture.write("42/environ", format!("{attributes}\0").as_bytes());
    let service = identify(&fixture, 42, 500);
    assert_eq!(&*service.name, "a b");
    assert_eq!(text(&service, "service.version"), Some("1.2"));
    assert_eq!(text(&service, "host.name"), Some("other"));
    assert!(
        service
            .attributes
            .contains(&("process.pid", Value::Int(42)))
    );
    assert_eq!(
        service.extra_attributes,
        [("team".into(), Value::Text("x".into()))]
    );
    fixture.write(
        "42/environ",
        format!("{attributes}\0OTEL_SERVICE_NAME=c\0").as_bytes(),
    );
    assert_eq!(&*identify(&fixture, 42, 500).name, "c");
    let configured = vec![
        ("service.namespace".to_owned(), "n".to_owned()),
        ("team".to_owned(), "y".to_owned()),
    ];
    let service = service_of(&Identifier::new(fixture.proc(), configured), 42, 500);
    assert_eq!(text(&service, "service.namespace"), Some("n"));
    assert_eq!(
        service.extra_attributes,
        [("team".into(), Value::Text("y".into()))]
    );
}

#[test]
fn a_spawned_python_worker_is_named_as_its_parent() {
    let fixture = Fixture::new();
    fixture.process(
        42,
        1,
        500,
        7,
        "/usr/bin/python3",
        &["python3", "/usr/bin/uvicorn", "shop:app", "--workers", "2"],
    );
    let spawned = [
        "python3",
        "-c",
        "from multiprocessing.spawn import spawn_main",
        "--multiprocessing-fork",
    ];
    fixture.process(43, 42, 501, 8, "/usr/bin/python3", &spawned);
    assert_eq!(&*identify(&fixture, 43, 501).name, "shop");
    // Parents that name each other as parent must not loop.
    fixture.process(44, 44, 502, 9, "/usr/bin/python3", &spawned);
    assert_eq!(&*identify(&fixture, 44, 502).name, "python");
}

#[test]
fn a_package_is_found_in_the_process_own_root_and_links_do_not_lead_out_of_it() {
    let fixture = Fixture::new();
    fixture.process(
        42,
        1,
        500,
        7,
        "/usr/bin/node",
        &["node", "/srv/x/server.js"],
    );
    fixture.write("rootfs/srv/real/package.json", br#"{"name":"inside"}"#);
    fixture.link("rootfs/srv/x", "/srv/real");
    assert_eq!(&*identify(&fixture, 42, 500).name, "inside");
    fixture.write("outside/package.json", br#"{"name":"outside"}"#);
    fixture.link("rootfs/srv/x", "../../outside");
    assert_eq!(&*identify(&fixture, 42, 500).name, "x");
}

#[test]
fn two_processes_of_one_name_have_two_stable_instances() {
    let fixture = Fixture::new();
    fixture.process(42, 1, 500, 7, "/usr/bin/shop", &["shop"]);
    fixture.process(43, 1, 500, 8, "/usr/bin/shop", &["shop"]);
    let (first, second) = (identify(&fixture, 42, 500), identify(&fixture, 43, 500));
    assert_eq!(first.name, second.name);
    assert_ne!(first.instance_id, second.instance_id);
    assert_eq!(first, identify(&fixture, 42, 500));
    assert_eq!(first.instance_id.len(), 36);
}

#[test]
fn a_process_that_is_gone_or_another_is_not_identified() {
    let fixture = Fixture::new();
    fixture.process(42, 1, 500, 7, "/usr/bin/shop", &["shop"]);
    let identifier = Identifier::new(fixture.proc(), Vec::new());
    assert!(identifier.identify(subject(42, 499)).is_err());
    assert!(identifier.identify(subject(43, 500)).is_err());
    assert_eq!(&*identifier.unseen(43, 500, "shop").name, "shop");
    assert_eq!(&*identifier.unseen(43, 500, "").name, "unknown_service");
}

#[test]
fn files_that_vanish_or_hold_garbage_leave_a_name() {
    for file in [
        "cmdline", "environ", "cgroup", "status", "exe", "cwd", "root",
    ] {
        let fixture = Fixture::new();
        fixture.process(42, 1, 500, 7, "/usr/bin/shop", &["shop"]);
        let path = fixture.proc().path(42, file);
        std::fs::remove_file(&path).unwrap();
        assert_eq!(&*identify(&fixture, 42, 500).name, "shop", "without {file}");
        if !["exe", "cwd", "root"].contains(&file) {
            let garbage: Vec<u8> = (0..200_000u32)
                .map(|index| (index.wrapping_mul(2_654_435_761) >> 24) as u8)
                .collect();
            std::fs::write(&path, garbage).unwrap();
            assert_eq!(
                &*identify(&fixture, 42, 500).name,
                "shop",
                "garbage in {file}"
            );
        }
    }
}

#[test]
fn a_real_process_is_identified() {
    let identifier = Identifier::new(ProcFs::default(), Vec::new());
    let mut child = Command::new("sleep")
        .arg("60")
        .env("OTEL_RESOURCE_ATTRIBUTES", "team=x")
        .stdin(Stdio::null())
        .spawn()
        .unwrap();
    let pid = child.id();
    // spawn returns when exec has dropped the old memory, a moment before the new arguments can be read.
    let deadline = std::time::Instant::now() + std::time::Duration::from_secs(20);
    while identifier
        .proc
        .read(pid, "cmdline", 64)
        .is_ok_and(|it| it.is_empty())
    {
        assert!(std::time::Instant::now() < deadline, "no arguments");
        std::thread::yield_now();
    }
    let stat = identifier.proc.stat(pid).unwrap();
    let facts = identifier.identify(subject(pid, stat.start_ticks));
    child.kill().unwrap();
    child.wait().unwrap();
    let service = identifier.service(&facts.unwrap()).service;
    assert_eq!(text(&service, "process.command"), Some("sleep"));
    assert!(text(&service, "host.name").is_some());
    assert!(text(&service, "process.owner").is_some());
    assert_eq!(
        service.extra_attributes,
        [("team".into(), Value::Text("x".into()))]
    );
}

const POD: &str = "6f1b2c3d-0000-4444-8888-0123456789ab";

fn cluster(json: &serde_json::Value) -> Arc<Store> {
    let pods = Arc::new(Store::new(crate::kubernetes::Kept::default()));
    pods.apply(made::pod(json));
    pods
}

/// A program in the container `api` of the pod.
fn program_in_pod() -> (Fixture, serde_json::Value) {
    let fixture = Fixture::new();
    fixture.process(42, 1, 500, 7, "/usr/sbin/nginx", &["nginx"]);
    let container = made::id('a');
    let group = format!("0::/kubepods/burstable/pod{POD}/{container}\n");
    fixture.write("42/cgroup", group.as_bytes());
    let mut json = made::pod_json(POD, "api-5d89-x");
    json["metadata"]["labels"] = serde_json::json!({"pod-template-hash": "5d89"});
    json["metadata"]["ownerReferences"] = serde_json::json!([
        {"apiVersion": "apps/v1", "kind": "ReplicaSet", "name": "api-5d89", "controller": true},
    ]);
    (fixture, json)
}

#[test]
fn in_a_pod_the_cluster_names_the_service_and_its_environment_stands_above_that() {
    let (fixture, mut json) = program_in_pod();
    let identifier =
        |json: &_| Identifier::new(fixture.proc(), Vec::new()).in_cluster(cluster(json));
    let service = service_of(&identifier(&json), 42, 500);
    assert_eq!(
        (&*service.name, &*service.instance_id),
        ("api", "shop.api-5d89-x.api")
    );
    for (key, expected) in [
        ("service.namespace", "shop"),
        ("service.version", "v2"),
        ("k8s.pod.uid", POD),
        ("k8s.deployment.name", "api"),
        ("container.image.name", "registry:5000/shop/api"),
    ] {
        assert_eq!(text(&service, key), Some(expected), "{key}");
    }
    assert!(service.attributes.is_sorted_by(|(a, _), (b, _)| a < b));
    json["metadata"]["annotations"] = serde_json::json!({
        "resource.opentelemetry.io/service.name": "annotated",
        "resource.opentelemetry.io/service.version": "9",
        "resource.opentelemetry.io/deployment.environment.name": "prod",
        "resource.opentelemetry.io/team": "checkout",
    });
    let service = service_of(&identifier(&json), 42, 500);
    assert_eq!(&*service.name, "annotated");
    assert_eq!(text(&service, "service.version"), Some("9"));
    assert_eq!(text(&service, "deployment.environment.name"), Some("prod"));
    let team = |value: &str| [("team".into(), Value::Text(value.to_owned().into()))];
    assert_eq!(service.extra_attributes, team("checkout"));
    fixture.write(
        "42/environ",
        b"OTEL_SERVICE_NAME=said\0OTEL_RESOURCE_ATTRIBUTES=team=own,service.version=1\0",
    );
    let service = service_of(&identifier(&json), 42, 500);
    assert_eq!(&*service.name, "said");
    assert_eq!(text(&service, "service.version"), Some("1"));
    assert_eq!(service.extra_attributes, team("own"));
}

#[test]
fn in_a_pod_that_is_not_known_it_is_named_as_elsewhere() {
    let (fixture, _) = program_in_pod();
    let pods = Arc::new(Store::new(crate::kubernetes::Kept::default()));
    let identifier = Identifier::new(fixture.proc(), Vec::new()).in_cluster(Arc::clone(&pods));
    let facts = identifier.identify(subject(42, 500)).unwrap();
    let named = identifier.service(&facts);
    assert!(named.awaited);
    assert_eq!(&*named.service.name, "nginx");
    assert_eq!(text(&named.service, "k8s.pod.uid"), Some(POD));
    pods.set_reach(crate::kubernetes::Reach::Lost);
    assert!(!identifier.service(&facts).awaited);
}
