//! The daemon as a child, and every span that it prints.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufRead, BufReader, BufWriter, Read, Write};
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{self, Receiver};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

use super::service::ends_with_us;
use super::span::Span;
use crate::bench::{Page, free_address, terminate};

/// A running daemon; killed when dropped.
pub(super) struct Observer {
    child: Child,
    page: SocketAddr,
    spans: Receiver<Span>,
    log: Receiver<String>,
    printed: Vec<Span>,
    /// The tier that it chose, by its own words.
    pub(super) tier: String,
}

impl Observer {
    /// `observer run --print json` with selectors; returns when it is ready. All that it prints is kept in a file, too.
    ///
    /// # Errors
    /// When it ends, or is not ready within two minutes (of an emulated machine); what it wrote to stderr is in the message.
    pub(super) fn start(binary: &Path, arguments: &[String], copy: &Path) -> Result<Self> {
        let mut command = Command::new(binary);
        for (name, _) in std::env::vars_os() {
            if name.to_string_lossy().starts_with("OTEL_") {
                command.env_remove(name);
            }
        }
        let page = free_address()?;
        command
            .args(["run", "--print=json"])
            .arg(format!("--prometheus={page}"))
            .args(arguments);
        let mut child = ends_with_us(&command)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .with_context(|| format!("starting {}", binary.display()))?;
        let stdout = child.stdout.take().context("no stdout")?;
        let stderr = child.stderr.take().context("no stderr")?;
        let mut copy = BufWriter::new(
            File::create(copy).with_context(|| format!("creating {}", copy.display()))?,
        );
        let spans = read(stdout, move |line| {
            // A full disk costs the copy, not the run.
            let _ = writeln!(copy, "{line}");
            Span::parse(&line)
        });
        let mut observer = Self {
            child,
            page,
            spans,
            log: read(stderr, Some),
            printed: Vec::new(),
            tier: String::new(),
        };
        let mut said = String::new();
        loop {
            match observer.log.recv_timeout(Duration::from_mins(2)) {
                Ok(line) if line.contains("ready") => {
                    let tier = line.split("tier=").nth(1).unwrap_or_default();
                    tier.split(' ')
                        .next()
                        .unwrap_or_default()
                        .clone_into(&mut observer.tier);
                    return Ok(observer);
                }
                Ok(line) => said = said + &line + "\n",
                Err(_) => bail!("the daemon did not get ready; it wrote:\n{said}"),
            }
        }
    }

    /// Waits until no span came for so long, or too many came for too long.
    pub(super) fn settle(&mut self, silence: Duration) {
        let began = Instant::now();
        while began.elapsed() < Duration::from_secs(30)
            && let Ok(span) = self.spans.recv_timeout(silence)
        {
            self.printed.push(span);
        }
    }

    /// What it says that it lost so far: (reason, how often), none that is zero.
    ///
    /// # Errors
    /// When its metrics page does not answer.
    pub(super) fn losses(&self) -> Result<BTreeMap<String, u64>> {
        let page = Page::fetch(self.page)?;
        Ok(page
            .family("observer_lost")
            .filter(|(_, count)| *count > 0.0)
            .map(|(reason, count)| (reason.to_owned(), count as u64))
            .collect())
    }

    /// Asks it to end, and returns every span that it printed.
    ///
    /// # Errors
    /// When it does not end with success within ten seconds.
    pub(super) fn stop(mut self) -> Result<Vec<Span>> {
        terminate(&self.child)?;
        let asked = Instant::now();
        loop {
            if let Some(status) = self.child.try_wait()? {
                for line in self.log.iter().filter(|line| !line.contains(" INFO ")) {
                    eprintln!("{line}");
                }
                if !status.success() {
                    bail!("the daemon ended with {status}");
                }
                let mut printed = std::mem::take(&mut self.printed);
                printed.extend(self.spans.iter());
                return Ok(printed);
            }
            if asked.elapsed() > Duration::from_secs(10) {
                bail!("the daemon does not end when asked to");
            }
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}

impl Drop for Observer {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Reads lines to the end on a thread of its own, so that the daemon never blocks on a full pipe.
fn read<T: Send + 'static>(
    from: impl Read + Send + 'static,
    mut take: impl FnMut(String) -> Option<T> + Send + 'static,
) -> Receiver<T> {
    let (sender, receiver) = mpsc::channel();
    std::thread::spawn(move || {
        for line in BufReader::new(from).lines().map_while(Result::ok) {
            if let Some(item) = take(line)
                && sender.send(item).is_err()
            {
                break;
            }
        }
    });
    receiver
}
