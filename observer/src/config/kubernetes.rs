//! Kubernetes: whether the cluster is asked, what becomes of what it says, and which pods are captured.

use std::str::FromStr;

use globset::GlobBuilder;

use super::{
    Rejected,
    text::{choice, deserialize_from_str},
};
use crate::kubernetes::LabelSelector;

choice! {
    /// Whether the Kubernetes API is asked for this node's pods.
    Watch, "a choice about Kubernetes", "auto, on or off";
    /// Where observer runs in a pod that has a service account's token and NODE_NAME.
    #[default]
    Auto = "auto",
    /// It is, by the service account or a kubeconfig; an error at the start where that can't be.
    On = "on",
    /// It is not.
    Off = "off",
}

choice! {
    /// Whether services and endpoint slices of the cluster are asked for, which name whom a call goes to.
    PeerServices, "a choice about services", "on or off";
    /// They are.
    #[default]
    On = "on",
    /// They are not.
    Off = "off",
}

choice! {
    /// Whether `app.kubernetes.io/{instance,name,version}` name services.
    ServiceLabels, "a choice about labels", "on or off";
    /// They do not.
    #[default]
    Off = "off",
    /// They do, below the annotations and above the workload's name.
    On = "on",
}

/// What a person may decide about Kubernetes, but for the selection.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Kubernetes {
    /// Whether it is asked.
    pub watch: Watch,
    /// The node's name; without it the environment's NODE_NAME.
    pub node: Option<NodeName>,
    /// Labels of pods that become `k8s.pod.label.<key>`.
    pub labels: Vec<MetadataKey>,
    /// Annotations of pods that become `k8s.pod.annotation.<key>`.
    pub annotations: Vec<MetadataKey>,
    /// Labels of namespaces that become `k8s.namespace.label.<key>`.
    pub namespace_labels: Vec<MetadataKey>,
    /// Annotations of namespaces that become `k8s.namespace.annotation.<key>`.
    pub namespace_annotations: Vec<MetadataKey>,
    /// Whether well-known labels name services.
    pub service_labels: ServiceLabels,
    /// Whether peers get names.
    pub services: PeerServices,
}

/// Which pods are captured: each list that is not empty has to fit.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PodSelection {
    /// Namespaces.
    pub namespaces: Vec<PodGlob>,
    /// Namespaces that are left alone, whatever else selects them.
    pub exclude_namespaces: Vec<PodGlob>,
    /// Pods' labels: one of these has to match.
    pub labels: Vec<LabelSelector>,
    /// Containers' images, with or without tag.
    pub images: Vec<PodGlob>,
}

impl PodSelection {
    /// Some list names what to capture.
    pub fn is_selective(&self) -> bool {
        !(self.namespaces.is_empty() && self.labels.is_empty() && self.images.is_empty())
    }

    /// Something is asked of pods.
    pub fn is_empty(&self) -> bool {
        !self.is_selective() && self.exclude_namespaces.is_empty()
    }
}

/// A pattern for a namespace or an image, as in a shell; `*` matches `/` too.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PodGlob(String);

impl PodGlob {
    /// As it was written.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for PodGlob {
    type Err = Rejected;

    fn from_str(text: &str) -> Result<Self, Rejected> {
        let built = GlobBuilder::new(text).literal_separator(false).build();
        if text.is_empty() || built.is_err() {
            return Err(Rejected::new(
                text,
                "a pattern for a namespace or an image",
                "a name with * ? [a-z] {a,b}, e.g. shop, kube-* or registry.example/shop/*",
            ));
        }
        Ok(Self(text.to_owned()))
    }
}

/// The name of a node: it goes into a selector as it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NodeName(String);

impl NodeName {
    /// As it was written.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for NodeName {
    type Err = Rejected;

    fn from_str(text: &str) -> Result<Self, Rejected> {
        // RFC 1123, as Kubernetes has it.
        let is_name = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || "-.".contains(c);
        if text.is_empty() || text.len() > 253 || !text.chars().all(is_name) {
            return Err(Rejected::new(
                text,
                "the name of a node",
                "it as `kubectl get nodes` does, e.g. worker-1",
            ));
        }
        Ok(Self(text.to_owned()))
    }
}

/// The key of a label or an annotation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MetadataKey(String);

impl MetadataKey {
    /// As it was written.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for MetadataKey {
    type Err = Rejected;

    fn from_str(text: &str) -> Result<Self, Rejected> {
        let is_key = |c: char| c.is_ascii_alphanumeric() || "-_./".contains(c);
        if text.is_empty() || text.len() > 317 || !text.chars().all(is_key) {
            return Err(Rejected::new(
                text,
                "the key of a label or an annotation",
                "it whole, e.g. team or app.kubernetes.io/component",
            ));
        }
        Ok(Self(text.to_owned()))
    }
}

deserialize_from_str!(LabelSelector, MetadataKey, NodeName, PodGlob);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_can_be_no_name_is_refused_with_what_may_be_written() {
        assert!("worker-1.example".parse::<NodeName>().is_ok());
        for wrong in ["", "Worker", "a,b", "a=b", "a b"] {
            let message = wrong.parse::<NodeName>().unwrap_err().to_string();
            assert!(message.contains("kubectl get nodes"), "{message}");
        }
        assert!("app.kubernetes.io/component".parse::<MetadataKey>().is_ok());
        assert!("a b".parse::<MetadataKey>().is_err() && "".parse::<MetadataKey>().is_err());
        assert!("kube-*".parse::<PodGlob>().is_ok());
        assert!("[".parse::<PodGlob>().is_err() && "".parse::<PodGlob>().is_err());
    }

    #[test]
    fn excluding_alone_selects_nothing() {
        let mut selection = PodSelection::default();
        assert!(selection.is_empty());
        selection
            .exclude_namespaces
            .push("kube-system".parse().unwrap());
        assert!(!selection.is_empty() && !selection.is_selective());
        selection.images.push("nginx".parse().unwrap());
        assert!(selection.is_selective());
    }
}
