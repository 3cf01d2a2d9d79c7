//! One trace over two hosts, by a TCP option.
//!
//! The hosts are network namespaces on one kernel, so two daemons are needed, each of which traces one side only: they
//! share no map, so the same-host handoff of one is nothing to the other.
#![allow(clippy::unwrap_used, reason = "tests panic, they don't return errors")]

use std::collections::HashMap;
use std::io::{BufRead, BufReader, Write};
use std::net::IpAddr;
use std::process::{Child, ChildStdout, Command, Stdio};

use observer_tests::{Environment, Host, Hosts, Observer, Segment, Server, Span, Wire, until};

/// Both hosts.
const NETWORKS: &str = "10.77.0.0/24,fd77::/64";
/// Kind 253's content: the experiment's number, and the ids after it.
const EXPERIMENT: &[u8] = b"ob";
const CONTEXT: usize = 2 + 16 + 8;

/// A client on its host that waits for commands.
struct Client {
    child: Child,
    said: BufReader<ChildStdout>,
}

impl Client {
    fn start(hosts: &Hosts, server: IpAddr, port: u16) -> Self {
        let mut child = hosts
            .command(Host::Client, "python3")
            .arg(Environment::programs().join("option_client.py"))
            .args([server.to_string(), port.to_string()])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let said = BufReader::new(child.stdout.take().unwrap());
        Self { child, said }
    }

    fn selector(&self) -> String {
        format!("--pid={}", self.child.id())
    }

    /// The client itself checks that each answer is what it should be.
    fn tell(&mut self, command: &str) {
        writeln!(self.child.stdin.as_mut().unwrap(), "{command}").unwrap();
        let mut line = String::new();
        self.said.read_line(&mut line).unwrap();
        assert_eq!(line, "done\n", "{command}");
    }
}

impl Drop for Client {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A daemon for each side.
struct Daemons {
    client: Observer,
    server: Observer,
}

impl Daemons {
    fn start(environment: &Environment, client: (&Client, &str), server: (&Server, &str)) -> Self {
        let start = |selector: &str, peers: &str| {
            let peers = format!("--tcp-option-peers={peers}");
            Observer::start(environment, &[selector, &peers, "--span-rate=unlimited"])
        };
        Self {
            client: start(&client.0.selector(), client.1),
            server: start(&format!("--pid={}", server.0.pid()), server.1),
        }
    }

