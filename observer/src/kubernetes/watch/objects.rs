//! The objects that are followed, as the client reads them.

use std::borrow::Cow;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, OwnerReference};
use kube::Resource;
use serde::Deserialize;

use super::super::{
    EndpointSliceObject, Metadata, Owner, OwnerKind, PodObject, ServiceObject,
    api::{Endpoint, PodSpec, PodStatus, Port, ServiceSpec, ServiceStatus},
};

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct WatchedPod {
    metadata: ObjectMeta,
    spec: PodSpec,
    status: PodStatus,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct WatchedService {
    metadata: ObjectMeta,
    spec: ServiceSpec,
    status: ServiceStatus,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct WatchedSlice {
    metadata: ObjectMeta,
    endpoints: Option<Vec<Endpoint>>,
    ports: Option<Vec<Port>>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct WatchedNamespace {
    metadata: ObjectMeta,
}

/// `Resource` of a kind that is read in part.
macro_rules! resource {
    ($type:ty, $scope:ident, $kind:literal, $group:literal, $plural:literal) => {
        impl Resource for $type {
            type DynamicType = ();
            type Scope = k8s_openapi::$scope;

            fn kind((): &()) -> Cow<'_, str> {
                $kind.into()
            }

            fn group((): &()) -> Cow<'_, str> {
                $group.into()
            }

            fn version((): &()) -> Cow<'_, str> {
                "v1".into()
            }

            fn plural((): &()) -> Cow<'_, str> {
                $plural.into()
            }

            fn meta(&self) -> &ObjectMeta {
                &self.metadata
            }

            fn meta_mut(&mut self) -> &mut ObjectMeta {
                &mut self.metadata
            }
        }
    };
}

resource!(WatchedPod, NamespaceResourceScope, "Pod", "", "pods");
resource!(
    WatchedService,
    NamespaceResourceScope,
    "Service",
    "",
    "services"
);
resource!(
    WatchedNamespace,
    ClusterResourceScope,
    "Namespace",
    "",
    "namespaces"
);
resource!(
    WatchedSlice,
    NamespaceResourceScope,
    "EndpointSlice",
    "discovery.k8s.io",
    "endpointslices"
);

impl From<WatchedPod> for PodObject {
    fn from(pod: WatchedPod) -> Self {
        Self {
            metadata: metadata(pod.metadata),
            spec: pod.spec,
            status: pod.status,
        }
    }
}

impl From<WatchedService> for ServiceObject {
    fn from(service: WatchedService) -> Self {
        Self {
            metadata: metadata(service.metadata),
            spec: service.spec,
            status: service.status,
        }
    }
}

impl From<WatchedSlice> for EndpointSliceObject {
    fn from(slice: WatchedSlice) -> Self {
        Self {
            metadata: metadata(slice.metadata),
            endpoints: slice.endpoints,
            ports: slice.ports,
        }
    }
}

impl From<WatchedNamespace> for Metadata {
    fn from(namespace: WatchedNamespace) -> Self {
        metadata(namespace.metadata)
    }
}

fn metadata(meta: ObjectMeta) -> Metadata {
    Metadata {
        controller: controller(meta.owner_references.unwrap_or_default()),
        name: meta.name.unwrap_or_default(),
        namespace: meta.namespace.unwrap_or_default(),
        uid: meta.uid.unwrap_or_default(),
        labels: meta.labels.unwrap_or_default(),
        annotations: meta.annotations.unwrap_or_default(),
        created: meta.creation_timestamp.map(|time| time.0.as_second()),
    }
}

/// The one owner that controls.
pub(super) fn controller(owners: Vec<OwnerReference>) -> Option<Owner> {
    let owner = owners.into_iter().find(|it| it.controller == Some(true))?;
    Some(Owner {
        kind: OwnerKind::of(&owner.api_version, &owner.kind),
        name: owner.name,
        uid: owner.uid,
    })
}
