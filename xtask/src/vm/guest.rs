//! One boot: a command in, its output and how it ended out.

use std::fs;
use std::io::{self, Read, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};

use super::initramfs;
use super::kernel::Kernel;
use super::machine::{self, Machine, Serial};
use super::share::Share;

/// What to run, and where its output goes while it runs.
pub(crate) struct Job<'a> {
    pub(crate) kernel: &'a Kernel,
    pub(crate) machine: Machine,
    /// For `/bin/sh`, as root, with the host's files around it.
    pub(crate) script: String,
    pub(crate) timeout: Duration,
    pub(crate) stdout: &'a mut (dyn Write + Send),
    pub(crate) stderr: &'a mut (dyn Write + Send),
}

/// How a boot ended.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Outcome {
    /// The command ended.
    Ended {
        /// Its exit status as a shell has it.
        status: u8,
        /// Seconds of the guest's clock until the command began.
        boot: f64,
        /// Seconds of the guest's clock that the command ran.
        ran: f64,
    },
    /// It took too long and was stopped; the console's last lines.
    TimedOut(String),
    /// The guest ended before the command did; the console's last lines.
    Died(String),
}

/// Boots, runs the command, and waits for the guest's end.
///
/// A guest that dies before it begins the command is given one more try: emulation is not always faithful.
///
/// # Errors
/// When qemu or virtiofsd can't be started, or output can't be written.
pub(crate) fn run(mut job: Job<'_>) -> Result<Outcome> {
    let (outcome, began) = attempt(&mut job)?;
    match outcome {
        Outcome::Died(tail) if !began => {
            eprintln!("the guest died while it booted, trying once more; its console:\n{tail}");
            Ok(attempt(&mut job)?.0)
        }
        outcome => Ok(outcome),
    }
}

/// One boot, and whether it got as far as the command.
fn attempt(job: &mut Job<'_>) -> Result<(Outcome, bool)> {
    let folder = Folder::new()?;
    let image = folder.0.join("initramfs");
    initramfs::write(job.kernel, &job.script, &image)?;
    let share = Share::start(&folder.0)?;
    let ports = ["stdout", "stderr", "control"].map(|name| folder.0.join(name));
    let listeners = ports
        .iter()
        .map(|port| listen(port))
        .collect::<Result<Vec<_>>>()?;
    let serial: Vec<Serial> = ports.iter().map(|port| Serial::Socket(port)).collect();
    let log = fs::File::create(folder.0.join("qemu.log"))?;
    let console = folder.0.join("console");
    let mut qemu = machine::command(&job.machine, job.kernel, &image, &share, &console, &serial)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(log)
        .spawn()
        .context("starting qemu-system-x86_64")?;
    let begun = Instant::now();
    let mut control = Vec::new();
    let (stdout, stderr) = (&mut *job.stdout, &mut *job.stderr);
    let streams = connect(&listeners, &mut qemu, begun, job.timeout)?;
    let finished = std::thread::scope(|scope| {
        let mut streams = streams.into_iter();
        let mut next = || streams.next();
        let copies = [
            next().map(|stream| scope.spawn(move || copy(stream, stdout))),
            next().map(|stream| scope.spawn(move || copy(stream, stderr))),
            next().map(|stream| scope.spawn(|| copy(stream, &mut control))),
        ];
        let finished = wait(&mut qemu, begun, job.timeout);
        for copy in copies.into_iter().flatten() {
            copy.join()
                .map_err(|_| io::Error::other("a copying thread panicked"))??;
        }
        finished
    })?;
    let control = String::from_utf8_lossy(&control);
    let outcome = match parse(&control) {
        Some(ended) => ended,
        None if finished => Outcome::Died(tail(&folder.0)),
        None => Outcome::TimedOut(tail(&folder.0)),
    };
    Ok((outcome, control.contains("started")))
}

