//! The HTTP server behind `/metrics`, `/healthz` and `/readyz`.

use std::{future::Future, io, net::SocketAddr, sync::Arc};

use axum::{
    Router,
    http::{HeaderMap, StatusCode, header},
    response::{IntoResponse, Response},
    routing::get,
};
use tokio::{net::TcpListener, sync::Semaphore, task::spawn_blocking};

use super::{
    Format,
    pages::{Ask, MakePage, Pages},
};

/// Where the page is, unless configured otherwise.
pub const DEFAULT_ADDRESS: &str = "127.0.0.1:9464";

/// Pages that are made at once; further requests wait. Each takes the shards' locks in turn.
const AT_ONCE: usize = 2;

/// Why the page can't be served.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// The address can't be listened on.
    #[error(
        "cannot serve the Prometheus page on {address} (choose another address with --prometheus ADDR, or turn the \
         page off with --prometheus off)"
    )]
    Bind {
        /// As it was asked for.
        address: SocketAddr,
        /// What the kernel said.
        source: io::Error,
    },
    /// The server ended before it was told to.
    #[error("the Prometheus page's server ended: {0}")]
    Ended(#[from] io::Error),
}

/// A server that listens, so that a failure shows before the daemon says it is ready.
pub struct Server {
    listener: TcpListener,
}

impl Server {
    /// Listens on `address`; port 0 lets the kernel choose.
    ///
    /// # Errors
    /// [`ServeError::Bind`].
    pub async fn bind(address: SocketAddr) -> Result<Self, ServeError> {
        let listener = TcpListener::bind(address)
            .await
            .map_err(|source| ServeError::Bind { address, source })?;
        Ok(Self { listener })
    }

    /// The address that it listens on.
    ///
    /// # Errors
    /// The kernel can't tell.
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        self.listener.local_addr()
    }

    /// Answers until `shutdown` completes and open answers are sent. A client that doesn't
    /// take its answer holds this up: the caller puts a limit on it.
    ///
    /// # Errors
    /// [`ServeError::Ended`].
    pub async fn run(
        self,
        pages: Pages,
        shutdown: impl Future<Output = ()> + Send + 'static,
    ) -> Result<(), ServeError> {
        let router = router(pages);
        Ok(axum::serve(self.listener, router)
            .with_graceful_shutdown(shutdown)
            .await?)
    }
}

/// [`Server::bind`] and [`Server::run`] in one.
///
/// # Errors
/// As those two.
pub async fn serve(
    address: SocketAddr,
    pages: Pages,
    shutdown: impl Future<Output = ()> + Send + 'static,
) -> Result<(), ServeError> {
    Server::bind(address).await?.run(pages, shutdown).await
}

fn router(pages: Pages) -> Router {
    let Pages {
        metrics: page,
        health,
        ready,
    } = pages;
    let permits = Arc::new(Semaphore::new(AT_ONCE));
    let metrics = move |headers: HeaderMap| {
        let (page, permits) = (page.clone(), permits.clone());
        async move {
            let accept = headers
                .get(header::ACCEPT)
                .and_then(|accept| accept.to_str().ok());
            answer(
                page,
                Format::of_accept(accept.unwrap_or_default()),
                &permits,
            )
            .await
        }
    };
    Router::new()
        .route("/metrics", get(metrics))
        .route("/healthz", get(move || async move { said(&health) }))
        .route("/readyz", get(move || async move { said(&ready) }))
        .route("/", get(|| async { "observer: metrics are at /metrics\n" }))
}

fn said(ask: &Ask) -> Response {
    match ask() {
        Ok(text) => (StatusCode::OK, text + "\n").into_response(),
        Err(text) => (StatusCode::SERVICE_UNAVAILABLE, text + "\n").into_response(),
    }
}

async fn answer(page: MakePage, format: Format, permits: &Semaphore) -> Response {
    let Ok(_permit) = permits.acquire().await else {
        return StatusCode::SERVICE_UNAVAILABLE.into_response();
    };
    match spawn_blocking(move || page(format)).await {
        Ok(Some(text)) => ([(header::CONTENT_TYPE, format.content_type())], text).into_response(),
        Ok(None) => (
            StatusCode::SERVICE_UNAVAILABLE,
            "observer starts; see /readyz\n",
        )
            .into_response(),
        Err(error) => {
            tracing::error!(%error, "making the Prometheus page failed");
            (
                StatusCode::INTERNAL_SERVER_ERROR,
                "making the page failed; see observer's log\n",
            )
                .into_response()
        }
    }
}

#[cfg(test)]
mod tests {
    use tokio::{
        io::{AsyncReadExt, AsyncWriteExt},
        net::TcpStream,
        sync::oneshot,
    };

    use super::*;

    async fn request(address: SocketAddr, path: &str, accept: &str) -> String {
        let mut stream = TcpStream::connect(address).await.unwrap();
        let request = format!(
            "GET {path} HTTP/1.1\r\nHost: x\r\nAccept: {accept}\r\nConnection: close\r\n\r\n"
        );
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        answer
    }

