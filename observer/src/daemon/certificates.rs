//! The certificates that servers showed in handshakes, and when they end.
//!
//! In: handshakes, and whose they are. Out: a gauge a server, and one line of the log for a certificate that ends soon. Owns: a
//! bounded table. Neither names nor anything else of a certificate is read, and nothing is verified.

use std::sync::{Arc, Mutex, PoisonError};

use foldhash::HashMap;

use crate::{
    export::{Family, Kind},
    identity::Role,
    process::{Service, Text},
    protocol::{
        exchange::Common,
        tls::{self, timestamp},
    },
};

/// Servers that are remembered; beyond, the one goes that was silent longest.
const MOST: usize = 256;
/// How long one is remembered behind its last handshake, s.
const KEPT: u64 = 86_400;
/// A certificate that ends within so many seconds is said.
const SOON: u64 = 14 * 86_400;
const DAY: u64 = 86_400;

/// Who saw which server's certificate.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Server {
    service: Text,
    is_client: bool,
    name: Text,
    port: u16,
}

/// What was seen of one, in seconds since 1970.
#[derive(Clone, Copy, Debug)]
struct Seen {
    not_after: u64,
    at: u64,
    said: Option<Ending>,
}

/// What is said of a certificate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Ending {
    Soon,
    Over,
}

impl Ending {
    fn of(not_after: u64, now: u64) -> Option<Self> {
        if not_after < now {
            Some(Self::Over)
        } else {
            (not_after - now < SOON).then_some(Self::Soon)
        }
    }
}

#[derive(Debug, Default)]
struct State {
    seen: HashMap<Server, Seen>,
    no_room: u64,
}

/// See the module. Any thread may tell of a handshake.
#[derive(Debug, Default)]
pub(super) struct Certificates(Mutex<State>);

impl Certificates {
    /// A handshake of this service in which a certificate was shown.
    pub(super) fn see(&self, service: &Service, common: &Common, now_unix_ns: u64) {
        let session = common.session.as_deref();
        let Some(not_after) = session.and_then(|session| session.not_after) else {
            return;
        };
        let (Some(name), port) = tls::server(common) else {
            return;
        };
        let server = Server {
            service: Arc::clone(&service.name).into(),
            is_client: common.role == Role::Client,
            name,
            port: port.unwrap_or(0),
        };
        let now = now_unix_ns / 1_000_000_000;
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(ending) = state.see(&server, not_after, now) {
            drop(state);
            say(&server, not_after, ending, now);
        }
    }

    /// The gauge, as of now.
    pub(super) fn tell(&self, now_unix_ns: u64, families: &mut Vec<Family>) {
        let now = now_unix_ns / 1_000_000_000;
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        state
            .seen
            .retain(|_, seen| now.saturating_sub(seen.at) <= KEPT);
        let mut samples: Vec<_> = state
            .seen
            .iter()
            .map(|(server, seen)| {
                let role = if server.is_client { "client" } else { "server" };
                let labels = vec![
                    ("observer.role", role.to_owned()),
                    ("server.address", server.name.to_string()),
                    ("server.port", server.port.to_string()),
                    ("service.name", server.service.to_string()),
                ];
                (labels, seen.not_after as f64)
            })
            .collect();
        samples.sort_by(|one, other| one.0.cmp(&other.0));
        families.push(Family {
            name: "observer_tls_certificate_not_after_seconds",
            help: "When the certificate ends that a server showed last, seconds since 1970, by who saw it: the service that called or the server itself.",
            kind: Kind::Gauge,
            samples,
        });
        families.push(Family::single(
            "observer_tls_certificates_no_room",
            "Servers whose certificate's end is not told any more, for want of room.",
            Kind::Counter,
            state.no_room as f64,
        ));
    }
}

impl State {
    /// Notes it. What is to be said of it, if that was not yet.
    fn see(&mut self, server: &Server, not_after: u64, now: u64) -> Option<Ending> {
        if !self.seen.contains_key(server) && !self.admit(server, not_after, now) {
            return None;
        }
        let ending = Ending::of(not_after, now);
        let said_before = self.seen.iter().any(|(other, seen)| {
            ending.is_some()
                && seen.said == ending
                && seen.not_after == not_after
                && other.port == server.port
        });
        let seen = self.seen.entry(server.clone()).or_insert(Seen {
            not_after,
            at: now,
            said: None,
        });
        if seen.not_after != not_after {
            seen.said = None;
        }
        (seen.not_after, seen.at) = (not_after, now);
        if seen.said == ending {
            return None;
        }
        seen.said = ending;
        ending.filter(|_| !said_before)
    }

