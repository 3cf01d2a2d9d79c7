//! What this process finds itself in.

use std::{env, fs, io, path::Path};

use rustix::fs::{StatVfsMountFlags, statvfs};

use super::limits::Limits;
use crate::{
    cli::privileges::{Capability, Lacking, Privileges},
    config::{File, NodeName, PeerServices, Settings, Watch},
    kernel::refused_calls,
    kubernetes::account::{self, Heard, Unheard},
};

/// Where the chart mounts the configuration.
pub(super) const CONFIGURATION: &str = "/etc/observer/observer.yaml";

/// What a security module confines the process by.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Confinement {
    /// None that is known.
    Free,
    /// This profile of AppArmor's.
    AppArmor(String),
    /// This type of SELinux', in force.
    SeLinux(String),
}

/// What the API server says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Answer {
    /// It was not asked, for this reason; there is nothing to ask for.
    Off(&'static str),
    /// It can't be asked, for this reason.
    Impossible(String),
    /// It was.
    #[cfg_attr(
        not(any(feature = "kubernetes", test)),
        expect(dead_code, reason = "only that feature can ask")
    )]
    Asked(Result<Heard, Unheard>),
}

/// See the module. Each is as the daemon in the same container would find it.
#[derive(Clone, Debug)]
pub(super) struct Situation {
    /// Capabilities that tracing needs and that are missing.
    pub(super) lacking: Vec<Capability>,
    /// It has CAP_NET_ADMIN.
    pub(super) has_net_admin: bool,
    /// It has CAP_SYS_ADMIN.
    pub(super) is_administrator: bool,
    /// Capabilities do not count, in this user namespace.
    pub(super) is_rootless: bool,
    /// Its user.
    pub(super) user: u32,
    /// The process ids that it sees are its container's own.
    pub(super) has_own_process_ids: bool,
    /// It may look at most of the other processes.
    pub(super) sees_others: bool,
    /// The security module's.
    pub(super) confinement: Confinement,
    /// A seccomp filter is in force.
    pub(super) is_filtered: bool,
    /// Calls that are refused before the kernel looks at them.
    pub(super) refused: Vec<&'static str>,
    /// A program may get more privileges than it has.
    pub(super) may_gain: bool,
    /// Its root file system can be written.
    pub(super) is_writable: bool,
    /// What the configuration says; `None` where there is none, an error where it is refused.
    pub(super) settings: Result<Option<Settings>, String>,
    /// The node's name, as far as it is said.
    pub(super) node: Result<String, Option<String>>,
    /// It is in a pod.
    pub(super) is_in_pod: bool,
    /// It has a service account's token.
    pub(super) has_token: bool,
    /// Memory and CPU.
    pub(super) limits: Limits,
    /// What the API server says.
    pub(super) answer: Answer,
}

impl Situation {
    /// Looks, and asks the API server where there is one.
    pub(super) fn read() -> Self {
        let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
        let privileges = Privileges::read().ok();
        let has = |capability| privileges.is_some_and(|it| it.has(capability));
        let lacking = privileges.and_then(|it| it.lacking());
        let settings = settings();
        let said = settings.as_ref().ok().and_then(Option::as_ref);
        let node = node(said, env::var("NODE_NAME").ok());
        let answer = ask(said, node.as_deref().ok());
        Self {
            has_net_admin: has(Capability::NetAdmin),
            is_administrator: has(Capability::SysAdmin),
            is_rootless: lacking == Some(Lacking::UserNamespace),
            lacking: match lacking {
                Some(Lacking::Capabilities(lacking)) => lacking,
                _ => Vec::new(),
            },
            user: rustix::process::geteuid().as_raw(),
            has_own_process_ids: crate::process::is_own_pid_namespace_private().unwrap_or(true),
            sees_others: sees_others(),
            confinement: confinement(),
            is_filtered: value(&status, "Seccomp:") == Some("2"),
            refused: refused_calls(),
            may_gain: value(&status, "NoNewPrivs:") == Some("0"),
            is_writable: statvfs("/")
                .is_ok_and(|it| !it.f_flag.contains(StatVfsMountFlags::RDONLY)),
            settings,
            node,
            is_in_pod: account::is_in_pod(),
            has_token: account::has_token(),
            limits: Limits::read(
                Path::new("/sys/fs/cgroup"),
                &fs::read_to_string("/proc/self/cgroup").unwrap_or_default(),
            ),
            answer,
        }
    }
}

/// Whether more processes can be looked at than can't. A single one may be out of reach whatever the pod has: the machine's own
/// guard.
fn sees_others() -> bool {
    let own = std::process::id();
    let all = fs::read_dir("/proc").into_iter().flatten().flatten();
    let all = all.filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
    let (mut seen, mut refused) = (0, 0);
    for pid in all.filter(|pid| *pid != own) {
        match fs::read_link(format!("/proc/{pid}/exe")) {
            Ok(_) => seen += 1,
            Err(error) if error.kind() == io::ErrorKind::PermissionDenied => refused += 1,
            // A kernel's thread has none, and others end.
            Err(_) => {}
        }
    }
    seen >= refused
}

/// A value of `/proc/self/status`.
fn value<'a>(status: &'a str, key: &str) -> Option<&'a str> {
    status
        .lines()
        .find_map(|line| Some(line.strip_prefix(key)?.trim()))
}

fn settings() -> Result<Option<Settings>, String> {
    let path = Path::new(CONFIGURATION);
    if !path.exists() {
        return Ok(None);
    }
    let file = File::read(path).map_err(|error| error.to_string())?;
    Ok(Some(Settings::from_file(file, |name| env::var(name).ok())))
}

