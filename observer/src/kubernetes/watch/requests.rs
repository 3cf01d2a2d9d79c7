//! What is asked of the API server: counted, since every node asks.

use std::{
    future::Future,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    task::{Context, Poll},
};

use http::{Request, Response};
use tower::{Layer, Service};

use crate::kubernetes::{Reach, Store};

/// Counts of requests.
#[derive(Debug, Default)]
pub struct Requests {
    /// Sent.
    pub sent: AtomicU64,
    /// Lists and watches that failed or broke off, places in a watch that were lost included.
    pub failures: AtomicU64,
}

/// Counts each request of a client, and notes whether the server answers.
#[derive(Clone)]
pub(super) struct Counting {
    pub(super) requests: Arc<Requests>,
    pub(super) store: Arc<Store>,
}

/// A client's service that is counted.
#[derive(Clone)]
pub(super) struct Counted<S> {
    inner: S,
    counting: Counting,
}

impl<S> Layer<S> for Counting {
    type Service = Counted<S>;

    fn layer(&self, inner: S) -> Counted<S> {
        Counted {
            inner,
            counting: self.clone(),
        }
    }
}

impl<S, B, R> Service<Request<B>> for Counted<S>
where
    S: Service<Request<B>, Response = Response<R>>,
    S::Future: Send + 'static,
    S::Error: 'static,
    R: 'static,
{
    type Response = S::Response;
    type Error = S::Error;
    type Future = Pin<Box<dyn Future<Output = Result<S::Response, S::Error>> + Send>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        self.counting.requests.sent.fetch_add(1, Ordering::Relaxed);
        // A watch that is taken up again tells nothing else while nothing happens.
        let is_pods = request.uri().path() == "/api/v1/pods";
        let store = Arc::clone(&self.counting.store);
        let answer = self.inner.call(request);
        Box::pin(async move {
            let answer = answer.await;
            let is_good = answer.as_ref().is_ok_and(|it| it.status().is_success());
            if is_pods && is_good && store.reach() == Reach::Lost {
                store.set_reach(Reach::Told);
            }
            answer
        })
    }
}
