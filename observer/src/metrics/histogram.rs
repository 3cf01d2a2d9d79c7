//! A cumulative histogram with explicit bounds.

use super::{Exemplar, HistogramPoint};

/// Counts per bucket; `N` is one more than the bounds. A bucket holds what is above the bound before it and at or
/// below its own (OpenTelemetry data model).
#[derive(Clone, Debug)]
pub(super) struct Histogram<const N: usize> {
    buckets: [u64; N],
    sum: f64,
    min: f64,
    max: f64,
    /// Newest of each bucket; made with the first, as most series have none.
    exemplars: Option<Box<[Option<Exemplar>; N]>>,
}

impl<const N: usize> Histogram<N> {
    /// An empty one.
    pub(super) const fn new() -> Self {
        Self {
            buckets: [0; N],
            sum: 0.0,
            min: f64::INFINITY,
            max: f64::NEG_INFINITY,
            exemplars: None,
        }
    }

    /// Adds a value; returns its bucket.
    pub(super) fn record(&mut self, bounds: &[f64], value: f64) -> usize {
        let bucket = bounds.partition_point(|bound| *bound < value).min(N - 1);
        self.buckets[bucket] += 1;
        self.sum += value;
        self.min = self.min.min(value);
        self.max = self.max.max(value);
        bucket
    }

    /// Points a bucket at a trace.
    pub(super) fn exemplify(&mut self, bucket: usize, exemplar: Exemplar) {
        let exemplars = self
            .exemplars
            .get_or_insert_with(|| Box::new([const { None }; N]));
        exemplars[bucket] = Some(exemplar);
    }

    /// Adds another's values.
    pub(super) fn merge(&mut self, other: &Self) {
        for (bucket, more) in self.buckets.iter_mut().zip(other.buckets) {
            *bucket += more;
        }
        self.sum += other.sum;
        self.min = self.min.min(other.min);
        self.max = self.max.max(other.max);
        for (bucket, exemplar) in other.exemplars.iter().flat_map(|e| e.iter()).enumerate() {
            let Some(exemplar) = exemplar else { continue };
            let mine = self.exemplars.as_ref().and_then(|e| e[bucket].as_ref());
            if mine.is_none_or(|mine| mine.time_unix_nano < exemplar.time_unix_nano) {
                self.exemplify(bucket, exemplar.clone());
            }
        }
    }

    /// The state as exporters read it; `None` when no value was recorded.
    pub(super) fn point(&self) -> Option<HistogramPoint> {
        let count = self.buckets.iter().sum();
        (count > 0).then(|| HistogramPoint {
            count,
            sum: self.sum,
            min: Some(self.min),
            max: Some(self.max),
            buckets: self.buckets.to_vec(),
            exemplars: self
                .exemplars
                .iter()
                .flat_map(|e| e.iter().flatten().cloned())
                .collect(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metrics::instruments::SECONDS;

    #[test]
    fn a_bound_belongs_to_the_bucket_below_it() {
        for (value, bucket) in [
            (0.0, 0),
            (0.005, 0),
            (0.005_000_001, 1),
            (0.01, 1),
            (1.0, 9),
            (1.000_1, 10),
            (10.0, 13),
            (10.1, 14),
            (1e9, 14),
        ] {
            assert_eq!(
                Histogram::<15>::new().record(SECONDS, value),
                bucket,
                "{value}"
            );
        }
    }

    #[test]
    fn merging_adds_and_keeps_the_newest_exemplar() {
        let exemplar = |time| Exemplar {
            value: 0.5,
            time_unix_nano: time,
            trace_id: [1; 16],
            span_id: [1; 8],
        };
        let (mut a, mut b) = (Histogram::<15>::new(), Histogram::<15>::new());
        assert!(a.point().is_none());
        let bucket = a.record(SECONDS, 0.5);
        a.exemplify(bucket, exemplar(1));
        let bucket = b.record(SECONDS, 0.5);
        b.exemplify(bucket, exemplar(2));
        b.record(SECONDS, 2.0);
        a.merge(&b);
        let point = a.point().unwrap();
        assert_eq!(
            (point.count, point.sum, point.min, point.max),
            (3, 3.0, Some(0.5), Some(2.0))
        );
        assert_eq!(point.exemplars, [exemplar(2)]);
    }
}
