//! What ends the daemon.

use std::{future::Future, sync::Arc, time::Duration};

use anyhow::{Result, bail};
use tokio::sync::watch;

use super::health::Health;

/// How often the daemon's parts are looked at.
const LOOK: Duration = Duration::from_secs(1);

/// Waits for a signal, the end of `duration`, a sink that nobody reads any more, or a part that is gone. Calls `alive` at
/// each look that finds nothing wrong.
///
/// # Errors
/// A part is gone.
pub(super) async fn ending(
    signal: impl Future<Output = ()>,
    duration: Option<Duration>,
    mut closed: watch::Receiver<bool>,
    health: &Arc<Health>,
    alive: impl FnMut(),
) -> Result<()> {
    let over = async {
        match duration {
            Some(duration) => tokio::time::sleep(duration).await,
            None => std::future::pending().await,
        }
    };
    let unread = async {
        // With nothing shown there is nobody to close it.
        if closed.wait_for(|closed| *closed).await.is_err() {
            std::future::pending::<()>().await;
        }
    };
    tokio::select! {
        () = signal => Ok(()),
        () = over => Ok(()),
        () = unread => Ok(()),
        gone = broken(health, alive) => bail!("{gone}; observer ends, since nothing takes its place: the log above says why"),
    }
}

/// What is gone, once something is. What is stuck is said in the log, when it is noticed.
async fn broken(health: &Arc<Health>, mut alive: impl FnMut()) -> String {
    let mut known = Vec::new();
    let mut look = tokio::time::interval(LOOK);
    loop {
        look.tick().await;
        let troubles = health.troubles();
        if troubles.is_empty() {
            alive();
        }
        let gone = troubles.iter().filter(|trouble| trouble.is_fatal());
        let gone: Vec<String> = gone.map(ToString::to_string).collect();
        if !gone.is_empty() {
            return gone.join(", ");
        }
        let stuck: Vec<String> = troubles.iter().map(|it| it.part().to_owned()).collect();
        for trouble in troubles
            .iter()
            .filter(|it| !known.contains(&it.part().to_owned()))
        {
            tracing::warn!(%trouble, "a part of observer does not get on");
        }
        known = stuck;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::daemon::threads::{join, spawn};

    fn wait(
        health: &Arc<Health>,
        duration: Option<Duration>,
        closed: watch::Receiver<bool>,
    ) -> (Result<()>, usize) {
        let mut alive = 0;
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap();
        let signal = std::future::pending();
        let ended = runtime.block_on(ending(signal, duration, closed, health, || alive += 1));
        (ended, alive)
    }

    #[test]
    fn a_thread_that_panics_ends_the_daemon_with_its_name() {
        let health = Health::new();
        let (_closing, closed) = watch::channel(false);
        let shard = spawn(&health, "observer-shard1", None, |_| panic!("on purpose")).unwrap();
        let error = wait(&health, None, closed).0.unwrap_err().to_string();
        assert!(error.starts_with("observer-shard1 panicked; "), "{error}");
        join([shard], Duration::from_secs(60));
    }

    #[test]
    fn a_thread_that_is_stuck_does_not() {
        let health = Health::new();
        let (_closing, closed) = watch::channel(false);
        let _stuck = health.part("observer-process", Some(Duration::ZERO));
        let brief = Some(Duration::from_millis(10));
        let (ended, alive) = wait(&health, brief, closed);
        assert!(ended.is_ok());
        assert_eq!(alive, 0, "who watches is to notice that it is stuck");
    }

    #[test]
    fn while_nothing_is_wrong_it_says_so() {
        let (_closing, closed) = watch::channel(false);
        let brief = Some(Duration::from_millis(10));
        let (ended, alive) = wait(&Health::new(), brief, closed);
        assert!(ended.is_ok());
        assert!(alive > 0);
    }

    #[test]
    fn so_does_a_sink_that_nobody_reads() {
        let health = Health::new();
        let (closing, closed) = watch::channel(false);
        closing.send_replace(true);
        assert!(wait(&health, None, closed).0.is_ok());
    }
}
