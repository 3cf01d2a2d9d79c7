//! A small API server for tests: it lists and watches as the real one does, over HTTP, and forgets, refuses or dies when it is
//! told to. It is none of Kubernetes' own code.

use std::{
    collections::BTreeMap,
    net::SocketAddr,
    sync::{Arc, Mutex},
    time::Duration,
};

use axum::{
    Router,
    body::Body,
    extract::{Request, State},
    response::Response,
};
use futures_util::stream;
use serde_json::{Value, json};
use tokio::{net::TcpListener, runtime::Runtime, sync::watch};

/// What it holds: events of all kinds, by path of their list.
#[derive(Default)]
struct Objects {
    /// Path, name and object.
    present: BTreeMap<(String, String), Value>,
    /// Revision, path, type and object.
    events: Vec<(u64, String, &'static str, Value)>,
    revision: u64,
    /// Revisions up to this are forgotten.
    forgotten: u64,
    token: String,
    /// Paths with queries, as they were asked.
    asked: Vec<String>,
}

type Shared = Arc<(Mutex<Objects>, watch::Sender<u64>)>;

pub(super) struct ApiServer {
    shared: Shared,
    pub(super) address: SocketAddr,
    runtime: Option<Runtime>,
}

impl ApiServer {
    pub(super) fn start() -> Self {
        let objects = Objects {
            revision: 100,
            token: "secret".to_owned(),
            ..Objects::default()
        };
        let shared = Arc::new((Mutex::new(objects), watch::channel(0).0));
        let mut server = Self {
            shared,
            address: SocketAddr::from(([127, 0, 0, 1], 0)),
            runtime: None,
        };
        server.begin();
        server
    }

    /// Listens, where it did before.
    pub(super) fn begin(&mut self) {
        let runtime = Runtime::new().unwrap();
        let listener = runtime.block_on(TcpListener::bind(self.address)).unwrap();
        self.address = listener.local_addr().unwrap();
        let router = Router::new()
            .fallback(answer)
            .with_state(Arc::clone(&self.shared));
        runtime.spawn(async move { axum::serve(listener, router).await });
        self.runtime = Some(runtime);
    }

    /// Every connection breaks, and none is accepted.
    pub(super) fn die(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_timeout(Duration::from_millis(100));
        }
    }

    fn change(&self, path: &str, kind: &'static str, object: &Value) {
        let (objects, news) = &*self.shared;
        let mut objects = objects.lock().unwrap();
        objects.revision += 1;
        let revision = objects.revision;
        let mut object = object.clone();
        object["metadata"]["resourceVersion"] = json!(revision.to_string());
        let name = object["metadata"]["name"].as_str().unwrap().to_owned();
        let key = (path.to_owned(), name);
        if kind == "DELETED" {
            objects.present.remove(&key);
        } else {
            objects.present.insert(key, object.clone());
        }
        objects
            .events
            .push((revision, path.to_owned(), kind, object));
        drop(objects);
        news.send_replace(revision);
    }

    pub(super) fn put(&self, path: &str, object: &Value) {
        self.change(path, "MODIFIED", object);
    }

    pub(super) fn delete(&self, path: &str, object: &Value) {
        self.change(path, "DELETED", object);
    }

    /// Whoever was behind is told 410 Gone.
    pub(super) fn forget(&self) {
        let (objects, _) = &*self.shared;
        let mut objects = objects.lock().unwrap();
        objects.revision += 10;
        objects.forgotten = objects.revision;
    }

    pub(super) fn set_token(&self, token: &str) {
        self.shared.0.lock().unwrap().token = token.to_owned();
    }

    /// How often something was asked whose path and query contain all of these.
    pub(super) fn asked(&self, parts: &[&str]) -> usize {
        let (objects, _) = &*self.shared;
        let asked = &objects.lock().unwrap().asked;
        let fits = |it: &&String| parts.iter().all(|part| it.contains(part));
        asked.iter().filter(fits).count()
    }
}

impl Drop for ApiServer {
    fn drop(&mut self) {
        self.die();
    }
}

fn status(code: u16, reason: &str) -> Value {
    json!({"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure",
        "message": reason, "reason": reason, "code": code})
}

fn reply(code: u16, body: &Value) -> Response {
    let response = Response::builder().status(code);
    let response = response.header("content-type", "application/json");
    response.body(Body::from(body.to_string())).unwrap()
}

async fn answer(State(shared): State<Shared>, request: Request) -> Response {
    let path = request.uri().path().to_owned();
    let query = request.uri().query().unwrap_or_default().to_owned();
    let authorization = request.headers().get("authorization").cloned();
    let (objects, news) = &*shared;
    let mut objects = objects.lock().unwrap();
    objects.asked.push(format!("{path}?{query}"));
    let expected = format!("Bearer {}", objects.token);
    if authorization.is_none_or(|it| it.as_bytes() != expected.as_bytes()) {
        return reply(401, &status(401, "Unauthorized"));
    }
    if !query.contains("watch=") {
        let single = objects.present.iter().find_map(|((list, name), object)| {
            (path == format!("{list}/{name}")).then(|| object.clone())
        });
        if let Some(object) = single {
            return reply(200, &object);
        }
        let is_list = ["pods", "namespaces", "services", "endpointslices"]
            .iter()
            .any(|list| path.ends_with(list));
        if !is_list {
            return reply(404, &status(404, "NotFound"));
        }
        let items = objects.present.iter();
        let items = items.filter(|((list, _), _)| *list == path);
        let items: Vec<Value> = items.map(|(_, object)| object.clone()).collect();
        let revision = objects.revision.to_string();
        return reply(
            200,
            &json!({"kind": "List", "apiVersion": "v1", "metadata": {"resourceVersion": revision}, "items": items}),
        );
    }
    let from = query
        .split('&')
        .find_map(|it| it.strip_prefix("resourceVersion="));
    let from: u64 = from.and_then(|it| it.parse().ok()).unwrap_or(0);
    let news = news.subscribe();
    let events = stream::unfold((from, news, false), {
        let shared = Arc::clone(&shared);
        move |(at, mut news, ended)| {
            let (shared, path) = (Arc::clone(&shared), path.clone());
            async move {
                if ended {
                    return None;
                }
                loop {
                    let next = {
                        let objects = shared.0.lock().unwrap();
                        if at < objects.forgotten {
                            let gone = json!({"type": "ERROR", "object": status(410, "Expired")});
                            Some((objects.revision, gone, true))
                        } else {
                            let later = objects
                                .events
                                .iter()
                                .find(|(revision, list, ..)| *revision > at && *list == path);
                            later.map(|(revision, _, kind, object)| {
                                (*revision, json!({"type": kind, "object": object}), false)
                            })
                        }
                    };
                    if let Some((at, event, ended)) = next {
                        let line = Ok::<_, std::io::Error>(format!("{event}\n"));
                        return Some((line, (at, news, ended)));
                    }
                    // So that a place is lost while nothing else happens.
                    let _ = tokio::time::timeout(Duration::from_millis(20), news.changed()).await;
                }
            }
        }
    });
    let response = Response::builder().header("content-type", "application/json");
    response.body(Body::from_stream(events)).unwrap()
}
