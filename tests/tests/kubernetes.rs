//! Names and selection by a real API server, of a real container in control groups that are named as a kubelet names them.
//! `cargo xtask cluster` builds and starts the server and runs this; there is no kubelet: the test tells what one would.
#![allow(clippy::unwrap_used, reason = "tests panic, they don't return errors")]

use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use observer_tests::{Client, Environment, Folder, Observer, free_port, until};
use serde_json::{Value, json};

/// The API server that was started for the tests.
struct Cluster {
    folder: PathBuf,
}

impl Cluster {
    fn enter() -> Option<Self> {
        let Some(folder) = std::env::var_os("OBSERVER_TEST_CLUSTER") else {
            eprintln!("!!! SKIPPED: needs an API server, which `cargo xtask cluster` starts");
            return None;
        };
        Some(Self {
            folder: folder.into(),
        })
    }

    fn kubectl(&self, arguments: &[&str], input: &str) -> String {
        let mut child = Command::new("kubectl")
            .arg("--kubeconfig")
            .arg(self.folder.join("admin.conf"))
            .args(arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut stdin = child.stdin.take().unwrap();
        stdin.write_all(input.as_bytes()).unwrap();
        drop(stdin);
        let output = child.wait_with_output().unwrap();
        assert!(output.status.success(), "kubectl {arguments:?}");
        String::from_utf8(output.stdout).unwrap()
    }

    fn create(&self, object: &Value) -> Value {
        let made = self.kubectl(&["create", "-f", "-", "-o", "json"], &object.to_string());
        serde_json::from_str(&made).unwrap()
    }

    /// The server as its script starts it.
    fn begin(&self) {
        let script = self.folder.join("start.sh");
        assert!(Command::new("sh").arg(script).status().unwrap().success());
        until("the API server answers", || {
            let mut ask = Command::new("kubectl");
            let config = self.folder.join("admin.conf");
            ask.arg("--kubeconfig")
                .arg(config)
                .args(["get", "--raw", "/readyz"]);
            let ask = ask.stdout(Stdio::null()).stderr(Stdio::null());
            ask.status().unwrap().success().then_some(())
        });
    }

    fn kill(&self) {
        let pid = fs::read_to_string(self.folder.join("api.pid")).unwrap();
        let pid = rustix::process::Pid::from_raw(pid.trim().parse().unwrap()).unwrap();
        rustix::process::kill_process(pid, rustix::process::Signal::KILL).unwrap();
    }
}

/// A namespace that goes with the test.
struct Namespace<'a> {
    cluster: &'a Cluster,
    name: String,
}

impl<'a> Namespace<'a> {
    fn new(cluster: &'a Cluster) -> Self {
        let name = format!("e2e-{}", free_port());
        cluster.create(
            &json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {
                "name": name, "labels": {"team": "checkout", "tier": "one"},
                "annotations": {"example.com/owner": "ann"},
            }}),
        );
        Self { cluster, name }
    }

    /// A pod of a Deployment that is on our node, with two containers. Returns its uid.
    fn pod(&self, name: &str) -> String {
        let made = self.cluster.create(&json!({
            "apiVersion": "v1", "kind": "Pod",
            "metadata": {
                "name": name, "namespace": self.name,
                "labels": {"pod-template-hash": "5d89", "team": "checkout"},
                "ownerReferences": [{
                    "apiVersion": "apps/v1", "kind": "ReplicaSet", "name": "shop-5d89",
                    "uid": "00000000-0000-0000-0000-000000000001", "controller": true,
                }],
            },
            "spec": {
                "nodeName": "node-1",
                "containers": [
                    {"name": "web", "image": "registry.example/shop/web:v2"},
                    {"name": "proxy", "image": "envoy"},
                ],
            },
        }));
        made["metadata"]["uid"].as_str().unwrap().to_owned()
    }

    /// What a kubelet tells once the container runs.
    fn started(&self, pod: &str, id: &str, restarts: u32) {
        let status = json!({"status": {"containerStatuses": [{
            "name": "web", "image": "registry.example/shop/web:v2",
            "imageID": "registry.example/shop/web@sha256:ab", "ready": true,
            "restartCount": restarts, "containerID": format!("containerd://{id}"),
            "state": {"running": {}},
        }]}});
        self.cluster.kubectl(
            &[
                "-n",
                &self.name,
                "patch",
                "pod",
                pod,
                "--subresource=status",
                "-p",
                &status.to_string(),
            ],
            "",
        );
    }

    fn annotate(&self, pod: &str, annotation: &str) {
        self.cluster.kubectl(
            &[
                "-n",
                &self.name,
                "annotate",
                "--overwrite",
                "pod",
                pod,
                annotation,
            ],
            "",
        );
    }
}

