//! From selectors to the kernel's policy map: which process is captured.
//!
//! The kernel copies a parent's policy to its forks; exec is decided anew here. A process that begins to listen on a
//! selected port after it was decided is found by [`PolicyPlan::rescan`].

use std::collections::{HashMap, HashSet};

use observer_abi::process::{ProcessEvent, event};

use super::{
    listeners,
    proc_fs::ProcFs,
    selectors::{Candidate, Selectors},
};

/// What stands in the policy map, and what changes it.
pub struct PolicyPlan {
    proc: ProcFs,
    selectors: Selectors,
    own_tgid: u32,
    decided: HashMap<u32, Decision>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
struct Decision {
    capture: bool,
    /// Forked from a process that was selected by its id or port, with no exec since.
    inherited: bool,
}

impl PolicyPlan {
    /// A plan with nothing decided. `own_tgid` is observer's own id: it is never captured.
    pub fn new(proc: ProcFs, selectors: Selectors, own_tgid: u32) -> Self {
        Self {
            proc,
            selectors,
            own_tgid,
            decided: HashMap::new(),
        }
    }

    /// The selectors.
    pub fn selectors(&self) -> &Selectors {
        &self.selectors
    }

    /// Whether the kernel shall capture only processes that the map names (`Settings::selected_only`).
    pub fn selected_only(&self) -> bool {
        self.selectors.selects()
    }

    /// Looks at all processes and returns what has to be written: (tgid, capture), only what changed since the last
    /// time. The first call gives the whole map. With port selectors the caller repeats it every few seconds.
    pub fn rescan(&mut self) -> std::io::Result<Vec<(u32, bool)>> {
        if !self.selectors.selects() && !self.selectors.excludes() {
            return Ok(Vec::new());
        }
        let pids = self.proc.pids()?;
        let listening = self.listening(&pids);
        let present: HashSet<u32> = pids.iter().copied().collect();
        self.decided.retain(|pid, _| present.contains(pid));
        let mut changes = Vec::new();
        // Parents first, mostly: ids grow.
        let mut pids = pids;
        pids.sort_unstable();
        for pid in pids {
            let known = self.decided.get(&pid).copied();
            let mut capture = self.decide(pid, listening.contains(&pid));
            let inherited = known.map_or_else(|| self.inherits(pid), |known| known.inherited);
            if inherited && !self.is_excluded(pid) {
                capture = true;
            }
            let decision = Decision { capture, inherited };
            self.decided.insert(pid, decision);
            // What is not in the map is not captured when something is selected, and captured when not.
            let standing = known.map_or(!self.selectors.selects(), |known| known.capture);
            if capture != standing {
                changes.push((pid, capture));
            }
        }
        Ok(changes)
    }

    /// Decides anew at exec; keeps track of forks and ends. Returns what has to be written for the process, if
    /// anything.
    pub fn on_event(&mut self, event: &ProcessEvent) -> Option<(u32, bool)> {
        let tgid = event.tgid;
        match event.kind {
            event::EXEC if tgid != self.own_tgid => {
                // Without selectors only what observer itself starts has a policy to be undone.
                let idle = !self.selectors.selects() && !self.selectors.excludes();
                if idle && event.parent_tgid != self.own_tgid {
                    return None;
                }
                let listens = self.listening(&[tgid]).contains(&tgid);
                let capture = self.decide(tgid, listens);
                self.decided.insert(
                    tgid,
                    Decision {
                        capture,
                        inherited: false,
                    },
                );
                Some((tgid, capture))
            }
            event::FORK => {
                // The kernel has copied the parent's policy already.
                if let Some(parent) = self.decided.get(&event.parent_tgid).copied() {
                    self.decided.insert(
                        tgid,
                        Decision {
                            inherited: parent.capture,
                            ..parent
                        },
                    );
                }
                None
            }
            event::EXIT => {
                self.decided.remove(&tgid);
                None
            }
            _ => None,
        }
    }

    fn decide(&self, pid: u32, listens: bool) -> bool {
        let exe = self.proc.link(pid, "exe").ok();
        pid != self.own_tgid
            && self.selectors.decide(&Candidate {
                pid,
                exe: exe.as_deref(),
                listens,
            })
    }

    fn is_excluded(&self, pid: u32) -> bool {
        // As if everything were selected: what is left is the exclusion.
        !self.decide(pid, true)
    }

