//! A process's place in the cluster, and the attributes that follow from it.

use std::sync::Arc;

use super::{
    names::{self, ServiceNames},
    namespaces,
    pod::{Container, Kept, Pod, Run},
};

/// Where a process is, as its control groups tell.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PodRef {
    /// The pod's uid on this node.
    pub uid: Option<String>,
    /// The container's id.
    pub container: Option<String>,
}

/// Value of a resource attribute.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Attribute {
    /// Text.
    Text(String),
    /// Integer.
    Int(i64),
    /// Array of text.
    Texts(Vec<String>),
}

/// A container of a pod that is known.
#[derive(Clone, Debug)]
pub struct Member {
    pub(super) pod: Arc<Pod>,
    /// Which of the pod's containers; `None` before the kubelet has told its id.
    pub(super) container: Option<usize>,
    pub(super) run: Option<Run>,
    /// What is allowed of its namespace.
    pub(super) namespace: Option<namespaces::Attributes>,
}

impl Member {
    pub(super) fn new(pod: &Arc<Pod>, id: Option<&str>) -> Self {
        let found = pod.container(id);
        Self {
            container: found.map(|(at, _)| at),
            run: found.and_then(|(_, run)| run.cloned()),
            pod: Arc::clone(pod),
            namespace: None,
        }
    }

    /// Whether everything is known that will be: no container's id and no controller is waited for.
    pub fn is_whole(&self) -> bool {
        self.container.is_some() && self.pod.asked.is_none()
    }

    /// The pod.
    pub fn pod(&self) -> &Pod {
        &self.pod
    }

    pub(super) fn container(&self) -> Option<&Container> {
        self.pod.containers.get(self.container?)
    }

    /// `service.*` as the conventions have them follow from the pod.
    pub fn service(&self, kept: &Kept) -> ServiceNames {
        names::of(&self.pod, self.container(), kept)
    }

    /// Resource attributes by annotations, without those that are [`service`](Self::service)'s.
    pub fn annotated(&self) -> impl Iterator<Item = (&str, &str)> {
        let all = self.pod.attributes.iter();
        all.map(|(key, value)| (key.as_str(), value.as_str()))
            .filter(|(key, _)| !names::KEYS.contains(key))
    }

    /// The attributes of pod, container and workload.
    pub fn attributes(&self) -> Vec<(&'static str, Attribute)> {
        let (pod, workload) = (&*self.pod, &self.pod.workload);
        let mut attributes = Vec::with_capacity(16);
        let mut set = |key, value: Option<&str>| {
            if let Some(value) = value.filter(|value| !value.is_empty()) {
                attributes.push((key, Attribute::Text(value.to_owned())));
            }
        };
        set("k8s.pod.uid", Some(&pod.uid));
        set("k8s.pod.name", Some(&pod.name));
        set("k8s.namespace.name", Some(&pod.namespace));
        set("k8s.node.name", pod.node.as_deref());
        set("k8s.deployment.name", workload.deployment.as_deref());
        set("k8s.replicaset.name", workload.replica_set.as_deref());
        set("k8s.statefulset.name", workload.stateful_set.as_deref());
        set("k8s.daemonset.name", workload.daemon_set.as_deref());
        set("k8s.cronjob.name", workload.cron_job.as_deref());
        set("k8s.job.name", workload.job.as_deref());
        if let Some(container) = self.container() {
            set("k8s.container.name", Some(&container.name));
            let image = container.image.as_ref();
            set("container.image.name", image.map(|image| &*image.name));
            let tag = image.and_then(|image| image.tag_or_latest());
            let list = |one: &str| Attribute::Texts(vec![one.to_owned()]);
            attributes.extend(tag.map(|tag| ("container.image.tags", list(tag))));
            let digest = container.repo_digest.as_deref();
            attributes.extend(digest.map(|it| ("container.image.repo_digests", list(it))));
        }
        let restarts = self.run.as_ref().map(|run| Attribute::Int(run.restarts));
        attributes.extend(restarts.map(|it| ("k8s.container.restart_count", it)));
        attributes
    }

    /// Labels and annotations that are allowed, of the pod and of its namespace, by the attribute's key.
    pub fn allowed(&self, kept: &Kept) -> Vec<(String, String)> {
        let labels = kept.labels.iter().filter_map(|key| {
            let value = self.pod.labels.get(key)?;
            Some((format!("k8s.pod.label.{key}"), value.clone()))
        });
        let annotations = self.pod.annotations.iter();
        let annotations =
            annotations.map(|(key, value)| (format!("k8s.pod.annotation.{key}"), value.clone()));
        let namespace = self.namespace.iter().flat_map(|it| it.iter().cloned());
        labels.chain(annotations).chain(namespace).collect()
    }
}

#[cfg(test)]
#[path = "member_tests.rs"]
mod tests;
