//! What is kept of a pod.

use std::{collections::BTreeMap, sync::Arc};

use super::{
    TRACE_ANNOTATION,
    api::{ContainerSpec, ContainerStatus, Metadata, PodObject},
    image::ImageReference,
    owner::{Owner, Workload},
};

/// Annotations with this prefix are resource attributes (OpenTelemetry, "Specify resource attributes using Kubernetes
/// annotations").
const ATTRIBUTE_PREFIX: &str = "resource.opentelemetry.io/";
/// On a static pod's mirror: the uid that the kubelet gave it on the node.
const CONFIG_HASH: &str = "kubernetes.io/config.hash";

/// Labels of one pod that are kept, at most.
const MOST_LABELS: usize = 64;
/// Annotations of one pod that are kept, at most.
const MOST_ANNOTATIONS: usize = 32;
/// Longest value that is kept of an annotation, bytes; longer ones are left out whole.
pub(super) const LONGEST: usize = 1024;
/// Containers of one pod that are kept, at most, those that it runs first included.
const MOST_CONTAINERS: usize = 64;

/// What else of each pod becomes attributes, as the user allows.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Kept {
    /// Labels, as `k8s.pod.label.<key>`.
    pub labels: Vec<String>,
    /// Annotations, as `k8s.pod.annotation.<key>`.
    pub annotations: Vec<String>,
    /// Labels of the pod's namespace, as `k8s.namespace.label.<key>`.
    pub namespace_labels: Vec<String>,
    /// Annotations of the pod's namespace, as `k8s.namespace.annotation.<key>`.
    pub namespace_annotations: Vec<String>,
    /// Whether `app.kubernetes.io/{instance,name,version}` name services.
    pub service_labels: bool,
}

impl Kept {
    /// Whether anything of namespaces is.
    pub fn is_of_namespaces(&self) -> bool {
        !(self.namespace_labels.is_empty() && self.namespace_annotations.is_empty())
    }
}

/// A pod.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Pod {
    pub(super) uid: Arc<str>,
    /// What the node's own paths call it, where that is not the uid: a static pod.
    pub(super) config_hash: Option<Arc<str>>,
    pub(super) name: String,
    pub(super) namespace: String,
    pub(super) node: Option<String>,
    pub(super) labels: BTreeMap<String, String>,
    /// Those that are allowed.
    pub(super) annotations: BTreeMap<String, String>,
    /// By the annotations with the prefix, without it.
    pub(super) attributes: BTreeMap<String, String>,
    /// The pod asks not to be traced.
    pub(super) refuses: bool,
    pub(super) workload: Workload,
    /// A controller that has to be asked for.
    pub(super) asked: Option<Owner>,
    pub(super) containers: Vec<Container>,
}

/// A container of a pod.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Container {
    pub(super) name: String,
    pub(super) image: Option<ImageReference>,
    /// What was pulled.
    pub(super) repo_digest: Option<String>,
    /// Each that it has or had last, with how often it had been restarted then. None before it starts.
    pub(super) runs: Vec<Run>,
}

/// One start of a container.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Run {
    pub(super) id: Arc<str>,
    pub(super) restarts: i64,
}

