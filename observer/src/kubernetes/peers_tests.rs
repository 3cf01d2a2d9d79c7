use serde_json::{Value, json};

use super::*;
use crate::kubernetes::made::metadata;

fn service(json: &Value) -> ServiceObject {
    ServiceObject {
        metadata: metadata(json),
        ..serde_json::from_value(json.clone()).unwrap()
    }
}

fn slice(json: &Value) -> EndpointSliceObject {
    EndpointSliceObject {
        metadata: metadata(json),
        ..serde_json::from_value(json.clone()).unwrap()
    }
}

fn shop_service(name: &str, ip: &str) -> Value {
    json!({
        "metadata": {"name": name, "namespace": "shop", "uid": "s"},
        "spec": {"clusterIP": ip, "clusterIPs": [ip, "fd00::1"], "ports": [
            {"port": 80}, {"port": 53, "protocol": "UDP"}
        ]},
        "status": {"loadBalancer": {"ingress": [{"ip": "192.0.2.7"}, {"hostname": "lb.example"}]}},
    })
}

fn shop_slice(name: &str, service: &str, ip: &str) -> Value {
    json!({
        "metadata": {"name": name, "namespace": "shop", "labels": {"kubernetes.io/service-name": service}},
        "endpoints": [{"addresses": [ip]}],
        "ports": [{"port": 8080, "protocol": "TCP"}],
    })
}

fn name(peers: &Peers, ip: &str, port: u16) -> Option<String> {
    let peer = peers.name(ip.parse().unwrap(), port)?;
    Some(format!("{}/{}", peer.namespace, peer.name))
}

#[test]
fn an_address_of_a_service_or_of_a_pod_behind_it_has_its_name() {
    let peers = Peers::default();
    peers.apply_service(&service(&shop_service("api", "10.0.0.1")));
    peers.apply_slice(&slice(&shop_slice("api-x", "api", "10.1.0.7")));
    for (ip, port, is) in [
        ("10.0.0.1", 80, true),
        ("::ffff:10.0.0.1", 80, true),
        ("fd00::1", 80, true),
        ("192.0.2.7", 80, true),
        ("10.1.0.7", 8080, true),
        // Another port is another's, and UDP is not TCP.
        ("10.0.0.1", 81, false),
        ("10.0.0.1", 53, false),
        ("10.1.0.7", 80, false),
    ] {
        let expected = is.then(|| "shop/api".to_owned());
        assert_eq!(name(&peers, ip, port), expected, "{ip}:{port}");
    }
}

#[test]
fn an_address_that_two_services_lead_to_has_no_name() {
    let peers = Peers::default();
    peers.apply_slice(&slice(&shop_slice("db-x", "db", "10.1.0.7")));
    peers.apply_slice(&slice(&shop_slice("db-y", "db", "10.1.0.7")));
    assert_eq!(name(&peers, "10.1.0.7", 8080).as_deref(), Some("shop/db"));
    peers.apply_slice(&slice(&shop_slice(
        "db-headless-x",
        "db-headless",
        "10.1.0.7",
    )));
    assert_eq!(name(&peers, "10.1.0.7", 8080), None);
    peers.remove_slice("shop", "db-headless-x");
    assert_eq!(name(&peers, "10.1.0.7", 8080).as_deref(), Some("shop/db"));
}

#[test]
fn what_changes_or_goes_leaves_nothing_behind() {
    let peers = Peers::default();
    peers.apply_service(&service(&shop_service("api", "10.0.0.1")));
    peers.apply_service(&service(&shop_service("api", "10.0.0.2")));
    assert_eq!(name(&peers, "10.0.0.1", 80), None);
    peers.apply_slice(&slice(&shop_slice("api-x", "api", "10.1.0.7")));
    let mut unlabelled = shop_slice("api-x", "api", "10.1.0.7");
    unlabelled["metadata"]["labels"] = json!({});
    peers.apply_slice(&slice(&unlabelled));
    assert_eq!(name(&peers, "10.1.0.7", 8080), None);
    peers.apply_slice(&slice(&shop_slice("api-x", "api", "10.1.0.7")));
    peers.retain_services(&|_| false);
    assert_eq!(peers.stats(), (1, 0), "slices stay");
    peers.retain_slices(&|it| it == "shop/api-x");
    assert_eq!(peers.stats(), (1, 0));
    peers.retain_slices(&|_| false);
    let inner = peers.inner.read().unwrap();
    assert!(inner.objects.is_empty() && inner.by_address.is_empty());
}

