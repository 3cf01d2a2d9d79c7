//! Made situations, each with one thing that the chart's pod has and this one lacks.

use super::*;
use crate::cli::doctor::kubernetes::limits::Limits;

/// The chart's pod on a node where all is well.
fn chart() -> Situation {
    let settings = Settings {
        prometheus: Some("0.0.0.0:9464".parse().unwrap()),
        ..Settings::default()
    };
    Situation {
        lacking: Vec::new(),
        has_net_admin: false,
        is_administrator: false,
        is_rootless: false,
        user: 0,
        has_own_process_ids: false,
        sees_others: true,
        confinement: Confinement::Free,
        is_filtered: true,
        refused: Vec::new(),
        may_gain: false,
        is_writable: false,
        settings: Ok(Some(settings)),
        node: Ok("node-1".to_owned()),
        is_in_pod: true,
        has_token: true,
        limits: Limits {
            memory: Some(512 << 20),
            cpu: Some(1.0),
        },
        answer: Answer::Asked(Ok(Heard {
            lacking: Vec::new(),
            has_pods: Some(true),
        })),
    }
}

/// What is not as it should be: name, state, detail, remedy.
fn lacks(situation: &Situation) -> Vec<(String, State, String, String)> {
    let findings = judge(situation).into_iter();
    findings
        .filter(|finding| finding.state != State::Ok)
        .map(|it| (it.name, it.state, it.detail, it.remedy.unwrap_or_default()))
        .collect()
}

/// The only lack, as name and state; its detail and its remedy contain these.
fn only(situation: &Situation, detail: &str, remedy: &str) -> (String, State) {
    let lacks = lacks(situation);
    let [(name, state, said, line)] = &lacks[..] else {
        panic!("{lacks:?}")
    };
    assert!(said.contains(detail), "{said}");
    assert!(line.contains(remedy), "{line}");
    (name.clone(), *state)
}

fn settings(situation: &mut Situation) -> &mut Settings {
    situation.settings.as_mut().unwrap().as_mut().unwrap()
}

#[test]
fn the_charts_pod_lacks_nothing() {
    assert_eq!(lacks(&chart()), []);
}

#[test]
fn each_capability_is_named_with_its_line() {
    for (capability, name) in [
        (Capability::Bpf, "BPF"),
        (Capability::Perfmon, "PERFMON"),
        (Capability::SysPtrace, "SYS_PTRACE"),
        (Capability::DacReadSearch, "DAC_READ_SEARCH"),
    ] {
        let mut pod = chart();
        pod.lacking = vec![capability];
        // As the kernel refuses then.
        pod.refused = vec!["bpf", "perf_event_open"];
        if capability != Capability::Bpf && capability != Capability::Perfmon {
            pod.refused.clear();
        }
        pod.sees_others = capability != Capability::SysPtrace;
        let line = format!("capabilities.add: [{name}]");
        let is = only(&pod, "observer does not start", &line);
        assert_eq!(is, (format!("capability {name}"), State::Missing));
        pod.user = 65534;
        assert!(lacks(&pod)[0].3.contains("runAsUser: 0"));
    }
    let mut pod = chart();
    pod.is_rootless = true;
    let is = only(&pod, "user namespace", "hostUsers: true");
    assert_eq!(is, ("capabilities".to_owned(), State::Missing));
}

#[test]
fn net_admin_is_lacking_only_where_the_configuration_wants_it() {
    let mut pod = chart();
    settings(&mut pod).tcp_option.peers = vec!["10.0.0.0/8".parse().unwrap()];
    let is = only(&pod, "tcp_option.peers", "extraCapabilities: [NET_ADMIN]");
    assert_eq!(is, ("capability NET_ADMIN".to_owned(), State::Degraded));
    pod.has_net_admin = true;
    assert_eq!(lacks(&pod), []);
}

#[test]
fn host_pid_and_what_refuses_to_look_at_processes() {
    let mut pod = chart();
    pod.has_own_process_ids = true;
    pod.sees_others = false;
    let is = only(&pod, "selector", "hostPID: true");
    assert_eq!(is, ("hostPID".to_owned(), State::Missing));
    for (confinement, detail, remedy) in [
        (
            Confinement::AppArmor("cri-containerd.apparmor.d".into()),
            "cri-containerd.apparmor.d",
            "appArmorProfile: Unconfined",
        ),
        (
            Confinement::SeLinux("container_t".into()),
            "container_t",
            "spc_t",
        ),
        (Confinement::Free, "refused:", "security module"),
    ] {
        let mut pod = chart();
        pod.sees_others = false;
        pod.confinement = confinement;
        let is = only(&pod, detail, remedy);
        assert_eq!(is, ("other processes".to_owned(), State::Degraded));
    }
}

