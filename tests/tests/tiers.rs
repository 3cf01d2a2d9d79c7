//! What a tier must see, and what it must not take for something else.
#![allow(clippy::unwrap_used, reason = "tests panic, they don't return errors")]

use std::io::{IoSlice, IoSliceMut, Read, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, IntoRawFd, OwnedFd};
use std::sync::mpsc::channel;

use observer_tests::{Environment, Observer, Span, until};
use rustix::net::{
    RecvAncillaryBuffer, RecvFlags, SendAncillaryBuffer, SendFlags, recv, recvmsg, send, sendmsg,
};

fn pair(listener: &TcpListener) -> (TcpStream, TcpStream) {
    let client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    (client, listener.accept().unwrap().0)
}

/// Reads a request's head.
fn head(mut server: &TcpStream) -> String {
    let mut text = Vec::new();
    while !text.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        server.read_exact(&mut byte).unwrap();
        text.push(byte[0]);
    }
    String::from_utf8(text).unwrap()
}

fn request(path: &str) -> String {
    format!("GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n")
}

fn response(status: u64) -> String {
    format!("HTTP/1.1 {status} Status\r\nContent-Length: 2\r\n\r\nok")
}

fn clients(spans: Vec<Span>) -> Vec<Span> {
    spans
        .into_iter()
        .filter(|span| span.kind() == "client")
        .collect()
}

/// Whether the thread waits in read(2).
fn is_reading(thread: i32) -> bool {
    std::fs::read_to_string(format!("/proc/self/task/{thread}/syscall"))
        .is_ok_and(|text| text.starts_with("0 "))
}

#[test]
fn a_descriptor_that_changes_hands_meanwhile_gives_nobody_anothers_bytes() {
    let Some(environment) = Environment::enter() else {
        return;
    };
    let own = format!("--pid={}", std::process::id());
    let observer = Observer::start(&environment, &[&own, "--tier=syscall"]);
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let (old, mut old_server) = pair(&listener);
    let (mut new, mut new_server) = pair(&listener);
    (&old).write_all(request("/old").as_bytes()).unwrap();
    head(&old_server);
    new.write_all(request("/new").as_bytes()).unwrap();
    head(&new_server);

    let number = old.into_raw_fd();
    let (tell, told) = channel();
    let reader = std::thread::spawn(move || {
        tell.send(rustix::thread::gettid().as_raw_nonzero().get())
            .unwrap();
        let mut buffer = [0; 256];
        // SAFETY: the number stays in use until this thread was joined.
        let borrowed = unsafe { BorrowedFd::borrow_raw(number) };
        rustix::io::read(borrowed, &mut buffer).unwrap()
    });
    let thread = told.recv().unwrap();
    until("the thread waits for the answer", || {
        is_reading(thread).then_some(())
    });
    // SAFETY: nobody else owns the number; below it is dropped.
    let mut reused = unsafe { OwnedFd::from_raw_fd(number) };
    rustix::io::dup2(new.as_fd(), &mut reused).unwrap();
    old_server.write_all(response(418).as_bytes()).unwrap();
    assert_eq!(reader.join().unwrap(), response(418).len());

    // The same process in order: threads read, and nothing changes hands.
    new_server.write_all(response(201).as_bytes()).unwrap();
    let mut answer = vec![0; response(201).len()];
    new.read_exact(&mut answer).unwrap();
    observer.page_with_some();
    let changed = until("the call is counted", || {
        let lost = observer
            .page()
            .sum("observer_lost", &["descriptor_changed"]);
        (lost > 0.0).then_some(lost)
    });
    assert!((changed - 1.0).abs() < f64::EPSILON, "{changed}");
    drop((reused, new, old_server, new_server));
    let spans = clients(observer.stop());
    assert!(
        spans.iter().all(|span| span.status_code() != Some(418)),
        "{spans:#?}"
    );
    let whole: Vec<_> = spans
        .iter()
        .filter(|span| span.status_code() == Some(201))
        .collect();
    assert_eq!(whole.len(), 1, "{spans:#?}");
}

