//! The fields that are read of the API's objects: what else they hold is passed over and never kept.
//!
//! Forms: Kubernetes API reference, core/v1 Pod and Service, discovery.k8s.io/v1 EndpointSlice. A list that is empty may be
//! `null` there.

use std::{collections::BTreeMap, net::IpAddr};

use serde::Deserialize;

use super::Owner;

/// `metadata`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Metadata {
    /// `name`.
    pub name: String,
    /// `namespace`, empty for what has none.
    pub namespace: String,
    /// `uid`.
    pub uid: String,
    /// `labels`.
    pub labels: BTreeMap<String, String>,
    /// `annotations`.
    pub annotations: BTreeMap<String, String>,
    /// The one of `ownerReferences` that has `controller: true`.
    pub controller: Option<Owner>,
    /// `creationTimestamp`, seconds since the Unix epoch.
    pub created: Option<i64>,
}

/// A pod.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct PodObject {
    /// Not read from here: where it stands is the caller's matter.
    #[serde(skip)]
    pub metadata: Metadata,
    pub(super) spec: PodSpec,
    pub(super) status: PodStatus,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct PodSpec {
    pub(super) node_name: Option<String>,
    pub(super) host_network: Option<bool>,
    pub(super) containers: Option<Vec<ContainerSpec>>,
    pub(super) init_containers: Option<Vec<ContainerSpec>>,
    pub(super) ephemeral_containers: Option<Vec<ContainerSpec>>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct ContainerSpec {
    pub(super) name: String,
    pub(super) image: Option<String>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct PodStatus {
    pub(super) container_statuses: Option<Vec<ContainerStatus>>,
    pub(super) init_container_statuses: Option<Vec<ContainerStatus>>,
    pub(super) ephemeral_container_statuses: Option<Vec<ContainerStatus>>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct ContainerStatus {
    pub(super) name: String,
    /// `containerd://ID`.
    #[serde(rename = "containerID")]
    pub(super) container_id: Option<String>,
    /// What was pulled: `registry/name@sha256:…`, with a runtime's prefix perhaps.
    #[serde(rename = "imageID")]
    pub(super) image_id: Option<String>,
    pub(super) restart_count: Option<i64>,
    pub(super) last_state: Option<ContainerState>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct ContainerState {
    pub(super) terminated: Option<Terminated>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Terminated {
    #[serde(rename = "containerID")]
    pub(super) container_id: Option<String>,
}

/// A service.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct ServiceObject {
    /// Not read from here.
    #[serde(skip)]
    pub metadata: Metadata,
    pub(super) spec: ServiceSpec,
    pub(super) status: ServiceStatus,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct ServiceSpec {
    #[serde(rename = "clusterIP")]
    pub(super) cluster_ip: Option<String>,
    #[serde(rename = "clusterIPs")]
    pub(super) cluster_ips: Option<Vec<String>>,
    #[serde(rename = "externalIPs")]
    pub(super) external_ips: Option<Vec<String>>,
    pub(super) ports: Option<Vec<Port>>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct ServiceStatus {
    pub(super) load_balancer: Option<LoadBalancer>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct LoadBalancer {
    pub(super) ingress: Option<Vec<Ingress>>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Ingress {
    pub(super) ip: Option<String>,
}

/// Of a service or a slice; a slice's number may be missing, which means every port.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Port {
    pub(super) port: Option<u16>,
    pub(super) protocol: Option<String>,
}

impl Port {
    /// The port, where it is one of TCP; that is what a missing protocol means.
    pub(super) fn tcp(&self) -> Option<u16> {
        let is_tcp = self.protocol.as_deref().is_none_or(|it| it == "TCP");
        self.port.filter(|_| is_tcp)
    }
}

/// Where a service's requests go.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct EndpointSliceObject {
    /// Not read from here.
    #[serde(skip)]
    pub metadata: Metadata,
    pub(super) endpoints: Option<Vec<Endpoint>>,
    pub(super) ports: Option<Vec<Port>>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Endpoint {
    pub(super) addresses: Option<Vec<String>>,
}

/// Addresses among texts; others (`None`, host names) are none.
pub(super) fn addresses<'a>(
    texts: impl IntoIterator<Item = &'a String>,
) -> impl Iterator<Item = IpAddr> {
    texts.into_iter().filter_map(|text| text.parse().ok())
}
