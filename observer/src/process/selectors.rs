//! Which processes are traced, as the user asked for.
//!
//! Selectors add up: a process that one of them picks is traced. With none, every process is. `exclude_exes` takes
//! away from either.
//! - `pids`: the process, and what it forks until that calls exec.
//! - `exes`: globs on the executable's full path (`/usr/sbin/*`) or, without a slash, on its file name (`python3*`).
//!   The command line is not looked at, since a process can write there what it likes.
//! - `ports`: the processes that listen on such a TCP port. All their traffic is traced, calls that they make
//!   included; the clients that call the port are not.
//! - `pods`: the processes in pods that fit ([`PodSelector`]). A pod that asks not to be traced, or is in a namespace that is
//!   excluded, is left alone whatever else selects it.

use std::{fs, ops::RangeInclusive, path::Path};

use globset::{Glob, GlobBuilder, GlobSet, GlobSetBuilder};

use super::naming;
use crate::kubernetes::{Member, PodSelector, Verdict};

/// A glob that can't be used.
#[derive(Debug, thiserror::Error)]
#[error(
    "the executable pattern `{pattern}` is not a glob: {reason}; use for example `nginx`, `python3*` or `/opt/*/bin/*`"
)]
pub struct InvalidGlob {
    /// As it was given.
    pub pattern: String,
    /// What is wrong with it.
    pub reason: String,
}

/// What the user selects.
#[derive(Clone, Debug, Default)]
pub struct Selectors {
    pids: Vec<u32>,
    exes: Executables,
    ports: Vec<RangeInclusive<u16>>,
    exclude_exes: Executables,
    pods: PodSelector,
}

/// Where a process is in the cluster.
#[derive(Clone, Copy, Debug, Default)]
pub enum InPod<'a> {
    /// In no pod, or there is no cluster.
    #[default]
    None,
    /// In one that is not known, yet perhaps.
    Unknown,
    /// In this one.
    Known(&'a Member),
}

/// What the decision needs to know of a process.
#[derive(Clone, Copy, Debug, Default)]
pub struct Candidate<'a> {
    /// Process id.
    pub pid: u32,
    /// Full path of the executable; `None` when it can't be read.
    pub exe: Option<&'a str>,
    /// It listens on a selected port.
    pub listens: bool,
    /// Its pod.
    pub pod: InPod<'a>,
}

#[derive(Clone, Debug, Default)]
struct Executables {
    paths: GlobSet,
    names: GlobSet,
}

impl Selectors {
    /// Compiles selectors. `exes` and `exclude_exes` are globs.
    pub fn new(
        pids: Vec<u32>,
        exes: &[String],
        ports: Vec<RangeInclusive<u16>>,
        exclude_exes: &[String],
    ) -> Result<Self, InvalidGlob> {
        Ok(Self {
            pids,
            exes: Executables::new(exes)?,
            ports,
            exclude_exes: Executables::new(exclude_exes)?,
            pods: PodSelector::default(),
        })
    }

    /// The same, with those for pods.
    #[must_use]
    pub fn with_pods(self, pods: PodSelector) -> Self {
        Self { pods, ..self }
    }

    /// Whether anything is selected: then what is not selected is left alone.
    pub fn selects(&self) -> bool {
        !self.pids.is_empty()
            || !self.exes.is_empty()
            || !self.ports.is_empty()
            || self.pods.selects()
    }

    /// Whether something is excluded.
    pub fn excludes(&self) -> bool {
        !self.exclude_exes.is_empty()
    }

    /// Whether listening ports matter.
    pub fn has_ports(&self) -> bool {
        !self.ports.is_empty()
    }

    /// Whether a port is selected.
    pub fn wants_port(&self, port: u16) -> bool {
        self.ports.iter().any(|range| range.contains(&port))
    }

    /// Whether a process is to be traced. One whose executable can't be read passes no exclusion: where something
    /// is excluded, it is left alone.
    pub fn decide(&self, candidate: &Candidate<'_>) -> bool {
        let excluded = match candidate.exe {
            Some(exe) => self.exclude_exes.matches(exe),
            None => self.excludes(),
        };
        let verdict = match candidate.pod {
            InPod::None => Verdict::Indifferent,
            InPod::Unknown => self.pods.decide(None),
            InPod::Known(member) => self.pods.decide(Some(member)),
        };
        let picked = !self.selects()
            || self.pids.contains(&candidate.pid)
            || candidate.listens
            || candidate.exe.is_some_and(|exe| self.exes.matches(exe))
            || verdict == Verdict::Picked;
        picked && !excluded && verdict != Verdict::Refused
    }
}

