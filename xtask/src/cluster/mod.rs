//! `cargo xtask cluster`: the tests that need an API server, against Kubernetes' own.
//!
//! Comes in: Kubernetes' Go modules, Debian's etcd, runc and kubectl. Goes out: what the tests say. Owns: `target/cluster`,
//! and the server and its etcd for as long as the tests run. Nothing else of a cluster is there: what a kubelet would tell of
//! its pods, the tests tell. The first build takes ten minutes of two processors, so no run of the ordinary tests does this.

mod build;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Result, bail};
use rustix::process::{Pid, Signal, kill_process};

use crate::dist::executable::FEATURES;
use crate::{command, debian, workspace};

/// Ports of the API server and of etcd (clients, peers).
const PORTS: [u16; 3] = [26443, 22379, 22380];
/// How long the server may take to be ready.
const START: Duration = Duration::from_secs(180);
/// Who may do everything, who may do what the chart's role lets observer do, and who may do nothing.
const TOKENS: [(&str, &str); 3] = [
    ("admin", "admin,admin,system:masters"),
    (
        "observer",
        "system:serviceaccount:observer:observer,observer,system:serviceaccounts",
    ),
    (
        "roleless",
        "system:serviceaccount:observer:roleless,roleless,system:serviceaccounts",
    ),
];

#[derive(clap::Args)]
pub(crate) struct Options {
    /// This kube-apiserver instead of one that is built
    #[arg(long, value_name = "FILE")]
    apiserver: Option<PathBuf>,
    /// Only tests whose names contain this
    filter: Option<String>,
}

/// Starts the server, and runs the tests.
///
/// # Errors
/// When something can't be built or started, or a test fails.
pub(crate) fn run(options: &Options) -> Result<()> {
    debian::install(&[
        ("etcd", "etcd-server"),
        ("runc", "runc"),
        ("kubectl", "kubernetes-client"),
        ("openssl", "openssl"),
    ])?;
    let folder = workspace::target().join("cluster");
    fs::create_dir_all(&folder)?;
    let program = match &options.apiserver {
        Some(program) => std::path::absolute(program)?,
        None => build::apiserver(&folder)?,
    };
    command::run(
        workspace::cargo()
            .args(["build", "--package", "observer", "--bin", "observer"])
            .args(["--features", FEATURES]),
    )?;
    let cluster = Cluster::start(&folder, &program)?;
    cluster.allow_observer()?;
    let mut tests = workspace::cargo();
    tests
        // With what `cargo xtask test` builds, too.
        .args(["test", "--workspace", "--test", "kubernetes"])
        .args(["--features", &format!("observer/{FEATURES}")])
        .args(["--", "--nocapture", "--test-threads=1"])
        .args(&options.filter)
        .env("OBSERVER_TEST_CLUSTER", &folder)
        .env(
            "OBSERVER_TEST_BINARY",
            workspace::target().join("debug/observer"),
        )
        .env("OBSERVER_TEST_XTASK", std::env::current_exe()?)
        .env("OBSERVER_TEST_ENV", &folder);
    command::run(&mut tests)
}

/// A server with its etcd, ended when dropped.
struct Cluster<'a> {
    folder: &'a Path,
}

impl<'a> Cluster<'a> {
    fn start(folder: &'a Path, program: &Path) -> Result<Self> {
        // Nothing of an earlier run.
        for name in ["etcd", "certificates"] {
            let _ = fs::remove_dir_all(folder.join(name));
        }
        let tokens = TOKENS.map(|(name, user)| format!("{name}-token,{user}\n"));
        fs::write(folder.join("tokens.csv"), tokens.concat())?;
        let key = folder.join("accounts.key");
        command::output(Command::new("openssl").args(["genrsa", "-out"]).arg(&key))?;
        for (name, _) in TOKENS {
            fs::write(folder.join(format!("{name}.conf")), config(folder, name))?;
        }
        fs::write(folder.join("start.sh"), script(folder, program))?;
        let cluster = Self { folder };
        cluster.run_script("etcd")?;
        cluster.run_script("api")?;
        let began = Instant::now();
        while !command::succeeds(cluster.kubectl().args(["get", "--raw", "/readyz"])) {
            if began.elapsed() > START {
                let log = fs::read_to_string(folder.join("api.log")).unwrap_or_default();
                let last: Vec<&str> = log.lines().rev().take(5).collect();
                bail!("the API server is not ready: {}", last.join("\n"));
            }
            std::thread::sleep(Duration::from_millis(200));
        }
        Ok(cluster)
    }