/// The name; an error is what was said and is none.
fn node(settings: Option<&Settings>, told: Option<String>) -> Result<String, Option<String>> {
    if let Some(node) = settings.and_then(|it| it.kubernetes.node.as_ref()) {
        return Ok(node.as_str().to_owned());
    }
    match told {
        Some(told) if told.parse::<NodeName>().is_ok() => Ok(told),
        told => Err(told),
    }
}

fn confinement() -> Confinement {
    let read = |path| fs::read_to_string(path).ok();
    let label =
        read("/proc/self/attr/apparmor/current").or_else(|| read("/proc/self/attr/current"));
    let is_enforcing = read("/sys/fs/selinux/enforce").is_some_and(|it| it.trim() == "1");
    of_label(label.as_deref().unwrap_or_default(), is_enforcing)
}

/// By the process's label: `PROFILE (enforce)` is AppArmor's, `USER:ROLE:TYPE:LEVEL` SELinux'.
fn of_label(label: &str, is_enforcing: bool) -> Confinement {
    let label = label.trim_matches(['\0', '\n', ' ']);
    if let Some(profile) = label.strip_suffix(" (enforce)") {
        return Confinement::AppArmor(profile.to_owned());
    }
    match label.split(':').nth(2) {
        Some(kind) if is_enforcing => Confinement::SeLinux(kind.to_owned()),
        _ => Confinement::Free,
    }
}

/// Whether the configuration wants services to be followed, and namespaces.
pub(super) fn followed(settings: Option<&Settings>) -> (bool, bool) {
    let Some(settings) = settings.map(|it| &it.kubernetes) else {
        return (true, false);
    };
    let namespaces = settings.namespace_labels.len() + settings.namespace_annotations.len() > 0;
    (settings.services == PeerServices::On, namespaces)
}

fn ask(settings: Option<&Settings>, node: Option<&str>) -> Answer {
    if settings.is_some_and(|it| it.kubernetes.watch == Watch::Off) {
        return Answer::Off("kubernetes.watch is off");
    }
    let by_kubeconfig = env::var_os("KUBECONFIG").is_some();
    if !by_kubeconfig && !account::is_in_pod() {
        return Answer::Impossible("this process is in no pod".to_owned());
    }
    if !by_kubeconfig && !account::has_token() {
        return Answer::Impossible("there is no service account's token".to_owned());
    }
    let (services, namespaces) = followed(settings);
    let rights = account::needed(services, namespaces);
    asked(!by_kubeconfig, &rights, node)
}

#[cfg(feature = "kubernetes")]
fn asked(in_pod: bool, rights: &[&'static account::Right], node: Option<&str>) -> Answer {
    use crate::kubernetes::watch;

    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build();
    let runtime = match runtime {
        Ok(runtime) => runtime,
        Err(error) => return Answer::Impossible(error.to_string()),
    };
    runtime.block_on(async {
        match watch::access(in_pod).await {
            Ok(config) => Answer::Asked(watch::ask(config, rights, node).await),
            Err(error) => Answer::Impossible(error),
        }
    })
}

#[cfg(not(feature = "kubernetes"))]
fn asked(_: bool, _: &[&'static account::Right], _: Option<&str>) -> Answer {
    Answer::Impossible(
        "this build has no support for it: build with --features kubernetes".to_owned(),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_label_tells_which_module_confines_if_any() {
        let profile = "cri-containerd.apparmor.d";
        for (label, is_enforcing, is) in [
            ("", false, Confinement::Free),
            ("unconfined\n", false, Confinement::Free),
            (
                "cri-containerd.apparmor.d (enforce)\n",
                false,
                Confinement::AppArmor(profile.into()),
            ),
            (
                "cri-containerd.apparmor.d (complain)\n",
                false,
                Confinement::Free,
            ),
            (
                "system_u:system_r:container_t:s0:c1,c2\0",
                true,
                Confinement::SeLinux("container_t".into()),
            ),
            (
                "system_u:system_r:container_t:s0:c1,c2\0",
                false,
                Confinement::Free,
            ),
        ] {
            assert_eq!(of_label(label, is_enforcing), is, "{label}");
        }
    }

    #[test]
    fn the_node_is_what_the_file_says_else_the_environment() {
        let mut settings = Settings::default();
        let told = |text: &str| Some(text.to_owned());
        assert_eq!(node(Some(&settings), told("one")), Ok("one".to_owned()));
        assert_eq!(node(None, told("a b")), Err(told("a b")));
        assert_eq!(node(None, None), Err(None));
        settings.kubernetes.node = Some("two".parse().unwrap());
        assert_eq!(node(Some(&settings), told("one")), Ok("two".to_owned()));
    }

    #[test]
    fn this_process_finds_what_proc_says() {
        let status = fs::read_to_string("/proc/self/status").unwrap();
        let situation = Situation::read();
        let uid = value(&status, "Uid:").unwrap();
        let effective = uid.split_whitespace().nth(1).unwrap();
        assert_eq!(situation.user.to_string(), effective);
        assert_eq!(
            situation.is_filtered,
            value(&status, "Seccomp:") == Some("2")
        );
        assert_eq!(
            situation.may_gain,
            value(&status, "NoNewPrivs:") == Some("0")
        );
        if situation.lacking.is_empty() && !situation.is_filtered {
            assert!(situation.refused.is_empty(), "{:?}", situation.refused);
            assert!(situation.sees_others);
        }
    }
}