impl Drop for Namespace<'_> {
    fn drop(&mut self) {
        // Nobody ends the pods of a node that has no kubelet.
        let delete = |what: &[&str]| {
            Command::new("kubectl")
                .arg("--kubeconfig")
                .arg(self.cluster.folder.join("admin.conf"))
                .arg("delete")
                .args(what)
                .args(["--wait=false", "--ignore-not-found"])
                .status()
        };
        let _ = delete(&[
            "pods",
            "--all",
            "-n",
            &self.name,
            "--force",
            "--grace-period=0",
        ]);
        let _ = delete(&["namespace", &self.name]);
    }
}

/// A web server in a container of runc's.
struct Container {
    id: String,
    port: u16,
    folder: Folder,
}

impl Container {
    fn start(pod: &str, digit: char) -> Self {
        let id: String = std::iter::repeat_n(digit, 64).collect();
        let (folder, port) = (Folder::new(), free_port());
        let rootfs = folder.path().join("rootfs");
        fs::create_dir(&rootfs).unwrap();
        run(Command::new("mount").args(["--bind", "/"]).arg(&rootfs));
        run(Command::new("mount").arg("--make-rprivate").arg(&rootfs));
        run(Command::new("runc").arg("spec").current_dir(folder.path()));
        let path = folder.path().join("config.json");
        let mut config: Value = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
        config["process"]["terminal"] = json!(false);
        config["process"]["cwd"] = json!("/srv");
        config["process"]["args"] = json!([
            "/usr/bin/python3",
            "-m",
            "http.server",
            port.to_string(),
            "--bind",
            "127.0.0.1"
        ]);
        config["root"] = json!({"path": "rootfs", "readonly": true});
        config["linux"]["cgroupsPath"] = json!(format!("/kubepods/burstable/pod{pod}/{id}"));
        // The node's network, so that the test reaches it.
        let namespaces = config["linux"]["namespaces"].as_array_mut().unwrap();
        namespaces.retain(|it| it["type"] != "network");
        fs::write(&path, config.to_string()).unwrap();
        let mut command = Command::new("runc");
        command
            .args(["run", "--detach", "--bundle"])
            .arg(folder.path());
        run(command
            .arg(&id)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null()));
        let container = Self { id, port, folder };
        until("the container serves", || Client::connect(port).ok());
        container
    }

    fn request(&self) {
        let mut client = Client::connect(self.port).unwrap();
        assert_eq!(client.request("GET", "/", "").unwrap().status, 200);
    }
}

impl Drop for Container {
    fn drop(&mut self) {
        let _ = Command::new("runc")
            .args(["delete", "--force", &self.id])
            .status();
        let rootfs: &Path = &self.folder.path().join("rootfs");
        let _ = Command::new("umount").args(["--lazy"]).arg(rootfs).status();
    }
}

fn run(command: &mut Command) {
    assert!(command.status().unwrap().success(), "{command:?}");
}

fn observer(environment: &Environment, cluster: &Cluster, arguments: &[&str]) -> Observer {
    let config = cluster.folder.join("observer.conf");
    Observer::start_with(environment, arguments, |command| {
        command.env("KUBECONFIG", config).env("NODE_NAME", "node-1");
    })
}

/// Requests that a service in this container served, by what `target_info` says of it.
fn served(observer: &Observer, labels: &[&str]) -> u64 {
    observer.page().served(labels)
}

/// The longest pause between two attempts, jitter included, and room for a busy machine.
const RETRY: std::time::Duration = std::time::Duration::from_secs(90);

/// How long the API server is away.
const OUTAGE: std::time::Duration = std::time::Duration::from_secs(300);