#[test]
fn a_profile_that_refuses_calls_is_told_from_one_that_does_not() {
    let mut pod = chart();
    pod.refused = vec!["bpf", "perf_event_open"];
    let is = only(&pod, "nothing is traced", "type: Unconfined");
    assert_eq!(is, ("seccompProfile".to_owned(), State::Missing));
    pod.refused = vec!["perf_event_open"];
    let is = only(&pod, "over TLS stay unknown", "type: Localhost");
    assert_eq!(is, ("seccompProfile".to_owned(), State::Degraded));
    pod.is_filtered = false;
    only(&pod, "by a security module", "Unconfined");
}

#[test]
fn more_than_is_needed_is_said() {
    let mut pod = chart();
    (pod.may_gain, pod.is_writable) = (true, true);
    let line = "allowPrivilegeEscalation: false, readOnlyRootFilesystem: true";
    let is = only(&pod, "tracing works", line);
    assert_eq!(is, ("securityContext".to_owned(), State::Degraded));
}

#[test]
fn the_configuration_and_a_page_that_nobody_reaches() {
    let mut pod = chart();
    pod.settings = Ok(None);
    let is = only(&pod, "127.0.0.1", "mountPath: /etc/observer");
    assert_eq!(is, ("configuration".to_owned(), State::Degraded));
    pod.settings = Err("observer.yaml:1:1: unknown field".to_owned());
    let is = only(&pod, "unknown field", "config");
    assert_eq!(is, ("configuration".to_owned(), State::Missing));
    for page in [None, Some("127.0.0.1:9464".parse().unwrap())] {
        let mut pod = chart();
        settings(&mut pod).prometheus = page;
        let is = only(&pod, "never ready", "metrics.port");
        assert_eq!(is, ("metrics page".to_owned(), State::Missing));
    }
}

#[test]
fn the_node_and_the_account() {
    let mut pod = chart();
    pod.node = Err(None);
    let is = only(&pod, "is not set", "fieldPath: spec.nodeName");
    assert_eq!(is, ("node's name".to_owned(), State::Degraded));
    pod.node = Err(Some("a b".to_owned()));
    only(&pod, "\"a b\"", "NODE_NAME");

    let api = ("Kubernetes API".to_owned(), State::Degraded);
    let mut pod = chart();
    pod.has_token = false;
    pod.answer = Answer::Impossible("there is no service account's token".to_owned());
    assert_eq!(only(&pod, "no names", "automountServiceAccountToken"), api);
    pod.answer = Answer::Asked(Err(Unheard::Away("refused".to_owned())));
    assert_eq!(only(&pod, "refused", "kubernetes.apiPorts"), api);
    pod.answer = Answer::Asked(Err(Unheard::Stranger("Unauthorized".to_owned())));
    assert_eq!(only(&pod, "Unauthorized", "serviceAccountName"), api);
    // Nothing is wanted of it.
    pod.answer = Answer::Off("kubernetes.watch is off");
    assert_eq!(lacks(&pod), []);
    pod.answer = Answer::Asked(Ok(Heard {
        lacking: Vec::new(),
        has_pods: Some(false),
    }));
    let is = only(&pod, "none on node-1", "spec.nodeName");
    assert_eq!(is, ("pods of the node".to_owned(), State::Degraded));
}

#[test]
fn each_right_is_named_with_what_is_off_and_its_rule() {
    for right in account::needed(true, true) {
        let mut pod = chart();
        pod.answer = Answer::Asked(Ok(Heard {
            lacking: vec![right],
            has_pods: None,
        }));
        let is = only(&pod, right.without, &right.rule());
        assert_eq!(
            is,
            (format!("right to {}", right.resource), State::Degraded)
        );
    }
}

#[test]
fn limits_that_are_missing_or_too_low() {
    let mut pod = chart();
    pod.limits.memory = None;
    let is = only(&pod, "none", "resources.limits.memory: 512Mi");
    assert_eq!(is, ("memory limit".to_owned(), State::Degraded));
    pod.limits.memory = Some(64 << 20);
    only(&pod, "64 MiB", "resources.limits.memory: 512Mi");
    let mut pod = chart();
    pod.limits.cpu = None;
    assert_eq!(lacks(&pod), [], "what it takes is the node's");
    pod.limits.cpu = Some(0.05);
    let is = only(&pod, "0.05 cores", "resources.limits.cpu");
    assert_eq!(is, ("CPU limit".to_owned(), State::Degraded));
}
