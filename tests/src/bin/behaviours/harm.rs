//! A daemon whose backend is dead, and which is then killed: nobody but the daemon notices.

use std::collections::BTreeSet;
use std::process::Command;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use observer_tests::{Client, Environment, Folder, Observer, Server, free_port, nginx, until};

use crate::attempt;
use crate::report::{Outcome, Report};

const DEAD_BACKEND: &str = "dead backend: counted drops, exact metrics";
const KILLED: &str = "killed under load: no request fails, no program stays";

/// Spans that may wait to be sent.
const QUEUE: &str = "16";
const REQUESTS: u64 = 100;

/// Runs both beside one daemon.
pub(crate) fn run(
    environment: &Environment,
    is_wanted: &dyn Fn(&str) -> bool,
    report: &mut Report,
) {
    if !is_wanted(DEAD_BACKEND) && !is_wanted(KILLED) {
        return;
    }
    let folder = Folder::new();
    let staged = attempt(|| {
        let port = free_port();
        let server = Server::start(&mut nginx(&folder, port), port);
        let arguments = [
            format!("--port={}", server.port()),
            format!("--otlp-endpoint=http://127.0.0.1:{}", free_port()),
            "--otlp-protocol=http/protobuf".to_owned(),
            "--span-rate=unlimited".to_owned(),
        ];
        let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
        let bounded = |command: &mut Command| {
            command.env("OTEL_BSP_MAX_QUEUE_SIZE", QUEUE);
        };
        let observer = Observer::start_with(environment, &arguments, bounded);
        (server, observer)
    });
    let (server, mut observer) = match staged {
        Ok(staged) => staged,
        Err(reason) => {
            for name in [DEAD_BACKEND, KILLED] {
                report.say(name, &Outcome::Fail(reason.clone()));
            }
            return;
        }
    };
    let outcome =
        |result: Result<(), String>| result.map_or_else(Outcome::Fail, |()| Outcome::Pass);
    let dead = attempt(|| dead_backend(&server, &mut observer));
    report.say(DEAD_BACKEND, &outcome(dead));
    let killed = attempt(|| killed(&server, observer));
    report.say(KILLED, &outcome(killed));
}

fn dead_backend(server: &Server, observer: &mut Observer) {
    let mut client = Client::connect(server.port()).unwrap();
    for _ in 0..REQUESTS {
        assert_eq!(client.request("GET", "/", "").unwrap().status, 200);
    }
    // But for what the daemon says that the kernel's programs missed.
    let page = observer.settled_page(REQUESTS);
    let (served, missed) = (page.served(&[]), page.missed());
    assert!(
        served <= REQUESTS && served + missed >= REQUESTS,
        "{served} of {REQUESTS} counted, {missed} calls missed"
    );
    until("dropped spans are counted", || {
        (observer.page().sum("observer_export_dropped_spans", &[]) > 0.0).then_some(())
    });
    assert!(observer.is_alive());
}

fn killed(server: &Server, observer: Observer) {
    let programs = programs_of(observer.pid());
    assert!(!programs.is_empty(), "the daemon holds no program");
    let (stop, answered) = (AtomicBool::new(false), AtomicUsize::new(0));
    let more = || {
        let wanted = answered.load(Ordering::Relaxed) + 50;
        until("requests are answered", || {
            (answered.load(Ordering::Relaxed) >= wanted).then_some(())
        });
    };
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                let mut client = Client::connect(server.port()).unwrap();
                while !stop.load(Ordering::Relaxed) {
                    let answer = client.request("GET", "/", "").unwrap();
                    assert_eq!((answer.status, answer.body.len()), (200, 612));
                    answered.fetch_add(1, Ordering::Relaxed);
                }
            });
        }
        let outcome = attempt(|| {
            more();
            observer.kill();
            more();
        });
        stop.store(true, Ordering::Relaxed);
        outcome.unwrap();
    });
    // The kernel frees them after a grace period.
    until("the daemon's programs are gone", || {
        loaded().is_disjoint(&programs).then_some(())
    });
}

/// The programs that a process holds open.
fn programs_of(pid: u32) -> BTreeSet<u64> {
    let folder = std::fs::read_dir(format!("/proc/{pid}/fdinfo")).unwrap();
    folder
        .flatten()
        .filter_map(|entry| std::fs::read_to_string(entry.path()).ok())
        .filter_map(|text| {
            let line = text.lines().find_map(|line| line.strip_prefix("prog_id:"));
            line?.trim().parse().ok()
        })
        .collect()
}

/// The programs that the kernel has now.
fn loaded() -> BTreeSet<u64> {
    let output = Command::new("bpftool")
        .args(["-j", "prog", "show"])
        .output()
        .unwrap();
    assert!(output.status.success(), "{output:?}");
    let list: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    let programs = list.as_array().unwrap().iter();
    programs
        .map(|program| program["id"].as_u64().unwrap())
        .collect()
}
