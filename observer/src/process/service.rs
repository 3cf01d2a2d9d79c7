//! A process's identity: `/proc/PID` in, an OpenTelemetry resource out.
//!
//! `service.name`, first match wins: OTEL_SERVICE_NAME, `service.name` in OTEL_RESOURCE_ATTRIBUTES, what
//! [`kubernetes`](crate::kubernetes) makes of its pod, the container's name, the systemd unit, then what [`naming`] makes of
//! executable, script or archive.
//! Everything in OTEL_RESOURCE_ATTRIBUTES overrides what was found, and observer's own configuration overrides that, but
//! for `process.pid`. The command line is not exported: it may hold secrets; `process.command` is its first word only.

use std::{io, sync::Arc};

use sha2::{Digest, Sha256};

use super::{
    Service, Value,
    container::ControlGroups,
    environment::Environment,
    host::Host,
    instrumentation::Instrumentation,
    language::Language,
    naming::{self, Clues, Runtime},
    proc_fs::{ProcFs, Stat},
};
use crate::kubernetes::{Attribute, Lookup, PodRef, Store};

const ENVIRON_LIMIT: usize = 128 << 10;
const COMMAND_LINE_LIMIT: usize = 4096;
const CGROUP_LIMIT: usize = 16 << 10;
const FILE_LIMIT: usize = 256 << 10;
const PASSWD_LIMIT: usize = 1 << 20;

/// Attributes of which OpenTelemetry's conventions speak and that a user may set; sorted.
const KNOWN_KEYS: [&str; 44] = [
    "cloud.account.id",
    "cloud.availability_zone",
    "cloud.platform",
    "cloud.provider",
    "cloud.region",
    "container.id",
    "container.image.name",
    "container.image.repo_digests",
    "container.image.tags",
    "container.name",
    "deployment.environment",
    "deployment.environment.name",
    "host.arch",
    "host.id",
    "host.name",
    "k8s.cluster.name",
    "k8s.cluster.uid",
    "k8s.container.name",
    "k8s.container.restart_count",
    "k8s.cronjob.name",
    "k8s.daemonset.name",
    "k8s.deployment.name",
    "k8s.job.name",
    "k8s.namespace.name",
    "k8s.node.name",
    "k8s.pod.name",
    "k8s.pod.uid",
    "k8s.replicaset.name",
    "k8s.statefulset.name",
    "os.type",
    "process.command",
    "process.executable.name",
    "process.executable.path",
    "process.owner",
    "process.pid",
    "process.runtime.name",
    "process.runtime.version",
    "service.instance.id",
    "service.name",
    "service.namespace",
    "service.version",
    "telemetry.sdk.language",
    "telemetry.sdk.name",
    "telemetry.sdk.version",
];

/// Which process an identity is of.
#[derive(Clone, Copy, Debug)]
pub(super) struct Subject {
    /// The process that stands for the instance.
    pub(super) pid: u32,
    /// Its start in ticks.
    pub(super) start_ticks: u64,
    /// The process to look at: itself, or one of its forks when it is gone.
    pub(super) witness: u32,
    /// The witness's start in ticks.
    pub(super) witness_ticks: u64,
}

/// Reads identities.
#[derive(Clone, Debug)]
pub struct Identifier {
    pub(super) proc: ProcFs,
    host: Host,
    /// From the configuration: they override everything.
    configured: Vec<(String, String)>,
    /// The pods of this node, where there is a cluster.
    pods: Option<Arc<Store>>,
}

/// What a process tells of itself. Its service follows from it, and from what the cluster says of its pod by then.
#[derive(Debug)]
pub(super) struct Facts {
    attributes: Attributes,
    /// Resource attributes that its environment gives.
    given: Vec<(String, String)>,
    /// `service.name` that its environment gives.
    said: Option<String>,
    /// `service.name` by everything else that it tells.
    found: String,
    instrumentation: Instrumentation,
    /// Where it is in the cluster, if anywhere.
    pub(super) place: PodRef,
}

