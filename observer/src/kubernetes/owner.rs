//! Which workload a pod belongs to.
//!
//! A pod names its controller alone: a ReplicaSet, not the Deployment behind it; a Job, not the CronJob. These names are
//! made by rules of the controllers, so mostly the one tells the other:
//! - a Deployment's ReplicaSet is `NAME-HASH`, and its pods carry the hash as label `pod-template-hash`;
//! - a CronJob's Job is `NAME-MINUTES`, eight digits: the minutes since the Unix epoch for which it was scheduled.
//!
//! Where the rule can't be checked (no such label, a number that is no time near the pod's), the controller is asked for.

use super::api::Metadata;

/// A controller as `ownerReferences` names it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Owner {
    /// Its kind.
    pub kind: OwnerKind,
    /// Its name.
    pub name: String,
    /// Its uid.
    pub uid: String,
}

/// Kinds of controllers that have attributes of their own in the conventions.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum OwnerKind {
    /// `apps/v1`
    ReplicaSet,
    /// `apps/v1`
    StatefulSet,
    /// `apps/v1`
    DaemonSet,
    /// `batch/v1`
    Job,
    /// `apps/v1`; owns ReplicaSets.
    Deployment,
    /// `batch/v1`; owns Jobs.
    CronJob,
    /// Any other: a custom resource, a node (of a static pod), a ReplicationController.
    Other,
}

impl OwnerKind {
    /// By `apiVersion` and `kind`.
    pub fn of(api_version: &str, kind: &str) -> Self {
        match (
            api_version.split_once('/').map_or("", |(group, _)| group),
            kind,
        ) {
            ("apps", "ReplicaSet") => Self::ReplicaSet,
            ("apps", "StatefulSet") => Self::StatefulSet,
            ("apps", "DaemonSet") => Self::DaemonSet,
            ("apps", "Deployment") => Self::Deployment,
            ("batch", "Job") => Self::Job,
            ("batch", "CronJob") => Self::CronJob,
            _ => Self::Other,
        }
    }
}

/// The workload's names, from the pod's controller up.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Workload {
    pub(super) deployment: Option<String>,
    pub(super) replica_set: Option<String>,
    pub(super) stateful_set: Option<String>,
    pub(super) daemon_set: Option<String>,
    pub(super) cron_job: Option<String>,
    pub(super) job: Option<String>,
}

/// Longest time between a CronJob's schedule and the start of its pod: one that was missed starts late, and a pod that
/// failed is started again.
const LATEST_START: i64 = 7 * 86_400;

impl Workload {
    /// What a pod's own metadata tells; and its controller, where what stands above that can't be told from here.
    pub(super) fn of(pod: &Metadata) -> (Self, Option<Owner>) {
        let mut workload = Self::default();
        let Some(owner) = &pod.controller else {
            return (workload, None);
        };
        let name = Some(owner.name.clone());
        let mut asked = None;
        match owner.kind {
            OwnerKind::ReplicaSet => {
                workload.replica_set = name;
                workload.deployment = deployment(pod, &owner.name);
                asked = workload.deployment.is_none().then(|| owner.clone());
            }
            OwnerKind::Job => {
                workload.job = name;
                workload.cron_job = cron_job(pod, &owner.name);
                asked = workload.cron_job.is_none().then(|| owner.clone());
            }
            OwnerKind::StatefulSet => workload.stateful_set = name,
            OwnerKind::DaemonSet => workload.daemon_set = name,
            OwnerKind::Deployment | OwnerKind::CronJob | OwnerKind::Other => {}
        }
        (workload, asked)
    }

    /// Adds what the controller's own controller is.
    pub(super) fn add(&mut self, above: &Owner) {
        match above.kind {
            OwnerKind::Deployment => self.deployment = Some(above.name.clone()),
            OwnerKind::CronJob => self.cron_job = Some(above.name.clone()),
            _ => {}
        }
    }
}

fn deployment(pod: &Metadata, replica_set: &str) -> Option<String> {
    let hash = pod.labels.get("pod-template-hash")?;
    let name = replica_set.strip_suffix(hash.as_str())?.strip_suffix('-')?;
    (!hash.is_empty() && !name.is_empty()).then(|| name.to_owned())
}