#[test]
fn a_container_is_selected_and_named_by_what_the_cluster_says_of_it() {
    let (Some(environment), Some(cluster)) = (Environment::enter(), Cluster::enter()) else {
        return;
    };
    let namespace = Namespace::new(&cluster);
    let selector = format!("--namespace={}", namespace.name);
    let folder = Folder::new();
    let config = folder.file(
        "observer.yaml",
        "kubernetes: {attributes: {namespace_labels: [team], namespace_annotations: [example.com/owner]}}\n",
    );
    let config = format!("--config={}", config.display());
    let observer = observer(
        &environment,
        &cluster,
        &["--kubernetes=on", &selector, &config],
    );
    let uid = namespace.pod("shop-5d89-x");
    let container = Container::start(&uid, 'a');
    namespace.started("shop-5d89-x", &container.id, 0);
    let instance = format!("service_instance_id=\"{}.shop-5d89-x.web\"", namespace.name);
    until("a request is counted", || {
        container.request();
        (served(&observer, &["service_name=\"shop\"", &instance]) > 0).then_some(())
    });
    let uid_label = format!("k8s_pod_uid=\"{uid}\"");
    let expected = [
        &*uid_label,
        "k8s_deployment_name=\"shop\"",
        "k8s_replicaset_name=\"shop-5d89\"",
        "k8s_container_name=\"web\"",
        "k8s_node_name=\"node-1\"",
        "container_image_name=\"registry.example/shop/web\"",
        "service_version=\"v2\"",
        "k8s_cluster_uid=\"",
        "k8s_namespace_label_team=\"checkout\"",
        "k8s_namespace_annotation_example_com_owner=\"ann\"",
    ];
    assert!(
        observer.page().sum("target_info", &expected) >= 1.0,
        "{:?}",
        observer.page()
    );

    // It asks not to be traced, and then no longer.
    namespace.annotate("shop-5d89-x", "observer.dev/trace=false");
    until("it is left alone", || {
        let before = served(&observer, &[]);
        container.request();
        container.request();
        std::thread::sleep(std::time::Duration::from_millis(500));
        (served(&observer, &[]) == before).then_some(())
    });
    namespace.annotate("shop-5d89-x", "observer.dev/trace=true");
    let before = served(&observer, &[]);
    until("it is traced again", || {
        container.request();
        (served(&observer, &[]) > before).then_some(())
    });

    // The server is away, and what is known stays.
    let uid = namespace.pod("shop-5d89-y");
    cluster.kill();
    until("the loss is told", || {
        (observer.page().sum("observer_kubernetes_up", &[]) == 0.0).then_some(())
    });
    let began = std::time::Instant::now();
    let requests = observer.page().sum("observer_kubernetes_requests", &[]);
    while began.elapsed() < OUTAGE {
        let before = served(&observer, &[&instance]);
        until("names stay", || {
            container.request();
            (served(&observer, &[&instance]) > before).then_some(())
        });
        std::thread::sleep(std::time::Duration::from_secs(5).min(OUTAGE));
    }
    let requests = observer.page().sum("observer_kubernetes_requests", &[]) - requests;
    eprintln!("{OUTAGE:?} without the API server: {requests} requests");
    // Of each of four kinds, after 0.8, 1.6, … 30 s; the cluster's uid is known.
    assert!(requests <= 4.0 * 18.0, "{requests} requests");
    let second = Container::start(&uid, 'b');
    cluster.begin();
    // It is asked again after 30 s and some jitter.
    let began = std::time::Instant::now();
    while observer.page().sum("observer_kubernetes_up", &[]) == 0.0 {
        assert!(began.elapsed() < 2 * RETRY, "the server is not found again");
        std::thread::sleep(std::time::Duration::from_millis(200));
    }
    eprintln!("found again after {:?}", began.elapsed());
    namespace.started("shop-5d89-y", &second.id, 3);
    let instance = format!("service_instance_id=\"{}.shop-5d89-y.web\"", namespace.name);
    until("a pod whose container began meanwhile", || {
        second.request();
        (served(&observer, &[&instance]) > 0).then_some(())
    });
    assert!(observer.page().sum("observer_kubernetes_up", &[]) == 1.0);
    let restarts = observer.page().sum(
        "target_info",
        &[&instance, "k8s_container_restart_count=\"3\""],
    );
    assert!(restarts >= 1.0, "{:?}", observer.page());

    // Its container starts anew, with another id.
    drop(second);
    let third = Container::start(&uid, 'c');
    namespace.started("shop-5d89-y", &third.id, 4);
    until("the next start of the container", || {
        third.request();
        let labels = [&*instance, "k8s_container_restart_count=\"4\""];
        (observer.page().sum("target_info", &labels) >= 1.0).then_some(())
    });

    // A pod that lives for a moment: its status is told when it has ended, then it is deleted.
    let uid = namespace.pod("shop-5d89-z");
    let brief = Container::start(&uid, 'd');
    brief.request();
    let id = brief.id.clone();
    drop(brief);
    namespace.started("shop-5d89-z", &id, 0);
    cluster.kubectl(
        &[
            "-n",
            &namespace.name,
            "delete",
            "pod",
            "shop-5d89-z",
            "--force",
            "--grace-period=0",
        ],
        "",
    );
    let instance = format!("service_instance_id=\"{}.shop-5d89-z.web\"", namespace.name);
    until("its one request", || {
        (served(&observer, &[&instance]) == 1).then_some(())
    });
}

