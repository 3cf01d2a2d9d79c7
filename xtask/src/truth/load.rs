//! The load: a fixed number of requests at once, each with a tag of its own.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{Ipv4Addr, TcpStream};
use std::ops::Range;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use anyhow::{Context, Result};

use super::row::Row;

/// Far above any answer of a service that works.
const PATIENCE: Duration = Duration::from_secs(60);
const STACK: usize = 256 << 10;
/// Long enough for a server to read the first piece on its own.
const BETWEEN_PIECES: Duration = Duration::from_millis(2);

/// Sends all requests of a row to a port on 127.0.0.1; `row.concurrency` threads, each with one request at a time (or one
/// pair, where the case asks for pairs). Returns how many failed, and says why for the first.
///
/// # Errors
/// When no thread can be started.
pub(super) fn drive(row: &Row, port: u16) -> Result<usize> {
    let (next, failed) = (AtomicUsize::new(0), AtomicUsize::new(0));
    let at_once = if row.case.in_pieces { 2 } else { 1 };
    let work = || {
        let mut connection = None;
        loop {
            let first = next.fetch_add(at_once, Ordering::Relaxed);
            let numbers = first..row.requests.min(first + at_once);
            if numbers.is_empty() {
                break;
            }
            for message in messages(row, numbers) {
                if let Err(error) = send(&mut connection, port, &message, row.keeps_alive())
                    && failed.fetch_add(message.requests, Ordering::Relaxed) == 0
                {
                    eprintln!("{row}: request {first} failed: {error}");
                }
            }
        }
    };
    std::thread::scope(|scope| {
        for _ in 0..row.concurrency {
            std::thread::Builder::new()
                .stack_size(STACK)
                .spawn_scoped(scope, work)
                .context("starting a thread of the load")?;
        }
        Ok::<(), anyhow::Error>(())
    })?;
    Ok(failed.into_inner())
}

/// What is written before an answer is waited for.
struct Message {
    /// Written one after the other, with time for the server to read each.
    pieces: Vec<Vec<u8>>,
    /// How many answers there will be.
    requests: usize,
}

/// One request, or for cases that ask for it: by turns, a pair in one piece, and two requests in two pieces each.
fn messages(row: &Row, numbers: Range<usize>) -> Vec<Message> {
    let head = |number: usize, is_last: bool| {
        let path = row.path(number);
        let close = if row.keeps_alive() || !is_last {
            ""
        } else {
            "Connection: close\r\n"
        };
        format!("GET {path} HTTP/1.1\r\nHost: 127.0.0.1\r\n{close}\r\n").into_bytes()
    };
    if row.case.in_pieces && numbers.len() == 2 && numbers.start.is_multiple_of(4) {
        let pair = [head(numbers.start, false), head(numbers.start + 1, true)];
        return vec![Message {
            pieces: vec![pair.concat()],
            requests: 2,
        }];
    }
    numbers
        .map(|number| {
            let head = head(number, true);
            let pieces = match row.case.in_pieces {
                true => {
                    // Within the path, so that the first piece does not tell what is asked.
                    let (start, rest) = head.split_at(12);
                    vec![start.to_vec(), rest.to_vec()]
                }
                false => vec![head],
            };
            Message {
                pieces,
                requests: 1,
            }
        })
        .collect()
}

type Connection = BufReader<TcpStream>;

/// Sends a message over the connection, or over a new one, and keeps it where both ends want that.
fn send(kept: &mut Option<Connection>, port: u16, message: &Message, keep: bool) -> io::Result<()> {
    if let Some(connection) = kept.take() {
        match exchange(connection, message, keep) {
            // The server closed it while it was idle, which it may: nothing of an answer came.
            Err(error) if was_closed(&error) => {}
            Err(error) => return Err(error),
            Ok(connection) => {
                *kept = connection;
                return Ok(());
            }
        }
    }
    let stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port))?;
    stream.set_nodelay(true)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    *kept = exchange(BufReader::new(stream), message, keep)?;
    Ok(())
}

fn was_closed(error: &io::Error) -> bool {
    use io::ErrorKind::{BrokenPipe, ConnectionReset, UnexpectedEof};
    [BrokenPipe, ConnectionReset, UnexpectedEof].contains(&error.kind())
}

/// Writes a message and reads its answers; the connection, if it stays open.
fn exchange(
    mut connection: Connection,
    message: &Message,
    keep: bool,
) -> io::Result<Option<Connection>> {
    for (index, piece) in message.pieces.iter().enumerate() {
        if index > 0 {
            std::thread::sleep(BETWEEN_PIECES);
        }
        connection.get_mut().write_all(piece)?;
    }
    let mut open = keep;
    for _ in 0..message.requests {
        open &= read_answer(&mut connection)?;
    }
    Ok(open.then_some(connection))
}

/// Reads one answer; whether the connection stays open.
fn read_answer(connection: &mut Connection) -> io::Result<bool> {
    let mut line = String::new();
    if connection.read_line(&mut line)? == 0 {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    if line.split(' ').nth(1) != Some("200") {
        return Err(io::Error::other(format!("the answer is {line:?}")));
    }
    let (mut length, mut open) = (None, line.starts_with("HTTP/1.1"));
    loop {
        line.clear();
        if connection.read_line(&mut line)? == 0 {
            return Err(io::Error::other("the connection ended within a head"));
        }
        let header = line.trim_end().to_ascii_lowercase();
        match header.split_once(':') {
            None => break,
            Some(("content-length", value)) => length = value.trim().parse().ok(),
            Some(("connection", value)) => open &= value.trim() != "close",
            Some(_) => {}
        }
    }
    let mut body = Vec::new();
    match length {
        Some(length) => {
            connection.by_ref().take(length).read_to_end(&mut body)?;
        }
        None => {
            connection.read_to_end(&mut body)?;
            open = false;
        }
    }
    if body.is_empty() {
        return Err(io::Error::other("the connection ended within a body"));
    }
    Ok(open)
}
