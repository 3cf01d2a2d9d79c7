//! A hop of a chain on tokio's multi-thread runtime, axum and reqwest: truth-tokio PORT NEXT_PORT CALLS
//!
//! CALLS are the most that it makes at once.
//!
//! What a path means stands in xtask/src/truth/path.rs.

use std::convert::Infallible;
use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use axum::Router;
use axum::body::{Body, Bytes};
use axum::http::Uri;
use axum::response::Response;
use tokio::sync::{Mutex as AsyncMutex, Semaphore, mpsc};
use tokio::time::sleep;

type Work = Pin<Box<dyn Future<Output = ()> + Send>>;

struct Service {
    next: String,
    keep: reqwest::Client,
    fresh: reqwest::Client,
    /// Calls beyond these wait until another one's answer is in.
    calls: Semaphore,
    /// Tasks that began before any request take work from here.
    work: mpsc::Sender<Work>,
    /// Until when the ticker asks, how, and for which row.
    ticking: Mutex<Option<(Instant, String, String)>>,
}

impl Service {
    async fn fetch(&self, connections: &str, path: String) {
        let _permit = self.calls.acquire().await.unwrap();
        let url = format!("{}{path}", self.next);
        let request = match connections {
            "fresh" => self.fresh.get(url).header("Connection", "close"),
            _ => self.keep.get(url),
        };
        let answer = request.send().await.unwrap();
        answer.bytes().await.unwrap();
    }
}

/// `ok`, and work that begins when the response is sent.
struct Answer {
    data: Option<Bytes>,
    afterwards: Option<Work>,
}

impl http_body::Body for Answer {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<http_body::Frame<Bytes>, Infallible>>> {
        Poll::Ready(self.data.take().map(|data| Ok(http_body::Frame::data(data))))
    }

    fn size_hint(&self) -> http_body::SizeHint {
        http_body::SizeHint::with_exact(self.data.as_ref().map_or(0, |data| data.len() as u64))
    }
}

impl Drop for Answer {
    fn drop(&mut self) {
        if let Some(afterwards) = self.afterwards.take() {
            tokio::spawn(async {
                // hyper drops a body before it flushes; the flush follows in the same poll.
                sleep(Duration::from_millis(30)).await;
                afterwards.await;
            });
        }
    }
}

async fn serve(service: Arc<Service>, uri: Uri) -> Response {
    let words: Vec<String> = uri.path().split('/').map(str::to_owned).collect();
    let [_, connections, modes, tag, hop] = <[String; 5]>::try_from(words).unwrap();
    let (mode, rest) = modes.split_once('-').unwrap_or((&modes, "direct"));
    let call = |number: usize| {
        let (service, connections) = (service.clone(), connections.clone());
        let path = format!("/{connections}/{rest}/{tag}/{hop}.{number}");
        async move { service.fetch(&connections, path).await }
    };
    let mut afterwards: Option<Work> = None;
    match mode {
        "after" => {
            let (service, connections) = (service.clone(), connections.clone());
            let path = format!("/{connections}/direct/{tag}~{hop}/0");
            afterwards = Some(Box::pin(async move { service.fetch(&connections, path).await }));
        }
        "twice" => {
            call(0).await;
            call(1).await;
        }
        "parallel" => {
            tokio::join!(call(0), call(1));
        }
        "thread" => tokio::spawn(call(0)).await.unwrap(),
        "handoff" => {
            let (done, wait) = tokio::sync::oneshot::channel();
            let call = call(0);
            let work = Box::pin(async move {
                call.await;
                let _ = done.send(());
            });
            assert!(service.work.send(work).await.is_ok());
            wait.await.unwrap();
        }
        "sleep" => {
            // Spread like random numbers, and the same in every run.
            let spread = tag.bytes().map(u64::from).sum::<u64>() % 20;
            sleep(Duration::from_millis(spread)).await;
            call(0).await;
        }
        "spin" => {
            for _ in 0..20 {
                tokio::task::yield_now().await;
            }
            call(0).await;
        }
        _ => {
            if mode == "timer" {
                let row = tag.split('.').next().unwrap_or_default().to_owned();
                let until = Instant::now() + Duration::from_millis(100);
                *service.ticking.lock().unwrap() = Some((until, connections.clone(), row));
            }
            call(0).await;
        }
    }
    let data = Some(Bytes::from_static(b"ok\n"));
    Response::new(Body::new(Answer { data, afterwards }))
}

async fn tick(service: Arc<Service>) {
    for number in 0_u64.. {
        sleep(Duration::from_millis(5)).await;
        let ticking = service.ticking.lock().unwrap().clone();
        if let Some((until, connections, row)) = ticking
            && Instant::now() < until
        {
            let process = std::process::id();
            let path = format!("/{connections}/direct/{row}.tick{process}-{number}.0/0");
            service.fetch(&connections, path).await;
        }
    }
}

#[tokio::main(worker_threads = 4)]
async fn main() {
    let numbers: Vec<usize> = std::env::args().skip(1).map(|word| word.parse().unwrap()).collect();
    let client = || reqwest::Client::builder().no_proxy();
    let (work, queue) = mpsc::channel::<Work>(1024);
    let service = Arc::new(Service {
        next: format!("http://127.0.0.1:{}", numbers[1]),
        keep: client().build().unwrap(),
        fresh: client().pool_max_idle_per_host(0).build().unwrap(),
        calls: Semaphore::new(numbers[2]),
        work,
        ticking: Mutex::new(None),
    });
    let queue = Arc::new(AsyncMutex::new(queue));
    for _ in 0..8 {
        let queue = queue.clone();
        tokio::spawn(async move {
            loop {
                let next = queue.lock().await.recv().await;
                let Some(work) = next else { break };
                work.await;
            }
        });
    }
    // In the main task, which is none of the runtime's own.
    let ticks = tick(service.clone());
    let app = Router::new().fallback(move |uri: Uri| serve(service.clone(), uri));
    let port = u16::try_from(numbers[0]).unwrap();
    let listener = tokio::net::TcpListener::bind(("127.0.0.1", port)).await.unwrap();
    let (served, ()) = tokio::join!(async { axum::serve(listener, app).await }, ticks);
    served.unwrap();
}
