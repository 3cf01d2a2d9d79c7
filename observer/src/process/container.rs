//! What a process's control groups tell: container, pod, systemd unit.
//!
//! `/proc/PID/cgroup` holds one line a hierarchy, `id:controllers:path` (cgroups(7)): many with v1, one with v2, both
//! with hybrid. The runtimes' path forms are from their sources: docker and podman (`docker-ID.scope`,
//! `libpod-ID.scope`), containerd's CRI (`cri-containerd-ID.scope`, `…:cri-containerd:ID`), CRI-O
//! (`crio-ID.scope`), plain cgroupfs (`/docker/ID`, `/kubepods/burstable/podUID/ID`), runc (`runc-ID.scope`), LXC
//! (`lxc.payload.NAME`), systemd-nspawn (`machine-NAME.scope`).

/// What the control groups of one process tell. Empty where they tell nothing.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct ControlGroups {
    /// `container.id`.
    pub(super) container_id: Option<String>,
    /// Name of the container, where the runtime puts the name and not an id into the path.
    pub(super) container_name: Option<String>,
    /// `k8s.pod.uid`.
    pub(super) pod_uid: Option<String>,
    /// Name of the systemd unit, without `.service` and without a template's instance.
    pub(super) unit: Option<String>,
    /// Last segment of the deepest path that is not systemd's, for containers made by hand.
    pub(super) leaf: Option<String>,
}

/// Units in which other things are started: their name says nothing of what runs inside.
const LAUNCHERS: [&str; 15] = [
    "actions-runner",
    "atd",
    "containerd",
    "cri-docker",
    "cron",
    "crond",
    "crio",
    "docker",
    "init",
    "kubelet",
    "podman",
    "rc-local",
    "ssh",
    "sshd",
    "supervisor",
];

impl ControlGroups {
    /// Reads the text of `/proc/PID/cgroup`; lines that are not understood are passed over.
    pub(super) fn parse(text: &[u8]) -> Self {
        let text = String::from_utf8_lossy(text);
        let mut groups = Self::default();
        let mut deepest = 0;
        for line in text.lines() {
            let mut fields = line.splitn(3, ':');
            let (Some(_), Some(controllers), Some(path)) =
                (fields.next(), fields.next(), fields.next())
            else {
                continue;
            };
            groups.container_id = groups.container_id.or_else(|| container_id(path));
            groups.container_name = groups.container_name.or_else(|| container_name(path));
            groups.pod_uid = groups.pod_uid.or_else(|| pod_uid(path));
            // Only systemd's own hierarchy (v1) and the unified one hold units.
            if controllers.is_empty() || controllers == "name=systemd" {
                groups.unit = groups.unit.or_else(|| unit(path));
            }
            let depth = path
                .split('/')
                .filter(|segment| !segment.is_empty())
                .count();
            if let Some(leaf) = path
                .rsplit('/')
                .next()
                .filter(|leaf| is_plain(leaf) && depth > deepest)
            {
                deepest = depth;
                groups.leaf = Some(leaf.to_owned());
            }
        }
        groups
    }
}

fn is_plain(segment: &str) -> bool {
    !segment.is_empty()
        && segment != ".."
        && ![".slice", ".scope", ".service", ".mount", ".socket"]
            .iter()
            .any(|suffix| segment.ends_with(suffix))
}

fn container_id(path: &str) -> Option<String> {
    path.split('/').rev().find_map(|segment| {
        // The monitor beside a container is not in it.
        if segment.contains("conmon") {
            return None;
        }
        let bare = segment.strip_suffix(".scope").unwrap_or(segment);
        let token = bare.rsplit([':', '-']).next()?;
        if token.len() == 64 && token.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            return Some(token.to_ascii_lowercase());
        }
        if let Some(id) = bare
            .strip_prefix("runc-")
            .or_else(|| bare.strip_prefix("crun-"))
            .filter(|_| bare != segment)
        {
            return Some(id.to_owned());
        }
        // Fargate: 32 hex digits, a hyphen, digits.
        let (task, number) = bare.split_once('-')?;
        let fargate = task.len() == 32
            && task.bytes().all(|byte| byte.is_ascii_hexdigit())
            && number.len() >= 8
            && number.bytes().all(|byte| byte.is_ascii_digit());
        (fargate && path.contains("/ecs/")).then(|| bare.to_owned())
    })
}

fn container_name(path: &str) -> Option<String> {
    let mut after_lxc = false;
    for segment in path.split('/') {
        let name = segment
            .strip_prefix("lxc.payload.")
            .or_else(|| segment.strip_prefix("machine-")?.strip_suffix(".scope"))
            .or_else(|| {
                segment
                    .strip_prefix("systemd-nspawn@")?
                    .strip_suffix(".service")
            })
            .or_else(|| (after_lxc && is_plain(segment)).then_some(segment));
        if let Some(name) = name.filter(|name| !name.is_empty()) {
            return Some(unescape(name));
        }
        after_lxc = segment == "lxc";
    }
    None
}

