use std::{path::PathBuf, time::Instant};

use serde_json::{Value, json};
use tokio::runtime::Runtime;

use super::{server::ApiServer, *};
use crate::kubernetes::{
    Kept, Lookup, PodRef,
    made::{id, pod_json},
};

const PODS: &str = "/api/v1/pods";

/// A client that follows a server, with its token in a file.
struct Client {
    store: Arc<Store>,
    peers: Arc<Peers>,
    requests: Arc<Requests>,
    token: PathBuf,
    _following: Following,
    _runtime: Runtime,
}

impl Client {
    fn follow(server: &ApiServer) -> Self {
        Self::keeping(server, Kept::default())
    }

    fn keeping(server: &ApiServer, kept: Kept) -> Self {
        let runtime = Runtime::new().unwrap();
        let mut config = Config::new(format!("http://{}", server.address).parse().unwrap());
        let port = server.address.port();
        let token = std::env::temp_dir().join(format!("observer-token-{port}"));
        std::fs::write(&token, "secret").unwrap();
        config.auth_info.token_file = Some(token.to_string_lossy().into_owned());
        let store = Arc::new(Store::new(kept));
        let (peers, requests) = (Arc::<Peers>::default(), Arc::<Requests>::default());
        let followed = Followed {
            node: "node-1".to_owned(),
            services: true,
            store: Arc::clone(&store),
            peers: Arc::clone(&peers),
            requests: Arc::clone(&requests),
        };
        let following = followed.follow(config, runtime.handle()).unwrap();
        Self {
            store,
            peers,
            requests,
            token,
            _following: following,
            _runtime: runtime,
        }
    }

    /// The service that the pod's container is.
    fn service(&self, uid: &str) -> Option<String> {
        let place = PodRef {
            uid: Some(uid.to_owned()),
            container: Some(id('a')),
        };
        match self.store.find(&place) {
            Lookup::Known(member) => member.service(self.store.kept()).name,
            Lookup::Awaited | Lookup::Unknown => None,
        }
    }

    fn knows(&self, uid: &str, name: &str) -> bool {
        self.service(uid).as_deref() == Some(name)
    }
}

impl Drop for Client {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.token);
    }
}

fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(120);
    while !holds() {
        assert!(Instant::now() < deadline, "{what}");
        std::thread::sleep(Duration::from_millis(2));
    }
}

fn pod(uid: &str) -> Value {
    pod_json(uid, uid)
}

#[test]
fn pods_come_change_and_go() {
    let server = ApiServer::start();
    server.put(PODS, &pod("one"));
    let client = Client::follow(&server);
    until("the list", || client.store.reach() == Reach::Told);
    assert!(client.knows("one", "one"));
    assert!(server.asked(&[PODS, "fieldSelector=spec.nodeName%3Dnode-1"]) > 0);
    server.put(PODS, &pod("two"));
    until("a new pod", || client.knows("two", "two"));
    let mut renamed = pod("two");
    renamed["metadata"]["annotations"] =
        json!({"resource.opentelemetry.io/service.name": "renamed"});
    server.put(PODS, &renamed);
    until("a change", || client.knows("two", "renamed"));
    server.delete(PODS, &renamed);
    until("an end", || client.store.stats().departed == 1);
    assert!(client.knows("two", "renamed"), "it is remembered");
}

#[test]
fn a_place_that_is_lost_is_found_by_listing_everything_again() {
    let server = ApiServer::start();
    server.put(PODS, &pod("one"));
    server.put(PODS, &pod("two"));
    let client = Client::follow(&server);
    until("the list", || client.store.reach() == Reach::Told);
    until("the watch", || server.asked(&[PODS, "watch=true"]) > 0);
    server.forget();
    // Told to nobody: the watch has ended by then, or ends with 410.
    server.delete(PODS, &pod("one"));
    server.forget();
    until("the list", || client.store.stats().departed == 1);
    server.put(PODS, &pod("three"));
    until("a pod after that", || client.knows("three", "three"));
    assert_eq!(client.store.reach(), Reach::Told);
}

#[test]
fn while_the_server_is_away_everything_is_kept_and_then_taken_up() {
    let mut server = ApiServer::start();
    server.put(PODS, &pod("one"));
    let client = Client::follow(&server);
    until("the list", || client.store.reach() == Reach::Told);
    server.die();
    until("the loss", || client.store.reach() == Reach::Lost);
    assert!(client.knows("one", "one"));
    server.put(PODS, &pod("two"));
    server.delete(PODS, &pod("one"));
    let before = client.requests.sent.load(Ordering::Relaxed);
    std::thread::sleep(Duration::from_secs(5));
    let asked = client.requests.sent.load(Ordering::Relaxed) - before;
    // Of each of three kinds at 0.8 s, 1.6 s, 3.2 s, and the cluster's uid once.
    assert!(asked <= 13, "{asked} requests in 5 s");
    server.begin();
    until("the pod that came meanwhile", || client.knows("two", "two"));
    until("the end of the other", || {
        client.store.stats().departed == 1
    });
    assert_eq!(client.store.reach(), Reach::Told);
}

#[test]
fn a_token_that_is_replaced_is_read_again() {
    let mut server = ApiServer::start();
    server.put(PODS, &pod("one"));
    let client = Client::follow(&server);
    until("the list", || client.store.reach() == Reach::Told);
    server.set_token("rotated");
    std::fs::write(&client.token, "rotated").unwrap();
    // So that watches begin anew: until the file is read again, within a minute, they are refused.
    server.die();
    server.begin();
    server.put(PODS, &pod("two"));
    until("the new token", || client.knows("two", "two"));
}

