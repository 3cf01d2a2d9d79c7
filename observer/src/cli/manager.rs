//! The service manager's protocol, sd_notify(3): ready, alive, stopping.
//!
//! Nothing is sent where no manager asked for it (`NOTIFY_SOCKET`).

use std::{
    env,
    ffi::OsStr,
    io,
    os::{
        linux::net::SocketAddrExt,
        unix::net::{SocketAddr, UnixDatagram},
    },
    process,
    time::{Duration, Instant},
};

use crate::kernel::Tier;

/// It captures, and how.
pub(crate) fn ready(tier: Tier) {
    notify(&format!("READY=1\nSTATUS=capturing, tier {tier}"));
}

/// It was told to end, and does.
pub(crate) fn stopping() {
    notify("STOPPING=1\nSTATUS=finishing what was captured");
}

/// The manager's watchdog, which kills who keeps silent.
pub(crate) struct Watchdog {
    /// `None` where nobody watches.
    every: Option<Duration>,
    said: Option<Instant>,
}

impl Watchdog {
    /// As the environment asks for: `WATCHDOG_USEC`, if `WATCHDOG_PID` is this process.
    pub(crate) fn from_environment() -> Self {
        let patience = patience(|name| env::var(name).ok(), process::id());
        Self {
            every: patience.map(|it| it / 2),
            said: None,
        }
    }

    /// Every part gets on. Said twice within the manager's patience, however often this is called.
    pub(crate) fn alive(&mut self) {
        if self.is_due(Instant::now()) {
            notify("WATCHDOG=1");
        }
    }

    fn is_due(&mut self, now: Instant) -> bool {
        let Some(every) = self.every else {
            return false;
        };
        let due = self
            .said
            .is_none_or(|said| now.duration_since(said) >= every);
        if due {
            self.said = Some(now);
        }
        due
    }
}

/// How long the manager waits for a sign of life (sd_watchdog_enabled(3)).
fn patience(variable: impl Fn(&str) -> Option<String>, own: u32) -> Option<Duration> {
    let number = |name| variable(name)?.parse::<u64>().ok();
    let microseconds = number("WATCHDOG_USEC").filter(|it| *it > 0)?;
    let is_other =
        variable("WATCHDOG_PID").is_some_and(|_| number("WATCHDOG_PID") != Some(own.into()));
    (!is_other).then(|| Duration::from_micros(microseconds))
}

fn notify(state: &str) {
    let Some(path) = env::var_os("NOTIFY_SOCKET") else {
        return;
    };
    if let Err(error) = send(&path, state) {
        tracing::warn!(%error, "cannot notify the service manager");
    }
}

/// One datagram; a path that begins with `@` is a name in the abstract namespace.
fn send(path: &OsStr, state: &str) -> io::Result<()> {
    let address = match path.as_encoded_bytes().strip_prefix(b"@") {
        Some(name) => SocketAddr::from_abstract_name(name)?,
        None => SocketAddr::from_pathname(path)?,
    };
    let socket = UnixDatagram::unbound()?;
    // A manager that does not read must not hold up who waits for the daemon's end.
    socket.set_nonblocking(true)?;
    socket.send_to_addr(state.as_bytes(), &address).map(|_| ())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked(variables: &[(&str, &str)]) -> Option<Duration> {
        let variable = |name: &str| {
            let found = variables.iter().find(|(known, _)| *known == name);
            found.map(|(_, value)| (*value).to_owned())
        };
        patience(variable, 7)
    }

    #[test]
    fn the_watchdog_is_asked_for_by_the_environment_and_for_this_process_only() {
        let minute = Some(Duration::from_secs(60));
        assert_eq!(asked(&[]), None);
        assert_eq!(asked(&[("WATCHDOG_USEC", "60000000")]), minute);
        let of = |pid| asked(&[("WATCHDOG_USEC", "60000000"), ("WATCHDOG_PID", pid)]);
        assert_eq!(of("7"), minute);
        assert_eq!(of("8"), None);
        assert_eq!(of("seven"), None);
        assert_eq!(asked(&[("WATCHDOG_USEC", "0")]), None);
        assert_eq!(asked(&[("WATCHDOG_USEC", "soon")]), None);
    }

    #[test]
    fn a_sign_of_life_is_due_twice_within_the_managers_patience() {
        let mut watchdog = Watchdog {
            every: Some(Duration::from_secs(30)),
            said: None,
        };
        let began = Instant::now();
        let due: Vec<u64> = (0..=90)
            .filter(|second| watchdog.is_due(began + Duration::from_secs(*second)))
            .collect();
        assert_eq!(due, [0, 30, 60, 90]);
        let mut unwatched = Watchdog {
            every: None,
            said: None,
        };
        assert!(!unwatched.is_due(began));
    }

    #[test]
    fn a_manager_hears_it_by_a_path_and_by_an_abstract_name() {
        let name = format!("observer-manager-{}", process::id());
        let manager =
            UnixDatagram::bind_addr(&SocketAddr::from_abstract_name(&name).unwrap()).unwrap();
        send(OsStr::new(&format!("@{name}")), "READY=1").unwrap();
        let mut heard = [0; 64];
        let length = manager.recv(&mut heard).unwrap();
        assert_eq!(&heard[..length], b"READY=1");
        let path = env::temp_dir().join(&name);
        let manager = UnixDatagram::bind(&path).unwrap();
        send(path.as_os_str(), "STOPPING=1").unwrap();
        let length = manager.recv(&mut heard).unwrap();
        assert_eq!(&heard[..length], b"STOPPING=1");
        std::fs::remove_file(&path).unwrap();
        assert!(send(path.as_os_str(), "WATCHDOG=1").is_err());
    }
}
