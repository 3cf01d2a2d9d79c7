//! Percentiles of a histogram.

/// The `q`-th quantile (0 to 1) of a histogram with explicit `bounds`, as far as buckets tell: within its bucket the
/// values are taken to be spread evenly, between `min` and `max` where those are known. `None` when it is empty.
pub(super) fn quantile(
    bounds: &[f64],
    buckets: &[u64],
    q: f64,
    min: Option<f64>,
    max: Option<f64>,
) -> Option<f64> {
    let count: u64 = buckets.iter().sum();
    if count == 0 || buckets.len() != bounds.len() + 1 {
        return None;
    }
    let rank = q.clamp(0.0, 1.0) * count as f64;
    let mut below = 0.0;
    for (at, in_bucket) in buckets
        .iter()
        .enumerate()
        .filter(|(_, in_bucket)| **in_bucket > 0)
    {
        let in_bucket = *in_bucket as f64;
        if below + in_bucket >= rank {
            let lower = at.checked_sub(1).map_or(0.0, |at| bounds[at]);
            let lower = min.map_or(lower, |min| lower.max(min));
            let upper = bounds.get(at).copied().or(max).unwrap_or(lower);
            let upper = max.map_or(upper, |max| upper.min(max)).max(lower);
            return Some(lower + (upper - lower) * ((rank - below) / in_bucket));
        }
        below += in_bucket;
    }
    max
}

#[cfg(test)]
mod tests {
    use super::*;

    const BOUNDS: &[f64] = &[1.0, 2.0, 4.0];

    #[test]
    fn values_are_spread_evenly_within_their_bucket() {
        assert_eq!(quantile(BOUNDS, &[0, 10, 0, 0], 0.5, None, None), Some(1.5));
        assert_eq!(quantile(BOUNDS, &[5, 5, 0, 0], 0.5, None, None), Some(1.0));
        assert_eq!(
            quantile(BOUNDS, &[98, 0, 2, 0], 0.99, None, None),
            Some(3.0)
        );
    }

    #[test]
    fn smallest_and_largest_bound_what_is_said() {
        assert_eq!(
            quantile(BOUNDS, &[0, 1, 0, 0], 0.99, Some(1.25), Some(1.25)),
            Some(1.25)
        );
        assert_eq!(
            quantile(BOUNDS, &[0, 0, 0, 2], 1.0, Some(5.0), Some(9.0)),
            Some(9.0)
        );
        assert_eq!(quantile(BOUNDS, &[0, 0, 0, 2], 0.5, None, None), Some(4.0));
    }

    #[test]
    fn nothing_is_said_of_an_empty_or_foreign_histogram() {
        assert_eq!(quantile(BOUNDS, &[0; 4], 0.5, None, None), None);
        assert_eq!(quantile(BOUNDS, &[1, 2], 0.5, None, None), None);
        assert_eq!(quantile(&[], &[], 0.5, None, None), None);
    }
}