#[test]
fn a_controller_is_asked_for_once_for_all_its_pods() {
    let sets = "/apis/apps/v1/namespaces/shop/replicasets";
    let server = ApiServer::start();
    server.put(sets, &json!({"kind": "ReplicaSet", "apiVersion": "apps/v1", "metadata": {"name": "set", "namespace": "shop", "uid": "r",
        "ownerReferences": [{"apiVersion": "apps/v1", "kind": "Deployment", "name": "shop", "uid": "d", "controller": true}]}}));
    let owned = |uid: &str, set: &str, of: &str| {
        let mut pod = pod(uid);
        pod["metadata"]["ownerReferences"] = json!([
            {"apiVersion": "apps/v1", "kind": "ReplicaSet", "name": set, "uid": of, "controller": true},
        ]);
        pod
    };
    for uid in ["one", "two"] {
        server.put(PODS, &owned(uid, "set", "r"));
    }
    // Its set is gone; and a set by that name is another one by now.
    server.put(PODS, &owned("orphan", "gone", "g"));
    server.put(PODS, &owned("late", "set", "earlier"));
    let client = Client::follow(&server);
    until("the answers", || {
        client.knows("one", "shop") && client.knows("two", "shop")
    });
    server.put(PODS, &owned("three", "set", "r"));
    until("an answer that is remembered", || {
        client.knows("three", "shop")
    });
    until("an answer about none", || {
        let place = |uid: &str| PodRef {
            uid: Some(uid.to_owned()),
            container: Some(id('a')),
        };
        ["orphan", "late"].iter().all(|uid| {
            matches!(client.store.find(&place(uid)), Lookup::Known(member) if member.is_whole())
        })
    });
    assert!(client.knows("orphan", "gone") && client.knows("late", "set"));
    // Once by the uid of each.
    assert_eq!(server.asked(&[sets, "/set?"]), 2);
}

#[test]
fn services_and_slices_name_addresses_and_kube_system_the_cluster() {
    let server = ApiServer::start();
    let (services, slices) = (
        "/api/v1/services",
        "/apis/discovery.k8s.io/v1/endpointslices",
    );
    let namespace = json!({"kind": "Namespace", "apiVersion": "v1", "metadata": {"name": "kube-system", "uid": "cluster"}});
    server.put("/api/v1/namespaces", &namespace);
    let service = json!({"metadata": {"name": "api", "namespace": "shop", "uid": "s"},
        "spec": {"clusterIP": "10.0.0.1", "ports": [{"port": 80}]}});
    server.put(services, &service);
    server.put(slices, &json!({"metadata": {"name": "api-x", "namespace": "shop", "labels": {"kubernetes.io/service-name": "api"}},
        "endpoints": [{"addresses": ["10.1.0.7"]}], "ports": [{"port": 8080}]}));
    let client = Client::follow(&server);
    let name = |ip: &str, port| {
        let peer = client.peers.name(ip.parse().unwrap(), port)?;
        Some(format!("{}/{}", peer.namespace, peer.name))
    };
    until("the service", || {
        name("10.0.0.1", 80).as_deref() == Some("shop/api")
    });
    until("the slice", || {
        name("10.1.0.7", 8080).as_deref() == Some("shop/api")
    });
    until("the cluster", || {
        client.store.cluster_uid().as_deref() == Some("cluster")
    });
    server.delete(services, &service);
    until("its end", || name("10.0.0.1", 80).is_none());
}

#[test]
fn a_thousand_pods_that_come_and_go_are_all_told_of() {
    let server = ApiServer::start();
    let client = Client::follow(&server);
    until("the list", || client.store.reach() == Reach::Told);
    let sent = client.requests.sent.load(Ordering::Relaxed);
    for number in 0..1000 {
        let pod = pod(&format!("pod-{number}"));
        server.put(PODS, &pod);
        if number % 10 > 0 {
            server.delete(PODS, &pod);
        }
    }
    until("all of them", || {
        let stats = client.store.stats();
        (stats.pods, stats.departed) == (100, 900)
    });
    let sent = client.requests.sent.load(Ordering::Relaxed) - sent;
    assert!(sent <= 10, "{sent} requests for events of one watch");
}

#[test]
fn namespaces_are_followed_where_something_of_them_is_to_be_kept_and_only_there() {
    let namespaces = "/api/v1/namespaces";
    let namespace = |team: &str| json!({"kind": "Namespace", "apiVersion": "v1", "metadata": {"name": "shop", "uid": "n", "labels": {"team": team, "other": "x"}}});
    let server = ApiServer::start();
    server.put(PODS, &pod("one"));
    server.put(namespaces, &namespace("a"));
    let kept = Kept {
        namespace_labels: vec!["team".to_owned()],
        ..Kept::default()
    };
    let teams = |client: &Client| {
        let place = PodRef {
            uid: Some("one".to_owned()),
            container: Some(id('a')),
        };
        match client.store.find(&place) {
            Lookup::Known(member) => member.allowed(client.store.kept()),
            Lookup::Awaited | Lookup::Unknown => Vec::new(),
        }
    };
    let is = |team: &str| vec![("k8s.namespace.label.team".to_owned(), team.to_owned())];
    let client = Client::keeping(&server, kept);
    until("the label", || teams(&client) == is("a"));
    server.put(namespaces, &namespace("b"));
    until("a change", || teams(&client) == is("b"));
    drop(client);
    let asked = server.asked(&[namespaces, "watch=true"]);
    assert!(asked > 0);
    let client = Client::follow(&server);
    until("the list", || client.store.reach() == Reach::Told);
    until("the watch", || {
        client.requests.sent.load(Ordering::Relaxed) >= 7
    });
    assert_eq!(server.asked(&[namespaces, "watch=true"]), asked);
    assert!(teams(&client).is_empty());
}