/// The deepest is the pod's own: a node of kind or k3d is a container of another cluster's pod perhaps.
fn pod_uid(path: &str) -> Option<String> {
    // From within a container's own control group (cgroup_namespaces(7)) the part above it is cut off: `/../../podUID/ID`.
    let is_cut = path.starts_with("/..");
    path.split('/').rev().find_map(|segment| {
        let bare = segment.split(':').next()?;
        let bare = bare.strip_suffix(".slice").unwrap_or(bare);
        // `kubepods-burstable-podUID`, with the name of the kubelet's own group before it perhaps (kind: `kubelet-`).
        let uid = match bare.rsplit_once("-pod") {
            Some((above, uid)) if above.contains("kubepods") => uid,
            _ if is_cut || path.contains("kubepods") => bare.strip_prefix("pod")?,
            _ => return None,
        };
        let uid = uid.replace('_', "-");
        let hex = uid
            .bytes()
            .all(|byte| byte.is_ascii_hexdigit() || byte == b'-');
        // 36 for a UUID; 32 for a static pod's digest, which the kubelet puts in its place.
        (hex && (uid.len() == 36 || uid.len() == 32)).then_some(uid)
    })
}

fn unit(path: &str) -> Option<String> {
    let service = path
        .split('/')
        .rev()
        .find_map(|segment| segment.strip_suffix(".service"))?;
    let (template, _) = service.split_once('@').unwrap_or((service, ""));
    // A user's manager, a getty, a transient unit of systemd-run: the name of how it runs, not of what runs.
    let anonymous = ["user", "getty", "serial-getty", "systemd-nspawn"].contains(&template)
        || service.strip_prefix("run-").is_some_and(|rest| {
            rest.strip_prefix(['r', 'u', 'p'])
                .unwrap_or(rest)
                .starts_with(|first: char| first.is_ascii_hexdigit())
        });
    let name = unescape(template);
    (!anonymous && !name.is_empty() && !LAUNCHERS.contains(&name.as_str())).then_some(name)
}