/// A way to send a whole text.
type Sender = fn(BorrowedFd<'_>, &str) -> usize;
/// A way to receive into two buffers, or into the second alone.
type Receiver = fn(BorrowedFd<'_>, &mut [u8], &mut [u8]) -> usize;

const SENDERS: [(&str, Sender); 4] = [
    ("write", |fd, text| {
        rustix::io::write(fd, text.as_bytes()).unwrap()
    }),
    ("writev", |fd, text| {
        let (one, two) = text.as_bytes().split_at(7);
        rustix::io::writev(fd, &[IoSlice::new(one), IoSlice::new(two)]).unwrap()
    }),
    ("send", |fd, text| {
        send(fd, text.as_bytes(), SendFlags::empty()).unwrap()
    }),
    ("sendmsg", |fd, text| {
        let (one, two) = text.as_bytes().split_at(7);
        let slices = [IoSlice::new(one), IoSlice::new(two)];
        sendmsg(
            fd,
            &slices,
            &mut SendAncillaryBuffer::default(),
            SendFlags::empty(),
        )
        .unwrap()
    }),
];

const RECEIVERS: [(&str, Receiver); 4] = [
    ("read", |fd, _, whole| rustix::io::read(fd, whole).unwrap()),
    ("readv", |fd, one, two| {
        rustix::io::readv(fd, &mut [IoSliceMut::new(one), IoSliceMut::new(two)]).unwrap()
    }),
    ("recv", |fd, _, whole| {
        recv(fd, whole, RecvFlags::empty()).unwrap().0
    }),
    ("recvmsg", |fd, one, two| {
        let mut slices = [IoSliceMut::new(one), IoSliceMut::new(two)];
        recvmsg(
            fd,
            &mut slices,
            &mut RecvAncillaryBuffer::default(),
            RecvFlags::empty(),
        )
        .unwrap()
        .bytes
    }),
];

fn every_call(arguments: &[&str]) {
    let Some(environment) = Environment::enter() else {
        return;
    };
    let own = format!("--pid={}", std::process::id());
    let arguments: Vec<&str> = [own.as_str()]
        .into_iter()
        .chain(arguments.iter().copied())
        .collect();
    let observer = Observer::start(&environment, &arguments);
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let origin = format!("http://localhost:{}", listener.local_addr().unwrap().port());
    let (mut expected, mut status) = (Vec::new(), 200);
    for (sender, send) in SENDERS {
        for (receiver, receive) in RECEIVERS {
            let (client, mut server) = pair(&listener);
            let text = request(&format!("/{sender}/{receiver}"));
            assert_eq!(send(client.as_fd(), &text), text.len());
            head(&server);
            status += 1;
            server.write_all(response(status).as_bytes()).unwrap();
            let (mut one, mut two) = ([0; 11], [0; 512]);
            let received = receive(client.as_fd(), &mut one, &mut two);
            assert_eq!(
                received,
                response(status).len(),
                "{receiver} on {}",
                client.as_raw_fd()
            );
            expected.push((format!("/{sender}/{receiver}"), Some(status)));
        }
    }
    observer.page_with(expected.len() as u64);
    let spans = clients(observer.stop());
    let mut found: Vec<_> = spans
        .iter()
        .map(|span| {
            assert!(!span.is_incomplete(), "{span:?}");
            let url = span.attribute("url.full").as_str().unwrap();
            let path = url.strip_prefix(&origin).unwrap();
            (path.to_owned(), span.status_code())
        })
        .collect();
    found.sort();
    expected.sort();
    assert_eq!(found, expected);
}

#[test]
fn every_call_that_sends_or_receives_is_traced() {
    every_call(&[]);
}

#[test]
fn every_call_that_sends_or_receives_is_traced_in_the_syscall_tier() {
    every_call(&["--tier=syscall"]);
}
