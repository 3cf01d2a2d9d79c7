use serde_json::{Value, json};

use super::*;
use crate::kubernetes::made::{id, object, pod_json};

fn member(json: &Value, kept: &Kept, container: &str) -> Member {
    Member::new(
        &Arc::new(Pod::of(object(json), kept).unwrap()),
        Some(container),
    )
}

fn shown(member: &Member) -> Vec<String> {
    let mut shown: Vec<String> = member
        .attributes()
        .into_iter()
        .map(|(key, value)| match value {
            Attribute::Text(text) => format!("{key}={text}"),
            Attribute::Int(number) => format!("{key}={number}"),
            Attribute::Texts(texts) => format!("{key}={texts:?}"),
        })
        .collect();
    shown.sort();
    shown
}

fn owned(uid: &str, name: &str, api: &str, kind: &str, owner: &str) -> Value {
    let mut json = pod_json(uid, name);
    json["metadata"]["ownerReferences"] = json!([
        {"apiVersion": "v1", "kind": "Other", "name": "not-the-controller", "uid": "o"},
        {"apiVersion": api, "kind": kind, "name": owner, "uid": "r", "controller": true},
    ]);
    json
}

#[test]
fn a_container_has_the_attributes_of_the_conventions() {
    let mut json = owned("u1", "api-5d89-x", "apps/v1", "ReplicaSet", "api-5d89");
    json["metadata"]["labels"] = json!({"pod-template-hash": "5d89"});
    let member = member(&json, &Kept::default(), &id('a'));
    assert!(member.is_whole());
    assert_eq!(
        shown(&member),
        [
            "container.image.name=registry:5000/shop/api",
            "container.image.repo_digests=[\"registry:5000/shop/api@sha256:cd\"]",
            "container.image.tags=[\"v2\"]",
            "k8s.container.name=api",
            "k8s.container.restart_count=2",
            "k8s.deployment.name=api",
            "k8s.namespace.name=shop",
            "k8s.node.name=node-1",
            "k8s.pod.name=api-5d89-x",
            "k8s.pod.uid=u1",
            "k8s.replicaset.name=api-5d89",
        ]
    );
}

#[test]
fn a_container_that_ended_had_been_restarted_once_less() {
    let json = pod_json("u1", "api");
    let ended = member(&json, &Kept::default(), &id('b'));
    assert!(shown(&ended).contains(&"k8s.container.restart_count=1".to_owned()));
    assert!(shown(&ended).contains(&"k8s.container.name=api".to_owned()));
}

#[test]
fn a_container_with_no_id_yet_is_named_only_where_it_is_the_only_one() {
    let mut json = pod_json("u1", "api");
    let unknown = member(&json, &Kept::default(), &id('c'));
    assert!(!unknown.is_whole());
    assert!(!shown(&unknown).iter().any(|it| it.contains("container")));
    assert_eq!(unknown.service(&Kept::default()).instance_id, None);
    json["spec"]["containers"] = json!([{"name": "api", "image": "api"}]);
    let other = member(&json, &Kept::default(), &id('c'));
    assert!(!other.is_whole(), "its container is another one");
    json["status"] = json!({});
    let only = member(&json, &Kept::default(), &id('c'));
    assert!(only.is_whole());
    assert!(shown(&only).contains(&"k8s.container.name=api".to_owned()));
    assert!(!shown(&only).iter().any(|it| it.contains("restart_count")));
    // A container that runs before it could be meant as well.
    json["spec"]["initContainers"] = json!([{"name": "wait", "image": "busybox"}]);
    assert!(!member(&json, &Kept::default(), &id('c')).is_whole());
}

#[test]
fn sidecars_and_init_containers_are_told_apart() {
    let mut json = pod_json("u1", "api");
    json["spec"]["initContainers"] = json!([{"name": "mesh", "image": "mesh:1"}]);
    json["spec"]["ephemeralContainers"] = json!([{"name": "debug", "image": "busybox"}]);
    let status =
        |name, digit| json!([{"name": name, "containerID": format!("cri-o://{}", id(digit))}]);
    json["status"]["initContainerStatuses"] = status("mesh", 'd');
    json["status"]["ephemeralContainerStatuses"] = status("debug", 'e');
    for (digit, name) in [('a', "api"), ('d', "mesh"), ('e', "debug")] {
        let member = member(&json, &Kept::default(), &id(digit));
        let service = member.service(&Kept::default());
        assert_eq!(service.instance_id, Some(format!("shop.api.{name}")));
        assert!(shown(&member).contains(&format!("k8s.container.name={name}")));
    }
}

