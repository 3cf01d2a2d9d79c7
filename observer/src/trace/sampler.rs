//! Which exchanges become spans: at most a number a second, errors first.
//!
//! Two classes. **First** are errors and slow exchanges, **ordinary** is the rest. Each class has a threshold on the
//! low 56 bits of the trace id (the randomness of OpenTelemetry's consistent probability sampling): an exchange is
//! kept when its randomness is at or above the threshold. So the spans of a trace are kept or dropped together, on
//! every thread and, at equal thresholds, on every host. The thresholds follow what arrives, four times a second:
//! first-class spans may take nine tenths of the cap, ordinary ones what those leave, at least a tenth.
//!
//! A token bucket behind both (one second deep) holds the cap while the thresholds are still catching up; ordinary
//! spans cannot take its last quarter. What it refuses is counted apart, as these decisions are not consistent.
//!
//! The `sampled` flag of an incoming `traceparent` is handed on but does not decide.

use std::sync::{
    Arc, Mutex, MutexGuard, PoisonError,
    atomic::{AtomicU64, Ordering::Relaxed},
};

use super::slow::Slowness;
use crate::exchange::{Exchange, Incomplete};
use crate::identity::Role;

/// How long the thresholds stay, ns.
const WINDOW_NS: u64 = 250_000_000;
/// Where the thresholds aim, as a part of the budget: arrivals are not even.
const AIM: f64 = 0.9;
/// Randomness is a 56-bit number.
const RANDOM_BITS: u32 = 56;

/// What may be kept.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct SamplerConfig {
    /// Spans a second; 0 keeps none, `None` keeps all.
    pub spans_per_second: Option<u32>,
    /// A duration, ns, from which an exchange counts as slow whatever its kind; `None` leaves it to the comparison
    /// with its kind. Streams and tunnels are never slow.
    pub slow_ns: Option<u64>,
}

impl Default for SamplerConfig {
    fn default() -> Self {
        Self {
            spans_per_second: Some(200),
            slow_ns: None,
        }
    }
}

/// What was decided since the start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SamplerCounts {
    /// Kept errors.
    pub kept_error: u64,
    /// Kept slow exchanges.
    pub kept_slow: u64,
    /// Kept by probability.
    pub kept_ordinary: u64,
    /// Dropped by probability.
    pub dropped_probability: u64,
    /// Dropped by the token bucket.
    pub dropped_rate: u64,
    /// Never a span: its end is not known.
    pub unfinished: u64,
}

/// One thread's sampler. Clones share cap and thresholds; each counts for itself, and what is slow each learns for itself.
pub struct Sampler {
    shared: Arc<Shared>,
    counts: Arc<Lane>,
    slowness: Slowness,
    slow_ns: u64,
}

impl Clone for Sampler {
    fn clone(&self) -> Self {
        Self {
            shared: self.shared.clone(),
            counts: self.shared.lane(),
            slowness: Slowness::new(),
            slow_ns: self.slow_ns,
        }
    }
}

#[derive(Clone, Copy, PartialEq)]
enum Class {
    Error,
    Slow,
    Ordinary,
}

struct Shared {
    /// Spans a second; `None` keeps all.
    cap: Option<u32>,
    /// Smallest randomness that is kept: first class, ordinary.
    thresholds: [AtomicU64; 2],
    /// End of this window, monotonic ns; 0 before the first.
    window_end: AtomicU64,
    /// Its lock is taken once a window.
    rates: Mutex<Rates>,
    /// What each clone counted. Its lock is taken once a window, and by who asks.
    lanes: Mutex<Vec<Arc<Lane>>>,
    /// Token bucket: the time, monotonic ns, at which all that was taken is paid for.
    paid_until: AtomicU64,
}

/// Arrivals, first class and ordinary.
#[derive(Default)]
struct Rates {
    /// A second, smoothed.
    smoothed: [f64; 2],
    /// Of all clones, when the window began.
    before: [u64; 2],
}

