//! `service.*` of what runs in a pod.
//!
//! The order is OpenTelemetry's ("Populating resources attributes in Kubernetes", semantic conventions): annotations, then
//! well-known labels where the user allows them, then what the workload is called.

use super::pod::{Container, Kept, Pod};

/// Attributes that are chosen here.
pub(super) const KEYS: [&str; 4] = [
    "service.instance.id",
    "service.name",
    "service.namespace",
    "service.version",
];

/// `service.*`, each `None` where nothing tells it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ServiceNames {
    /// `service.name`
    pub name: Option<String>,
    /// `service.namespace`
    pub namespace: Option<String>,
    /// `service.version`
    pub version: Option<String>,
    /// `service.instance.id`: the same for all programs of a container, and after its restart.
    pub instance_id: Option<String>,
}

pub(super) fn of(pod: &Pod, container: Option<&Container>, kept: &Kept) -> ServiceNames {
    let annotation = |key: &str| filled(pod.attributes.get(key));
    let label = |name: &str| {
        let key = format!("app.kubernetes.io/{name}");
        filled(pod.labels.get(&key)).filter(|_| kept.service_labels)
    };
    let workload = &pod.workload;
    let named = [
        &workload.deployment,
        &workload.replica_set,
        &workload.stateful_set,
        &workload.daemon_set,
        &workload.cron_job,
        &workload.job,
    ];
    let image = container.and_then(|container| container.image.as_ref());
    ServiceNames {
        name: annotation("service.name")
            .or_else(|| label("instance"))
            .or_else(|| label("name"))
            .or_else(|| named.into_iter().flatten().next().cloned())
            .or_else(|| Some(pod.name.clone())),
        namespace: annotation("service.namespace").or_else(|| filled(Some(&pod.namespace))),
        version: annotation("service.version")
            .or_else(|| label("version"))
            .or_else(|| image.and_then(|image| image.version())),
        instance_id: annotation("service.instance.id").or_else(|| {
            let container = container?;
            Some(format!("{}.{}.{}", pod.namespace, pod.name, container.name))
        }),
    }
}

fn filled(text: Option<&String>) -> Option<String> {
    let text = text?.trim();
    (!text.is_empty()).then(|| text.to_owned())
}
