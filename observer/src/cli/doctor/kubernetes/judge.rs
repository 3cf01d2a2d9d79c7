//! What a situation means, and which line changes it.

use super::{
    super::{Finding, State},
    situation::{Answer, CONFIGURATION, Confinement, Situation, followed},
};
use crate::{
    cli::privileges::Capability,
    config::Settings,
    kubernetes::account::{self, Heard, Unheard},
};

/// Below this limit of memory there is no room for the maps, queues and buffers of the default configuration, bytes.
const LEAST_MEMORY: u64 = 96 << 20;
/// Below this limit of CPU events of a node with some load are lost, cores.
const LEAST_CPU: f64 = 0.1;

/// One finding for each thing, in the order of the manifest.
pub(super) fn judge(situation: &Situation) -> Vec<Finding> {
    let settings = situation.settings.as_ref().ok().and_then(Option::as_ref);
    let mut findings = capabilities(situation);
    findings.extend(network(situation, settings));
    findings.push(process_ids(situation));
    findings.extend(others(situation));
    findings.push(seccomp(situation));
    findings.push(hardening(situation));
    findings.push(configuration(situation));
    findings.extend(page(settings));
    findings.push(node(situation));
    findings.extend(account(situation, settings));
    findings.push(memory(situation));
    findings.push(cpu(situation));
    findings
}

fn capabilities(situation: &Situation) -> Vec<Finding> {
    if situation.is_rootless {
        return vec![Finding::lacking(
            "capabilities",
            State::Missing,
            "they do not count in a user namespace: observer does not start",
            "hostUsers: true",
        )];
    }
    if situation.lacking.is_empty() {
        let beyond = match situation.is_administrator {
            true => ", and SYS_ADMIN, which only kernel TLS in the fentry tier has a use for",
            false => "",
        };
        let detail = format!("all that tracing needs{beyond}");
        return vec![Finding::ok("capabilities", detail)];
    }
    let lacking = situation.lacking.iter();
    let each = lacking.map(|capability| {
        let name = short(*capability);
        let mut remedy = format!("securityContext.capabilities.add: [{name}]");
        if situation.user != 0 {
            remedy
                .push_str(" and runAsUser: 0: who is not root loses them when the program starts");
        }
        Finding::lacking(
            format!("capability {name}"),
            State::Missing,
            format!(
                "missing ({}): observer does not start",
                capability.purpose()
            ),
            remedy,
        )
    });
    each.collect()
}

/// As manifests call it.
fn short(capability: Capability) -> &'static str {
    let name = capability.as_str();
    name.strip_prefix("CAP_").unwrap_or(name)
}

/// What only some configurations need.
fn network(situation: &Situation, settings: Option<&Settings>) -> Option<Finding> {
    let settings = settings?;
    let wants = !settings.tcp_option.peers.is_empty()
        || settings.inject_headers != crate::config::InjectHeaders::Off;
    let name = "capability NET_ADMIN";
    match (wants, situation.has_net_admin || situation.is_administrator) {
        (false, _) => None,
        (true, true) => Some(Finding::ok(
            name,
            "there, for tcp_option.peers and inject_headers",
        )),
        (true, false) => Some(Finding::lacking(
            name,
            State::Degraded,
            "missing: tcp_option.peers and inject_headers are off, traces between hosts go on only where a header does it",
            "extraCapabilities: [NET_ADMIN] in the values, or securityContext.capabilities.add",
        )),
    }
}

fn process_ids(situation: &Situation) -> Finding {
    if situation.has_own_process_ids {
        Finding::lacking(
            "hostPID",
            State::Missing,
            "the process ids are the container's own: observer starts only with a selector, and names no process of the node",
            "hostPID: true in the pod's spec",
        )
    } else {
        Finding::ok("hostPID", "the node's process ids")
    }
}

/// Whether it may look at other processes, beyond what [`capabilities`] and [`process_ids`] say.
fn others(situation: &Situation) -> Option<Finding> {
    let may = !situation.lacking.contains(&Capability::SysPtrace)
        && !situation.is_rootless
        && !situation.has_own_process_ids;
    let name = "other processes";
    match (may, situation.sees_others) {
        (false, _) => None,
        (true, true) => Some(Finding::ok(name, "can be looked at")),
        (true, false) => {
            let (by, remedy) = match &situation.confinement {
                Confinement::AppArmor(profile) => (
                    format!(" by AppArmor's profile {profile}"),
                    "appArmorProfile: Unconfined in the values; securityContext.appArmorProfile: {type: Unconfined} in a manifest",
                ),
                Confinement::SeLinux(kind) => (
                    format!(" by SELinux, to the type {kind}"),
                    "seLinuxOptions: {type: spc_t} in the values; securityContext.seLinuxOptions in a manifest",
                ),
                Confinement::Free => (
                    String::new(),
                    "look for a security module of the node's that refuses ptrace",
                ),
            };
            Some(Finding::lacking(
                name,
                State::Degraded,
                format!(
                    "refused{by}: services are called by the names of their threads, runtimes and TLS libraries are not recognised"
                ),
                remedy,
            ))
        }
    }
}