/// A service as it is known so far.
pub(super) struct Named {
    pub(super) service: Service,
    /// The cluster knows its pod.
    pub(super) in_pod: bool,
    /// The cluster may tell more in a moment.
    pub(super) awaited: bool,
}

impl Identifier {
    /// `configured` are resource attributes for every service; they override what is found.
    pub fn new(proc: ProcFs, configured: Vec<(String, String)>) -> Self {
        let host = Host::read(&proc);
        Self {
            proc,
            host,
            configured,
            pods: None,
        }
    }

    /// The same, on a node of a cluster whose pods are in the store.
    #[must_use]
    pub fn in_cluster(self, pods: Arc<Store>) -> Self {
        Self {
            pods: Some(pods),
            ..self
        }
    }

    /// The pods of this node, where there is a cluster.
    pub(super) fn pods(&self) -> Option<&Store> {
        self.pods.as_deref()
    }

    /// What a process that still runs tells of itself. An error when it is gone or is another by now.
    pub(super) fn identify(&self, subject: Subject) -> io::Result<Facts> {
        let before = self.checked_stat(subject)?;
        let facts = self.read(subject, &before)?;
        let after = self.checked_stat(subject)?;
        if after.layout == before.layout {
            return Ok(facts);
        }
        // It called exec in between: what was read may be half of each.
        self.read(subject, &after)
    }

    /// The service of a process of which only the kernel's name is known.
    pub(super) fn unseen(&self, pid: u32, start_ticks: u64, comm: &str) -> Service {
        let mut attributes = self.base(pid, start_ticks);
        let name = naming::clean(comm).unwrap_or_else(|| "unknown_service".to_owned());
        if !comm.is_empty() {
            attributes.set("process.executable.name", name.clone());
        }
        attributes.finish(name, &[], &self.configured)
    }

    /// The service that follows, with what the cluster tells by now.
    pub(super) fn service(&self, facts: &Facts) -> Named {
        let mut attributes = facts.attributes.clone();
        let mut given = Vec::new();
        let mut name = None;
        let (mut in_pod, mut awaited) = (false, false);
        if let Some(pods) = &self.pods {
            match pods.find(&facts.place) {
                Lookup::Known(member) => {
                    (in_pod, awaited) = (true, !member.is_whole());
                    for (key, value) in member.attributes() {
                        attributes.put(key, value.into());
                    }
                    let kept = pods.kept();
                    let service = member.service(kept);
                    attributes.set_some("k8s.cluster.uid", pods.cluster_uid());
                    attributes.set_some("service.namespace", service.namespace);
                    attributes.set_some("service.version", service.version);
                    attributes.set_some("service.instance.id", service.instance_id);
                    name = service.name.as_deref().and_then(naming::clean);
                    given = member.allowed(kept);
                    let text = |(key, value): (&str, &str)| (key.to_owned(), value.to_owned());
                    given.extend(member.annotated().map(text));
                }
                Lookup::Awaited => awaited = true,
                Lookup::Unknown => {}
            }
        }
        let name = facts.said.clone().or(name);
        let name = name.unwrap_or_else(|| facts.found.clone());
        given.extend(facts.given.iter().cloned());
        let mut service = attributes.finish(name, &given, &self.configured);
        service.instrumentation = facts.instrumentation.clone();
        Named {
            service,
            in_pod,
            awaited,
        }
    }

    /// The kernel's name of a process, if it still is the one.
    pub(super) fn checked_stat(&self, subject: Subject) -> io::Result<Stat> {
        let stat = self.proc.stat(subject.witness)?;
        if stat.start_ticks == subject.witness_ticks {
            Ok(stat)
        } else {
            Err(io::ErrorKind::NotFound.into())
        }
    }

