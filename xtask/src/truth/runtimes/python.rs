//! Python: threads, processes, and asyncio's loop.

use std::path::PathBuf;
use std::process::Command;

use anyhow::Result;

use super::super::case::{AFTER, CALLS, Case, HANDOFF, PARALLEL, PIECES, SPIN, TIMER};
use super::{Machine, Place, Runtime, nothing, script};

/// One thread does all that a request needs, one call after the other.
const BLOCKING: &[(&Case, f64)] = &[
    (&CALLS, 1.0),
    (&PARALLEL, 0.0),
    (&HANDOFF, 0.0),
    (&AFTER, 1.0),
    (&TIMER, 1.0),
];

const LOOP: &[(&Case, f64)] = &[
    (&CALLS, 0.99),
    (&PARALLEL, 0.99),
    (&HANDOFF, 0.0),
    (&SPIN, 0.99),
    (&PIECES, 0.0),
    (&AFTER, 0.99),
    (&TIMER, 0.99),
];

pub(super) const THREADS: Runtime = Runtime {
    name: "python-threads",
    about: "http.server, a thread a connection; http.client over connections shared by all threads, urllib for fresh ones",
    cases: &[
        (&CALLS, 1.0),
        (&PARALLEL, 0.0),
        (&HANDOFF, 0.0),
        (&PIECES, 0.0),
        (&AFTER, 1.0),
        (&TIMER, 1.0),
    ],
    prepare: nothing,
    command: |machine, place| plain(machine, place, "threads.py"),
};

/// Only ever the second of a chain, behind TLS.
pub(super) const EPOLL: Runtime = Runtime {
    name: "python-epoll",
    about: "one thread with an epoll, blocking sockets and timers",
    cases: &[],
    prepare: nothing,
    command: |machine, place| plain(machine, place, "epoll.py"),
};

pub(super) const PREFORK: Runtime = Runtime {
    name: "gunicorn-sync",
    about: "gunicorn, four processes that take one request at a time; requests with a shared session",
    cases: BLOCKING,
    prepare: nothing,
    command: |machine, place| gunicorn(machine, place, &["--workers=4"]),
};

pub(super) const THREAD_POOL: Runtime = Runtime {
    name: "gunicorn-threads",
    about: "gunicorn, two processes of 16 threads; requests with a shared session",
    cases: BLOCKING,
    prepare: nothing,
    command: |machine, place| gunicorn(machine, place, &["--workers=2", "--threads=16"]),
};

pub(super) const AIOHTTP: Runtime = Runtime {
    name: "asyncio-aiohttp",
    about: "uvicorn on asyncio's own loop and h11; aiohttp",
    cases: LOOP,
    prepare: nothing,
    command: |machine, place| uvicorn(machine, place, ["asyncio", "h11", "aiohttp"]),
};

pub(super) const HTTPX: Runtime = Runtime {
    name: "uvloop-httpx",
    about: "uvicorn on uvloop and httptools; httpx",
    cases: LOOP,
    prepare: nothing,
    command: |machine, place| uvicorn(machine, place, ["uvloop", "httptools", "httpx"]),
};

fn python(machine: &Machine, program: &str) -> PathBuf {
    machine.environment.join("venv/bin").join(program)
}

#[allow(clippy::unnecessary_wraps, reason = "the shape of Runtime::command")]
fn plain(machine: &Machine, place: &Place, source: &str) -> Result<Command> {
    let source = machine.programs.join(source);
    let mut python = script(python(machine, "python"), &source);
    python
        .args(place.ports())
        .env("PYTHONDONTWRITEBYTECODE", "1");
    Ok(python)
}

#[allow(clippy::unnecessary_wraps, reason = "the shape of Runtime::command")]
fn gunicorn(machine: &Machine, place: &Place, model: &[&str]) -> Result<Command> {
    let mut gunicorn = Command::new(python(machine, "gunicorn"));
    gunicorn
        .current_dir(&machine.programs)
        .args(model)
        .args(["--log-level=warning", "--keep-alive=60"])
        .arg(format!("--bind=127.0.0.1:{}", place.port))
        .arg("wsgi:application")
        .env("TRUTH_NEXT", place.next.to_string())
        .env("PYTHONDONTWRITEBYTECODE", "1");
    Ok(gunicorn)
}

#[allow(clippy::unnecessary_wraps, reason = "the shape of Runtime::command")]
fn uvicorn(
    machine: &Machine,
    place: &Place,
    [event_loop, http, client]: [&str; 3],
) -> Result<Command> {
    let mut uvicorn = Command::new(python(machine, "uvicorn"));
    uvicorn
        .current_dir(&machine.programs)
        .args(["--log-level=warning", "--timeout-keep-alive=60"])
        .arg(format!("--loop={event_loop}"))
        .arg(format!("--http={http}"))
        .arg(format!("--port={}", place.port))
        .arg("asgi:application")
        .env("TRUTH_NEXT", place.next.to_string())
        .env("TRUTH_CLIENT", client)
        .env("PYTHONDONTWRITEBYTECODE", "1");
    Ok(uvicorn)
}
