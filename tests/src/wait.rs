//! Waiting for a condition.

use std::thread::sleep;
use std::time::{Duration, Instant};

/// Asks every 20 ms until there is an answer.
///
/// # Panics
/// When there is none after twenty seconds; `what` is in the message.
pub fn until<T>(what: &str, mut ask: impl FnMut() -> Option<T>) -> T {
    let began = Instant::now();
    loop {
        if let Some(answer) = ask() {
            return answer;
        }
        assert!(
            began.elapsed() < Duration::from_secs(20),
            "gave up waiting until {what}"
        );
        sleep(Duration::from_millis(20));
    }
}
