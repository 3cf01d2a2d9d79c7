//! Selectors: which processes and connections are captured.

use std::{fmt, str::FromStr};

use super::{PodSelection, Rejected, text::deserialize_from_str};

/// Which processes and connections are captured. Empty is every process except observer's own.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Selection {
    /// Processes, and their forks.
    pub pids: Vec<Pid>,
    /// Executables.
    pub exe: Vec<Glob>,
    /// Executables that are left alone, whatever else selects them.
    pub exclude_exe: Vec<Glob>,
    /// Processes that listen on one of these TCP ports.
    pub ports: Vec<PortRange>,
    /// Processes in pods.
    pub pods: PodSelection,
}

impl Selection {
    /// Some selector names what to capture, so nothing else is captured.
    pub fn is_selective(&self) -> bool {
        !(self.pids.is_empty() && self.exe.is_empty() && self.ports.is_empty())
            || self.pods.is_selective()
    }
}

/// A process id, 1 to 4,194,304 (the kernel's `PID_MAX_LIMIT`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Pid(pub u32);

impl FromStr for Pid {
    type Err = Rejected;

    fn from_str(text: &str) -> Result<Self, Rejected> {
        text.parse()
            .ok()
            .filter(|pid| (1..=4_194_304).contains(pid))
            .map(Self)
            .ok_or_else(|| Rejected::new(text, "a process id", "an integer from 1 to 4194304"))
    }
}

/// A pattern for executables, as in a shell: `*` and `?`, `[…]`, `{a,b}`. One without `/` is matched against the
/// file's name, one with `/` against the whole path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Glob(String);

impl Glob {
    /// As it was written.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for Glob {
    type Err = Rejected;

    fn from_str(text: &str) -> Result<Self, Rejected> {
        if text.is_empty() || globset::Glob::new(text).is_err() {
            return Err(Rejected::new(
                text,
                "a pattern for executables",
                "a file name or a path, with * ? [a-z] {a,b}, e.g. nginx, python3* or /opt/shop/**",
            ));
        }
        Ok(Self(text.to_owned()))
    }
}

/// TCP ports, both ends included.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct PortRange {
    /// Lowest port, at least 1.
    pub first: u16,
    /// Highest port, at least `first`.
    pub last: u16,
}

impl PortRange {
    /// The port is in the range.
    pub fn contains(&self, port: u16) -> bool {
        (self.first..=self.last).contains(&port)
    }
}

impl FromStr for PortRange {
    type Err = Rejected;

    fn from_str(text: &str) -> Result<Self, Rejected> {
        let port = |text: &str| text.parse::<u16>().ok().filter(|port| *port > 0);
        let range = match text.split_once('-') {
            Some((first, last)) => port(first).zip(port(last)),
            None => port(text).map(|port| (port, port)),
        };
        range
            .filter(|(first, last)| first <= last)
            .map(|(first, last)| Self { first, last })
            .ok_or_else(|| {
                Rejected::new(
                    text,
                    "a port or a range of ports",
                    "N or N-M with 1 <= N <= M <= 65535, e.g. 8080 or 8000-8100",
                )
            })
    }
}

impl fmt::Display for PortRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.first == self.last {
            write!(f, "{}", self.first)
        } else {
            write!(f, "{}-{}", self.first, self.last)
        }
    }
}

/// A route: segments, of which `{name}` stands for any one segment and a trailing `*` for any rest. It becomes
/// `http.route` as it is written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RoutePattern(String);

impl RoutePattern {
    /// As it was written.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for RoutePattern {
    type Err = Rejected;

    fn from_str(text: &str) -> Result<Self, Rejected> {
        let segments: Vec<&str> = text
            .strip_prefix('/')
            .map(|rest| rest.split('/').collect())
            .unwrap_or_default();
        let accepted = |(at, segment): (usize, &&str)| {
            let name = segment
                .strip_prefix('{')
                .and_then(|rest| rest.strip_suffix('}'));
            match name {
                Some(name) => {
                    !name.is_empty()
                        && name
                            .chars()
                            .all(|c| c.is_alphanumeric() || c == '_' || c == '-')
                }
                None if *segment == "*" => at + 1 == segments.len(),
                None => {
                    !segment.contains(['{', '}', '*', '?', '#'])
                        && segment
                            .chars()
                            .all(|c| !c.is_whitespace() && !c.is_control())
                }
            }
        };
        if segments.is_empty() || text.len() > 256 || !segments.iter().enumerate().all(accepted) {
            return Err(Rejected::new(
                text,
                "a route",
                "a path whose segments may be {name} and whose last may be *, e.g. /orders/{id} or /static/*",
            ));
        }
        Ok(Self(text.to_owned()))
    }
}

deserialize_from_str!(Pid, Glob, PortRange, RoutePattern);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ports_are_single_or_ascending_ranges() {
        assert_eq!(
            "80".parse(),
            Ok(PortRange {
                first: 80,
                last: 80
            })
        );
        assert_eq!(
            "8000-8100".parse(),
            Ok(PortRange {
                first: 8000,
                last: 8100
            })
        );
        assert!("8000-8100".parse::<PortRange>().unwrap().contains(8100));
        for wrong in [
            "",
            "0",
            "65536",
            "8100-8000",
            "80-",
            "-80",
            "80-90-100",
            "http",
            "80 ",
        ] {
            let message = wrong.parse::<PortRange>().unwrap_err().to_string();
            assert!(message.contains("N or N-M"), "{message}");
        }
    }

    #[test]
    fn globs_are_compiled_when_they_are_read() {
        assert!("/opt/{a,b}/**".parse::<Glob>().is_ok());
        for wrong in ["", "[", "{a", "a{b"] {
            assert!(wrong.parse::<Glob>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn routes_have_named_segments_and_a_star_only_at_the_end() {
        for right in [
            "/",
            "/orders/{id}",
            "/a/{b-c}/d_e",
            "/static/*",
            "/v1.0/x:batch",
        ] {
            assert!(right.parse::<RoutePattern>().is_ok(), "{right}");
        }
        for wrong in [
            "", "orders", "/a/{}", "/a/*/b", "/a/b*", "/a?b", "/{a", "/a b", "/{a b}",
        ] {
            assert!(wrong.parse::<RoutePattern>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn excluding_alone_selects_nothing() {
        let mut selection = Selection {
            exclude_exe: vec!["nginx".parse().unwrap()],
            ..Selection::default()
        };
        assert!(!selection.is_selective());
        selection.ports.push("80".parse().unwrap());
        assert!(selection.is_selective());
    }
}
