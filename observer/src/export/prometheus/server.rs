//! The HTTP server behind `/metrics`.

use std::{future::Future, io, net::SocketAddr, sync::Arc};

use axum::{
    Router,
    http::{HeaderMap, StatusCode, header},
    response::{IntoResponse, Response},
    routing::get,
};
use tokio::{net::TcpListener, sync::Semaphore, task::spawn_blocking};

use super::Format;

/// Where the page is, unless configured otherwise.
pub const DEFAULT_ADDRESS: &str = "127.0.0.1:9464";

/// Pages that are made at once; further requests wait. Each takes the shards' locks in turn.
const AT_ONCE: usize = 2;

/// Makes the page. Called off the async threads; it may block for a moment.
pub type MakePage = Arc<dyn Fn(Format) -> String + Send + Sync>;

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

    /// Answers `/metrics` and `/healthz` until `shutdown` completes and open answers are sent. A client that doesn't
    /// take its answer holds this up: the caller puts a limit on it.
    ///
    /// # Errors
    /// [`ServeError::Ended`].
    pub async fn run(
        self,
        page: MakePage,
        shutdown: impl Future<Output = ()> + Send + 'static,
    ) -> Result<(), ServeError> {
        let router = router(page);
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
    page: MakePage,
    shutdown: impl Future<Output = ()> + Send + 'static,
) -> Result<(), ServeError> {
    Server::bind(address).await?.run(page, shutdown).await
}

fn router(page: MakePage) -> Router {
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
        .route("/healthz", get(|| async { "ok\n" }))
        .route("/", get(|| async { "observer: metrics are at /metrics\n" }))
}

async fn answer(page: MakePage, format: Format, permits: &Semaphore) -> Response {
    let Ok(_permit) = permits.acquire().await else {
        return StatusCode::SERVICE_UNAVAILABLE.into_response();
    };
    match spawn_blocking(move || page(format)).await {
        Ok(text) => ([(header::CONTENT_TYPE, format.content_type())], text).into_response(),
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

    #[tokio::test]
    async fn metrics_and_health_are_answered_until_shutdown() {
        let server = Server::bind("127.0.0.1:0".parse().unwrap()).await.unwrap();
        let address = server.local_addr().unwrap();
        let (stop, stopped) = oneshot::channel::<()>();
        let page: MakePage = Arc::new(|format| match format {
            Format::Prometheus => "a 1\n".to_owned(),
            Format::OpenMetrics => panic!("a page that fails"),
        });
        let running = tokio::spawn(server.run(page, async { drop(stopped.await) }));
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
        assert!(request(address, "/healthz", "*/*").await.ends_with("ok\n"));
        assert!(
            request(address, "/other", "*/*")
                .await
                .starts_with("HTTP/1.1 404")
        );
        stop.send(()).unwrap();
        running.await.unwrap().unwrap();
    }

    #[tokio::test]
    async fn a_taken_address_is_told_with_what_to_do() {
        let server = Server::bind("127.0.0.1:0".parse().unwrap()).await.unwrap();
        let address = server.local_addr().unwrap();
        let error = serve(address, Arc::new(|_| String::new()), async {})
            .await
            .unwrap_err();
        let error = format!("{:#}", anyhow::Error::from(error));
        for part in [&*address.to_string(), "in use", "--prometheus off"] {
            assert!(error.contains(part), "{part}: {error}");
        }
    }
}
