//! From selectors to the kernel's policy map: which process is captured.
//!
//! The kernel copies a parent's policy to its forks; exec is decided anew here. A process that begins to listen on a
//! selected port after it was decided is found by [`PolicyPlan::rescan`]; one whose pod is told of later, or changes, by
//! [`PolicyPlan::pods_changed`].

use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
};

use observer_abi::process::{ProcessEvent, event};

use super::{
    container::ControlGroups,
    listeners,
    proc_fs::ProcFs,
    selectors::{Candidate, InPod, Selectors},
};
use crate::kubernetes::{Changes, Lookup, PodRef, Store};

const CGROUP_LIMIT: usize = 16 << 10;

/// What stands in the policy map, and what changes it.
pub struct PolicyPlan {
    proc: ProcFs,
    selectors: Selectors,
    own_tgid: u32,
    /// The pods of this node, where there is a cluster: any of them may ask not to be traced.
    pods: Option<Arc<Store>>,
    decided: HashMap<u32, Decision>,
}

#[derive(Clone, PartialEq, Eq)]
struct Decision {
    capture: bool,
    /// Forked from a process that was selected by its id or port, with no exec since.
    inherited: bool,
    /// Where it is in the cluster, if anywhere.
    place: Option<Arc<PodRef>>,
}

impl PolicyPlan {
    /// A plan with nothing decided. `own_tgid` is observer's own id: it is never captured.
    pub fn new(proc: ProcFs, selectors: Selectors, own_tgid: u32) -> Self {
        Self {
            proc,
            selectors,
            own_tgid,
            pods: None,
            decided: HashMap::new(),
        }
    }

    /// The same, on a node of a cluster whose pods are in the store.
    #[must_use]
    pub fn in_cluster(self, pods: Option<Arc<Store>>) -> Self {
        Self { pods, ..self }
    }

    /// Whether nothing is ever decided: everything is captured.
    fn is_idle(&self) -> bool {
        !self.selectors.selects() && !self.selectors.excludes() && self.pods.is_none()
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
        if self.is_idle() {
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
            changes.extend(self.decide_again(pid, listening.contains(&pid)));
        }
        Ok(changes)
    }

    /// Decides anew on the processes of pods that changed, and returns what has to be written.
    pub fn pods_changed(&mut self, changes: &Changes) -> Vec<(u32, bool)> {
        let Some(pods) = self.pods.as_ref().filter(|_| !changes.is_empty()) else {
            return Vec::new();
        };
        let concerned = self.decided.iter().filter(|(_, decision)| {
            let place = decision.place.as_ref();
            place.is_some_and(|place| pods.concerns(changes, place))
        });
        let mut pids: Vec<u32> = concerned.map(|(pid, _)| *pid).collect();
        pids.sort_unstable();
        let listening = self.listening(&pids);
        let again = |pid: u32| self.decide_again(pid, listening.contains(&pid));
        pids.into_iter().filter_map(again).collect()
    }

    fn decide_again(&mut self, pid: u32, listens: bool) -> Option<(u32, bool)> {
        let known = self.decided.get(&pid).cloned();
        let place = self.place(pid);
        let mut capture = self.decide(pid, listens, place.as_ref());
        let inherited = match &known {
            Some(known) => known.inherited,
            None => self.inherits(pid),
        };
        if inherited && !self.is_excluded(pid, place.as_ref()) {
            capture = true;
        }
        let decision = Decision {
            capture,
            inherited,
            place: place.map(Arc::new),
        };
        self.decided.insert(pid, decision);
        // What is not in the map is not captured when something is selected, and captured when not.
        let standing = known.map_or(!self.selectors.selects(), |known| known.capture);
        (capture != standing).then_some((pid, capture))
    }

