//! The JDK's own server: one thread reads, a pool of 32 answers.

use std::path::PathBuf;
use std::process::Command;

use anyhow::Result;

use super::super::case::{AFTER, CALLS, Case, HANDOFF, PARALLEL, TIMER};
use super::{Machine, Place, Runtime};
use crate::test::environment;
use crate::{command, debian};

/// The folder of compiled classes.
const CLASSES: &str = "truth_java";

/// The pool's thread reads the request and makes the calls.
const THREADS: &[(&Case, f64)] = &[
    (&CALLS, 1.0),
    (&PARALLEL, 0.0),
    (&HANDOFF, 0.0),
    (&AFTER, 1.0),
    (&TIMER, 1.0),
];

/// The client's own thread makes most calls. That somebody woke it, or put something into its queue, does not tell whose
/// it writes next.
const ANOTHER_THREAD: &[(&Case, f64)] = &[
    (&CALLS, 0.0),
    (&PARALLEL, 0.0),
    (&HANDOFF, 0.0),
    (&AFTER, 0.0),
    (&TIMER, 0.0),
];

pub(super) const BLOCKING: Runtime = Runtime {
    name: "java-url",
    about: "HttpServer with a pool of 32 threads; HttpURLConnection",
    cases: THREADS,
    prepare,
    command: |machine, place| command(machine, place, "url"),
};

pub(super) const SELECTOR: Runtime = Runtime {
    name: "java-http",
    about: "HttpServer with a pool of 32 threads; java.net.http, whose own thread waits for answers",
    cases: ANOTHER_THREAD,
    prepare,
    command: |machine, place| command(machine, place, "http"),
};

fn source(machine: &Machine) -> PathBuf {
    machine.programs.join("java/Service.java")
}

fn prepare(machine: &Machine) -> Result<()> {
    debian::install(&[("javac", "openjdk-17-jdk-headless")])?;
    let source = source(machine);
    environment::once(&machine.environment, CLASSES, &[&source], || {
        command::run(
            Command::new("javac")
                .arg("-d")
                .arg(machine.environment.join(CLASSES))
                .arg(&source),
        )
    })
}

#[allow(clippy::unnecessary_wraps, reason = "the shape of Runtime::command")]
fn command(machine: &Machine, place: &Place, client: &str) -> Result<Command> {
    let mut java = Command::new("java");
    java.args([
        // Head and body are two writes; without this each answer waits for the client's delayed ACK.
        "-Dsun.net.httpserver.nodelay=true",
        "-Dsun.net.httpserver.maxIdleConnections=10000",
        "-Dsun.net.httpserver.idleInterval=60",
        "-Dhttp.maxConnections=512",
        "-Djdk.httpclient.allowRestrictedHeaders=connection",
        "-Dsun.net.http.allowRestrictedHeaders=true",
        "-XX:+UseSerialGC",
        "-cp",
    ]);
    java.arg(machine.environment.join(CLASSES))
        .arg("Service")
        .args(place.ports())
        .arg(client);
    Ok(java)
}