#[test]
fn services_are_named_in_the_order_of_the_conventions() {
    let mut json = owned("u1", "api-1", "apps/v1", "ReplicaSet", "api-5d89");
    json["metadata"]["labels"] = json!({
        "pod-template-hash": "5d89",
        "app.kubernetes.io/instance": "shop-api",
        "app.kubernetes.io/name": "api-label",
        "app.kubernetes.io/version": "7",
    });
    json["metadata"]["annotations"] = json!({
        "resource.opentelemetry.io/service.name": "annotated",
        "resource.opentelemetry.io/service.namespace": "space",
        "resource.opentelemetry.io/service.version": "9",
        "resource.opentelemetry.io/service.instance.id": "one",
        "resource.opentelemetry.io/team": "checkout",
        "resource.opentelemetry.io/": "nothing",
    });
    let labels = Kept {
        service_labels: true,
        ..Kept::default()
    };
    let names = |json: &Value, kept: &Kept| {
        let it = member(json, kept, &id('a')).service(kept);
        [it.name, it.namespace, it.version, it.instance_id].map(Option::unwrap_or_default)
    };
    assert_eq!(names(&json, &labels), ["annotated", "space", "9", "one"]);
    let annotated = member(&json, &labels, &id('a'));
    assert_eq!(
        annotated.annotated().collect::<Vec<_>>(),
        [("team", "checkout")]
    );
    json["metadata"]["annotations"] = json!({"resource.opentelemetry.io/service.name": " "});
    let id = "shop.api-1.api";
    assert_eq!(names(&json, &labels), ["shop-api", "shop", "7", id]);
    json["metadata"]["labels"]["app.kubernetes.io/instance"] = json!("");
    assert_eq!(names(&json, &labels)[0], "api-label");
    // Without the user's word labels name nothing.
    assert_eq!(names(&json, &Kept::default()), ["api", "shop", "v2", id]);
    for (api, kind, name, expected) in [
        ("apps/v1", "ReplicaSet", "alone", "alone"),
        ("apps/v1", "StatefulSet", "db", "db"),
        ("apps/v1", "DaemonSet", "agent", "agent"),
        ("batch/v1", "Job", "import", "import"),
        ("v1", "Node", "node-1", "api-1"),
    ] {
        let json = owned("u1", "api-1", api, kind, name);
        assert_eq!(names(&json, &labels)[0], expected, "{kind}");
    }
}

#[test]
fn labels_and_annotations_become_attributes_only_where_they_are_allowed() {
    let mut json = pod_json("u1", "api");
    json["metadata"]["labels"] = json!({"team": "shop", "secret": "x"});
    json["metadata"]["annotations"] =
        json!({"owner": "me", "secret": "x", "long": "y".repeat(2000)});
    let kept = Kept {
        labels: vec!["team".to_owned(), "missing".to_owned()],
        annotations: vec!["owner".to_owned(), "long".to_owned()],
        ..Kept::default()
    };
    let text = |(key, value): (&str, &str)| (key.to_owned(), value.to_owned());
    let expected = [
        ("k8s.pod.label.team", "shop"),
        ("k8s.pod.annotation.owner", "me"),
    ];
    assert_eq!(
        member(&json, &kept, &id('a')).allowed(&kept),
        expected.map(text)
    );
}

#[test]
fn an_answer_completes_a_workload() {
    let json = owned("u1", "api-1", "apps/v1", "ReplicaSet", "api-5d89");
    let pod = Pod::of(object(&json), &Kept::default()).unwrap();
    assert_eq!(pod.asked().map(|owner| &*owner.name), Some("api-5d89"));
    let whole = |pod: &Pod| Member::new(&Arc::new(pod.clone()), Some(&id('a'))).is_whole();
    assert!(!whole(&pod));
    let above = crate::kubernetes::Owner {
        kind: crate::kubernetes::OwnerKind::Deployment,
        name: "api".to_owned(),
        uid: "d".to_owned(),
    };
    let answered = pod.clone().answered(Some(&above));
    assert!(whole(&answered));
    let member = Member::new(&Arc::new(answered), None);
    assert_eq!(
        member.service(&Kept::default()).name.as_deref(),
        Some("api")
    );
    assert!(whole(&pod.answered(None)), "nothing stands above it");
}

#[test]
fn what_is_no_pod_is_none_and_missing_lists_are_empty() {
    for json in [
        json!({"metadata": {"name": "x"}}),
        json!({"metadata": {"uid": "x"}}),
    ] {
        assert_eq!(Pod::of(object(&json), &Kept::default()), None);
    }
    let bare = json!({
        "metadata": {"name": "x", "uid": "x"},
        "spec": {"containers": null},
        "status": {"containerStatuses": null},
    });
    let member = member(&bare, &Kept::default(), "");
    assert_eq!(shown(&member), ["k8s.pod.name=x", "k8s.pod.uid=x"]);
}