impl Executables {
    fn new(patterns: &[String]) -> Result<Self, InvalidGlob> {
        let (mut paths, mut names) = (GlobSetBuilder::new(), GlobSetBuilder::new());
        for pattern in patterns {
            let set = if pattern.contains('/') {
                &mut paths
            } else {
                &mut names
            };
            set.add(glob(pattern)?);
            // `/usr/bin/python3` is a link: the kernel knows what it leads to.
            if let Some(target) = fs::canonicalize(Path::new(pattern))
                .ok()
                .filter(|_| pattern.starts_with('/'))
            {
                set.add(glob(&globset::escape(&target.to_string_lossy()))?);
            }
        }
        let build = |set: GlobSetBuilder| {
            let invalid = |error: globset::Error| InvalidGlob {
                pattern: patterns.join(" "),
                reason: error.to_string(),
            };
            set.build().map_err(invalid)
        };
        Ok(Self {
            paths: build(paths)?,
            names: build(names)?,
        })
    }

    fn is_empty(&self) -> bool {
        self.paths.is_empty() && self.names.is_empty()
    }

    fn matches(&self, exe: &str) -> bool {
        self.paths.is_match(exe) || self.names.is_match(naming::file_of(Some(exe)))
    }
}

/// A star matches anything, `/` too, as in a shell's `case`: at 2 a.m. `*/nginx` has to find `/usr/sbin/nginx`.
fn glob(pattern: &str) -> Result<Glob, InvalidGlob> {
    let invalid = |reason: String| InvalidGlob {
        pattern: pattern.to_owned(),
        reason,
    };
    if pattern.is_empty() {
        return Err(invalid("it is empty".to_owned()));
    }
    GlobBuilder::new(pattern)
        .literal_separator(false)
        .build()
        .map_err(|error| invalid(error.kind().to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn selectors(
        pids: &[u32],
        exes: &[&str],
        ports: &[RangeInclusive<u16>],
        exclude: &[&str],
    ) -> Selectors {
        let text = |patterns: &[&str]| {
            patterns
                .iter()
                .map(|pattern| (*pattern).to_owned())
                .collect::<Vec<_>>()
        };
        Selectors::new(pids.to_vec(), &text(exes), ports.to_vec(), &text(exclude)).unwrap()
    }

    fn exe(path: &str) -> Candidate<'_> {
        Candidate {
            pid: 42,
            exe: Some(path),
            ..Candidate::default()
        }
    }

    #[test]
    fn with_no_selector_all_but_the_excluded_are_traced() {
        assert!(selectors(&[], &[], &[], &[]).decide(&Candidate::default()));
        let excluding = selectors(&[], &[], &[], &["curl"]);
        assert!(!excluding.decide(&exe("/usr/bin/curl")));
        assert!(excluding.decide(&exe("/usr/bin/wget")));
        assert!(!excluding.decide(&Candidate {
            pid: 1,
            exe: None,
            ..Candidate::default()
        }));
    }

    #[test]
    fn selectors_add_up_and_exclusion_wins() {
        let some = selectors(
            &[7],
            &["python3*", "/opt/*/bin/*"],
            &[8000..=8080],
            &["python3.9"],
        );
        assert!(!some.decide(&Candidate {
            pid: 7,
            exe: None,
            ..Candidate::default()
        }));
        assert!(some.decide(&Candidate {
            pid: 7,
            exe: Some("/x"),
            ..Candidate::default()
        }));
        assert!(some.decide(&Candidate {
            pid: 8,
            exe: Some("/x"),
            listens: true,
            ..Candidate::default()
        }));
        assert!(some.decide(&exe("/usr/bin/python3.11")));
        assert!(!some.decide(&exe("/usr/bin/python3.9")));
        assert!(some.decide(&exe("/opt/shop/bin/orders")));
        assert!(some.decide(&exe("/opt/shop/deep/bin/orders")));
        assert!(!some.decide(&exe("/usr/sbin/nginx")));
        assert!(some.wants_port(8080) && !some.wants_port(8081));
    }

    #[test]
    fn a_broken_glob_is_told_by_name() {
        for pattern in ["[", "", "{a"] {
            let error =
                Selectors::new(Vec::new(), &[pattern.to_owned()], Vec::new(), &[]).unwrap_err();
            assert_eq!(error.pattern, pattern);
        }
    }
}