fn seccomp(situation: &Situation) -> Finding {
    let name = "seccompProfile";
    let has = |capability| !situation.lacking.contains(&capability);
    // Who lacks capabilities is refused by the kernel itself.
    let tells = has(Capability::Bpf) && has(Capability::Perfmon) && !situation.is_rootless;
    let refused = situation.refused.iter().filter(|_| tells);
    let refused: Vec<&str> = refused.copied().collect();
    let off = match refused.as_slice() {
        [] => {
            let detail = match (situation.is_filtered, tells) {
                (false, _) => "none is in force",
                (true, true) => "one is in force, which lets bpf and perf_event_open through",
                (true, false) => {
                    "one is in force; what it refuses can't be told without the capabilities"
                }
            };
            return Finding::ok(name, detail);
        }
        ["perf_event_open"] => {
            "nothing is attached to executables: parents of calls in runtimes and what is said over TLS stay unknown"
        }
        _ => "no program can be loaded, and nothing is traced",
    };
    let by = match situation.is_filtered {
        true => "refused by the profile",
        false => "refused, by a security module",
    };
    let state = match refused.contains(&"bpf") {
        true => State::Missing,
        false => State::Degraded,
    };
    Finding::lacking(
        name,
        state,
        format!("{} {by}: {off}", refused.join(" and ")),
        "seccompProfile: {type: Unconfined}, or {type: Localhost, localhostProfile: …} with one that allows bpf and perf_event_open",
    )
}

/// More than it needs.
fn hardening(situation: &Situation) -> Finding {
    let more = [
        (
            situation.may_gain,
            "may gain privileges",
            "allowPrivilegeEscalation: false",
        ),
        (
            situation.is_writable,
            "can write its root file system",
            "readOnlyRootFilesystem: true",
        ),
    ];
    let more = more.iter().filter(|(is_so, ..)| *is_so);
    let (details, remedies): (Vec<&str>, Vec<&str>) =
        more.map(|(_, detail, remedy)| (*detail, *remedy)).unzip();
    if details.is_empty() {
        return Finding::ok("securityContext", "no more than is needed");
    }
    Finding::lacking(
        "securityContext",
        State::Degraded,
        format!(
            "tracing works; the container {}, which it has no use for",
            details.join(" and ")
        ),
        remedies.join(", "),
    )
}

fn configuration(situation: &Situation) -> Finding {
    let name = "configuration";
    match &situation.settings {
        Ok(Some(_)) => Finding::ok(name, CONFIGURATION),
        Ok(None) => Finding::lacking(
            name,
            State::Degraded,
            format!(
                "{CONFIGURATION} is not there: with defaults the page listens on 127.0.0.1, where neither kubelet nor Prometheus reach it"
            ),
            "volumeMounts: [{name: config, mountPath: /etc/observer, readOnly: true}], and the ConfigMap as volume",
        ),
        Err(error) => Finding::lacking(
            name,
            State::Missing,
            format!("it is refused, and observer does not start: {error}"),
            "config in the values, observer.yaml in the ConfigMap",
        ),
    }
}

fn page(settings: Option<&Settings>) -> Option<Finding> {
    let name = "metrics page";
    let remedy = "metrics.port in the values; prometheus: 0.0.0.0:9464 in observer.yaml";
    Some(match settings?.prometheus {
        Some(address) if address.ip().is_loopback() => Finding::lacking(
            name,
            State::Missing,
            format!(
                "at {address}, where the kubelet's probes do not reach it: the pod is never ready, and started again and again"
            ),
            remedy,
        ),
        Some(address) => Finding::ok(name, address.to_string()),
        None => Finding::lacking(
            name,
            State::Missing,
            "off: the kubelet's probes find nothing, so the pod is never ready, and started again and again",
            remedy,
        ),
    })
}

