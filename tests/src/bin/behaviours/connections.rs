//! Whatever a connection is, and however a server divides its work.

use std::io::{Read, Write};
use std::net::{Ipv6Addr, TcpStream};
use std::os::unix::net::UnixStream;

use observer_tests::{Client, get, until};

use crate::behaviour::{Behaviour, Drive, assert_exact};
use crate::stage::{self, Stage};

pub(crate) const BEHAVIOURS: &[Behaviour] = &[
    Behaviour {
        name: "kept-alive connection",
        drive: kept_alive,
    },
    Behaviour {
        name: "read that began before observer",
        drive: began_before,
    },
    Behaviour {
        name: "server and connection older than observer",
        drive: older,
    },
    Behaviour {
        name: "server younger than observer",
        drive: younger,
    },
    Behaviour {
        name: "many short connections",
        drive: short,
    },
    Behaviour {
        name: "pre-forked processes",
        drive: prefork,
    },
    Behaviour {
        name: "IPv6",
        drive: ipv6,
    },
    Behaviour {
        name: "IPv4-mapped IPv6",
        drive: mapped,
    },
    Behaviour {
        name: "Unix socket",
        drive: unix,
    },
];

/// Paths that answer with so many bytes.
fn paths(sizes: std::ops::Range<usize>) -> Vec<String> {
    sizes.map(|size| format!("/bytes/{size}")).collect()
}

fn kept_alive(stage: &Stage) -> Drive {
    let (port, paths) = (stage.python.port(), paths(1000..1040));
    let mut client = Client::connect(port).unwrap();
    for path in &paths {
        assert_eq!(client.request("GET", path, "").unwrap().status, 200);
    }
    Drive::check(paths.len(), move |evidence| {
        let spans = evidence.served(port, "/bytes/10");
        assert_exact(&spans, &paths, 200);
        let order: Vec<&str> = spans.iter().map(|span| span.path()).collect();
        assert_eq!(order, paths, "out of order");
    })
}

/// Path of the first request on the older connection.
pub(crate) const BEGAN_BEFORE: &str = "/bytes/1999";

/// The server waits in its `recv` since before the daemon was there.
fn began_before(stage: &Stage) -> Drive {
    let port = stage.python.port();
    let mut client = stage.older.borrow_mut();
    client.request("GET", BEGAN_BEFORE, "").unwrap();
    // Seen or not, it is no part of the count: tiers differ.
    Drive::check(0, move |evidence| {
        let spans = evidence.served(port, BEGAN_BEFORE);
        assert_exact(&spans, &[BEGAN_BEFORE.to_owned()], 200);
    })
}

fn older(stage: &Stage) -> Drive {
    let (port, paths) = (stage.python.port(), paths(2000..2003));
    let mut client = stage.older.borrow_mut();
    for path in &paths {
        assert_eq!(client.request("GET", path, "").unwrap().status, 200);
    }
    Drive::check(paths.len(), move |evidence| {
        assert_exact(&evidence.served(port, "/bytes/20"), &paths, 200);
    })
}

/// Path of the requests to the youngest server, which are as many as it takes.
pub(crate) const YOUNGER: &str = "/younger";

/// The daemon decides about a new process as soon as it hears of it; what that one answers before is not seen.
fn younger(stage: &Stage) -> Drive {
    let server = stage::raw_server("plain").unwrap();
    let port = server.port();
    let mut client = Client::connect(port).unwrap();
    let route = format!("http_route=\"{YOUNGER}\"");
    until("a request to a new server is counted", || {
        client.request("GET", YOUNGER, "").unwrap();
        (stage.counted(&[&route]) > 0).then_some(())
    });
    Drive::check(0, move |evidence| {
        let spans = evidence.served(port, YOUNGER);
        assert_exact(&spans, &vec![YOUNGER.to_owned(); spans.len()], 200);
        assert!(!spans.is_empty());
    })
}

fn short(stage: &Stage) -> Drive {
    const THREADS: usize = 4;
    const EACH: usize = 50;
    let port = stage.nginx.port();
    std::thread::scope(|scope| {
        for _ in 0..THREADS {
            scope.spawn(|| {
                for _ in 0..EACH {
                    assert_eq!(get(port, "/status/201").unwrap().status, 201);
                }
            });
        }
    });
    let paths = vec!["/status/201".to_owned(); THREADS * EACH];
    Drive::check(paths.len(), move |evidence| {
        assert_exact(&evidence.served(port, "/status/201"), &paths, 201);
    })
}

fn prefork(stage: &Stage) -> Drive {
    let (port, paths) = (stage.prefork.port(), paths(3000..3040));
    std::thread::scope(|scope| {
        for part in paths.chunks(10) {
            scope.spawn(move || {
                for path in part {
                    assert_eq!(get(port, path).unwrap().status, 200);
                }
            });
        }
    });
    Drive::check(paths.len(), move |evidence| {
        assert_exact(&evidence.served(port, "/bytes/30"), &paths, 200);
    })
}

fn ipv6(stage: &Stage) -> Drive {
    let port = stage.python.port();
    let stream = TcpStream::connect((Ipv6Addr::LOCALHOST, port)).unwrap();
    let mut client = Client::over(stream).unwrap();
    client.request("GET", "/bytes/4006", "").unwrap();
    Drive::check(1, move |evidence| {
        let spans = evidence.served(port, "/bytes/4006");
        assert_exact(&spans, &["/bytes/4006".to_owned()], 200);
        assert_eq!(spans[0].attribute("network.peer.address"), "::1");
    })
}

fn mapped(stage: &Stage) -> Drive {
    let port = stage.python.port();
    get(port, "/bytes/4004").unwrap();
    Drive::check(1, move |evidence| {
        let spans = evidence.served(port, "/bytes/4004");
        assert_exact(&spans, &["/bytes/4004".to_owned()], 200);
        assert_eq!(spans[0].attribute("network.peer.address"), "127.0.0.1");
    })
}

fn unix(stage: &Stage) -> Drive {
    let paths = paths(5000..5005);
    for path in &paths {
        let mut stream = UnixStream::connect(&stage.socket).unwrap();
        let request = format!("GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    }
    Drive::check(paths.len(), move |evidence| {
        let served = evidence.spans.iter();
        let spans: Vec<_> = served
            .filter(|span| span.path().starts_with("/bytes/50"))
            .collect();
        assert_exact(&spans, &paths, 200);
        for span in spans {
            assert_eq!(span.attribute("network.transport"), "unix", "{span:?}");
        }
    })
}