    fn read(&self, subject: Subject, stat: &Stat) -> io::Result<Facts> {
        let (proc, pid) = (&self.proc, subject.witness);
        let exe = proc.link(pid, "exe").ok().filter(|exe| !exe.is_empty());
        let args = self.arguments(pid);
        let environment =
            Environment::parse(&proc.read(pid, "environ", ENVIRON_LIMIT).unwrap_or_default());
        let groups =
            ControlGroups::parse(&proc.read(pid, "cgroup", CGROUP_LIMIT).unwrap_or_default());
        let file = naming::file_of(exe.as_deref());
        if exe.is_none() && args.is_empty() && stat.state == 'Z' {
            return Err(io::ErrorKind::NotFound.into());
        }

        let mut attributes = self.base(subject.pid, subject.start_ticks);
        let named_by_hand = self
            .is_in_own_mount_namespace(pid)
            .then_some(groups.leaf)
            .flatten();
        let container_name = groups
            .container_name
            .or_else(|| environment.get("NOMAD_TASK_NAME").map(str::to_owned));
        let place = PodRef {
            uid: groups.pod_uid,
            container: groups.container_id.clone(),
        };
        let container_id = groups.container_id.or(named_by_hand);
        attributes.set_some("container.id", container_id);
        attributes.set_some("container.name", container_name.clone());
        attributes.set_some("k8s.pod.uid", place.uid.clone());
        attributes.set_some("process.executable.path", exe.clone());
        attributes.set(
            "process.executable.name",
            if file.is_empty() {
                stat.comm.clone()
            } else {
                file.to_owned()
            },
        );
        attributes.set_some("process.command", command(&args));
        attributes.set_some("process.owner", self.owner(pid));
        let language = self.language(pid, exe.as_deref(), &environment);
        attributes.set_some(
            "telemetry.sdk.language",
            language.language.map(str::to_owned),
        );
        attributes.set_some("process.runtime.name", language.runtime.map(str::to_owned));
        attributes.set_some("process.runtime.version", language.version);

        let given = environment.resource_attributes();
        let said = environment
            .get("OTEL_SERVICE_NAME")
            .and_then(naming::clean)
            .or_else(|| {
                given
                    .iter()
                    .rev()
                    .find(|(key, _)| key == "service.name")
                    .and_then(|(_, name)| naming::clean(name))
            });
        let found = container_name
            .as_deref()
            .and_then(naming::clean)
            .or(groups.unit)
            .unwrap_or_else(|| self.name_of_program(pid, stat, 0));
        Ok(Facts {
            attributes,
            given,
            said,
            found,
            instrumentation: Instrumentation::of(&environment, &args),
            place,
        })
    }

    /// The name by executable, script or archive. A worker that Python's multiprocessing spawned is named as its
    /// parent is.
    fn name_of_program(&self, pid: u32, stat: &Stat, depth: u32) -> String {
        let args = self.arguments(pid);
        if args.iter().any(|arg| arg == "--multiprocessing-fork")
            && depth < 8
            && stat.parent > 1
            && let Ok(parent) = self.proc.stat(stat.parent)
        {
            return self.name_of_program(stat.parent, &parent, depth + 1);
        }
        let environment = Environment::parse(
            &self
                .proc
                .read(pid, "environ", ENVIRON_LIMIT)
                .unwrap_or_default(),
        );
        let exe = self.proc.link(pid, "exe").ok();
        let cwd = self.proc.link(pid, "cwd").ok();
        let read = |path: &str| self.proc.read_in_root(pid, path, FILE_LIMIT).ok();
        let clues = Clues {
            exe: exe.as_deref(),
            args: &args,
            comm: &stat.comm,
            cwd: cwd.as_deref(),
            environment: &environment,
            read: &read,
        };
        naming::name(&clues).unwrap_or_else(|| "unknown_service".to_owned())
    }

    fn arguments(&self, pid: u32) -> Vec<String> {
        let bytes = self
            .proc
            .read(pid, "cmdline", COMMAND_LINE_LIMIT)
            .unwrap_or_default();
        let text = String::from_utf8_lossy(&bytes);
        let text = text.trim_end_matches('\0');
        if text.is_empty() {
            Vec::new()
        } else {
            text.split('\0').map(str::to_owned).collect()
        }
    }

