//! Follows the API server: this node's pods, and where services are.
//!
//! In: watches of pods by `spec.nodeName`, of services and of endpoint slices, and of namespaces where something of them
//! is to be kept; single `get`s of controllers whose name does
//! not tell what stands above them. Out: the [`Store`] and the [`Peers`], as they are.
//!
//! A watch is one request that the server ends after five minutes, and is taken up where it was: bookmarks keep that place
//! good while nothing happens. Where it is lost (410 Gone) everything is listed again, within two seconds. While the server can't be reached,
//! what was told is kept, and it is asked again after 0.8 s, later 30 s. The token is read from its file once a minute, the
//! server's certificates as well.

mod objects;
mod owners;
mod pause;
mod requests;
mod rights;
#[cfg(test)]
mod server;
mod sinks;

use std::{
    collections::HashSet,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use futures_util::{StreamExt as _, TryStreamExt as _};
use kube::{
    Api, Client, Config, Resource,
    client::ClientBuilder,
    core::PartialObjectMeta,
    runtime::{WatchStreamExt as _, watcher},
};
use serde::de::DeserializeOwned;
use tokio::{runtime::Handle, task::AbortHandle};

use self::{
    objects::{WatchedNamespace, WatchedPod, WatchedService, WatchedSlice},
    owners::Owners,
    pause::Pause,
    requests::Counting,
    sinks::{Namespaces, Pods, Services, Slices},
};
pub use self::{requests::Requests, rights::ask};
#[cfg(test)]
use super::Reach;
use super::{Peers, Store};

/// A list that takes longer is given up, and a watch of which nothing comes: it lasts 290 s.
const SILENCE: Duration = Duration::from_secs(310);
/// How often the cluster's uid is asked for again, and how many times.
const ASK_AGAIN: (Duration, u32) = (Duration::from_secs(60), 10);

/// What is followed.
pub struct Followed {
    /// The node whose pods are.
    pub node: String,
    /// Whether services and endpoint slices are, of the whole cluster.
    pub services: bool,
    /// Where pods go.
    pub store: Arc<Store>,
    /// Where addresses go.
    pub peers: Arc<Peers>,
    /// What is asked.
    pub requests: Arc<Requests>,
}

/// Follows until it is dropped.
pub struct Following(Vec<AbortHandle>);

impl Following {
    fn begin(&mut self, runtime: &Handle, task: impl Future<Output = ()> + Send + 'static) {
        self.0.push(runtime.spawn(task).abort_handle());
    }
}

impl Drop for Following {
    fn drop(&mut self) {
        for task in &self.0 {
            task.abort();
        }
    }
}

/// How the API server is reached: in a pod as its service account, elsewhere as a kubeconfig says.
///
/// # Errors
/// Neither is there, or it can't be read.
pub async fn access(in_pod: bool) -> Result<Config, String> {
    let config = if in_pod {
        Config::incluster().map_err(|error| error.to_string())?
    } else {
        Config::infer().await.map_err(|error| error.to_string())?
    };
    Ok(config)
}

impl Followed {
    /// Begins to follow, on the runtime.
    ///
    /// # Errors
    /// The configuration can't be used: a certificate that is none.
    pub fn follow(self, mut config: Config, runtime: &Handle) -> Result<Following, String> {
        config.read_timeout = Some(SILENCE);
        config.reset_reader_on_write = true;
        // Pauses between attempts are ours.
        config.default_retry = false;
        let _inside = runtime.enter();
        let builder = ClientBuilder::try_from(config).map_err(|error| error.to_string())?;
        let counting = Counting {
            requests: Arc::clone(&self.requests),
            store: Arc::clone(&self.store),
        };
        let client = builder.with_layer(&counting).build();
        let mut following = Following(Vec::new());
        let (owners, asked) = Owners::new(Arc::clone(&self.store));
        let pods = Pods {
            store: Arc::clone(&self.store),
            owners: Arc::clone(&owners),
        };
        let of_node = watcher::Config::default().fields(&format!("spec.nodeName={}", self.node));
        following.begin(
            runtime,
            ask_cluster(client.clone(), Arc::clone(&self.store)),
        );
        following.begin(runtime, owners.answer(client.clone(), asked));
        let requests = || Arc::clone(&self.requests);
        let pods = follow(Api::all(client.clone()), of_node, pods, requests());
        following.begin(runtime, pods);
        let all = watcher::Config::default;
        if self.store.kept().is_of_namespaces() {
            let namespaces = Namespaces(Arc::clone(&self.store));
            let namespaces = follow(Api::all(client.clone()), all(), namespaces, requests());
            following.begin(runtime, namespaces);
        }
        if self.services {
            let services = Services(Arc::clone(&self.peers));
            let services = follow(Api::all(client.clone()), all(), services, requests());
            following.begin(runtime, services);
            let slices = Slices(Arc::clone(&self.peers));
            following.begin(runtime, follow(Api::all(client), all(), slices, requests()));
        }
        Ok(following)
    }
}

/// Where the objects of one kind go.
trait Sink: Send + 'static {
    /// The kind.
    type Object: Resource<DynamicType = ()>
        + Clone
        + DeserializeOwned
        + std::fmt::Debug
        + Send
        + 'static;
    /// What it is called in messages.
    const KIND: &'static str;

    /// As it is now. Returns what it is called in a list.
    fn apply(&mut self, object: Self::Object) -> Option<Arc<str>>;
    /// It is gone.
    fn remove(&mut self, object: Self::Object);
    /// All that there are.
    fn listed(&mut self, all: &HashSet<Arc<str>>);
    /// The server refuses, or can't be reached.
    fn lost(&mut self) {}
}