/// qemu's ends of the serial ports, in order; none when it ends, or the time is over, before it connects.
fn connect(
    listeners: &[UnixListener],
    qemu: &mut Child,
    begun: Instant,
    timeout: Duration,
) -> Result<Vec<UnixStream>> {
    let mut streams = Vec::new();
    for listener in listeners {
        loop {
            match listener.accept() {
                Ok((stream, _)) => {
                    stream.set_nonblocking(false)?;
                    streams.push(stream);
                    break;
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) => return Err(error.into()),
            }
            if qemu.try_wait()?.is_some() || begun.elapsed() > timeout {
                return Ok(Vec::new());
            }
            std::thread::sleep(Duration::from_millis(5));
        }
    }
    Ok(streams)
}

fn listen(port: &Path) -> Result<UnixListener> {
    let listener = UnixListener::bind(port).with_context(|| port.display().to_string())?;
    listener.set_nonblocking(true)?;
    Ok(listener)
}

/// Copies as it comes: somebody may be watching.
fn copy(mut from: UnixStream, to: &mut (dyn Write + Send)) -> io::Result<()> {
    let mut buffer = [0; 1 << 16];
    loop {
        match from.read(&mut buffer) {
            // A guest that was stopped resets its ports.
            Ok(0) | Err(_) => return Ok(()),
            Ok(length) => {
                to.write_all(&buffer[..length])?;
                to.flush()?;
            }
        }
    }
}

/// True when it ended by itself, false when its time was over and it was stopped.
fn wait(qemu: &mut Child, begun: Instant, timeout: Duration) -> io::Result<bool> {
    loop {
        if qemu.try_wait()?.is_some() {
            return Ok(true);
        }
        if begun.elapsed() > timeout {
            qemu.kill()?;
            qemu.wait()?;
            return Ok(false);
        }
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// What `init.sh` wrote: `started SECONDS`, then `ended STATUS SECONDS`.
fn parse(control: &str) -> Option<Outcome> {
    let mut lines = control.lines();
    let boot: f64 = lines
        .next()?
        .strip_prefix("started ")?
        .trim()
        .parse()
        .ok()?;
    let mut words = lines.next()?.strip_prefix("ended ")?.split_whitespace();
    let status = words.next()?.parse().ok()?;
    let end: f64 = words.next()?.parse().ok()?;
    Some(Outcome::Ended {
        status,
        boot,
        ran: end - boot,
    })
}

/// The last lines of qemu's own messages and of the guest's console.
fn tail(folder: &Path) -> String {
    let mut lines = Vec::new();
    for (file, most) in [("qemu.log", 5), ("console", 25)] {
        let text = fs::read(folder.join(file)).unwrap_or_default();
        let text = String::from_utf8_lossy(&text).replace('\r', "");
        let all: Vec<&str> = text.lines().filter(|line| !line.is_empty()).collect();
        let last = &all[all.len().saturating_sub(most)..];
        lines.extend(last.iter().map(|line| format!("  {line}")));
    }
    lines.join("\n")
}

/// A folder for one boot, short enough for the paths of sockets; removed when dropped.
pub(super) struct Folder(pub(super) PathBuf);

impl Folder {
    /// Makes one.
    ///
    /// # Errors
    /// When the system's temporary folder is not writable.
    pub(super) fn new() -> Result<Self> {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let name = format!("observer-vm-{}-{number}", std::process::id());
        let path = std::env::temp_dir().join(name);
        fs::create_dir_all(&path).with_context(|| path.display().to_string())?;
        Ok(Self(path))
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_guests_account_is_read() {
        let ended = parse("started 2.50\r\nended 7 4.00\r\n");
        let expected = Outcome::Ended {
            status: 7,
            boot: 2.5,
            ran: 1.5,
        };
        assert_eq!(ended, Some(expected));
        assert_eq!(parse("started 2.50\n"), None);
        assert_eq!(parse(""), None);
    }
}
