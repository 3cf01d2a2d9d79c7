//! The kernel's table of connections, while it is full and when places in it are used again.
#![allow(clippy::unwrap_used, reason = "tests panic, they don't return errors")]

use std::collections::BTreeMap;
use std::fs;
use std::io::Write;
use std::process::Command;

use observer_tests::{Client, Environment, Folder, Observer, Page, Server, Span, until};

/// The least that can be asked for.
const PLACES: usize = 256;

/// A daemon with so many places. Each connection on this host has two ends, and takes two, whoever's it is.
fn observer(
    environment: &Environment,
    folder: &Folder,
    server: &Server,
    places: usize,
) -> Observer {
    let config = folder.path().join("places.yaml");
    fs::write(&config, format!("limits: {{max_connections: {places}}}\n")).unwrap();
    let port = format!("--port={}", server.port());
    Observer::start(
        environment,
        &[&format!("--config={}", config.display()), &port],
    )
}

fn refused(page: &Page) -> u64 {
    page.sum("observer_lost", &["reason=\"connection_table_full\""]) as u64
}

fn request(client: &mut Client, path: &str) {
    assert_eq!(client.request("GET", path, "").unwrap().status, 200);
}

/// How often each path was asked for, of whole spans with the right answer.
fn whole(spans: &[Span]) -> BTreeMap<String, usize> {
    let mut paths = BTreeMap::new();
    for span in spans {
        assert!(!span.is_incomplete(), "{span:?}");
        assert_eq!(span.status_code(), Some(200), "{span:?}");
        *paths.entry(span.path().to_owned()).or_default() += 1;
    }
    paths
}

#[test]
fn a_full_table_keeps_the_connections_that_it_has_and_counts_those_that_it_refuses() {
    const FIRST: usize = 20;
    let Some(environment) = Environment::enter() else {
        return;
    };
    let folder = Folder::new();
    let server = Server::go(&environment);
    let observer = observer(&environment, &folder, &server, PLACES);
    let mut first: Vec<Client> = (0..FIRST)
        .map(|_| Client::connect(server.port()).unwrap())
        .collect();
    for (number, client) in first.iter_mut().enumerate() {
        request(client, &format!("/bytes/{number}"));
    }
    assert_eq!(refused(&observer.page()), 0, "room for the first");
    let mut others: Vec<Client> = (0..PLACES)
        .map(|_| Client::connect(server.port()).unwrap())
        .collect();
    for client in &mut others {
        request(client, "/bytes/1000");
    }
    let full = observer.page();
    assert!(refused(&full) > 0, "{:?}", full.losses());
    // The oldest are still followed.
    for (number, client) in first.iter_mut().enumerate() {
        request(client, &format!("/bytes/{}", 100 + number));
    }
    drop((first, others));
    until("places are free again", || {
        let before = refused(&observer.page());
        let mut client = Client::connect(server.port()).unwrap();
        request(&mut client, "/bytes/2000");
        (refused(&observer.page()) == before).then_some(())
    });
    let mut last: Vec<Client> = (0..FIRST)
        .map(|_| Client::connect(server.port()).unwrap())
        .collect();
    for (number, client) in last.iter_mut().enumerate() {
        request(client, &format!("/bytes/{}", 200 + number));
    }
    observer.page_with(3 * FIRST as u64);
    let paths = whole(&observer.stop());
    for number in 0..FIRST {
        for path in [number, 100 + number, 200 + number] {
            let path = format!("/bytes/{path}");
            assert_eq!(paths.get(&path), Some(&1), "{path} of {paths:?}");
        }
    }
}

#[test]
fn a_place_that_is_used_again_shows_nothing_of_the_connection_before() {
    const THREADS: usize = 4;
    const EACH: usize = 8 * PLACES;
    let Some(environment) = Environment::enter() else {
        return;
    };
    let folder = Folder::new();
    let server = Server::go(&environment);
    // Enough for what else goes on on the machine.
    let observer = observer(&environment, &folder, &server, 4 * PLACES);
    std::thread::scope(|scope| {
        for thread in 0..THREADS {
            let port = server.port();
            scope.spawn(move || {
                for number in 0..EACH {
                    let mut client = Client::connect(port).unwrap();
                    if number % 4 == 0 {
                        // Ends in the middle of a head.
                        let head = format!("GET /bytes/9{thread}{number} HTTP/1.1\r\nHo");
                        client.stream().write_all(head.as_bytes()).unwrap();
                    } else {
                        request(&mut client, &format!("/bytes/1{thread}{number:04}"));
                    }
                }
            });
        }
    });
    let asked = THREADS * EACH * 3 / 4;
    let page = observer.page_with(asked as u64);
    assert_eq!(page.lost(), 0.0, "{:?}", page.losses());
    let spans = observer.stop();
    let served = spans.iter().filter(|span| span.status_code() == Some(200));
    let mut paths: Vec<&str> = served.map(Span::path).collect();
    paths.sort_unstable();
    let mut expected: Vec<String> = (0..THREADS)
        .flat_map(|thread| (0..EACH).map(move |number| (thread, number)))
        .filter(|(_, number)| number % 4 != 0)
        .map(|(thread, number)| format!("/bytes/1{thread}{number:04}"))
        .collect();
    expected.sort_unstable();
    assert_eq!(paths.len(), expected.len());
    assert!(paths == expected, "another's path");
}

#[test]
fn places_of_unix_sockets_come_back_once_their_process_has_ended() {
    const CONNECTIONS: usize = 60;
    let Some(environment) = Environment::enter() else {
        return;
    };
    let folder = Folder::new();
    let server = Server::go(&environment);
    let observer = observer(&environment, &folder, &server, PLACES);
    let speak = "import socket\n\
                 pairs = [socket.socketpair() for _ in range(100)]\n\
                 for one, other in pairs:\n    one.send(b'x'); other.recv(1); other.send(b'y'); one.recv(1)\n";
    let spoke = Command::new("python3").args(["-c", speak]).status();
    assert!(spoke.unwrap().success());
    // Connections that are open at the same time, and how many ends of them found no place.
    let ask = || {
        let before = refused(&observer.page());
        let mut clients: Vec<Client> = (0..CONNECTIONS)
            .map(|_| Client::connect(server.port()).unwrap())
            .collect();
        for client in &mut clients {
            request(client, "/bytes/1");
        }
        refused(&observer.page()) - before
    };
    assert!(ask() > 0, "the table is not full");
    until("they are given back", || {
        std::thread::sleep(std::time::Duration::from_millis(200));
        (ask() == 0).then_some(())
    });
}
