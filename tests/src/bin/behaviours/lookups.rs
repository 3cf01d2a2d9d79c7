//! DNS lookups over UDP: a real name server in namespaces of its own, and a service there that resolves names.

use std::net::{Ipv4Addr, TcpStream};
use std::process::Command;

use observer_tests::{Client, Environment, Folder, Server, Span, free_port, nginx_with};

use crate::behaviour::{Behaviour, Drive, Evidence};
use crate::namespace::{may_unshare, within};
use crate::stage::Stage;

pub(crate) const BEHAVIOURS: &[Behaviour] = &[
    Behaviour {
        name: "DNS lookups",
        drive: |stage| with(stage, resolved),
    },
    Behaviour {
        name: "DNS over unconnected sockets",
        drive: |stage| with(stage, unconnected),
    },
    Behaviour {
        name: "DNS without an answer",
        drive: |stage| with(stage, in_vain),
    },
    Behaviour {
        name: "DNS of an event loop names no wrong parent",
        drive: |stage| with(stage, event_loop),
    },
];

/// dnsmasq on port 53 of a loopback of its own, and who asks it: Python's server, and nginx as a proxy before that.
pub(crate) struct Resolving {
    server: Server,
    nginx: Server,
    _dnsmasq: Server,
    _folder: Folder,
}

impl Resolving {
    /// Starts both; the error is why there can be none.
    pub(crate) fn start() -> Result<Self, String> {
        may_unshare(&["--net", "--mount"])?;
        let folder = Folder::new();
        let (settings, id) = (folder.path().join("resolv.conf"), folder.path().join("pid"));
        std::fs::write(&settings, "nameserver 127.0.0.1\n").unwrap();
        let mut command = Command::new("unshare");
        command
            .args(["--net", "--mount", "sh", "-c"])
            .arg("ip link set lo up && mount --bind \"$0\" /etc/resolv.conf && exec \"$@\"")
            .arg(&settings)
            .args(["dnsmasq", "--keep-in-foreground", "--conf-file=/dev/null"])
            .args([
                "--no-resolv",
                "--no-hosts",
                "--user=root",
                "--log-facility=/dev/null",
            ])
            .args(["--listen-address=127.0.0.1,::1", "--bind-interfaces"])
            .args([
                "--address=/good.test/192.0.2.1",
                "--address=/good.test/2001:db8::1",
                "--address=/here.test/127.0.0.1",
            ])
            .args(["--local=/missing.test/"])
            .arg(format!("--pid-file={}", id.display()));
        let ready = || std::fs::read_to_string(&id).is_ok_and(|pid| !pid.is_empty());
        let dnsmasq = Server::start_when(&mut command, 0, ready);
        let start = |plain: &Command, port| {
            let mut command = Command::new("nsenter");
            command
                .arg(format!("--target={}", dnsmasq.pid()))
                .args(["--net", "--mount", "--root", "--wd"])
                .arg(plain.get_program())
                .args(plain.get_args());
            let listens = || {
                within(dnsmasq.pid(), || {
                    TcpStream::connect((Ipv4Addr::LOCALHOST, port)).is_ok()
                })
            };
            Server::start_when(&mut command, port, listens)
        };
        let (port, proxy) = (free_port(), free_port());
        let mut python = Command::new("python3");
        python
            .arg(Environment::programs().join("stdlib_server.py"))
            .args([&port.to_string(), "threads"]);
        let server = start(&python, port);
        let nginx = start(&nginx_with(&folder, &configuration(proxy, port)), proxy);
        Ok(Self {
            server,
            nginx,
            _dnsmasq: dnsmasq,
            _folder: folder,
        })
    }

    pub(crate) fn servers(&self) -> [&Server; 2] {
        [&self.server, &self.nginx]
    }

    /// What the server answers to this path.
    fn ask(&self, path: &str) -> String {
        within(self.server.pid(), || get(self.server.port(), path))
    }
}

fn get(port: u16, path: &str) -> String {
    let stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).unwrap();
    let answer = Client::over(stream)
        .unwrap()
        .request("GET", path, "")
        .unwrap();
    assert_eq!(answer.status, 200);
    String::from_utf8(answer.body).unwrap()
}

/// nginx, which hands `/via/NAME` on to `/named/NAME` of the server with that name.
fn configuration(port: u16, server: u16) -> String {
    format!(
        "resolver 127.0.0.1 ipv6=off;
    server {{
        listen 127.0.0.1:{port};
        location ~ ^/via/(.+)$ {{ proxy_pass http://$1.here.test:{server}/named/$1; }}
    }}"
    )
}

/// Drives who asks, where there is a name server.
fn with(stage: &Stage, drive: impl FnOnce(&Resolving) -> Drive) -> Drive {
    match &stage.resolving {
        Ok(resolving) => drive(resolving),
        Err(reason) => Drive::Skip(reason.clone()),
    }
}

/// Spans of lookups of this name.
fn asked<'a>(evidence: &'a Evidence, name: &str) -> Vec<&'a Span> {
    let is_it = |span: &&Span| span.attribute("dns.question.name") == name;
    evidence.spans.iter().filter(is_it).collect()
}

