//! Chains whose first service asks the second over TLS: nobody can read that, and what the second calls has the first
//! one's request as its parent all the same.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::Result;

use super::super::case::{AFTER, CALLS, Case, PARALLEL, TIMER};
use super::{Machine, Place, Runtime, go, node, proxies, python};
use crate::command;

/// The folder of the certificate, in the one that `cargo xtask test` prepares.
const FOLDER: &str = "tls";

/// Record by record, one request after the other.
const BLOCKING: &[(&Case, f64)] = &[
    (&CALLS, 1.0),
    (&PARALLEL, 0.0),
    (&AFTER, 1.0),
    (&TIMER, 1.0),
];
/// What its thread read last tells nothing: no call has a parent, and none may have a wrong one.
const LATER: &[(&Case, f64)] = &[(&CALLS, 0.0), (&AFTER, 0.0), (&TIMER, 0.0)];
/// Go's server has a goroutine watch for the client's end, which may read the next request.
const WATCHED: &[(&Case, f64)] = &[
    (&CALLS, 0.5),
    (&PARALLEL, 0.5),
    (&AFTER, 0.5),
    (&TIMER, 0.5),
];
/// The first request of a connection may be answered by tickets.
const READ_AHEAD: &[(&Case, f64)] = &[
    (&CALLS, 0.0),
    (&PARALLEL, 0.0),
    (&AFTER, 0.0),
    (&TIMER, 0.0),
];

pub(super) const ALL: &[Runtime] = &[
    Runtime {
        name: "tls-python-threads",
        about: "http.server and http.client with ssl between them",
        cases: BLOCKING,
        prepare,
        command: |machine, place| with_tls(machine, place, &python::THREADS),
    },
    Runtime {
        name: "tls-python-epoll",
        about: "http.client with ssl asks one thread with an epoll, blocking sockets and timers",
        cases: LATER,
        prepare,
        command: |machine, place| {
            let plain = if place.is_first {
                &python::THREADS
            } else {
                &python::EPOLL
            };
            with_tls(machine, place, plain)
        },
    },
    Runtime {
        name: "tls-gunicorn-sync",
        about: "gunicorn ending TLS, four processes; requests",
        cases: BLOCKING,
        prepare,
        command: |machine, place| {
            let mut gunicorn = with_tls(machine, place, &python::PREFORK)?;
            if !place.is_first {
                let folder = folder(machine);
                gunicorn.arg("--certfile").arg(folder.join("cert.pem"));
                gunicorn.arg("--keyfile").arg(folder.join("key.pem"));
            }
            Ok(gunicorn)
        },
    },
    Runtime {
        name: "tls-nginx",
        about: "proxy_pass over TLS, nginx ending it; two workers",
        cases: proxies::NGINX.cases,
        prepare,
        command: |machine, place| {
            let command = (proxies::NGINX.command)(machine, place)?;
            let file = place.folder.join("nginx.conf");
            let text = fs::read_to_string(&file)?;
            fs::write(&file, nginx(&text, place.is_first, &folder(machine)))?;
            Ok(command)
        },
    },
    Runtime {
        name: "tls-go",
        about: "net/http and crypto/tls, HTTP/1.1 only",
        cases: WATCHED,
        prepare: |machine| {
            prepare(machine)?;
            (go::NET_HTTP.prepare)(machine)
        },
        command: |machine, place| with_tls(machine, place, &go::NET_HTTP),
    },
    Runtime {
        name: "tls-node",
        about: "https.createServer; https.get with an agent",
        cases: READ_AHEAD,
        prepare,
        command: |machine, place| with_tls(machine, place, &node::AGENT),
    },
    Runtime {
        name: "tls-asyncio",
        about: "uvicorn on asyncio's own loop ending TLS; aiohttp",
        cases: READ_AHEAD,
        prepare,
        command: |machine, place| {
            let mut uvicorn = with_tls(machine, place, &python::AIOHTTP)?;
            if !place.is_first {
                let folder = folder(machine);
                uvicorn.arg("--ssl-certfile").arg(folder.join("cert.pem"));
                uvicorn.arg("--ssl-keyfile").arg(folder.join("key.pem"));
            }
            Ok(uvicorn)
        },
    },
];

fn folder(machine: &Machine) -> PathBuf {
    machine.environment.join(FOLDER)
}

/// A certificate for 127.0.0.1, made anew: nobody's secret is kept.
fn prepare(machine: &Machine) -> Result<()> {
    let folder = folder(machine);
    fs::create_dir_all(&folder)?;
    let mut openssl = Command::new("openssl");
    openssl
        .args([
            "req",
            "-x509",
            "-newkey",
            "ec",
            "-pkeyopt",
            "ec_paramgen_curve:prime256v1",
        ])
        .args(["-noenc", "-days", "30", "-subj", "/CN=localhost"])
        .args([
            "-addext",
            "subjectAltName=DNS:localhost,IP:127.0.0.1",
            "-keyout",
        ])
        .arg(folder.join("key.pem"))
        .arg("-out")
        .arg(folder.join("cert.pem"));
    command::run(&mut openssl)
}

/// The plain runtime's service, told to ask or to answer over TLS.
fn with_tls(machine: &Machine, place: &Place, plain: &Runtime) -> Result<Command> {
    let mut command = (plain.command)(machine, place)?;
    let name = if place.is_first {
        "TRUTH_TLS_NEXT"
    } else {
        "TRUTH_TLS_LISTEN"
    };
    command.env(name, folder(machine));
    Ok(command)
}

fn nginx(text: &str, is_first: bool, folder: &Path) -> String {
    if is_first {
        return text.replace("proxy_pass http://", "proxy_pass https://");
    }
    let folder = folder.display();
    text.replace(
        " backlog=2048;",
        &format!(" ssl backlog=2048;\n        ssl_certificate {folder}/cert.pem;\n        ssl_certificate_key {folder}/key.pem;"),
    )
}