/// What one clone decided, on cache lines of its own: one thread writes.
#[derive(Default)]
#[repr(align(128))]
struct Lane {
    /// First class and ordinary.
    arrivals: [AtomicU64; 2],
    kept: [AtomicU64; 3],
    dropped_probability: AtomicU64,
    dropped_rate: AtomicU64,
    unfinished: AtomicU64,
}

/// One more, where one thread writes.
fn count(counter: &AtomicU64) {
    counter.store(counter.load(Relaxed) + 1, Relaxed);
}

impl Sampler {
    /// A sampler that keeps everything until the cap is felt.
    pub fn new(config: SamplerConfig) -> Self {
        let shared = Arc::new(Shared {
            cap: config.spans_per_second,
            thresholds: Default::default(),
            window_end: AtomicU64::new(0),
            rates: Mutex::default(),
            lanes: Mutex::default(),
            paid_until: AtomicU64::new(0),
        });
        Self {
            counts: shared.lane(),
            shared,
            slowness: Slowness::new(),
            slow_ns: config.slow_ns.unwrap_or(u64::MAX),
        }
    }

    /// Whether `exchange` becomes a span. To be asked exactly once for each exchange, before the span is made.
    ///
    /// `route` is the server's route, `now` CLOCK_MONOTONIC ns. Takes some tens of ns.
    pub fn keep(&mut self, exchange: &Exchange, route: Option<&Arc<str>>, now: u64) -> bool {
        let duration = exchange
            .duration_ns()
            .filter(|_| exchange.incomplete != Some(Incomplete::Abandoned));
        let Some(duration) = duration else {
            count(&self.counts.unfinished);
            return false;
        };
        let class = self.class(exchange, route, duration);
        let randomness = randomness(&exchange.context.trace_id);
        let kept = self.shared.decide(class, randomness, now, &self.counts);
        if kept {
            count(&self.counts.kept[class as usize]);
        }
        kept
    }

    /// Whether the ordinary spans of a trace are kept now.
    pub fn keeps_trace(&self, trace_id: &[u8; 16]) -> bool {
        match self.shared.cap {
            None => true,
            Some(0) => false,
            Some(_) => randomness(trace_id) >= self.shared.thresholds[1].load(Relaxed),
        }
    }

    /// What was decided since the start, by all clones together.
    pub fn counts(&self) -> SamplerCounts {
        let lanes = self.shared.lanes();
        let sum = |of: &dyn Fn(&Lane) -> &AtomicU64| -> u64 {
            lanes.iter().map(|lane| of(lane).load(Relaxed)).sum()
        };
        SamplerCounts {
            kept_error: sum(&|lane| &lane.kept[Class::Error as usize]),
            kept_slow: sum(&|lane| &lane.kept[Class::Slow as usize]),
            kept_ordinary: sum(&|lane| &lane.kept[Class::Ordinary as usize]),
            dropped_probability: sum(&|lane| &lane.dropped_probability),
            dropped_rate: sum(&|lane| &lane.dropped_rate),
            unfinished: sum(&|lane| &lane.unfinished),
        }
    }

    /// The probability, 0 to 1, at which ordinary exchanges are kept now.
    pub fn probability(&self) -> f64 {
        if self.shared.cap == Some(0) {
            return 0.0;
        }
        1.0 - self.shared.thresholds[1].load(Relaxed) as f64 / (1u64 << RANDOM_BITS) as f64
    }

    fn class(&mut self, exchange: &Exchange, route: Option<&Arc<str>>, duration_ns: u64) -> Class {
        let detail = exchange.detail.describe();
        let kind = match (exchange.role, route) {
            (Role::Server, Some(route)) => Arc::as_ptr(route).cast::<u8>() as u64,
            (role, _) => {
                let role = u64::from(role == Role::Client) | (exchange.detail.id() as u64) << 1;
                exchange.process.start_ns.rotate_left(20)
                    ^ u64::from(exchange.process.tgid) << 10
                    ^ role
            }
        };
        let slow = !detail.is_endless()
            && (self.slowness.observe(kind, duration_ns) || duration_ns >= self.slow_ns);
        match detail.outcome(exchange).failed {
            true => Class::Error,
            false if slow => Class::Slow,
            false => Class::Ordinary,
        }
    }
}