/// The lookups of this name, and that the request for this path is the parent of each.
fn lookups<'a>(evidence: &'a Evidence, port: u16, path: &str, name: &str) -> Vec<&'a Span> {
    let served = evidence.served(port, path);
    assert_eq!(served.len(), 1, "{served:?}");
    let found = asked(evidence, name);
    for span in &found {
        assert_eq!(span.kind(), "client");
        assert_eq!(span.trace_id(), served[0].trace_id(), "{span:?}");
        assert_eq!(span.parent_span_id(), Some(served[0].span_id()), "{span:?}");
        let begins_within = span.start_unix_nano() >= served[0].start_unix_nano();
        assert!(begins_within && span.milliseconds() <= served[0].milliseconds());
        assert_eq!(span.attribute("server.port"), 53);
    }
    found
}

/// Names and outcomes of lookups, in order.
fn outcomes(spans: &[&Span]) -> Vec<(String, String)> {
    let outcome = |span: &&Span| {
        let code = span.attribute("observer.dns.response_code");
        (
            span.name().to_owned(),
            code.as_str().unwrap_or("-").to_owned(),
        )
    };
    let mut outcomes: Vec<_> = spans.iter().map(outcome).collect();
    outcomes.sort();
    outcomes
}

/// How a name is looked up by most programs: both kinds of addresses are asked for at once (glibc: by one `sendmmsg`).
fn resolved(resolving: &Resolving) -> Drive {
    assert_eq!(resolving.ask("/lookup/good.test"), "2\n");
    resolving.ask("/lookup/missing.test");
    let port = resolving.server.port();
    Drive::check(2, move |evidence| {
        for (name, code) in [("good.test", "NOERROR"), ("missing.test", "NXDOMAIN")] {
            let path = format!("/lookup/{name}");
            let found = lookups(evidence, port, &path, name);
            let expected = ["DNS A", "DNS AAAA"].map(|kind| (kind.to_owned(), code.to_owned()));
            assert_eq!(outcomes(&found), expected);
            for span in found {
                assert_eq!(span.attribute("server.address"), "127.0.0.1");
                assert!(!span.is_incomplete(), "{span:?}");
                assert_eq!(span.status(), "unset", "{span:?}");
            }
        }
        let of = |labels: &[&str]| {
            evidence
                .page
                .sum("dns_lookup_duration_seconds_count", labels)
        };
        assert_eq!(of(&["\"good.test\""]), 2.0);
        assert_eq!(of(&["\"missing.test\"", "error_type=\"NXDOMAIN\""]), 2.0);
    })
}

fn unconnected(resolving: &Resolving) -> Drive {
    let asked = [
        ("127.0.0.1", "four.missing.test"),
        ("::1", "six.missing.test"),
    ];
    for (server, name) in asked {
        assert_eq!(resolving.ask(&format!("/ask/{server}/{name}")), "3\n");
    }
    let port = resolving.server.port();
    Drive::check(asked.len(), move |evidence| {
        for (server, name) in asked {
            let found = lookups(evidence, port, &format!("/ask/{server}/{name}"), name);
            let expected = [("DNS A".to_owned(), "NXDOMAIN".to_owned())];
            assert_eq!(outcomes(&found), expected);
            assert_eq!(found[0].attribute("server.address"), server);
            assert!(!found[0].is_incomplete(), "{found:?}");
        }
    })
}

/// The first query's end is when the client asks elsewhere. Of the second nothing is known where no hook tells of its
/// socket's end.
fn in_vain(resolving: &Resolving) -> Drive {
    resolving.ask("/ask-in-vain/silent.test");
    let port = resolving.server.port();
    Drive::check(1, move |evidence| {
        let found = lookups(evidence, port, "/ask-in-vain/silent.test", "silent.test");
        assert!((1..=2).contains(&found.len()), "{found:?}");
        for span in found {
            assert_eq!(span.attribute("error.type"), "timeout");
            assert_eq!(span.attribute("observer.incomplete"), "unanswered");
            assert_eq!(span.status(), "error");
            assert!(span.milliseconds() >= 300.0, "{span:?}");
        }
    })
}

const AT_ONCE: usize = 12;

/// nginx asks for names between requests and goes on with whichever is answered: each lookup belongs to the request that
/// wants its name, and what is called afterwards to that or, where it can't be known, to none.
fn event_loop(resolving: &Resolving) -> Drive {
    let (nginx, server) = (resolving.nginx.port(), resolving.server.port());
    let pid = resolving.nginx.pid();
    std::thread::scope(|scope| {
        for number in 0..AT_ONCE {
            scope.spawn(move || within(pid, || get(nginx, &format!("/via/n{number:02}"))));
        }
    });
    // Each is served by nginx and by its server.
    Drive::check(2 * AT_ONCE, move |evidence| {
        for number in 0..AT_ONCE {
            let served = evidence.served(nginx, &format!("/via/n{number:02}"));
            assert_eq!(served.len(), 1, "{served:?}");
            let called = |span: &&Span| {
                let url = span.attribute("url.full").as_str().unwrap_or_default();
                span.kind() == "client" && url.ends_with(&format!(":{server}/named/n{number:02}"))
            };
            let lookups = asked(evidence, &format!("n{number:02}.here.test"));
            let calls: Vec<&Span> = evidence.spans.iter().filter(called).collect();
            assert_eq!(calls.len(), 1, "{calls:?}");
            for span in calls.into_iter().chain(lookups) {
                let parent = span.parent_span_id();
                let right = parent.is_none() || parent == Some(served[0].span_id());
                assert!(right, "{span:?} is not of {served:?}");
            }
        }
    })
}
