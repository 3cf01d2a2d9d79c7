use serde_json::json;

use super::*;
use crate::kubernetes::made::{id, pod, pod_json};

const SECOND: u64 = 1_000_000_000;

fn store() -> Store {
    Store::new(Kept::default())
}

fn at(uid: &str, container: &str) -> PodRef {
    PodRef {
        uid: (!uid.is_empty()).then(|| uid.to_owned()),
        container: (!container.is_empty()).then(|| container.to_owned()),
    }
}

/// Name of the pod, and of the container.
fn found(store: &Store, place: &PodRef) -> Option<(String, Option<String>)> {
    match store.find(place) {
        Lookup::Known(member) => Some((
            member.pod().name.clone(),
            member.container().map(|it| it.name.clone()),
        )),
        Lookup::Awaited | Lookup::Unknown => None,
    }
}

fn names(pod: &str, container: Option<&str>) -> Option<(String, Option<String>)> {
    Some((pod.to_owned(), container.map(str::to_owned)))
}

#[test]
fn a_process_is_found_by_uid_container_or_a_static_pods_hash() {
    let store = store();
    let hash = "0123456789abcdef0123456789abcdef";
    let mut json = pod_json("u1", "etcd-node-1");
    json["metadata"]["annotations"] = json!({"kubernetes.io/config.hash": hash});
    store.apply(pod(&json));
    let api = names("etcd-node-1", Some("api"));
    assert_eq!(found(&store, &at("u1", &id('a'))), api);
    assert_eq!(found(&store, &at("", &id('a'))), api);
    assert_eq!(found(&store, &at(hash, &id('a'))), api);
    assert_eq!(found(&store, &at("u1", "")), names("etcd-node-1", None));
    assert_eq!(found(&store, &at("u2", &id('f'))), None);
    // The mirror is made anew: the old one's end takes nothing from it.
    json["metadata"]["uid"] = json!("u2");
    store.apply(pod(&json));
    store.remove("u1", 0);
    store.prune(KEEP_NS);
    assert_eq!(found(&store, &at(hash, &id('a'))), api);
    assert_eq!(found(&store, &at("u1", "")), None);
}

#[test]
fn who_asks_waits_only_where_an_answer_may_come() {
    let store = store();
    let lookup = |place: &PodRef| format!("{:?}", store.find(place));
    assert_eq!(lookup(&at("u1", "")), "Awaited");
    assert_eq!(lookup(&at("", &id('a'))), "Unknown");
    store.set_reach(Reach::Told);
    assert_eq!(lookup(&at("u1", "")), "Awaited");
    store.set_reach(Reach::Lost);
    assert_eq!(lookup(&at("u1", "")), "Unknown");
}

#[test]
fn a_pod_that_is_gone_is_remembered_for_five_minutes() {
    let store = store();
    store.apply(pod(&pod_json("u1", "api")));
    store.remove("u1", 10 * SECOND);
    store.remove("u1", 200 * SECOND);
    store.remove("unknown", 0);
    let stats = |pods, departed| StoreStats {
        pods,
        departed,
        ..StoreStats::default()
    };
    assert_eq!(store.stats(), stats(0, 1));
    store.prune(309 * SECOND);
    assert!(found(&store, &at("u1", "")).is_some());
    store.prune(310 * SECOND);
    assert_eq!(found(&store, &at("", &id('a'))), None);
    assert_eq!(store.stats(), StoreStats::default());
    assert!(store.inner.read().unwrap().by_container.is_empty());
}

#[test]
fn a_list_after_a_break_takes_leave_of_what_it_does_not_name() {
    let store = store();
    store.apply(pod(&pod_json("u1", "one")));
    store.apply(pod(&pod_json("u2", "two")));
    store.retain(&HashSet::from(["u2".into()]), 0);
    assert_eq!((store.stats().pods, store.stats().departed), (1, 1));
    // It comes back: it was only late.
    store.apply(pod(&pod_json("u1", "one")));
    assert_eq!((store.stats().pods, store.stats().departed), (2, 0));
}