    /// Containers made by hand (`runc run NAME`) put their name into the path of a control group, as anybody may;
    /// only a process that also has file systems of its own is believed to be in one.
    fn is_in_own_mount_namespace(&self, pid: u32) -> bool {
        let of = |pid, namespace: &str| self.proc.link(pid, &format!("ns/{namespace}")).ok();
        ["mnt", "pid"]
            .iter()
            .all(|namespace| match (of(1, namespace), of(pid, namespace)) {
                (Some(host), Some(own)) => host != own,
                _ => false,
            })
    }

    /// The user's name as the process's own /etc/passwd has it, else the number.
    fn owner(&self, pid: u32) -> Option<String> {
        let status = self.proc.read(pid, "status", 4096).ok()?;
        let status = String::from_utf8_lossy(&status);
        let uid = status
            .lines()
            .find_map(|line| line.strip_prefix("Uid:"))?
            .split_ascii_whitespace()
            .nth(1)?;
        let users = self
            .proc
            .read_in_root(pid, "/etc/passwd", PASSWD_LIMIT)
            .unwrap_or_default();
        let users = String::from_utf8_lossy(&users);
        let name = users.lines().find_map(|line| {
            let mut fields = line.split(':');
            let name = fields.next()?;
            (fields.nth(1)? == uid).then_some(name)
        });
        naming::clean(name.unwrap_or(uid))
    }

    fn language(&self, pid: u32, exe: Option<&str>, environment: &Environment) -> Language {
        let file = naming::file_of(exe);
        let mut language = match Language::of_name(file) {
            Some(language) => language,
            None => self
                .proc
                .open_exe(pid)
                .map(|file| Language::of_file(&file))
                .unwrap_or_default(),
        };
        // Official images tell the runtime's version in the environment; a program's own file is believed first.
        let variable = match language.language {
            Some("python") => Some("PYTHON_VERSION"),
            Some("nodejs") if language.runtime == Some("nodejs") => Some("NODE_VERSION"),
            Some("ruby") => Some("RUBY_VERSION"),
            Some("php") => Some("PHP_VERSION"),
            _ => None,
        };
        let told = variable
            .and_then(|variable| environment.get(variable))
            .and_then(naming::clean);
        let refines = |told: &String| {
            language
                .version
                .as_ref()
                .is_none_or(|own| told.starts_with(own.as_str()))
        };
        if let Some(told) = told.filter(refines) {
            language.version = Some(told);
        }
        if let (Some(Runtime::Java), Some(exe)) = (Runtime::of(file), exe) {
            language.version = self.java_version(pid, exe).or(language.version);
        }
        language
    }

    /// `JAVA_VERSION="17.0.9"` in the `release` file beside the runtime's `bin`.
    fn java_version(&self, pid: u32, exe: &str) -> Option<String> {
        let home = exe.strip_suffix("/bin/java")?;
        let release = self
            .proc
            .read_in_root(pid, &format!("{home}/release"), FILE_LIMIT)
            .ok()?;
        let release = String::from_utf8_lossy(&release);
        let version = release
            .lines()
            .find_map(|line| line.strip_prefix("JAVA_VERSION="))?;
        naming::clean(version.trim_matches('"'))
    }

    fn base(&self, pid: u32, start_ticks: u64) -> Attributes {
        let mut attributes = Attributes::default();
        attributes.set_some("host.name", self.host.name.clone());
        attributes.set_some("host.id", self.host.id.clone());
        attributes.set("host.arch", Host::arch().to_owned());
        attributes.set("os.type", "linux".to_owned());
        attributes
            .0
            .push(("process.pid", Value::Int(i64::from(pid))));
        attributes.set("service.instance.id", self.instance_id(pid, start_ticks));
        attributes
    }

