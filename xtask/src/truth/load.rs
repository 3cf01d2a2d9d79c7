//! The load: a fixed number of requests at once, each with a tag of its own.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{Ipv4Addr, TcpStream};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use anyhow::{Context, Result};

use super::row::Row;

/// Far above any answer of a service that works.
const PATIENCE: Duration = Duration::from_secs(60);
const STACK: usize = 256 << 10;

/// Sends all requests of a row to a port on 127.0.0.1; `row.concurrency` threads, each with one request at a time.
/// Returns how many failed, and says why for the first.
///
/// # Errors
/// When no thread can be started.
pub(super) fn drive(row: &Row, port: u16) -> Result<usize> {
    let (next, failed) = (AtomicUsize::new(0), AtomicUsize::new(0));
    let work = || {
        let mut connection = None;
        loop {
            let number = next.fetch_add(1, Ordering::Relaxed);
            if number >= row.requests {
                break;
            }
            if let Err(error) = request(&mut connection, port, row, number)
                && failed.fetch_add(1, Ordering::Relaxed) == 0
            {
                eprintln!("{row}: request {number} failed: {error}");
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

type Connection = BufReader<TcpStream>;

/// Sends one request over the connection, or over a new one, and keeps it where both ends want that.
fn request(kept: &mut Option<Connection>, port: u16, row: &Row, number: usize) -> io::Result<()> {
    let path = row.path(number);
    if let Some(connection) = kept.take() {
        match exchange(connection, &path, row.keeps_alive()) {
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
    *kept = exchange(BufReader::new(stream), &path, row.keeps_alive())?;
    Ok(())
}

fn was_closed(error: &io::Error) -> bool {
    use io::ErrorKind::{BrokenPipe, ConnectionReset, UnexpectedEof};
    [BrokenPipe, ConnectionReset, UnexpectedEof].contains(&error.kind())
}

/// One request and its response; the connection, if it stays open.
fn exchange(mut connection: Connection, path: &str, keep: bool) -> io::Result<Option<Connection>> {
    let close = if keep { "" } else { "Connection: close\r\n" };
    let head = format!("GET {path} HTTP/1.1\r\nHost: 127.0.0.1\r\n{close}\r\n");
    connection.get_mut().write_all(head.as_bytes())?;
    let mut line = String::new();
    if connection.read_line(&mut line)? == 0 {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    if line.split(' ').nth(1) != Some("200") {
        return Err(io::Error::other(format!("{path} was answered {line:?}")));
    }
    let (mut length, mut open) = (None, keep && line.starts_with("HTTP/1.1"));
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
    Ok(open.then_some(connection))
}