#[test]
fn an_earlier_start_of_a_container_is_remembered() {
    let store = store();
    let mut json = pod_json("u1", "api");
    for restart in 0..20 {
        let status = &mut json["status"]["containerStatuses"][0];
        status["containerID"] = json!(format!("containerd://run-{restart}"));
        status["restartCount"] = json!(restart);
        status["lastState"] = json!({});
        store.apply(pod(&json));
    }
    assert_eq!(
        found(&store, &at("u1", "run-19")),
        names("api", Some("api"))
    );
    assert_eq!(
        found(&store, &at("u1", "run-13")),
        names("api", Some("api"))
    );
    assert_eq!(
        found(&store, &at("u1", "run-1")),
        names("api", None),
        "there is an end"
    );
    assert_eq!(found(&store, &at("", "run-1")), None);
}

#[test]
fn changes_are_told_once_and_only_of_what_changed() {
    let store = store();
    let mut json = pod_json("u1", "api");
    store.apply(pod(&json));
    let changes = store.take_changes();
    assert!(store.concerns(&changes, &at("u1", "")) && !store.concerns(&changes, &at("u2", "")));
    assert!(store.take_changes().is_empty());
    store.apply(pod(&json));
    assert!(store.take_changes().is_empty(), "it is as it was");
    json["metadata"]["labels"] = json!({"team": "shop"});
    store.apply(pod(&json));
    assert!(!store.take_changes().is_empty());
}

#[test]
fn a_thousand_pods_that_come_and_go_take_bounded_memory() {
    let store = store();
    for number in 0..3 * MOST_PODS as u64 {
        let now = number * SECOND / 100;
        let mut json = pod_json(&format!("u{number}"), "job");
        let own = format!("containerd://{number:064}");
        json["status"]["containerStatuses"][0]["containerID"] = json!(own);
        store.apply(pod(&json));
        store.remove(&format!("u{number}"), now);
        store.prune(now);
        let inner = store.inner.read().unwrap();
        assert!(inner.pods.len() <= MOST_PODS && inner.departed.len() <= MOST_PODS);
        // One id of its own, one that all share.
        assert!(inner.by_container.len() <= MOST_PODS + 1);
    }
    let changes = store.take_changes();
    assert!(changes.all && changes.pods.is_empty());
    assert_eq!(store.stats().refused, 0);
    store.prune(u64::MAX);
    assert_eq!(store.stats(), StoreStats::default());
}

#[test]
fn pods_that_find_no_room_are_counted() {
    let store = store();
    for number in 0..=MOST_PODS {
        store.apply(pod(&pod_json(&format!("u{number}"), "api")));
    }
    assert_eq!((store.stats().pods, store.stats().refused), (MOST_PODS, 1));
}

#[test]
fn a_pod_has_what_is_allowed_of_its_namespace_and_hears_of_a_change() {
    let kept = Kept {
        namespace_labels: vec!["team".to_owned()],
        ..Kept::default()
    };
    let store = Store::new(kept.clone());
    let told = |name: &str, team: Option<&str>| Metadata {
        name: name.to_owned(),
        labels: team
            .map(|team| ("team".to_owned(), team.to_owned()))
            .into_iter()
            .collect(),
        ..Metadata::default()
    };
    let teams = |uid: &str| -> Vec<String> {
        match store.find(&at(uid, "")) {
            Lookup::Known(member) => {
                let all = member.allowed(&kept).into_iter();
                all.map(|(key, value)| format!("{key}={value}")).collect()
            }
            other => panic!("{other:?}"),
        }
    };
    store.apply(pod(&pod_json("u1", "api")));
    store.take_changes();
    assert!(teams("u1").is_empty());
    store.apply_namespace(&told("other", Some("b")));
    assert!(store.take_changes().is_empty(), "no pod is in it");
    store.apply_namespace(&told("shop", Some("a")));
    assert!(store.concerns(&store.take_changes(), &at("u1", "")));
    assert_eq!(teams("u1"), ["k8s.namespace.label.team=a"]);
    store.apply_namespace(&told("shop", Some("a")));
    assert!(store.take_changes().is_empty(), "nothing changed");
    // It is gone, and its pods are remembered.
    store.remove("u1", SECOND);
    store.remove_namespace("shop");
    store.prune(2 * SECOND);
    assert_eq!(teams("u1"), ["k8s.namespace.label.team=a"]);
    store.prune(SECOND + KEEP_NS);
    store.apply(pod(&pod_json("u1", "api")));
    assert!(teams("u1").is_empty(), "with its pods it is forgotten");
    // Its labels are taken away.
    store.apply_namespace(&told("shop", Some("a")));
    store.take_changes();
    store.apply_namespace(&told("shop", None));
    assert!(store.concerns(&store.take_changes(), &at("u1", "")));
    assert!(teams("u1").is_empty());
}
