//! The daemon as a child.

use std::io::{BufRead, BufReader, Read};
use std::process::{Child, Command, Output, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

use crate::{Environment, Page, Server, Span, free_port, patience, until};

/// The least that it gets to load its programs.
const START: Duration = Duration::from_secs(30);

/// The tier that the tests are to run in: `OBSERVER_TEST_TIER`; none leaves it to the daemon.
pub fn tier() -> Option<String> {
    std::env::var("OBSERVER_TEST_TIER")
        .ok()
        .filter(|tier| !tier.is_empty())
}

/// A running daemon, killed when dropped.
pub struct Observer {
    child: Child,
    page: u16,
    said: String,
    lines: Receiver<String>,
    log: Receiver<String>,
}

impl Observer {
    /// `observer run --print json` with selectors, and a page of its own; returns when it says `ready`.
    ///
    /// # Panics
    /// When it ends instead, or is not ready in time; what it wrote is in the message.
    pub fn start(environment: &Environment, arguments: &[&str]) -> Self {
        Self::start_with(environment, arguments, |_| {})
    }

    /// The same for one server: only the processes that listen on its port are traced.
    ///
    /// # Panics
    /// As [`Observer::start`].
    pub fn watch(environment: &Environment, server: &Server) -> Self {
        Self::start(environment, &[&format!("--port={}", server.port())])
    }

    /// [`Observer::start`] with a change to the command, such as its environment.
    ///
    /// # Panics
    /// As [`Observer::start`].
    pub fn start_with(
        environment: &Environment,
        arguments: &[&str],
        change: impl FnOnce(&mut Command),
    ) -> Self {
        let launched = Command::new(environment.binary());
        Self::launched(launched, arguments, change)
    }

    /// The same of the daemon that knows the made-up protocol and loses records on purpose, with these variables.
    ///
    /// # Panics
    /// As [`Observer::start`].
    pub fn start_made_up(
        environment: &Environment,
        arguments: &[&str],
        variables: &[(&str, &str)],
    ) -> Self {
        let made_up = Command::new(environment.made_up());
        Self::launched(made_up, arguments, |command| {
            command.envs(variables.iter().copied());
        })
    }

    /// [`Observer::start_with`] by a command that ends in the daemon's executable, such as `setpriv … observer`.
    ///
    /// # Panics
    /// As [`Observer::start`].
    pub fn launched(
        launcher: Command,
        arguments: &[&str],
        change: impl FnOnce(&mut Command),
    ) -> Self {
        let page = free_port();
        let mut command = run(launcher);
        command
            .arg("--print=json")
            .arg(format!("--prometheus=127.0.0.1:{page}"))
            .args(arguments)
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        change(&mut command);
        let mut child = command.spawn().unwrap();
        let lines = read_lines(child.stdout.take().unwrap());
        let log = read_lines(child.stderr.take().unwrap());
        let mut observer = Self {
            child,
            page,
            said: String::new(),
            lines,
            log,
        };
        loop {
            let line = observer.log.recv_timeout(patience().max(START));
            let Ok(line) = line else {
                panic!("the daemon did not get ready; it wrote:\n{}", observer.said);
            };
            observer.said += &line;
            observer.said.push('\n');
            if line.starts_with("observer: ready") {
                return observer;
            }
        }
    }

    /// What it wrote about itself until it was ready.
    pub fn said(&self) -> &str {
        &self.said
    }

    /// Its process id.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Its metrics now.
    ///
    /// # Panics
    /// When it does not answer.
    pub fn page(&self) -> Page {
        Page::fetch(self.page).expect("the daemon's metrics page does not answer")
    }

    /// Its metrics once they count at least `count` served exchanges, and then stand still: what comes too much is
    /// seen as well as what is missing.
    ///
    /// # Panics
    /// When the count is not reached within twenty seconds.
    pub fn page_with(&self, count: u64) -> Page {
        let mut last = 0;
        let reached = || {
            last = self.page().served(&[]);
            (last >= count).then_some(())
        };
        until(&format!("{count} exchanges are counted"), reached);
        let (mut same, mut before) = (0, self.page().served(&[]));
        until("the count stands still", || {
            let now = self.page();
            let served = now.served(&[]);
            same = if served == before { same + 1 } else { 0 };
            before = served;
            (same >= 15).then_some(now)
        })
    }

    /// Its metrics once they count `count` served exchanges, or when they have not for a quarter of the patience, and
    /// then stand still.
    ///
    /// # Panics
    /// When it does not answer, or the count never stands still.
    pub fn settled_page(&self, count: u64) -> Page {
        let began = Instant::now();
        let (mut same, mut before) = (0, self.page().served(&[]));
        until("the count stands still", || {
            let page = self.page();
            let served = page.served(&[]);
            same = if served == before { same + 1 } else { 0 };
            before = served;
            let waited = served >= count || began.elapsed() > patience() / 4;
            (same >= 15 && waited).then_some(page)
        })
    }

    /// Waits until at least one exchange is counted.
    ///
    /// # Panics
    /// When none is within twenty seconds.
    pub fn page_with_some(&self) {
        until("an exchange is counted", || {
            (self.page().served(&[]) > 0).then_some(())
        });
    }

    /// SIGTERM, then every span that it printed.
    ///
    /// # Panics
    /// When it does not exit with 0 within ten seconds.
    pub fn stop(self) -> Vec<Span> {
        self.stop_with_log().0
    }

    /// The same, with all that it wrote about itself.
    ///
    /// # Panics
    /// As [`Observer::stop`].
    pub fn stop_with_log(mut self) -> (Vec<Span>, String) {
        self.signal(Signal::TERM);
        let status = until("the daemon ends after SIGTERM", || {
            self.child.try_wait().unwrap()
        });
        let log: Vec<String> = self.log.iter().collect();
        let log = log.join("\n");
        assert!(status.success(), "{status}; it wrote:\n{log}");
        let spans = self.lines.iter().map(|line| Span::parse(&line)).collect();
        (spans, std::mem::take(&mut self.said) + &log)
    }

    /// SIGKILL, and waits until the process is gone.
    pub fn kill(mut self) {
        self.signal(Signal::KILL);
        self.child.wait().unwrap();
    }

    /// Whether it still runs.
    pub fn is_alive(&mut self) -> bool {
        self.child.try_wait().unwrap().is_none()
    }

    fn signal(&self, signal: Signal) {
        let pid = i32::try_from(self.child.id()).ok().and_then(Pid::from_raw);
        kill_process(pid.unwrap(), signal).unwrap();
    }
}

impl Drop for Observer {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// How the daemon refused to run.
pub struct Refused {
    /// Its exit code.
    pub code: i32,
    /// What it wrote to stderr.
    pub message: String,
}

/// Runs the daemon with arguments that it must refuse, and waits for its end.
///
/// # Panics
/// When it ends by a signal, or writes no UTF-8.
pub fn refused(environment: &Environment, arguments: &[&str]) -> Refused {
    let mut command = Command::new(environment.binary());
    let Output { status, stderr, .. } = command.args(arguments).output().unwrap();
    Refused {
        code: status.code().expect("ended by a signal"),
        message: String::from_utf8(stderr).unwrap(),
    }
}

/// `run` behind a command, with an environment that says nothing about OpenTelemetry, in the tier that `OBSERVER_TEST_TIER` names,
/// where it is set.
fn run(mut command: Command) -> Command {
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("OTEL_") {
            command.env_remove(name);
        }
    }
    command.arg("run").stdin(Stdio::null());
    if let Some(tier) = tier() {
        command.arg(format!("--tier={tier}"));
    }
    command
}

/// Reads to the end on a thread of its own, so that the daemon never blocks on a full pipe.
fn read_lines(from: impl Read + Send + 'static) -> Receiver<String> {
    let (sender, receiver) = channel();
    std::thread::spawn(move || {
        for line in BufReader::new(from).lines().map_while(Result::ok) {
            if sender.send(line).is_err() {
                break;
            }
        }
    });
    receiver
}
