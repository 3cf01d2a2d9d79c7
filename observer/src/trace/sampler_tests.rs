//! Rate, consistency and priority of the sampler, over simulated time.

use super::*;
use crate::trace::samples::{exchange, http};

const SECOND: u64 = 1_000_000_000;

/// A sequence of well-spread trace ids.
struct Ids(u64);

impl Ids {
    fn next(&mut self) -> [u8; 16] {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        let mut id = [1; 16];
        id[8..].copy_from_slice(&(z ^ (z >> 31)).to_be_bytes());
        id
    }
}

#[test]
fn it_is_known_which_traces_are_kept_while_there_are_too_many() {
    let (mut all, mut none) = (sampler(None), sampler(Some(0)));
    assert!(all.keeps_trace(&[0; 16]) && !none.keeps_trace(&[0xff; 16]));
    drive(&mut all, 1_000, 0, 1);
    drive(&mut none, 1_000, 0, 1);
    assert!(all.keeps_trace(&[0; 16]) && !none.keeps_trace(&[0xff; 16]));
    let mut some = sampler(Some(100));
    assert!(some.keeps_trace(&[0; 16]), "until the cap is felt");
    drive(&mut some, 1_000, 0, 4);
    let mut ids = Ids(1);
    let kept = (0..1_000).filter(|_| some.keeps_trace(&ids.next())).count();
    assert!((20..200).contains(&kept), "{kept} of 1000");
}

fn sampler(spans_per_second: Option<u32>) -> Sampler {
    Sampler::new(SamplerConfig {
        spans_per_second,
        slow_ns: None,
    })
}

/// `errors` of each hundred exchanges fail; `rate` a second, for `seconds`. Kept (errors, ordinary) in each second.
fn drive(sampler: &mut Sampler, rate: u64, errors: u64, seconds: u64) -> Vec<(u64, u64)> {
    let (mut good, mut bad) = (exchange(Role::Server), exchange(Role::Server));
    http(&mut good).status = Some(200);
    http(&mut bad).status = Some(500);
    let mut ids = Ids(rate);
    let mut kept = vec![(0, 0); seconds as usize];
    for i in 0..rate * seconds {
        let now = SECOND + i * SECOND / rate;
        let fails = i % 100 < errors;
        let exchange = if fails { &mut bad } else { &mut good };
        exchange.context.trace_id = ids.next();
        if sampler.keep(exchange, None, now) {
            let second = &mut kept[(i / rate) as usize];
            if fails { second.0 += 1 } else { second.1 += 1 }
        }
    }
    kept
}

#[test]
fn below_the_cap_everything_is_kept() {
    let kept = drive(&mut sampler(Some(200)), 100, 10, 5);
    assert_eq!(kept, vec![(10, 90); 5]);
}

#[test]
fn a_burst_below_the_cap_is_kept_whole() {
    let mut sampler = sampler(Some(200));
    let mut exchange = exchange(Role::Server);
    let mut ids = Ids(1);
    for second in 1..5 {
        for _ in 0..100 {
            exchange.context.trace_id = ids.next();
            assert!(
                sampler.keep(&exchange, None, second * SECOND),
                "second {second}"
            );
        }
    }
}

#[test]
fn a_busy_host_stays_below_the_cap_but_near_it() {
    let mut sampler = sampler(Some(200));
    let kept = drive(&mut sampler, 20_000, 0, 20);
    assert!(kept[0].1 <= 400, "{kept:?}");
    for second in &kept[1..] {
        assert!((120..=220).contains(&second.1), "{kept:?}");
    }
    let total: u64 = kept.iter().map(|second| second.1).sum();
    assert!(total <= 200 * 20 + 200, "{total}");
    let counts = sampler.counts();
    assert_eq!(counts.kept_ordinary, total);
    assert_eq!(
        counts.kept_ordinary + counts.dropped_probability + counts.dropped_rate,
        400_000
    );
    assert!(
        (sampler.probability() - 0.009).abs() < 0.001,
        "{}",
        sampler.probability()
    );
}

