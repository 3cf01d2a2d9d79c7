//! The daemon as a child: started, waited for, asked, ended.

use std::fs;
use std::io::{BufRead, BufReader, Read};
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

use super::http::Page;

/// The longest that it may take to get ready: an emulated machine verifies slowly.
const READY: Duration = Duration::from_secs(180);

/// A running daemon that exports to the sink and prints nothing.
pub(super) struct Observer {
    child: Child,
    page: SocketAddr,
    /// Seconds from the start of the process to its `ready` line.
    pub(super) ready_after: f64,
}

impl Observer {
    /// Starts it and returns when it is ready.
    ///
    /// # Errors
    /// When it ends, or is not ready in three minutes; what it wrote to stderr is in the message.
    pub(super) fn start(binary: &Path, sink: SocketAddr, selectors: &[&str]) -> Result<Self> {
        let page = free_address()?;
        let began = Instant::now();
        let mut child = Command::new(binary)
            .args(["run", "--print", "off", "--otlp-protocol", "http/protobuf"])
            .arg(format!("--prometheus={page}"))
            .arg(format!("--otlp-endpoint=http://{sink}"))
            .args(selectors)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .with_context(|| format!("starting {}", binary.display()))?;
        let stderr = child.stderr.take().context("no stderr")?;
        let (sender, lines) = mpsc::channel();
        std::thread::spawn(move || read_lines(stderr, &sender));
        let mut observer = Self {
            child,
            page,
            ready_after: 0.0,
        };
        let mut said = String::new();
        while began.elapsed() < READY {
            let Ok(line) = lines.recv_timeout(READY) else {
                break;
            };
            if line.starts_with("observer: ready") {
                observer.ready_after = began.elapsed().as_secs_f64();
                return Ok(observer);
            }
            said.push_str(&line);
            said.push('\n');
        }
        bail!("the daemon did not get ready; it wrote:\n{said}")
    }

    /// Its metrics page, once every exchange of the load is in it: asked until the count stands still.
    ///
    /// # Errors
    /// When the page can't be fetched.
    pub(super) fn settled_page(&self) -> Result<Page> {
        let mut page = Page::fetch(self.page)?;
        loop {
            std::thread::sleep(Duration::from_millis(200));
            let next = Page::fetch(self.page)?;
            if next.exchanges() <= page.exchanges() {
                return Ok(next);
            }
            page = next;
        }
    }

    /// CPU seconds used so far, user and system.
    ///
    /// # Errors
    /// When `/proc` can't be read: it has ended.
    pub(super) fn cpu_seconds(&self) -> Result<f64> {
        let path = format!("/proc/{}/stat", self.child.id());
        let stat = fs::read_to_string(&path).with_context(|| path.clone())?;
        // proc(5): fields 14 and 15, in ticks; the name in field 2 may contain spaces.
        let after_name = stat.rsplit(')').next().unwrap_or_default();
        let ticks: f64 = after_name
            .split_whitespace()
            .skip(11)
            .take(2)
            .filter_map(|word| word.parse::<f64>().ok())
            .sum();
        Ok(ticks / rustix::param::clock_ticks_per_second() as f64)
    }

    /// Resident memory in bytes: now, and the largest so far.
    ///
    /// # Errors
    /// When `/proc` can't be read: it has ended.
    pub(super) fn resident(&self) -> Result<(f64, f64)> {
        let path = format!("/proc/{}/status", self.child.id());
        let status = fs::read_to_string(&path).with_context(|| path.clone())?;
        let kilobytes = |field: &str| {
            status
                .lines()
                .find_map(|line| line.strip_prefix(field))
                .and_then(|rest| rest.split_whitespace().next()?.parse::<f64>().ok())
                .with_context(|| format!("no {field} in {path}"))
        };
        Ok((kilobytes("VmRSS:")? * 1024.0, kilobytes("VmHWM:")? * 1024.0))
    }

    /// Asks it to end, and waits.
    ///
    /// # Errors
    /// When it does not end with success within ten seconds.
    pub(super) fn stop(mut self) -> Result<()> {
        super::server::terminate(&self.child)?;
        let asked = Instant::now();
        while asked.elapsed() < Duration::from_secs(10) {
            if let Some(status) = self.child.try_wait()? {
                if !status.success() {
                    bail!("the daemon ended with {status}");
                }
                return Ok(());
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        bail!("the daemon did not end within 10 s of SIGTERM")
    }
}

impl Drop for Observer {
    fn drop(&mut self) {
        // Where an error ended the bench; after `stop` both find nothing to do.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Reads to the end, so that the daemon never blocks on a full pipe.
fn read_lines(stderr: impl Read, sender: &mpsc::Sender<String>) {
    for line in BufReader::new(stderr).lines().map_while(Result::ok) {
        // Nobody listens any more once it is ready.
        let _ = sender.send(line);
    }
}

/// An address on loopback that nobody listens on now.
///
/// # Errors
/// When no port is free.
pub(crate) fn free_address() -> Result<SocketAddr> {
    Ok(TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?)
}