    /// Well, ready, and with this page.
    fn pages(metrics: impl Fn(Format) -> Option<String> + Send + Sync + 'static) -> Pages {
        Pages {
            metrics: Arc::new(metrics),
            health: Arc::new(|| Ok("ok".to_owned())),
            ready: Arc::new(|| Ok("capturing".to_owned())),
        }
    }

    /// Serves until the sender is used or dropped.
    async fn serving(pages: Pages) -> (SocketAddr, oneshot::Sender<()>) {
        let server = Server::bind("127.0.0.1:0".parse().unwrap()).await.unwrap();
        let address = server.local_addr().unwrap();
        let (stop, stopped) = oneshot::channel::<()>();
        tokio::spawn(server.run(pages, async { drop(stopped.await) }));
        (address, stop)
    }

    #[tokio::test]
    async fn metrics_are_answered_until_shutdown() {
        let server = Server::bind("127.0.0.1:0".parse().unwrap()).await.unwrap();
        let address = server.local_addr().unwrap();
        let (stop, stopped) = oneshot::channel::<()>();
        let pages = pages(|format| match format {
            Format::Prometheus => Some("a 1\n".to_owned()),
            Format::OpenMetrics => panic!("a page that fails"),
        });
        let running = tokio::spawn(server.run(pages, async { drop(stopped.await) }));
        let answer = request(address, "/metrics", "text/plain").await;
        assert!(
            answer.starts_with("HTTP/1.1 200") && answer.ends_with("a 1\n"),
            "{answer}"
        );
        assert!(
            answer.contains("content-type: text/plain; version=0.0.4"),
            "{answer}"
        );
        let failed = request(address, "/metrics", "application/openmetrics-text").await;
        assert!(failed.starts_with("HTTP/1.1 500"), "{failed}");
        let other = request(address, "/other", "*/*").await;
        assert!(other.starts_with("HTTP/1.1 404"), "{other}");
        stop.send(()).unwrap();
        running.await.unwrap().unwrap();
    }

    #[tokio::test]
    async fn health_and_readiness_are_told_with_their_reasons() {
        let (address, _stop) = serving(pages(|_| None)).await;
        let answer = request(address, "/metrics", "*/*").await;
        assert!(answer.starts_with("HTTP/1.1 503"), "{answer}");
        let answer = request(address, "/healthz", "*/*").await;
        assert!(answer.starts_with("HTTP/1.1 200") && answer.ends_with("ok\n"));
        let answer = request(address, "/readyz", "*/*").await;
        assert!(answer.starts_with("HTTP/1.1 200") && answer.ends_with("capturing\n"));

        let (address, _stop) = serving(Pages {
            health: Arc::new(|| Err("observer-shard0 panicked".to_owned())),
            ready: Arc::new(|| Err("starting".to_owned())),
            ..pages(|_| None)
        })
        .await;
        let answer = request(address, "/healthz", "*/*").await;
        assert!(answer.starts_with("HTTP/1.1 503"), "{answer}");
        assert!(answer.ends_with("observer-shard0 panicked\n"), "{answer}");
        let answer = request(address, "/readyz", "*/*").await;
        assert!(answer.starts_with("HTTP/1.1 503") && answer.ends_with("starting\n"));
    }

    #[tokio::test]
    async fn a_scrape_that_takes_long_delays_neither_another_nor_health() {
        let (release, held) = std::sync::mpsc::channel::<()>();
        let held = std::sync::Mutex::new(held);
        let (address, _stop) = serving(pages(move |format| {
            if format == Format::OpenMetrics {
                let _ = held.lock().unwrap().recv();
            }
            Some("a 1\n".to_owned())
        }))
        .await;
        let slow = tokio::spawn(request(address, "/metrics", "application/openmetrics-text"));
        // A client that asks and does not read: its answer waits in its socket.
        let mut unread = TcpStream::connect(address).await.unwrap();
        let asks = b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n".repeat(100);
        unread.write_all(&asks).await.unwrap();
        for _ in 0..10 {
            let answer = request(address, "/metrics", "text/plain").await;
            assert!(answer.ends_with("a 1\n"), "{answer}");
            assert!(request(address, "/healthz", "*/*").await.ends_with("ok\n"));
        }
        assert!(!slow.is_finished());
        release.send(()).unwrap();
        assert!(slow.await.unwrap().ends_with("a 1\n"));
    }

    #[tokio::test]
    async fn a_taken_address_is_told_with_what_to_do() {
        let server = Server::bind("127.0.0.1:0".parse().unwrap()).await.unwrap();
        let address = server.local_addr().unwrap();
        let error = serve(address, pages(|_| None), async {}).await.unwrap_err();
        let error = format!("{:#}", anyhow::Error::from(error));
        for part in [&*address.to_string(), "in use", "--prometheus off"] {
            assert!(error.contains(part), "{part}: {error}");
        }
    }
}