    /// Decides anew at exec; keeps track of forks and ends. Returns what has to be written for the process, if
    /// anything.
    pub fn on_event(&mut self, event: &ProcessEvent) -> Option<(u32, bool)> {
        let tgid = event.tgid;
        match event.kind {
            event::EXEC if tgid != self.own_tgid => {
                // Without selectors only what observer itself starts has a policy to be undone.
                if self.is_idle() && event.parent_tgid != self.own_tgid {
                    return None;
                }
                let listens = self.listening(&[tgid]).contains(&tgid);
                let place = self.place(tgid);
                let capture = self.decide(tgid, listens, place.as_ref());
                let decision = Decision {
                    capture,
                    inherited: false,
                    place: place.map(Arc::new),
                };
                self.decided.insert(tgid, decision);
                Some((tgid, capture))
            }
            event::FORK => {
                // The kernel has copied the parent's policy already.
                if let Some(parent) = self.decided.get(&event.parent_tgid).cloned() {
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

    /// Where a process is in the cluster, if anywhere.
    fn place(&self, pid: u32) -> Option<PodRef> {
        self.pods.as_ref()?;
        let groups = self.proc.read(pid, "cgroup", CGROUP_LIMIT).ok()?;
        let groups = ControlGroups::parse(&groups);
        let place = PodRef {
            uid: groups.pod_uid,
            container: groups.container_id,
        };
        (place != PodRef::default()).then_some(place)
    }

    fn decide(&self, pid: u32, listens: bool, place: Option<&PodRef>) -> bool {
        let exe = self.proc.link(pid, "exe").ok();
        let found = self.pods.as_ref().zip(place).map(|(pods, place)| {
            let in_pod = place.uid.is_some();
            (pods.find(place), in_pod)
        });
        let pod = match &found {
            Some((Lookup::Known(member), _)) => InPod::Known(member),
            // A container that is in no pod is as any other process.
            Some((_, true)) => InPod::Unknown,
            Some((_, false)) | None => InPod::None,
        };
        pid != self.own_tgid
            && self.selectors.decide(&Candidate {
                pid,
                exe: exe.as_deref(),
                listens,
                pod,
            })
    }

    fn is_excluded(&self, pid: u32, place: Option<&PodRef>) -> bool {
        // As if everything were selected: what is left is the exclusion.
        !self.decide(pid, true, place)
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
    use crate::{
        kubernetes::{Kept, PodSelector, made},
        process::fixture::Fixture,
    };

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

    const POD: &str = "6f1b2c3d-0000-4444-8888-0123456789ab";

    /// The tree, of which nginx is in a pod; and a plan for the pods of namespaces that match.
    fn in_pod(namespaces: &str, excluded: &str) -> (Fixture, Arc<Store>, PolicyPlan) {
        let fixture = tree();
        for pid in [10, 11] {
            let group = format!("0::/kubepods/pod{POD}/{}\n", made::id('a'));
            fixture.write(&format!("{pid}/cgroup"), group.as_bytes());
        }
        let pods = Arc::new(Store::new(Kept::default()));
        let globs = |glob: &str| {
            let mut set = globset::GlobSetBuilder::new();
            if !glob.is_empty() {
                set.add(globset::Glob::new(glob).unwrap());
            }
            set.build().unwrap()
        };
        let selectors = Selectors::default().with_pods(PodSelector {
            namespaces: globs(namespaces),
            exclude_namespaces: globs(excluded),
            ..PodSelector::default()
        });
        let plan = PolicyPlan::new(fixture.proc(), selectors, 9);
        let plan = plan.in_cluster(Some(Arc::clone(&pods)));
        (fixture, pods, plan)
    }

    #[test]
    fn a_pod_is_captured_once_it_is_known_to_be_selected_and_no_longer_when_it_refuses() {
        let (fixture, pods, mut plan) = in_pod("sh*", "");
        assert!(plan.selected_only());
        assert_eq!(plan.rescan().unwrap(), []);
        let mut json = made::pod_json(POD, "api");
        pods.apply(made::pod(&json));
        let both = |capture| [(10, capture), (11, capture)];
        assert_eq!(plan.pods_changed(&pods.take_changes()), both(true));
        json["metadata"]["labels"] = serde_json::json!({"x": "y"});
        pods.apply(made::pod(&json));
        assert_eq!(
            plan.pods_changed(&pods.take_changes()),
            [],
            "nothing else of it matters"
        );
        json["metadata"]["annotations"] = serde_json::json!({"observer.dev/trace": "false"});
        pods.apply(made::pod(&json));
        assert_eq!(plan.pods_changed(&pods.take_changes()), both(false));
        // Forks of what was selected go with it, and a program that begins there is decided on at once.
        assert_eq!(plan.on_event(&happens(event::FORK, 13, 10)), None);
        json["metadata"]["annotations"] = serde_json::json!({});
        pods.apply(made::pod(&json));
        let group = format!("0::/kubepods/pod{POD}/{}\n", made::id('a'));
        for pid in [13, 14] {
            fixture.process(pid, 10, 103, 7, "/usr/sbin/nginx", &["nginx"]);
            fixture.write(&format!("{pid}/cgroup"), group.as_bytes());
        }
        let again = plan.pods_changed(&pods.take_changes());
        assert_eq!(again, [(10, true), (11, true), (13, true)]);
        assert_eq!(
            plan.on_event(&happens(event::EXEC, 14, 10)),
            Some((14, true))
        );
    }

    #[test]
    fn with_nothing_selected_only_pods_that_refuse_or_are_excluded_are_left_alone() {
        let (_fixture, pods, mut plan) = in_pod("", "");
        assert!(!plan.selected_only());
        assert_eq!(plan.rescan().unwrap(), [(9, false)]);
        let mut json = made::pod_json(POD, "api");
        json["metadata"]["annotations"] = serde_json::json!({"observer.dev/trace": "false"});
        pods.apply(made::pod(&json));
        let left_alone = [(10, false), (11, false)];
        assert_eq!(plan.pods_changed(&pods.take_changes()), left_alone);
        // Where a namespace is excluded, a pod that is not known may be in it.
        let (_fixture, pods, mut plan) = in_pod("", "kube-*");
        assert_eq!(
            plan.rescan().unwrap(),
            [(9, false), (10, false), (11, false)]
        );
        pods.apply(made::pod(&made::pod_json(POD, "api")));
        assert_eq!(
            plan.pods_changed(&pods.take_changes()),
            [(10, true), (11, true)]
        );
    }
}