#[test]
fn errors_go_first() {
    // 100 errors a second among 10,000 exchanges: all of them fit.
    let kept = drive(&mut sampler(Some(200)), 10_000, 1, 20);
    for second in &kept[1..] {
        assert!(second.0 >= 99, "{kept:?}");
        assert!((10..=120).contains(&second.1), "{kept:?}");
    }
}

#[test]
fn a_flood_of_errors_leaves_a_tenth_to_the_rest() {
    let kept = drive(&mut sampler(Some(200)), 20_000, 50, 20);
    let (errors, ordinary): (u64, u64) = kept[2..]
        .iter()
        .fold((0, 0), |sum, s| (sum.0 + s.0, sum.1 + s.1));
    assert!(
        errors > 18 * 120 && errors + ordinary <= 18 * 200 + 200,
        "{kept:?}"
    );
    assert!(ordinary > 18 * 8, "{kept:?}");
}

#[test]
fn a_trace_is_kept_whole_on_every_clone() {
    let mut sampler = sampler(Some(200));
    let mut other = sampler.clone();
    drive(&mut sampler, 5_000, 0, 3);
    let mut exchange = exchange(Role::Server);
    let mut ids = Ids(99);
    // The window of the drive is over at the latest here; the next begins with its thresholds.
    let now = 4 * SECOND + 10;
    sampler.keep(&exchange, None, now);
    let mut kept = 0;
    for _ in 0..500 {
        exchange.context.trace_id = ids.next();
        let a = sampler.keep(&exchange, None, now);
        exchange.role = Role::Client;
        let b = other.keep(&exchange, None, now);
        exchange.role = Role::Server;
        assert_eq!(a, b);
        kept += u32::from(a);
    }
    assert!((3..60).contains(&kept), "{kept}");
}

#[test]
fn kept_at_a_low_probability_is_kept_at_a_higher_one() {
    let mut ids = Ids(5);
    for _ in 0..1_000 {
        let randomness = randomness(&ids.next());
        assert!(randomness < threshold(0.1) || randomness >= threshold(0.5));
    }
    assert_eq!((threshold(1.0), threshold(0.0)), (0, 1 << 56));
    assert_eq!(randomness(&[0xff; 16]), (1 << 56) - 1);
}

#[test]
fn zero_keeps_none_and_unlimited_keeps_all() {
    assert_eq!(drive(&mut sampler(Some(0)), 1_000, 50, 2), vec![(0, 0); 2]);
    assert_eq!(
        drive(&mut sampler(None), 5_000, 50, 2),
        vec![(2_500, 2_500); 2]
    );
    assert!(
        drive(&mut sampler(Some(1)), 100, 0, 20)
            .iter()
            .all(|second| second.1 <= 2)
    );
    assert!(
        drive(&mut sampler(Some(u32::MAX)), 1_000, 0, 2)
            .iter()
            .all(|second| second.1 == 1_000)
    );
}

#[test]
fn slow_exchanges_are_first_class() {
    let mut sampler = Sampler::new(SamplerConfig {
        spans_per_second: Some(200),
        slow_ns: Some(2 * SECOND),
    });
    drive(&mut sampler, 20_000, 0, 2);
    let mut slow = exchange(Role::Server);
    slow.times.response_end = Some(slow.times.request_start + 2 * SECOND);
    slow.context.trace_id = [0; 16];
    assert!(sampler.keep(&slow, None, 3 * SECOND + 1));
    http(&mut slow).event_stream = true;
    assert!(!sampler.keep(&slow, None, 3 * SECOND + 2));
    assert_eq!(sampler.counts().kept_slow, 1);
}

#[test]
fn what_has_no_end_is_counted_as_unfinished() {
    let mut sampler = sampler(None);
    let mut exchange = exchange(Role::Server);
    exchange.incomplete = Some(Incomplete::Abandoned);
    assert!(!sampler.keep(&exchange, None, SECOND));
    exchange.incomplete = None;
    exchange.times.response_end = None;
    assert!(!sampler.keep(&exchange, None, SECOND));
    assert_eq!(sampler.counts().unfinished, 2);
}