    fn listening(&self, pids: &[u32]) -> HashSet<u32> {
        if !self.selectors.has_ports() {
            return HashSet::new();
        }
        listeners::listening(&self.proc, pids, |port| self.selectors.wants_port(port))
    }

    /// Whether a process was forked, with no exec since, from one that is captured.
    fn inherits(&self, pid: u32) -> bool {
        let Ok(stat) = self.proc.stat(pid) else {
            return false;
        };
        stat.layout.is_some()
            && self
                .decided
                .get(&stat.parent)
                .is_some_and(|parent| parent.capture)
            && self
                .proc
                .stat(stat.parent)
                .is_ok_and(|parent| parent.layout == stat.layout)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::process::fixture::Fixture;

    fn plan(fixture: &Fixture, pids: &[u32], exes: &[&str], exclude: &[&str]) -> PolicyPlan {
        let text = |patterns: &[&str]| {
            patterns
                .iter()
                .map(|pattern| (*pattern).to_owned())
                .collect::<Vec<_>>()
        };
        let selectors =
            Selectors::new(pids.to_vec(), &text(exes), Vec::new(), &text(exclude)).unwrap();
        PolicyPlan::new(fixture.proc(), selectors, 9)
    }

    fn happens(kind: u32, tgid: u32, parent_tgid: u32) -> ProcessEvent {
        ProcessEvent {
            kind,
            tgid,
            parent_tgid,
            ..ProcessEvent::default()
        }
    }

    fn tree() -> Fixture {
        let fixture = Fixture::new();
        fixture.process(9, 1, 50, 3, "/usr/bin/observer", &["observer"]);
        fixture.process(10, 1, 100, 7, "/usr/sbin/nginx", &["nginx"]);
        fixture.process(11, 10, 101, 7, "/usr/sbin/nginx", &["nginx: worker"]);
        fixture.process(12, 10, 102, 8, "/usr/bin/curl", &["curl"]);
        fixture
    }

    #[test]
    fn a_selected_process_brings_its_forks_and_not_what_it_started() {
        let fixture = tree();
        let mut plan = plan(&fixture, &[10], &[], &[]);
        assert!(plan.selected_only());
        assert_eq!(plan.rescan().unwrap(), [(10, true), (11, true)]);
        assert_eq!(plan.rescan().unwrap(), []);
    }

    #[test]
    fn exec_is_decided_anew() {
        let fixture = tree();
        let mut plan = plan(&fixture, &[], &["nginx"], &[]);
        assert_eq!(plan.rescan().unwrap(), [(10, true), (11, true)]);
        assert_eq!(plan.on_event(&happens(event::FORK, 13, 10)), None);
        fixture.process(13, 10, 103, 9, "/usr/bin/curl", &["curl"]);
        assert_eq!(
            plan.on_event(&happens(event::EXEC, 13, 10)),
            Some((13, false))
        );
        assert_eq!(plan.rescan().unwrap(), []);
        fixture.process(13, 10, 103, 10, "/usr/sbin/nginx", &["nginx"]);
        assert_eq!(
            plan.on_event(&happens(event::EXEC, 13, 1)),
            Some((13, true))
        );
    }

    #[test]
    fn a_process_that_is_gone_at_exec_is_not_captured_when_something_is_selected() {
        let fixture = tree();
        assert_eq!(
            plan(&fixture, &[], &["nginx"], &[]).on_event(&happens(event::EXEC, 77, 1)),
            Some((77, false))
        );
    }

    #[test]
    fn exclusion_alone_writes_only_the_excluded() {
        let fixture = tree();
        let mut plan = plan(&fixture, &[], &[], &["curl"]);
        assert!(!plan.selected_only());
        assert_eq!(plan.rescan().unwrap(), [(9, false), (12, false)]);
        assert_eq!(
            plan.on_event(&happens(event::EXEC, 10, 1)),
            Some((10, true))
        );
    }

    #[test]
    fn with_nothing_selected_only_what_observer_starts_is_written() {
        let fixture = tree();
        let mut plan = plan(&fixture, &[], &[], &[]);
        assert_eq!(plan.rescan().unwrap(), []);
        assert_eq!(plan.on_event(&happens(event::EXEC, 10, 1)), None);
        assert_eq!(
            plan.on_event(&happens(event::EXEC, 12, 9)),
            Some((12, true))
        );
        assert_eq!(plan.on_event(&happens(event::EXEC, 9, 1)), None);
    }
}