fn node(situation: &Situation) -> Finding {
    let name = "node's name";
    let remedy = "env: [{name: NODE_NAME, valueFrom: {fieldRef: {fieldPath: spec.nodeName}}}]";
    let off = "pods have no names";
    match &situation.node {
        Ok(node) => Finding::ok(name, node.as_str()),
        Err(None) => Finding::lacking(
            name,
            State::Degraded,
            format!("NODE_NAME is not set: {off}"),
            remedy,
        ),
        Err(Some(said)) => Finding::lacking(
            name,
            State::Degraded,
            format!("NODE_NAME is {said:?}, which is no node's name: {off}"),
            remedy,
        ),
    }
}

/// The service account: whether the API server can be asked, and what it lets us do.
fn account(situation: &Situation, settings: Option<&Settings>) -> Vec<Finding> {
    let name = "Kubernetes API";
    let off = "pods, workloads and services have no names";
    let heard = match &situation.answer {
        Answer::Off(reason) => {
            return vec![Finding::ok(name, format!("not asked: {reason}"))];
        }
        Answer::Impossible(reason) => {
            let remedy = match (situation.is_in_pod, situation.has_token) {
                (true, false) => {
                    "kubernetes.enabled: true in the values; automountServiceAccountToken: true in a manifest"
                }
                (false, _) => "run it in a pod, or set KUBECONFIG",
                (true, true) => "nothing in the manifest: this is the image's matter",
            };
            let detail = format!("can't be asked: {reason}; {off}");
            return vec![Finding::lacking(name, State::Degraded, detail, remedy)];
        }
        Answer::Asked(Err(Unheard::Away(reason))) => {
            return vec![Finding::lacking(
                name,
                State::Degraded,
                format!("can't be reached: {reason}; until it can, {off}"),
                "kubernetes.apiPorts in the values where it listens on another port than 443 and 6443; egress of a NetworkPolicy",
            )];
        }
        Answer::Asked(Err(Unheard::Stranger(reason))) => {
            return vec![Finding::lacking(
                name,
                State::Degraded,
                format!("does not know the account: {reason}; {off}"),
                "serviceAccountName with a token that the kubelet keeps new (automountServiceAccountToken: true)",
            )];
        }
        Answer::Asked(Ok(heard)) => heard,
    };
    let Heard { lacking, has_pods } = heard;
    let mut findings = Vec::new();
    if lacking.is_empty() {
        let (services, namespaces) = followed(settings);
        let kinds = account::needed(services, namespaces);
        let detail = format!("answers, and allows all {} kinds of questions", kinds.len());
        findings.push(Finding::ok(name, detail));
    }
    findings.extend(lacking.iter().map(|right| {
        let verbs = right.verbs.join(" and ");
        let of = right.name.map(|name| format!(" {name}"));
        Finding::lacking(
            format!("right to {}", right.resource),
            State::Degraded,
            format!(
                "the account may not {verbs} {}{}: {}",
                right.resource,
                of.unwrap_or_default(),
                right.without
            ),
            format!("in the ClusterRole: {}", right.rule()),
        )
    }));
    if let (Ok(node), Some(false)) = (&situation.node, has_pods) {
        findings.push(Finding::lacking(
            "pods of the node",
            State::Degraded,
            format!("there are none on {node}: is that this node? Pods have no names"),
            "NODE_NAME from fieldPath: spec.nodeName, and no kubernetes.node in observer.yaml",
        ));
    }
    findings
}

fn memory(situation: &Situation) -> Finding {
    let name = "memory limit";
    let remedy = "resources.limits.memory: 512Mi";
    match situation.limits.memory {
        None => Finding::lacking(
            name,
            State::Degraded,
            "none: only observer's own limits bound what it takes of the node",
            remedy,
        ),
        Some(bytes) if bytes < LEAST_MEMORY => Finding::lacking(
            name,
            State::Degraded,
            format!(
                "{} MiB, too little for the default maps and queues: the kernel ends observer under load, and the kubelet starts it again",
                bytes >> 20
            ),
            remedy,
        ),
        Some(bytes) => Finding::ok(name, format!("{} MiB", bytes >> 20)),
    }
}

fn cpu(situation: &Situation) -> Finding {
    let name = "CPU limit";
    match situation.limits.cpu {
        Some(cores) if cores < LEAST_CPU => Finding::lacking(
            name,
            State::Degraded,
            format!("{cores:.2} cores: under load exchanges are lost, and counted as lost"),
            "resources.limits.cpu: \"1\"",
        ),
        Some(cores) => Finding::ok(name, format!("{cores:.2} cores")),
        None => Finding::ok(name, "none"),
    }
}

#[cfg(test)]
#[path = "judge_tests.rs"]
mod tests;
