//! As whom the API server is asked, and what for.

use std::{env, path::Path};

/// A service account's token, in a pod that has one.
const TOKEN: &str = "/var/run/secrets/kubernetes.io/serviceaccount/token";

/// Whether this process is in a pod that knows where the API server is.
pub fn is_in_pod() -> bool {
    env::var_os("KUBERNETES_SERVICE_HOST").is_some()
}

/// Whether there is a service account's token.
pub fn has_token() -> bool {
    Path::new(TOKEN).exists()
}

/// Something that is asked of the API server.
#[derive(Debug, PartialEq, Eq)]
pub struct Right {
    /// The API's group, empty for the first one.
    pub group: &'static str,
    /// The kind, in the plural.
    pub resource: &'static str,
    /// The only one that is asked for; `None` for all.
    pub name: Option<&'static str>,
    /// How it is asked.
    pub verbs: &'static [&'static str],
    /// What is missing without it.
    pub without: &'static str,
}

const FOLLOW: &[&str] = &["list", "watch"];
const GET: &[&str] = &["get"];

/// What is asked whatever the settings.
const ALWAYS: [Right; 4] = [
    Right {
        group: "",
        resource: "pods",
        name: None,
        verbs: FOLLOW,
        without: "pods, containers and workloads have no names, and nothing can be selected by pod",
    },
    Right {
        group: "apps",
        resource: "replicasets",
        name: None,
        verbs: GET,
        without: "a ReplicaSet whose name does not tell its Deployment stands for it",
    },
    Right {
        group: "batch",
        resource: "jobs",
        name: None,
        verbs: GET,
        without: "a Job whose name does not tell its CronJob stands for it",
    },
    Right {
        group: "",
        resource: "namespaces",
        name: Some("kube-system"),
        verbs: GET,
        without: "k8s.cluster.uid is missing",
    },
];

const SERVICES: [Right; 2] = [
    Right {
        group: "",
        resource: "services",
        name: None,
        verbs: FOLLOW,
        without: "calls to services have no service.peer.name",
    },
    Right {
        group: "discovery.k8s.io",
        resource: "endpointslices",
        name: None,
        verbs: FOLLOW,
        without: "calls to the pods behind services have no service.peer.name",
    },
];

const NAMESPACES: [Right; 1] = [Right {
    group: "",
    resource: "namespaces",
    name: None,
    verbs: FOLLOW,
    without: "labels and annotations of namespaces are missing",
}];

/// What is asked where services are followed, and namespaces.
pub fn needed(services: bool, namespaces: bool) -> Vec<&'static Right> {
    let services = SERVICES.iter().filter(|_| services);
    let namespaces = NAMESPACES.iter().filter(|_| namespaces);
    ALWAYS.iter().chain(services).chain(namespaces).collect()
}

impl Right {
    /// The rule of a role that gives it, on one line.
    pub fn rule(&self) -> String {
        let group = if self.group.is_empty() {
            "\"\""
        } else {
            self.group
        };
        let names = self.name.map(|name| format!(" resourceNames: [{name}],"));
        format!(
            "{{apiGroups: [{group}], resources: [{}],{} verbs: [{}]}}",
            self.resource,
            names.unwrap_or_default(),
            self.verbs.join(", ")
        )
    }
}

/// What the API server says of us.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Heard {
    /// Rights that we lack, each whole or in part.
    pub lacking: Vec<&'static Right>,
    /// Whether there is a pod on the node; `None` where that may not be asked.
    pub has_pods: Option<bool>,
}

/// Why it says nothing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Unheard {
    /// It can't be reached.
    Away(String),
    /// It does not know us.
    Stranger(String),
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The rules of the role among the manifests, each on one line.
    fn rules(manifests: &str) -> Vec<String> {
        let (_, role) = manifests.split_once("\nrules:\n").unwrap();
        let (role, _) = role.split_once("\n---\n").unwrap();
        let lines = role.lines().map(str::trim);
        let lines: Vec<&str> = lines.filter(|line| !line.starts_with('#')).collect();
        let rules = lines.join(", ");
        let rules = rules.split("- ").filter(|rule| !rule.is_empty());
        rules
            .map(|rule| format!("{{{}}}", rule.trim_end_matches([',', ' '])))
            .collect()
    }

    #[test]
    fn the_chart_gives_what_is_asked_for_and_nothing_else() {
        let sorted = |mut rules: Vec<String>| {
            rules.sort();
            rules
        };
        let needed = |namespaces| {
            sorted(
                needed(true, namespaces)
                    .iter()
                    .map(|it| it.rule())
                    .collect(),
            )
        };
        let manifests = include_str!("../../../deploy/kubernetes/observer.yaml");
        assert_eq!(sorted(rules(manifests)), needed(false));
        let gateway = include_str!("../../../deploy/helm/observer/examples/gateway.rendered.yaml");
        assert_eq!(sorted(rules(gateway)), needed(true));
    }
}