fn cron_job(pod: &Metadata, job: &str) -> Option<String> {
    let (name, digits) = job.rsplit_once('-')?;
    let minutes: i64 = (digits.len() == 8 && digits.bytes().all(|byte| byte.is_ascii_digit()))
        .then(|| digits.parse().ok())
        .flatten()?;
    let late = pod.created? - minutes * 60;
    ((-60..=LATEST_START).contains(&late) && !name.is_empty()).then(|| name.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pod(kind: OwnerKind, name: &str, labels: &[(&str, &str)]) -> Metadata {
        let text = |(key, value): &(&str, &str)| ((*key).to_owned(), (*value).to_owned());
        Metadata {
            labels: labels.iter().map(text).collect(),
            controller: Some(Owner {
                kind,
                name: name.to_owned(),
                uid: "u".to_owned(),
            }),
            created: Some(29_934_305 * 60 + 3),
            ..Metadata::default()
        }
    }

    #[test]
    fn a_deployment_is_read_from_its_replica_set_only_where_label_and_name_agree() {
        let hash = [("pod-template-hash", "5d89bdfd5b")];
        let (workload, asked) = Workload::of(&pod(OwnerKind::ReplicaSet, "shop-5d89bdfd5b", &hash));
        assert_eq!(workload.deployment.as_deref(), Some("shop"));
        assert_eq!(workload.replica_set.as_deref(), Some("shop-5d89bdfd5b"));
        assert_eq!(asked, None);
        for labels in [
            &[][..],
            &[("pod-template-hash", "other")],
            &[("pod-template-hash", "")],
        ] {
            let (mut workload, asked) =
                Workload::of(&pod(OwnerKind::ReplicaSet, "shop-5d89bdfd5b", labels));
            assert_eq!(workload.deployment, None, "{labels:?}");
            assert_eq!(
                asked.map(|owner| owner.name).as_deref(),
                Some("shop-5d89bdfd5b")
            );
            let above = Owner {
                kind: OwnerKind::of("apps/v1", "Deployment"),
                name: "shop".to_owned(),
                uid: "d".to_owned(),
            };
            workload.add(&above);
            assert_eq!(workload.deployment.as_deref(), Some("shop"));
        }
    }

    #[test]
    fn a_cron_job_is_read_from_its_job_only_where_the_number_is_a_time_near_the_pods() {
        let (workload, asked) = Workload::of(&pod(OwnerKind::Job, "import-29934305", &[]));
        assert_eq!(workload.cron_job.as_deref(), Some("import"));
        assert_eq!(
            (workload.job.as_deref(), asked),
            (Some("import-29934305"), None)
        );
        // A date, a time long ago, a time to come, no number, nothing before it.
        for name in [
            "import-20261130",
            "import-19934305",
            "import-29935000",
            "import-2993430x",
            "import",
            "-29934305",
        ] {
            let (workload, asked) = Workload::of(&pod(OwnerKind::Job, name, &[]));
            assert_eq!(workload.cron_job, None, "{name}");
            assert!(asked.is_some(), "{name}");
        }
    }

    #[test]
    fn other_controllers_have_nothing_above_them() {
        let (workload, asked) = Workload::of(&pod(OwnerKind::StatefulSet, "db", &[]));
        assert_eq!(
            (workload.stateful_set.as_deref(), asked),
            (Some("db"), None)
        );
        let (workload, asked) = Workload::of(&pod(OwnerKind::DaemonSet, "agent", &[]));
        assert_eq!(
            (workload.daemon_set.as_deref(), asked),
            (Some("agent"), None)
        );
        // A static pod's controller is its node; a custom resource may be called as ours are.
        for (api, kind) in [
            ("v1", "Node"),
            ("example.com/v1", "Job"),
            ("v1", "ReplicationController"),
        ] {
            let (workload, asked) = Workload::of(&pod(OwnerKind::of(api, kind), "n", &[]));
            assert_eq!((workload, asked), (Workload::default(), None), "{kind}");
        }
    }
}
