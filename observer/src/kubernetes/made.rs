//! Pods for tests, from JSON as the API writes it.

use serde_json::{Value, json};

use super::{Kept, Metadata, Owner, OwnerKind, Pod, PodObject};

/// An id of a container.
pub(crate) fn id(digit: char) -> String {
    std::iter::repeat_n(digit, 64).collect()
}

/// A pod of two containers in namespace `shop`, of which the first has started.
pub(crate) fn pod_json(uid: &str, name: &str) -> Value {
    json!({
        "metadata": {"name": name, "namespace": "shop", "uid": uid},
        "spec": {
            "nodeName": "node-1",
            "containers": [
                {"name": "api", "image": "registry:5000/shop/api:v2"},
                {"name": "proxy", "image": "envoy@sha256:ab"},
            ],
        },
        "status": {"containerStatuses": [{
            "name": "api",
            "containerID": format!("containerd://{}", id('a')),
            "imageID": "registry:5000/shop/api@sha256:cd",
            "restartCount": 2,
            "lastState": {"terminated": {"containerID": format!("containerd://{}", id('b'))}},
        }]},
    })
}

/// What a pod's JSON says.
pub(crate) fn object(json: &Value) -> PodObject {
    PodObject {
        metadata: metadata(json),
        ..serde_json::from_value(json.clone()).unwrap()
    }
}

pub(crate) fn metadata(json: &Value) -> Metadata {
    let meta = &json["metadata"];
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let map = |value: &Value| {
        let entries = value.as_object().into_iter().flatten();
        entries
            .map(|(key, value)| (key.clone(), text(value)))
            .collect()
    };
    let owners = meta["ownerReferences"].as_array().into_iter().flatten();
    Metadata {
        name: text(&meta["name"]),
        namespace: text(&meta["namespace"]),
        uid: text(&meta["uid"]),
        labels: map(&meta["labels"]),
        annotations: map(&meta["annotations"]),
        controller: owners
            .filter(|owner| owner["controller"] == true)
            .map(|owner| Owner {
                kind: OwnerKind::of(&text(&owner["apiVersion"]), &text(&owner["kind"])),
                name: text(&owner["name"]),
                uid: text(&owner["uid"]),
            })
            .next(),
        created: None,
    }
}

pub(crate) fn pod(json: &Value) -> Pod {
    Pod::of(object(json), &Kept::default()).unwrap()
}
