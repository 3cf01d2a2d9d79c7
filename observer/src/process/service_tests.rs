use std::process::{Command, Stdio};

use super::*;
use crate::process::fixture::Fixture;

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
    Identifier::new(fixture.proc(), Vec::new())
        .identify(subject(pid, ticks))
        .unwrap()
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
    let service = Identifier::new(fixture.proc(), configured)
        .identify(subject(42, 500))
        .unwrap();
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
    let service = identifier.identify(subject(pid, stat.start_ticks));
    child.kill().unwrap();
    child.wait().unwrap();
    let service = service.unwrap();
    assert_eq!(text(&service, "process.command"), Some("sleep"));
    assert!(text(&service, "host.name").is_some());
    assert!(text(&service, "process.owner").is_some());
    assert_eq!(
        service.extra_attributes,
        [("team".into(), Value::Text("x".into()))]
    );
}