    /// Waits until both have counted so many exchanges, and ends them: events of client and server, spans of both.
    fn stop(self, exchanges: u64) -> (Events, Events, Vec<Span>, Vec<Span>) {
        until("the client's requests are counted", || {
            let page = self.client.page();
            let calls = page.sum("http_client_request_duration_seconds_count", &[]);
            (calls as u64 >= exchanges).then_some(())
        });
        self.server.page_with(exchanges);
        let events = (Events::of(&self.client), Events::of(&self.server));
        (events.0, events.1, self.client.stop(), self.server.stop())
    }
}

/// Counters of one daemon.
#[derive(Debug, PartialEq, Eq)]
struct Events {
    written: u64,
    found: u64,
    refused: u64,
    left_out: u64,
}

impl Events {
    fn of(observer: &Observer) -> Self {
        let page = observer.page();
        let count = |event: &str| {
            let label = format!("event=\"tcp_option_{event}\"");
            page.sum("observer_kernel_events", &[&label]) as u64
        };
        Self {
            written: count("written"),
            found: count("found"),
            refused: count("refused"),
            left_out: count("left_out"),
        }
    }
}

fn method(span: &Span) -> &str {
    span.attribute("observer.parent.method").as_str().unwrap()
}

/// Every server span's parent is the client's span of the same request, found by the option.
fn assert_joined(clients: &[Span], servers: &[Span]) {
    let by_id: HashMap<&str, &Span> = clients.iter().map(|span| (span.span_id(), span)).collect();
    for span in servers {
        assert_eq!(method(span), "tcp_option", "{span:?}");
        let parent = by_id[span.parent_span_id().unwrap()];
        assert_eq!(parent.trace_id(), span.trace_id());
        let target = parent.attribute("url.full").as_str().unwrap();
        assert!(target.ends_with(span.path()), "{parent:?} {span:?}");
    }
}

fn with_option(segments: &[Segment], pick: impl Fn(&Segment) -> bool) -> Vec<&Segment> {
    let found = segments.iter().filter(|segment| pick(segment));
    found
        .filter(|segment| !segment.experiments().is_empty())
        .collect()
}

#[test]
fn two_hosts_make_one_trace_and_only_the_first_segments_carry_it() {
    let Some(environment) = Environment::enter() else {
        return;
    };
    let hosts = Hosts::new();
    let server = hosts.stdlib();
    for address in [
        IpAddr::from(Host::Server.address()),
        IpAddr::from(Host::Server.address_6()),
    ] {
        let mut client = Client::start(&hosts, address, server.port());
        let daemons = Daemons::start(&environment, (&client, NETWORKS), (&server, NETWORKS));
        let wire = Wire::listen(&hosts, server.port());
        client.tell("kept 30");
        client.tell("fresh 20");
        client.tell("post 1000");
        let (requests, connections) = (51, 22);
        let (asked, answered, clients, servers) = daemons.stop(requests);
        assert_eq!(servers.len() as u64, requests);
        assert_joined(&clients, &servers);
        let none = Events {
            written: 0,
            found: 0,
            refused: 0,
            left_out: 0,
        };
        assert_eq!(
            asked,
            Events {
                written: requests,
                ..none
            }
        );
        let none = Events {
            written: 0,
            found: 0,
            refused: 0,
            left_out: 0,
        };
        assert_eq!(
            answered,
            Events {
                found: requests,
                ..none
            }
        );

        let segments = wire.segments();
        for from_client in [true, false] {
            let syn = |segment: &Segment| segment.syn && segment.from_client == from_client;
            let asking = with_option(&segments, syn);
            assert_eq!(asking.len(), connections);
            assert!(asking.iter().all(|it| it.experiments() == [EXPERIMENT]));
        }
        let contexts = with_option(&segments, |segment| !segment.syn);
        assert_eq!(contexts.len() as u64, requests);
        for segment in contexts {
            assert!(segment.from_client && segment.payload > 0, "{segment:?}");
            assert!(matches!(segment.experiments()[..], [content]
                if content.starts_with(EXPERIMENT) && content.len() == CONTEXT));
        }
    }
}

#[test]
fn curl_is_joined_with_the_server_on_the_other_host() {
    let Some(environment) = Environment::enter() else {
        return;
    };
    let hosts = Hosts::new();
    let server = hosts.stdlib();
    let mut client = Client::start(&hosts, Host::Server.address().into(), server.port());
    let peers = format!("--tcp-option-peers={NETWORKS}");
    let daemons = Daemons {
        client: Observer::start(&environment, &["--exe=curl", &peers]),
        server: Observer::start(&environment, &[&format!("--pid={}", server.pid()), &peers]),
    };
    client.tell("curl 10");
    let (_, _, clients, mut servers) = daemons.stop(10);
    // The one before was for the daemon to get to know curl.
    servers.retain(|span| span.path() != "/sleep/500");
    assert_eq!(servers.len(), 10);
    assert_joined(&clients, &servers);
}

#[test]
fn a_request_that_fills_its_segment_leaves_without_and_arrives_whole() {
    let Some(environment) = Environment::enter() else {
        return;
    };
    let hosts = Hosts::new();
    let server = hosts.stdlib();
    let mut client = Client::start(&hosts, Host::Server.address().into(), server.port());
    let daemons = Daemons::start(&environment, (&client, NETWORKS), (&server, NETWORKS));
    let wire = Wire::listen(&hosts, server.port());
    client.tell("post 100000");
    client.tell("post 1420");
    client.tell("post 1000000");
    let (asked, answered, _, servers) = daemons.stop(3);
    assert_eq!((asked.written, asked.left_out, answered.found), (0, 3, 0));
    assert!(servers.iter().all(|span| method(span) == "none"));
    assert!(with_option(&wire.segments(), |segment| !segment.syn).is_empty());
}

#[test]
fn a_peer_outside_of_the_networks_gets_no_option() {
    let Some(environment) = Environment::enter() else {
        return;
    };
    let hosts = Hosts::new();
    let server = hosts.stdlib();
    let mut client = Client::start(&hosts, Host::Server.address().into(), server.port());
    let elsewhere = "10.77.1.0/24,192.0.2.0/24";
    let daemons = Daemons::start(&environment, (&client, elsewhere), (&server, elsewhere));
    let wire = Wire::listen(&hosts, server.port());
    client.tell("kept 5");
    client.tell("fresh 5");
    let (asked, answered, _, servers) = daemons.stop(10);
    for events in [asked, answered] {
        assert_eq!((events.written, events.found, events.refused), (0, 0, 0));
    }
    assert!(servers.iter().all(|span| method(span) == "none"));
    let segments = wire.segments();
    assert!(segments.iter().filter(|segment| segment.syn).count() >= 12);
    assert_eq!(with_option(&segments, |_| true), Vec::<&Segment>::new());
}

#[test]
fn a_server_does_not_answer_who_is_outside_of_its_networks() {
    let Some(environment) = Environment::enter() else {
        return;
    };
    let hosts = Hosts::new();
    let server = hosts.stdlib();
    let mut client = Client::start(&hosts, Host::Server.address().into(), server.port());
    // The client's daemon sees the server's handshakes, too, and must not answer them: it names the server alone.
    let daemons = Daemons::start(
        &environment,
        (&client, "10.77.0.2"),
        (&server, "192.0.2.0/24"),
    );
    let wire = Wire::listen(&hosts, server.port());
    client.tell("kept 5");
    client.tell("fresh 5");
    let (asked, answered, _, servers) = daemons.stop(10);
    assert_eq!((asked.written, answered.found), (0, 0));
    assert_eq!(answered.refused, 6, "a SYN each");
    assert!(servers.iter().all(|span| method(span) == "none"));
    let segments = wire.segments();
    assert_eq!(
        with_option(&segments, |it| it.syn && it.from_client).len(),
        6
    );
    assert!(with_option(&segments, |it| !it.syn || !it.from_client).is_empty());
}

#[test]
fn a_repeated_syn_asks_for_nothing() {
    let Some(environment) = Environment::enter() else {
        return;
    };
    let hosts = Hosts::new();
    let server = hosts.stdlib();
    let mut client = Client::start(&hosts, Host::Server.address().into(), server.port());
    let daemons = Daemons::start(&environment, (&client, NETWORKS), (&server, NETWORKS));
    let wire = Wire::listen(&hosts, server.port());
    client.tell(&format!("reach {}", Hosts::SILENT));
    drop(daemons);
    let segments = wire.segments();
    let options: Vec<usize> = segments.iter().map(|it| it.experiments().len()).collect();
    assert!(options.len() >= 2, "{segments:?}");
    assert!(
        segments
            .iter()
            .all(|it| it.sequence == segments[0].sequence)
    );
    assert_eq!(options[0], 1);
    assert!(options[1..].iter().all(|count| *count == 0), "{segments:?}");
}

/// Names of the programs that are attached to control groups.
fn attached() -> Vec<String> {
    let mounts = std::fs::read_to_string("/proc/mounts").unwrap();
    let root = mounts
        .lines()
        .find(|line| line.contains(" cgroup2 "))
        .unwrap();
    let root = root.split(' ').nth(1).unwrap();
    let output = Command::new("bpftool")
        .args(["-j", "cgroup", "show", root])
        .output()
        .unwrap();
    assert!(output.status.success(), "{output:?}");
    let list: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap_or_default();
    let programs = list.as_array().into_iter().flatten();
    programs
        .map(|one| one["name"].as_str().unwrap_or_default().to_owned())
        .collect()
}

#[test]
fn killed_or_stopped_the_daemon_leaves_nothing_on_the_control_group() {
    let Some(environment) = Environment::enter() else {
        return;
    };
    let hosts = Hosts::new();
    let server = hosts.stdlib();
    let mut client = Client::start(&hosts, Host::Server.address().into(), server.port());
    let ours = |names: Vec<String>| {
        names
            .iter()
            .filter(|name| *name == "option_callback")
            .count()
    };
    let before = ours(attached());
    let daemons = Daemons::start(&environment, (&client, NETWORKS), (&server, NETWORKS));
    assert_eq!(ours(attached()), before + 2);
    client.tell("kept 5");
    daemons.server.kill();
    until("the killed one's program is gone", || {
        (ours(attached()) == before + 1).then_some(())
    });
    client.tell("kept 5");
    daemons.client.stop();
    until("the stopped one's program is gone", || {
        (ours(attached()) == before).then_some(())
    });
    client.tell("kept 5");
}