impl Pod {
    /// What is kept of an object; `None` for one with no uid or name, which is none of the API's.
    pub fn of(object: PodObject, kept: &Kept) -> Option<Self> {
        let PodObject {
            metadata,
            spec,
            status,
        } = object;
        if metadata.uid.is_empty() || metadata.name.is_empty() {
            return None;
        }
        let (workload, asked) = Workload::of(&metadata);
        let mut containers = Vec::new();
        for (specs, statuses) in [
            (spec.containers, status.container_statuses),
            (spec.init_containers, status.init_container_statuses),
            (
                spec.ephemeral_containers,
                status.ephemeral_container_statuses,
            ),
        ] {
            let statuses = statuses.unwrap_or_default();
            containers.extend(specs.unwrap_or_default().into_iter().map(|spec| {
                let status = statuses.iter().find(|status| status.name == spec.name);
                Container::of(spec, status)
            }));
        }
        containers.truncate(MOST_CONTAINERS);
        let Metadata {
            name,
            namespace,
            uid,
            labels,
            annotations,
            ..
        } = metadata;
        let config_hash = annotations
            .get(CONFIG_HASH)
            .map(|hash| hash.as_str().into());
        let refuses = annotations
            .get(TRACE_ANNOTATION)
            .is_some_and(|wish| wish.trim().eq_ignore_ascii_case("false"));
        let (mut attributes, mut allowed) = (BTreeMap::new(), BTreeMap::new());
        for (key, value) in annotations {
            if value.len() > LONGEST {
                continue;
            }
            match key.strip_prefix(ATTRIBUTE_PREFIX) {
                Some(attribute) if !attribute.is_empty() && attributes.len() < MOST_ANNOTATIONS => {
                    attributes.insert(attribute.to_owned(), value);
                }
                None if kept.annotations.contains(&key) => {
                    allowed.insert(key, value);
                }
                _ => {}
            }
        }
        Some(Self {
            uid: uid.into(),
            config_hash,
            name,
            namespace,
            node: spec.node_name.filter(|node| !node.is_empty()),
            labels: labels.into_iter().take(MOST_LABELS).collect(),
            annotations: allowed,
            attributes,
            refuses,
            workload,
            asked,
            containers,
        })
    }

    /// Its uid.
    pub fn uid(&self) -> &Arc<str> {
        &self.uid
    }

    /// Its namespace.
    pub fn namespace(&self) -> &str {
        &self.namespace
    }

    /// The controller that has to be asked for, since it does not tell by itself what stands above it.
    pub fn asked(&self) -> Option<&Owner> {
        self.asked.as_ref()
    }

    /// The same pod with the answer: what stands above its controller, if anything.
    #[must_use]
    pub fn answered(mut self, above: Option<&Owner>) -> Self {
        self.asked = None;
        if let Some(above) = above {
            self.workload.add(above);
        }
        self
    }

    /// Which container an id is of, and which of its starts. Where nothing else could be meant, a container that has
    /// told no id yet.
    pub(super) fn container(&self, id: Option<&str>) -> Option<(usize, Option<&Run>)> {
        let by_id = self
            .containers
            .iter()
            .enumerate()
            .find_map(|(at, container)| {
                let run = container.runs.iter().find(|run| Some(&*run.id) == id)?;
                Some((at, Some(run)))
            });
        by_id.or(match self.containers.as_slice() {
            [only] if only.runs.is_empty() => Some((0, None)),
            _ => None,
        })
    }
}

impl Container {
    fn of(spec: ContainerSpec, status: Option<&ContainerStatus>) -> Self {
        let mut runs = Vec::new();
        let mut repo_digest = None;
        if let Some(status) = status {
            let restarts = status.restart_count.unwrap_or_default().max(0);
            let run = |id: Option<&String>, restarts| {
                // `containerd://ID`
                let (_, id) = id?.split_once("://")?;
                (!id.is_empty()).then(|| Run {
                    id: id.into(),
                    restarts,
                })
            };
            let last = status.last_state.as_ref();
            let last = last.and_then(|state| state.terminated.as_ref()?.container_id.as_ref());
            let current = run(status.container_id.as_ref(), restarts);
            // Between two starts the current one is the last.
            let previous = run(last, (restarts - 1).max(0))
                .filter(|it| current.as_ref().is_none_or(|current| current.id != it.id));
            runs.extend(current.into_iter().chain(previous));
            let pulled = status.image_id.as_deref().and_then(ImageReference::parse);
            repo_digest = pulled.and_then(|it| Some(format!("{}@{}", it.name, it.digest?)));
        }
        Self {
            image: spec.image.as_deref().and_then(ImageReference::parse),
            name: spec.name,
            repo_digest,
            runs,
        }
    }
}