/// What `observer doctor --kubernetes` finds that concerns the API: name, and whether it is as it should be.
fn doctor(environment: &Environment, config: &Path, node: &str) -> Vec<(String, bool)> {
    let output = Command::new(environment.binary())
        .args(["doctor", "--kubernetes", "--json"])
        .env("KUBECONFIG", config)
        .env("NODE_NAME", node)
        .output()
        .unwrap();
    let report: Value = serde_json::from_slice(&output.stdout).unwrap();
    let findings = report["findings"].as_array().unwrap().iter();
    let findings = findings.map(|it| {
        let name = it["name"].as_str().unwrap().to_owned();
        (name, it["state"] == "ok")
    });
    let is_ours = |name: &str| {
        ["Kubernetes API", "pods of the node"].contains(&name) || name.starts_with("right to ")
    };
    findings.filter(|(name, _)| is_ours(name)).collect()
}

#[test]
fn doctor_names_the_rights_that_an_account_lacks_and_a_server_that_is_away() {
    let (Some(environment), Some(cluster)) = (Environment::enter(), Cluster::enter()) else {
        return;
    };
    let namespace = Namespace::new(&cluster);
    namespace.pod("shop-5d89-x");
    let is = |name: &str, ok: bool| (name.to_owned(), ok);
    let config = |name: &str| cluster.folder.join(format!("{name}.conf"));
    let own = config("observer");
    assert_eq!(
        doctor(&environment, &own, "node-1"),
        [is("Kubernetes API", true)]
    );
    assert_eq!(
        doctor(&environment, &own, "node-2"),
        [is("Kubernetes API", true), is("pods of the node", false)]
    );
    let mut lacking = doctor(&environment, &config("roleless"), "node-1");
    lacking.sort();
    assert_eq!(
        lacking,
        [
            is("right to endpointslices", false),
            is("right to jobs", false),
            is("right to namespaces", false),
            is("right to pods", false),
            is("right to replicasets", false),
            is("right to services", false),
        ]
    );
    let folder = Folder::new();
    let text = fs::read_to_string(&own).unwrap();
    let stranger = folder.file(
        "stranger.conf",
        text.replace("observer-token", "nobodys-token"),
    );
    let away = folder.file("away.conf", text.replace(":26443", ":1"));
    for config in [stranger, away] {
        assert_eq!(
            doctor(&environment, &config, "node-1"),
            [is("Kubernetes API", false)]
        );
    }
}

#[test]
fn a_thousand_pods_that_come_and_go_cost_no_requests_and_no_memory() {
    let (Some(environment), Some(cluster)) = (Environment::enter(), Cluster::enter()) else {
        return;
    };
    let namespace = Namespace::new(&cluster);
    let selector = format!("--namespace={}", namespace.name);
    let observer = observer(&environment, &cluster, &["--kubernetes=on", &selector]);
    let page = || observer.page();
    until("the list", || {
        (page().sum("observer_kubernetes_up", &[]) == 1.0).then_some(())
    });
    let requests = page().sum("observer_kubernetes_requests", &[]);
    let resident = page().sum("observer_resident_bytes", &[]);
    for round in 0..4 {
        let items: Vec<Value> = (0..250)
            .map(|number| {
                json!({"apiVersion": "v1", "kind": "Pod",
                    "metadata": {"name": format!("pod-{round}-{number}"), "namespace": namespace.name},
                    "spec": {"nodeName": "node-1", "containers": [{"name": "c", "image": "c"}]}})
            })
            .collect();
        let list = json!({"apiVersion": "v1", "kind": "List", "items": items});
        cluster.kubectl(&["create", "-f", "-"], &list.to_string());
        until("the pods", || {
            (page().sum("observer_kubernetes_pods", &["present"]) >= 250.0).then_some(())
        });
        cluster.kubectl(
            &[
                "-n",
                &namespace.name,
                "delete",
                "pods",
                "--all",
                "--force",
                "--grace-period=0",
            ],
            "",
        );
        until("their end", || {
            (page().sum("observer_kubernetes_pods", &["present"]) == 0.0).then_some(())
        });
    }
    let gone = page().sum("observer_kubernetes_pods", &["gone"]);
    let requests = page().sum("observer_kubernetes_requests", &[]) - requests;
    let grown = page().sum("observer_resident_bytes", &[]) - resident;
    eprintln!("1,000 pods: {requests} requests, {grown} bytes more, {gone} remembered");
    assert!(requests <= 9.0, "{requests} requests");
    assert!(grown < 16.0 * 1024.0 * 1024.0, "{grown} bytes more");
}
