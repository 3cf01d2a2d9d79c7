//! The cluster that this node is in, where there is one and it may be asked.

use std::{env, sync::Arc, time::Duration};

use anyhow::{Result, bail};
use tokio::runtime::Runtime;

use crate::{
    config::{Settings, Watch},
    export::{Family, Kind},
    kubernetes::{Peers, Reach, Store, account},
};

/// How long the start waits for the first list of pods: a pod that is not to be traced should not be for a moment.
const FIRST_LIST: Duration = Duration::from_secs(3);
/// How often that is looked at.
const LOOK: Duration = Duration::from_millis(5);

/// What the cluster says, followed for as long as this lives.
pub(super) struct Cluster {
    pub(super) store: Arc<Store>,
    pub(super) peers: Arc<Peers>,
    #[cfg(feature = "kubernetes")]
    requests: Arc<crate::kubernetes::watch::Requests>,
    #[cfg(feature = "kubernetes")]
    _following: crate::kubernetes::watch::Following,
}

impl Cluster {
    /// Begins to follow, if the settings want it and it can be.
    ///
    /// # Errors
    /// It can't be, and something depends on it.
    pub(super) fn join(settings: &Settings, runtime: &Runtime) -> Result<Option<Self>> {
        let joined = Self::try_join(settings, runtime);
        let cluster = match (settings.kubernetes.watch, joined) {
            (_, Ok(cluster)) => cluster,
            (Watch::On, Err(reason)) => bail!("the Kubernetes API can't be asked: {reason}"),
            (_, Err(reason)) => {
                tracing::warn!(
                    reason,
                    "the Kubernetes API is not asked: pods have no names"
                );
                None
            }
        };
        if cluster.is_none() && !settings.selection.pods.is_empty() {
            bail!(
                "pods are selected, and the Kubernetes API is not asked for them: run in a pod with a service account and \
                 NODE_NAME, or say `kubernetes: {{watch: on}}` to use a kubeconfig"
            );
        }
        Ok(cluster)
    }

    fn try_join(settings: &Settings, runtime: &Runtime) -> Result<Option<Self>, String> {
        let in_pod = account::is_in_pod() && account::has_token();
        match settings.kubernetes.watch {
            Watch::Off => return Ok(None),
            Watch::Auto if !in_pod => return Ok(None),
            Watch::Auto | Watch::On => {}
        }
        let said = settings.kubernetes.node.as_ref();
        let node = said.map(|node| node.as_str().to_owned()).or_else(|| {
            let told = env::var("NODE_NAME").ok()?;
            told.parse::<crate::config::NodeName>().ok()?;
            Some(told)
        });
        let node = node.ok_or(
            "which node this is, is not known: set NODE_NAME from the pod's spec.nodeName, or kubernetes.node",
        )?;
        Self::follow(settings, runtime, in_pod, node).map(Some)
    }

    #[cfg(feature = "kubernetes")]
    fn follow(
        settings: &Settings,
        runtime: &Runtime,
        in_pod: bool,
        node: String,
    ) -> Result<Self, String> {
        use crate::{
            config::PeerServices,
            kubernetes::watch::{Followed, access},
        };

        // A kubeconfig may stand for a pod's account, where one is named.
        let in_pod = in_pod && env::var_os("KUBECONFIG").is_none();
        let config = runtime.block_on(access(in_pod))?;
        let store = Arc::new(Store::new(super::choices::kept(settings)));
        let (peers, requests) = (Arc::<Peers>::default(), Arc::default());
        tracing::debug!(node, "the Kubernetes API is asked for this node's pods");
        let followed = Followed {
            node,
            services: settings.kubernetes.services == PeerServices::On,
            store: Arc::clone(&store),
            peers: Arc::clone(&peers),
            requests: Arc::clone(&requests),
        };
        Ok(Self {
            store,
            peers,
            requests,
            _following: followed.follow(config, runtime.handle())?,
        })
    }

    #[cfg(not(feature = "kubernetes"))]
    fn follow(_: &Settings, _: &Runtime, _: bool, _: String) -> Result<Self, String> {
        Err("this build has no support for it: build with --features kubernetes".to_owned())
    }

    /// Waits for the first list of pods, for a moment.
    pub(super) fn first_list(&self, runtime: &Runtime) {
        let heard = async {
            while self.store.reach() == Reach::Unheard {
                tokio::time::sleep(LOOK).await;
            }
        };
        if runtime
            .block_on(async { tokio::time::timeout(FIRST_LIST, heard).await })
            .is_err()
        {
            tracing::info!(
                "the Kubernetes API does not answer yet; pods get their names once it does"
            );
        }
    }

    /// What is known and was asked, for the page.
    pub(super) fn tell(&self, families: &mut Vec<Family>) {
        let pods = self.store.stats();
        let (addresses, no_room) = self.peers.stats();
        families.push(Family::by(
            "observer_kubernetes_pods",
            "Pods of this node that are known: those that there are, and those that are gone and remembered for five minutes.",
            Kind::Gauge,
            "state",
            [("present", pods.pods), ("gone", pods.departed)]
                .map(|(state, count)| (state.to_owned(), count as f64)),
        ));
        families.push(Family::single(
            "observer_kubernetes_addresses",
            "Addresses, with ports, of services and of the pods behind them.",
            Kind::Gauge,
            addresses as f64,
        ));
        families.push(Family::by(
            "observer_kubernetes_no_room",
            "Pods, namespaces and addresses that were told of and found no room.",
            Kind::Counter,
            "kind",
            [
                ("pod", pods.refused),
                ("namespace", pods.refused_namespaces),
                ("address", no_room),
            ]
            .map(|(kind, count)| (kind.to_owned(), count as f64)),
        ));
        families.push(Family::single(
            "observer_kubernetes_up",
            "1 while the Kubernetes API tells of this node's pods, 0 while it can't be reached or refuses.",
            Kind::Gauge,
            f64::from(u8::from(self.store.reach() == Reach::Told)),
        ));
        #[cfg(feature = "kubernetes")]
        {
            use std::sync::atomic::Ordering::Relaxed;
            families.push(Family::single(
                "observer_kubernetes_requests",
                "Requests to the Kubernetes API: a watch is one about every five minutes.",
                Kind::Counter,
                self.requests.sent.load(Relaxed) as f64,
            ));
            families.push(Family::single(
                "observer_kubernetes_failures",
                "Lists and watches of the Kubernetes API that failed or broke off.",
                Kind::Counter,
                self.requests.failures.load(Relaxed) as f64,
            ));
        }
    }
}
