//! Waiting for a condition.

use std::thread::sleep;
use std::time::{Duration, Instant};

/// How long tests wait for what must come: twenty seconds, or `OBSERVER_TEST_PATIENCE` seconds on machines that are slow.
pub fn patience() -> Duration {
    let seconds = std::env::var("OBSERVER_TEST_PATIENCE").ok();
    let seconds = seconds.and_then(|seconds| seconds.parse().ok());
    Duration::from_secs(seconds.unwrap_or(20))
}

/// Asks every 20 ms until there is an answer.
///
/// # Panics
/// When there is none and [`patience`] is over; `what` is in the message.
pub fn until<T>(what: &str, mut ask: impl FnMut() -> Option<T>) -> T {
    let began = Instant::now();
    loop {
        if let Some(answer) = ask() {
            return answer;
        }
        assert!(began.elapsed() < patience(), "gave up waiting until {what}");
        sleep(Duration::from_millis(20));
    }
}