    /// A UUID (version 8, RFC 9562) of host, boot, process id and start: the same whenever it is asked for, and no
    /// other process's.
    fn instance_id(&self, pid: u32, start_ticks: u64) -> String {
        let host = self
            .host
            .id
            .as_deref()
            .or(self.host.name.as_deref())
            .unwrap_or_default();
        let digest = Sha256::digest(format!(
            "observer\0{host}\0{}\0{pid}\0{start_ticks}",
            self.host.boot_id
        ));
        let mut hex: Vec<u8> = digest
            .iter()
            .take(16)
            .flat_map(|byte| format!("{byte:02x}").into_bytes())
            .collect();
        hex[12] = b'8';
        hex[16] = b"89ab"[usize::from(digest[8] >> 6)];
        let hex = String::from_utf8_lossy(&hex);
        format!(
            "{}-{}-{}-{}-{}",
            &hex[..8],
            &hex[8..12],
            &hex[12..16],
            &hex[16..20],
            &hex[20..]
        )
    }
}

/// The first word of a command line; `None` where the line was rewritten (`nginx: worker process`), since a title
/// may hold anything.
fn command(args: &[String]) -> Option<String> {
    let first = args.first()?;
    (!first.contains(char::is_whitespace))
        .then(|| naming::clean(first))
        .flatten()
}

impl From<Attribute> for Value {
    fn from(attribute: Attribute) -> Self {
        match attribute {
            Attribute::Text(text) => Self::Text(text.into()),
            Attribute::Int(number) => Self::Int(number),
            Attribute::Texts(texts) => {
                Self::Texts(texts.into_iter().map(|text| text.into()).collect())
            }
        }
    }
}

#[derive(Clone, Debug, Default)]
struct Attributes(Vec<(&'static str, Value)>);

impl Attributes {
    fn set(&mut self, key: &'static str, value: String) {
        self.put(key, Value::Text(value.into()));
    }

    fn put(&mut self, key: &'static str, value: Value) {
        self.0.retain(|(own, _)| *own != key);
        self.0.push((key, value));
    }

    fn set_some(&mut self, key: &'static str, value: Option<String>) {
        if let Some(value) = value {
            self.set(key, value);
        }
    }

    /// `telemetry.sdk.*` stand together or not at all (OpenTelemetry, "Telemetry SDK"): whose language is told gets the
    /// name of what made its telemetry, which is observer.
    fn name_maker(&mut self) {
        let has = |key: &str| self.0.iter().any(|(own, _)| *own == key);
        if !has("telemetry.sdk.language") || has("telemetry.sdk.name") {
            return;
        }
        let has_version = has("telemetry.sdk.version");
        self.set("telemetry.sdk.name", "observer".to_owned());
        if !has_version {
            self.set(
                "telemetry.sdk.version",
                env!("CARGO_PKG_VERSION").to_owned(),
            );
        }
    }

    fn finish(
        mut self,
        name: String,
        given: &[(String, String)],
        configured: &[(String, String)],
    ) -> Service {
        let mut extra: Vec<(Arc<str>, Value)> = Vec::new();
        self.set("service.name", name);
        let given = given.iter().filter(|(key, _)| key != "service.name");
        for (key, value) in given.chain(configured) {
            match KNOWN_KEYS.iter().find(|known| *known == key) {
                Some(&"process.pid") => {}
                // An empty name or id would merge what must stay apart.
                Some(&("service.name" | "service.instance.id")) if value.trim().is_empty() => {}
                Some(known) => self.set(known, value.clone()),
                None => {
                    extra.retain(|(own, _)| **own != **key);
                    extra.push((key.as_str().into(), Value::Text(value.clone().into())));
                }
            }
        }
        self.name_maker();
        self.0.sort_by_key(|(key, _)| *key);
        extra.sort_by(|(left, _), (right, _)| left.cmp(right));
        let text = |key: &str| {
            self.0.iter().find_map(|(own, value)| match value {
                Value::Text(text) if *own == key => Some(text.to_shared()),
                _ => None,
            })
        };
        let (name, instance_id) = (text("service.name"), text("service.instance.id"));
        Service {
            name: name.unwrap_or_default(),
            instance_id: instance_id.unwrap_or_default(),
            attributes: self.0,
            extra_attributes: extra,
            instrumentation: Instrumentation::default(),
        }
    }
}

#[cfg(test)]
#[path = "service_tests.rs"]
mod tests;