#[test]
fn odd_objects_give_no_address() {
    let peers = Peers::default();
    let mut headless = shop_service("db", "None");
    headless["spec"]["clusterIPs"] = json!(["None"]);
    headless["status"] = json!({});
    peers.apply_service(&service(&headless));
    let mut empty = shop_slice("x", "db", "10.1.0.7");
    empty["endpoints"] = Value::Null;
    peers.apply_slice(&slice(&empty));
    let mut names = shop_slice("y", "db", "db.example");
    names["ports"] = Value::Null;
    peers.apply_slice(&slice(&names));
    // A port that is not said is every port: of a node's address those of others, too.
    let mut every = shop_slice("z", "db", "10.1.0.7");
    every["ports"] = json!([{"name": ""}]);
    peers.apply_slice(&slice(&every));
    assert_eq!(peers.stats(), (0, 0));
    assert_eq!(name(&peers, "10.1.0.7", 1234), None);
}

#[test]
fn pods_that_share_the_nodes_address_are_told_apart_by_port_or_not_named() {
    let peers = Peers::default();
    let node = "192.0.2.1";
    let with_port = |slice_name: &str, service: &str, port: u16| {
        let mut json = shop_slice(slice_name, service, node);
        json["ports"] = json!([{"port": port}]);
        peers.apply_slice(&slice(&json));
    };
    with_port("exporter-x", "exporter", 9100);
    with_port("proxy-x", "proxy", 8443);
    assert_eq!(name(&peers, node, 9100).as_deref(), Some("shop/exporter"));
    assert_eq!(name(&peers, node, 8443).as_deref(), Some("shop/proxy"));
    // What else listens on the node is nobody's.
    assert_eq!(name(&peers, node, 10250), None);
    with_port("other-x", "other", 9100);
    assert_eq!(name(&peers, node, 9100), None);
}

#[test]
fn a_name_that_comes_again_has_another_number() {
    let peers = Peers::default();
    let number = || {
        peers
            .name("10.1.0.7".parse().unwrap(), 8080)
            .unwrap()
            .number()
    };
    peers.apply_slice(&slice(&shop_slice("api-x", "api", "10.1.0.7")));
    let first = number();
    peers.apply_slice(&slice(&shop_slice("api-x", "api", "10.1.0.7")));
    assert_eq!(number(), first, "nothing changed");
    peers.apply_slice(&slice(&shop_slice("api-x", "db", "10.1.0.7")));
    assert_ne!(number(), first);
    assert!(first > 0);
}

#[test]
fn addresses_are_bounded_and_what_finds_no_room_is_counted() {
    let peers = Peers::default();
    let endpoints: Vec<Value> = (0..MOST_ADDRESSES + 10)
        .map(|n| json!({"addresses": [format!("10.{}.{}.{}", n >> 16, n >> 8 & 255, n & 255)]}))
        .collect();
    let mut json = shop_slice("big", "api", "10.1.0.7");
    json["endpoints"] = json!(endpoints);
    peers.apply_slice(&slice(&json));
    assert_eq!(peers.stats(), (MOST_ADDRESSES, 10));
    peers.apply_service(&service(&shop_service("late", "10.200.0.1")));
    assert_eq!(name(&peers, "10.200.0.1", 80), None);
    peers.remove_slice("shop", "big");
    assert_eq!(peers.stats().0, 0);
}