impl Shared {
    /// A new clone's counts.
    fn lane(&self) -> Arc<Lane> {
        let lane = Arc::<Lane>::default();
        self.lanes().push(Arc::clone(&lane));
        lane
    }

    fn lanes(&self) -> MutexGuard<'_, Vec<Arc<Lane>>> {
        self.lanes.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn decide(&self, class: Class, randomness: u64, now: u64, counts: &Lane) -> bool {
        let cap = match self.cap {
            None => return true,
            Some(0) => {
                count(&counts.dropped_rate);
                return false;
            }
            Some(cap) => cap,
        };
        let lane = usize::from(class == Class::Ordinary);
        self.adapt(cap, now);
        count(&counts.arrivals[lane]);
        if randomness < self.thresholds[lane].load(Relaxed) {
            count(&counts.dropped_probability);
            return false;
        }
        let taken = self.take_token(cap, class, now);
        if !taken {
            count(&counts.dropped_rate);
        }
        taken
    }

    /// Sets the thresholds anew when the window is over. The thread that finds it over does it; others go on.
    fn adapt(&self, cap: u32, now: u64) {
        let end = self.window_end.load(Relaxed);
        if now < end
            || self
                .window_end
                .compare_exchange(end, now + WINDOW_NS, Relaxed, Relaxed)
                .is_err()
        {
            return;
        }
        if end == 0 {
            return;
        }
        let Ok(mut rates) = self.rates.try_lock() else {
            return;
        };
        let Rates { smoothed, before } = &mut *rates;
        let seconds = (WINDOW_NS + (now - end)) as f64 / 1e9;
        let mut arrived = [0; 2];
        for lane in self.lanes().iter() {
            for (sum, arrivals) in arrived.iter_mut().zip(&lane.arrivals) {
                *sum += arrivals.load(Relaxed);
            }
        }
        for (class, rate) in smoothed.iter_mut().enumerate() {
            let seen = (arrived[class] - before[class]) as f64 / seconds;
            // Up at once, down in steps: a pause of a moment must not open the door to what follows it.
            *rate = if seen > *rate {
                seen
            } else {
                (*rate + seen) / 2.0
            };
        }
        *before = arrived;
        let rates = *smoothed;
        let cap = f64::from(cap);
        let first = probability(cap * AIM, rates[0]);
        let rest = (cap * AIM - first * rates[0]).max(cap * (1.0 - AIM));
        let ordinary = probability(rest, rates[1]).min(first);
        self.thresholds[0].store(threshold(first), Relaxed);
        self.thresholds[1].store(threshold(ordinary), Relaxed);
    }

    /// Takes a token from the bucket of `cap` tokens, which gets `cap` a second.
    fn take_token(&self, cap: u32, class: Class, now: u64) -> bool {
        let price = 1_000_000_000 / u64::from(cap);
        let depth = price * u64::from(cap);
        let reserve = if class == Class::Ordinary {
            price * u64::from(cap / 4)
        } else {
            0
        };
        let taken = self
            .paid_until
            .fetch_update(Relaxed, Relaxed, |paid_until| {
                let paid_until = paid_until.max(now) + price;
                (paid_until <= now + depth - reserve).then_some(paid_until)
            });
        taken.is_ok()
    }
}

/// Probability that brings `rate` down to `budget`.
fn probability(budget: f64, rate: f64) -> f64 {
    if rate <= budget { 1.0 } else { budget / rate }
}

/// Smallest randomness that is kept at a probability.
fn threshold(probability: f64) -> u64 {
    ((1.0 - probability) * (1u64 << RANDOM_BITS) as f64) as u64
}

/// The low 56 bits of a trace id (W3C trace context level 2).
fn randomness(trace_id: &[u8; 16]) -> u64 {
    let [.., a, b, c, d, e, f, g] = *trace_id;
    u64::from_be_bytes([0, a, b, c, d, e, f, g])
}

#[cfg(test)]
#[path = "sampler_tests.rs"]
mod tests;
