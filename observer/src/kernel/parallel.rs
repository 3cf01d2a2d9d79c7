//! The same work for each of a few things, on all CPUs.

use std::{
    num::NonZero,
    sync::{Mutex, PoisonError},
    thread,
};

use anyhow::Result;

/// Does `work` for each job, several at once, and returns what came of them in the jobs' order.
///
/// # Errors
/// The error of the first job, in their order, that failed. No job begins once one has failed.
pub(super) fn each<T: Send, R: Send>(
    jobs: Vec<T>,
    work: impl Fn(T) -> Result<R> + Sync,
) -> Result<Vec<R>> {
    let count = jobs.len();
    let waiting = Mutex::new(jobs.into_iter().enumerate());
    let results = Mutex::new((0..count).map(|_| None).collect::<Vec<Option<Result<R>>>>());
    let next = || {
        waiting
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .next()
    };
    let worker = || {
        while let Some((index, job)) = next() {
            let result = work(job);
            if result.is_err() {
                while next().is_some() {}
            }
            results.lock().unwrap_or_else(PoisonError::into_inner)[index] = Some(result);
        }
    };
    let workers = thread::available_parallelism().map_or(1, NonZero::get);
    thread::scope(|scope| {
        // This thread works, too, and alone where there is no room for others.
        for _ in 1..workers.min(count) {
            let _ = thread::Builder::new().spawn_scoped(scope, worker);
        }
        worker();
    });
    // What was not begun lies behind what failed, but what failed need not be the first to end.
    let results = results.into_inner().unwrap_or_else(PoisonError::into_inner);
    results.into_iter().flatten().collect()
}

#[cfg(test)]
mod tests {
    use anyhow::anyhow;

    use super::*;

    #[test]
    fn results_come_in_the_order_of_the_jobs() {
        let doubled = each((0..100).collect(), |number: u32| Ok(2 * number)).expect("no errors");
        assert_eq!(doubled, (0..200).step_by(2).collect::<Vec<_>>());
        assert!(each(Vec::new(), |(): ()| Ok(())).expect("none").is_empty());
    }

    #[test]
    fn an_error_ends_it() {
        let begun = std::sync::atomic::AtomicU32::new(0);
        let result = each((0..1000).collect(), |number: u32| {
            begun.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
            if number == 3 {
                return Err(anyhow!("number {number}"));
            }
            std::thread::sleep(std::time::Duration::from_millis(1));
            Ok(())
        });
        assert_eq!(result.expect_err("an error").to_string(), "number 3");
        assert!(begun.into_inner() < 1000);
    }
}