    fn run_script(&self, what: &str) -> Result<()> {
        command::run(
            Command::new("sh")
                .arg(self.folder.join("start.sh"))
                .arg(what),
        )
    }

    fn kubectl(&self) -> Command {
        let mut command = Command::new("kubectl");
        command
            .arg("--kubeconfig")
            .arg(self.folder.join("admin.conf"));
        command
    }

    /// Gives observer the role that the manifests give it where namespaces are followed, too.
    fn allow_observer(&self) -> Result<()> {
        let manifests =
            workspace::root().join("deploy/helm/observer/examples/gateway.rendered.yaml");
        let manifests = fs::read_to_string(&manifests)?;
        let roles = manifests
            .split("\n---\n")
            .filter(|object| object.contains("\nkind: ClusterRole"));
        let roles: Vec<&str> = roles.collect();
        if roles.len() != 2 {
            bail!("the manifests have no role and binding");
        }
        let file = self.folder.join("role.yaml");
        fs::write(&file, roles.join("\n---\n"))?;
        command::run(self.kubectl().args(["apply", "-f"]).arg(&file))
    }
}

impl Drop for Cluster<'_> {
    fn drop(&mut self) {
        for what in ["api", "etcd"] {
            let pid = fs::read_to_string(self.folder.join(format!("{what}.pid")));
            let pid = pid.ok().and_then(|pid| pid.trim().parse().ok());
            if let Some(pid) = pid.and_then(Pid::from_raw) {
                let _ = kill_process(pid, Signal::KILL);
            }
        }
    }
}

fn config(folder: &Path, name: &str) -> String {
    let [port, ..] = PORTS;
    format!(
        "apiVersion: v1\nkind: Config\ncurrent-context: test\n\
         clusters: [{{name: test, cluster: {{server: \"https://127.0.0.1:{port}\", certificate-authority: {}/certificates/apiserver.crt}}}}]\n\
         users: [{{name: test, user: {{token: {name}-token}}}}]\n\
         contexts: [{{name: test, context: {{cluster: test, user: test}}}}]\n",
        folder.display()
    )
}

/// Starts one of both: `start.sh`, for the API server, is what a test runs that killed it.
fn script(folder: &Path, program: &Path) -> String {
    let [port, clients, peers] = PORTS;
    format!(
        "cd {}\n\
         case \"${{1:-api}}\" in\n\
         etcd) set -- etcd --data-dir etcd --listen-client-urls http://127.0.0.1:{clients} \
         --advertise-client-urls http://127.0.0.1:{clients} --listen-peer-urls http://127.0.0.1:{peers}; name=etcd ;;\n\
         *) set -- {} --etcd-servers=http://127.0.0.1:{clients} --cert-dir=certificates --secure-port={port} \
         --bind-address=127.0.0.1 --token-auth-file=tokens.csv --authorization-mode=RBAC \
         --service-account-key-file=accounts.key --service-account-signing-key-file=accounts.key \
         --service-account-issuer=https://kubernetes.default.svc --disable-admission-plugins=ServiceAccount \
         --service-cluster-ip-range=10.96.0.0/16; name=api ;;\n\
         esac\n\
         setsid \"$@\" >\"$name.log\" 2>&1 </dev/null &\n\
         echo $! >\"$name.pid\"\n",
        folder.display(),
        program.display()
    )
}