/// Undoes systemd's escapes (`\x2d` is a hyphen; systemd-escape(1)).
fn unescape(name: &str) -> String {
    let mut pieces = name.split("\\x");
    let mut text = pieces.next().unwrap_or_default().to_owned();
    for piece in pieces {
        match piece
            .get(..2)
            .and_then(|digits| u8::from_str_radix(digits, 16).ok())
            .filter(u8::is_ascii)
        {
            Some(byte) => {
                text.push(char::from(byte));
                text.push_str(&piece[2..]);
            }
            None => {
                text.push_str("\\x");
                text.push_str(piece);
            }
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    const ID: &str = "0f1e2d3c4b5a69788796a5b4c3d2e1f00f1e2d3c4b5a69788796a5b4c3d2e1f0";
    const POD: &str = "6f1b2c3d-0000-4444-8888-0123456789ab";

    fn parse(text: &str) -> ControlGroups {
        ControlGroups::parse(text.replace("ID", ID).replace("POD", POD).as_bytes())
    }

    #[test]
    fn every_runtime_and_hierarchy_gives_the_container() {
        for text in [
            "12:memory:/docker/ID\n1:name=systemd:/docker/ID\n",
            "0::/system.slice/docker-ID.scope\n",
            "4:memory:/\n1:name=systemd:/system.slice/docker-ID.scope\n0::/\n",
            "0::/../docker-ID.scope\n",
            "0::/machine.slice/libpod-ID.scope/container\n",
            "0::/user.slice/user-1000.slice/user@1000.service/user.slice/libpod-ID.scope/container\n",
            "0::/system.slice/containerd.service/kubepods-burstable-podPOD.slice:cri-containerd:ID\n",
            "0::/kubepods.slice/kubepods-besteffort.slice/kubepods-besteffort-podPOD.slice/cri-containerd-ID.scope\n",
            "0::/kubepods.slice/kubepods-podPOD.slice/crio-ID.scope\n",
            "11:cpu:/kubepods/burstable/podPOD/ID\n",
            "0::/ecs/0123456789abcdef0123456789abcdef/ID\n",
            "0::/default/ID\n",
        ] {
            let groups = parse(text);
            assert_eq!(groups.container_id.as_deref(), Some(ID), "{text}");
            assert_eq!(
                groups.pod_uid.as_deref(),
                text.contains("POD").then_some(POD),
                "{text}"
            );
            assert_eq!(groups.unit, None, "{text}");
        }
    }

    #[test]
    fn a_pod_is_found_in_a_nested_cluster_and_from_within_a_container() {
        let outer = "f".repeat(64);
        for text in [
            // kind: the node is a container, and the kubelet has a group of its own.
            "0::/system.slice/docker-OUTER.scope/kubelet.slice/kubelet-kubepods.slice/kubelet-kubepods-burstable.slice/kubelet-kubepods-burstable-podPOD.slice/cri-containerd-ID.scope",
            "11:memory:/docker/OUTER/kubelet/kubepods/besteffort/podPOD/ID",
            // k3d.
            "0::/docker/OUTER/kubepods/burstable/podPOD/ID",
            // A node that is itself a pod.
            "0::/kubepods/burstable/pod11111111-1111-1111-1111-111111111111/OUTER/kubepods/podPOD/ID",
            // Seen by an agent in a pod: of another class, of the same, of none.
            "0::/../../kubepods-burstable-podPOD.slice/cri-containerd-ID.scope",
            "0::/../../podPOD/ID",
            "0::/../../../kubepods-besteffort.slice/kubepods-besteffort-podPOD.slice/crio-ID.scope/container",
            // CRI-O with groups of its own making, and with a monitor beside the container.
            "4:cpu:/kubepods/burstable/podPOD/crio-ID",
            "0::/kubepods.slice/kubepods-podPOD.slice/crio-conmon-OUTER.scope\n1:name=systemd:/kubepods.slice/kubepods-podPOD.slice/crio-ID.scope",
            // Docker below cri-dockerd.
            "0::/kubepods.slice/kubepods-burstable.slice/kubepods-burstable-podPOD.slice/docker-ID.scope",
            // Hybrid.
            "12:pids:/kubepods/burstable/podPOD/ID\n1:name=systemd:/kubepods/burstable/podPOD/ID\n0::/",
        ] {
            for pod in [POD.to_owned(), POD.replace('-', "_")] {
                let text = text.replace("OUTER", &outer).replace("POD", &pod);
                let groups = parse(&text);
                assert_eq!(groups.pod_uid.as_deref(), Some(POD), "{text}");
                assert_eq!(groups.container_id.as_deref(), Some(ID), "{text}");
            }
        }
        let hash = "0123456789abcdef0123456789abcdef";
        let fixed = format!(
            "0::/kubepods.slice/kubepods-burstable.slice/kubepods-burstable-pod{hash}.slice/cri-containerd-ID.scope"
        );
        assert_eq!(parse(&fixed).pod_uid.as_deref(), Some(hash));
        for text in [
            "0::/user.slice/podman-1000.slice/podPOD",
            "0::/machine.slice/my-podPOD.slice/libpod-ID.scope",
            "0::/kubepods.slice/kubepods-burstable.slice",
            "0::/kubepods/burstable/podshop/ID",
            "0::/../podman/ID",
        ] {
            assert_eq!(parse(text).pod_uid, None, "{text}");
        }
    }

    #[test]
    fn systemd_writes_a_pod_uid_with_underscores() {
        let slice = format!(
            "0::/kubepods.slice/kubepods-pod{}.slice/crio-ID.scope",
            POD.replace('-', "_")
        );
        assert_eq!(parse(&slice).pod_uid.as_deref(), Some(POD));
    }

    #[test]
    fn a_runtime_that_names_containers_gives_the_name() {
        for (text, name) in [
            ("0::/lxc.payload.shop/system.slice", "shop"),
            ("3:memory:/lxc/shop", "shop"),
            (
                "0::/machine.slice/machine-my\\x2dshop.scope/payload",
                "my-shop",
            ),
            (
                "0::/machine.slice/systemd-nspawn@shop.service/payload",
                "shop",
            ),
        ] {
            assert_eq!(parse(text).container_name.as_deref(), Some(name), "{text}");
        }
        assert_eq!(
            parse("0::/system.slice/runc-web1.scope")
                .container_id
                .as_deref(),
            Some("web1")
        );
        assert_eq!(parse("5:memory:/web1\n0::/").leaf.as_deref(), Some("web1"));
    }

    #[test]
    fn a_unit_is_a_name_and_a_session_is_not() {
        for (text, unit) in [
            ("0::/system.slice/nginx.service", Some("nginx")),
            (
                "1:name=systemd:/system.slice/nginx.service\n0::/",
                Some("nginx"),
            ),
            (
                "0::/system.slice/system-postgresql.slice/postgresql@15-main.service",
                Some("postgresql"),
            ),
            ("0::/system.slice/my\\x2dshop.service", Some("my-shop")),
            (
                "0::/user.slice/user-0.slice/user@0.service/app.slice/shop.service",
                Some("shop"),
            ),
            (
                "0::/user.slice/user-0.slice/user@0.service/init.scope",
                None,
            ),
            ("0::/user.slice/user-0.slice/session-3.scope", None),
            ("0::/system.slice/run-r0f3a.service", None),
            ("0::/system.slice/docker.service", None),
            ("4:memory:/system.slice/nginx.service", None),
            ("0::/init.scope", None),
            ("0::/", None),
        ] {
            assert_eq!(parse(text).unit.as_deref(), unit, "{text}");
        }
    }

    #[test]
    fn garbage_tells_nothing_and_the_monitor_is_no_container() {
        for text in [
            "",
            ":",
            "::",
            "a\nb:c\n\n",
            "0::libpod-conmon-ID.scope",
            "0::/x\\xZZ.service@",
            "0::/\\x",
        ] {
            assert_eq!(parse(text).container_id, None, "{text}");
        }
        assert_eq!(ControlGroups::parse(b"0::/\xff\xfe").container_id, None);
        assert_eq!(unescape("a\\x2"), "a\\x2");
    }
}
