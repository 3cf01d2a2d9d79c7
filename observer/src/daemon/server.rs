//! The page's server, on a thread of its own: whatever exporters encode or compress, a scrape does not wait for it.
//!
//! It listens before anything is loaded, so that an address in use is told at once, and so that whoever asks `/readyz` hears
//! that the daemon starts.

use std::{
    net::SocketAddr,
    sync::{Arc, OnceLock},
    thread::JoinHandle,
    time::Duration,
};

use anyhow::{Context as _, Result};
use tokio::sync::oneshot;

use super::{
    health::{Health, Stage},
    page::Page,
    threads::{self, spawn},
};
use crate::export::prometheus::{Format, Pages, Server};

/// How long open answers may take at the end.
const ANSWERS: Duration = Duration::from_millis(500);
/// Threads that make pages.
const MAKERS: usize = 2;

/// A server that runs until it is stopped.
pub(super) struct PageServer {
    address: SocketAddr,
    page: Arc<OnceLock<Arc<Page>>>,
    stop: oneshot::Sender<()>,
    thread: JoinHandle<()>,
}

impl PageServer {
    /// Listens on `address` and answers. There are no metrics until there is a page.
    ///
    /// # Errors
    /// The address can't be listened on.
    pub(super) fn start(address: SocketAddr, health: &Arc<Health>) -> Result<Self> {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .max_blocking_threads(MAKERS)
            .thread_name("observer-page")
            .enable_all()
            .build()
            .context("cannot start the page's runtime")?;
        let server = runtime.block_on(Server::bind(address))?;
        let bound = server.local_addr().unwrap_or(address);
        let page: Arc<OnceLock<Arc<Page>>> = Arc::default();
        let pages = pages(health, Arc::clone(&page));
        let (stop, stopped) = oneshot::channel();
        let thread = spawn(health, "observer-page", None, move |_| {
            let served = runtime.block_on(server.run(pages, async { drop(stopped.await) }));
            if let Err(error) = served {
                tracing::error!(%error, "the Prometheus page is gone");
            }
            runtime.shutdown_background();
        })?;
        Ok(Self {
            address: bound,
            page,
            stop,
            thread,
        })
    }

    /// Where it listens.
    pub(super) const fn address(&self) -> SocketAddr {
        self.address
    }

    /// This is the page from now on.
    pub(super) fn show(&self, page: Arc<Page>) {
        let _ = self.page.set(page);
    }

    /// Answers who has asked and ends.
    pub(super) fn stop(self) {
        let _ = self.stop.send(());
        threads::join([self.thread], ANSWERS);
    }
}

fn pages(health: &Arc<Health>, page: Arc<OnceLock<Arc<Page>>>) -> Pages {
    let (well, ready) = (Arc::clone(health), Arc::clone(health));
    Pages {
        metrics: Arc::new(move |format: Format| page.get().map(|page| page.render(format))),
        health: Arc::new(move || {
            let troubles = well.troubles();
            if troubles.is_empty() {
                return Ok("ok".to_owned());
            }
            let lines: Vec<String> = troubles.iter().map(ToString::to_string).collect();
            Err(lines.join("\n"))
        }),
        ready: Arc::new(move || match ready.stage() {
            Stage::Starting => Err("starting".to_owned()),
            Stage::Capturing => Ok("capturing".to_owned()),
            Stage::Stopping => Err("stopping".to_owned()),
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_asks_hears_how_the_daemon_is_at_every_stage() {
        let health = Health::new();
        let pages = pages(&health, Arc::default());
        assert_eq!((pages.ready)(), Err("starting".to_owned()));
        assert_eq!((pages.metrics)(Format::Prometheus), None);
        health.reached(Stage::Capturing);
        assert_eq!((pages.ready)(), Ok("capturing".to_owned()));
        assert_eq!((pages.health)(), Ok("ok".to_owned()));
        let pulse = health.part("observer-shard0", None);
        let thread = std::thread::spawn(move || {
            let _pulse = pulse;
            panic!("on purpose");
        });
        assert!(thread.join().is_err());
        assert_eq!((pages.health)(), Err("observer-shard0 panicked".to_owned()));
        health.reached(Stage::Stopping);
        assert_eq!((pages.ready)(), Err("stopping".to_owned()));
    }

    #[test]
    fn it_listens_before_there_is_a_page_and_until_it_is_stopped() {
        let health = Health::new();
        let server = PageServer::start("127.0.0.1:0".parse().unwrap(), &health).unwrap();
        let address = server.address();
        assert!(std::net::TcpStream::connect(address).is_ok());
        assert!(PageServer::start(address, &health).is_err());
        health.reached(Stage::Stopping);
        server.stop();
        assert!(std::net::TcpStream::connect(address).is_err());
        assert_eq!(health.troubles(), []);
    }
}