    /// Makes room for a server. False where it is known by another name: whoever asks a server for names that it has not is shown
    /// the same certificate for each.
    fn admit(&mut self, server: &Server, not_after: u64, now: u64) -> bool {
        if !server.is_client {
            let known = self.seen.iter_mut().find(|(other, seen)| {
                !other.is_client
                    && other.service == server.service
                    && other.port == server.port
                    && seen.not_after == not_after
            });
            if let Some((_, seen)) = known {
                seen.at = now;
                return false;
            }
        }
        if self.seen.len() >= MOST {
            let eldest = self.seen.iter().min_by_key(|(_, seen)| seen.at);
            if let Some(eldest) = eldest.map(|(server, _)| server.clone()) {
                self.seen.remove(&eldest);
                self.no_room += 1;
            }
        }
        true
    }
}

fn say(server: &Server, not_after: u64, ending: Ending, now: u64) {
    let (name, port) = (&*server.name, server.port);
    let end = timestamp(not_after).unwrap_or_default();
    match ending {
        Ending::Soon => {
            let days = not_after.saturating_sub(now) / DAY;
            tracing::warn!("the certificate of {name}:{port} ends in {days} days, {end}");
        }
        Ending::Over => tracing::warn!("the certificate of {name}:{port} has ended, {end}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn server(name: &str, is_client: bool) -> Server {
        Server {
            service: "shop".into(),
            is_client,
            name: name.to_owned().into(),
            port: 443,
        }
    }

    const NOW: u64 = 1_800_000_000;

    #[test]
    fn an_end_is_said_once_when_it_comes_near_and_once_when_it_is_past() {
        let mut state = State::default();
        let (client, end) = (server("a", true), NOW + SOON + 10);
        assert_eq!(state.see(&client, end, NOW), None);
        assert_eq!(state.see(&client, end, NOW + 10), None);
        assert_eq!(state.see(&client, end, NOW + 11), Some(Ending::Soon));
        assert_eq!(state.see(&client, end, NOW + 12), None);
        // The server's own end, and others that call it, see the same.
        assert_eq!(state.see(&server("a", false), end, NOW + 12), None);
        assert_eq!(state.see(&client, end, end), None);
        assert_eq!(state.see(&client, end, end + 1), Some(Ending::Over));
        assert_eq!(state.see(&server("a", false), end, end + 1), None);
        assert_eq!(state.see(&client, end, end + 2), None);
        // A new one is fine, and the next one's end is said again.
        assert_eq!(state.see(&client, end + SOON + 9, end + 3), None);
        assert_eq!(state.see(&client, end + 5, end + 3), Some(Ending::Soon));
    }

    #[test]
    fn names_that_a_server_has_not_make_no_series() {
        let mut state = State::default();
        for name in ["a", "b", "c"] {
            state.see(&server(name, false), NOW + SOON + 7, NOW);
        }
        assert_eq!(state.seen.len(), 1);
        state.see(&server("d", false), NOW + SOON + 8, NOW);
        assert_eq!(state.seen.len(), 2);
        for name in ["a", "b", "c"] {
            state.see(&server(name, true), NOW + SOON + 7, NOW);
        }
        assert_eq!(state.seen.len(), 5);
    }

    #[test]
    fn servers_are_bounded_and_forgotten() {
        let certificates = Certificates::default();
        {
            let mut state = certificates
                .0
                .lock()
                .unwrap_or_else(PoisonError::into_inner);
            for number in 0..MOST as u64 + 10 {
                state.see(&server(&number.to_string(), true), NOW, NOW + number);
            }
            assert_eq!((state.seen.len(), state.no_room), (MOST, 10));
            assert!(!state.seen.contains_key(&server("9", true)));
            assert!(state.seen.contains_key(&server("10", true)));
        }
        let told = |seconds: u64| {
            let mut families = Vec::new();
            certificates.tell(seconds * 1_000_000_000, &mut families);
            families[0].samples.len()
        };
        assert_eq!(told(NOW + KEPT), MOST);
        assert_eq!(told(NOW + KEPT + 11), MOST - 1);
        assert_eq!(told(NOW + KEPT + 1000), 0);
    }

    #[test]
    fn a_certificates_end_is_a_gauge_by_who_saw_whose() {
        let certificates = Certificates::default();
        if let Ok(mut state) = certificates.0.lock() {
            state.see(&server("a", true), NOW + 1, NOW);
        }
        let mut families = Vec::new();
        certificates.tell(NOW * 1_000_000_000, &mut families);
        let labels = [
            ("observer.role", "client"),
            ("server.address", "a"),
            ("server.port", "443"),
            ("service.name", "shop"),
        ];
        let labels = labels.map(|(key, value)| (key, value.to_owned()));
        assert_eq!(families[0].samples, [(labels.to_vec(), (NOW + 1) as f64)]);
        assert_eq!(families[0].kind, Kind::Gauge);
    }
}