/// Follows one kind for as long as the program runs.
async fn follow<S: Sink>(
    api: Api<S::Object>,
    config: watcher::Config,
    mut sink: S,
    requests: Arc<Requests>,
) {
    let gone = Arc::<AtomicBool>::default();
    let mark = Arc::clone(&gone);
    let watched = watcher(api, config).inspect_err(move |error| {
        mark.store(is_gone(error), Ordering::Relaxed);
    });
    let mut events = std::pin::pin!(watched.backoff(Pause::new(gone)));
    let mut all = HashSet::new();
    let mut failing = false;
    while let Some(event) = events.next().await {
        let error = match event {
            Ok(event) => {
                if std::mem::take(&mut failing) {
                    tracing::info!(kind = S::KIND, "the Kubernetes API answers again");
                }
                match event {
                    watcher::Event::Init => all.clear(),
                    watcher::Event::InitApply(object) => all.extend(sink.apply(object)),
                    watcher::Event::InitDone => sink.listed(&std::mem::take(&mut all)),
                    watcher::Event::Apply(object) => {
                        sink.apply(object);
                    }
                    watcher::Event::Delete(object) => sink.remove(object),
                }
                continue;
            }
            Err(error) => error,
        };
        requests.failures.fetch_add(1, Ordering::Relaxed);
        if is_gone(&error) {
            // Until everything is listed, not all is told.
            sink.lost();
            tracing::debug!(
                kind = S::KIND,
                "the place in the watch is lost: everything is listed again"
            );
            continue;
        }
        sink.lost();
        if !std::mem::replace(&mut failing, true) {
            tracing::warn!(
                kind = S::KIND,
                error = chain(&error),
                "the Kubernetes API can't be followed: what was told is kept, and it is asked again"
            );
        }
    }
}

/// Whether the server no longer has what came after our place: no trouble.
fn is_gone(error: &watcher::Error) -> bool {
    match error {
        watcher::Error::WatchError(status) => status.code == 410,
        watcher::Error::WatchStartFailed(kube::Error::Api(status)) => status.code == 410,
        _ => false,
    }
}

/// An error with its causes.
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        let cause_text = cause.to_string();
        if !text.contains(&cause_text) {
            text.push_str(": ");
            text.push_str(&cause_text);
        }
        source = cause.source();
    }
    text
}

/// The uid of `kube-system` stands for the cluster's (`k8s.cluster.uid` in the conventions).
async fn ask_cluster(client: Client, store: Arc<Store>) {
    type Namespace = PartialObjectMeta<k8s_openapi::api::core::v1::Namespace>;
    let namespaces: Api<Namespace> = Api::all(client);
    let (pause, times) = ASK_AGAIN;
    for _ in 0..times {
        match namespaces.get("kube-system").await {
            Ok(found) => {
                if let Some(uid) = found.metadata.uid {
                    store.set_cluster_uid(uid);
                }
                return;
            }
            Err(kube::Error::Api(status)) if [401, 403, 404].contains(&status.code) => {
                tracing::debug!(code = status.code, "the cluster's uid is not told");
                return;
            }
            Err(_) => tokio::time::sleep(pause).await,
        }
    }
}

#[cfg(test)]
mod tests;
