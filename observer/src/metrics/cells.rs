//! The numbers of one series.
//!
//! One thread writes, any thread reads, nobody waits: each number is an atomic that its only writer loads and stores. Who
//! reads meanwhile may see a value in its bucket and not yet in the sum; what is read later has both.

use std::sync::{
    Mutex, PoisonError,
    atomic::{AtomicU64, Ordering::Relaxed},
};

use super::{Attributes, Exemplar, HistogramPoint};
use crate::protocol::{Describe, Group, Measure};

/// What follows a histogram's buckets: sum, smallest, largest.
const BEHIND: usize = 3;

/// Cells of a measure: one bucket more than it has limits, and what follows them.
const fn width(measure: &Measure) -> usize {
    measure.limits.len() + 1 + BEHIND
}

/// One series of a group: a histogram for each of the group's measures.
#[derive(Debug)]
pub(super) struct Series {
    pub(super) group: &'static Group,
    pub(super) labels: Attributes,
    /// It takes what found no room elsewhere.
    pub(super) is_overflow: bool,
    /// When it was made, ns since the Unix epoch: decides who stays when threads together exceed the cap.
    pub(super) born: u64,
    cells: Box<[AtomicU64]>,
    /// Newest of each of the duration's buckets; made with the first, as most series have none.
    exemplars: Mutex<Vec<Option<Exemplar>>>,
}

impl Series {
    pub(super) fn new(
        group: &'static Group,
        labels: Attributes,
        is_overflow: bool,
        born: u64,
    ) -> Self {
        Self {
            group,
            labels,
            is_overflow,
            born,
            cells: empty(group).map(AtomicU64::new).collect(),
            exemplars: Mutex::default(),
        }
    }

    /// Adds an exchange. To be called by one thread only. `exemplar` gets the value that it stands for.
    pub(super) fn record(
        &self,
        detail: &dyn Describe,
        duration_ns: u64,
        exemplar: Option<Exemplar>,
    ) {
        let mut cells = &self.cells[..];
        for (at, measure) in self.group.measures.iter().enumerate() {
            let (own, rest) = cells.split_at(width(measure));
            cells = rest;
            if at > 0 {
                if let Some(value) = detail.measure(at) {
                    add(own, measure, value);
                }
                continue;
            }
            let bucket = add(own, measure, duration_ns);
            if let Some(exemplar) = &exemplar {
                let value = measure.shown(duration_ns);
                self.exemplify(
                    bucket,
                    Exemplar {
                        value,
                        ..exemplar.clone()
                    },
                );
            }
        }
    }

    fn exemplify(&self, bucket: usize, exemplar: Exemplar) {
        let mut exemplars = self
            .exemplars
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        if exemplars.len() <= bucket {
            exemplars.resize(bucket + 1, None);
        }
        exemplars[bucket] = Some(exemplar);
    }
}

/// The cells of a series without values.
fn empty(group: &'static Group) -> impl Iterator<Item = u64> {
    group.measures.iter().flat_map(|measure| {
        std::iter::repeat_n(0, measure.limits.len() + 1).chain([0, u64::MAX, 0])
    })
}

/// Adds a value to a measure's cells; returns its bucket. A bucket holds what is above the limit before it and at or below
/// its own (OpenTelemetry data model).
fn add(cells: &[AtomicU64], measure: &Measure, value: u64) -> usize {
    // From the lowest on: most values are small.
    let bucket = measure.limits.iter().position(|limit| value <= *limit);
    let bucket = bucket.unwrap_or(measure.limits.len());
    let (buckets, behind) = cells.split_at(measure.limits.len() + 1);
    if let (Some(count), [sum, min, max]) = (buckets.get(bucket), behind) {
        count.store(count.load(Relaxed) + 1, Relaxed);
        sum.store(sum.load(Relaxed).saturating_add(value), Relaxed);
        if value < min.load(Relaxed) {
            min.store(value, Relaxed);
        }
        if value > max.load(Relaxed) {
            max.store(value, Relaxed);
        }
    }
    bucket
}

/// Several threads' series of the same labels, added up.
#[derive(Debug)]
pub(super) struct Sum {
    pub(super) group: &'static Group,
    pub(super) labels: Attributes,
    pub(super) is_overflow: bool,
    pub(super) born: u64,
    cells: Vec<u64>,
    exemplars: Vec<Option<Exemplar>>,
}

impl Sum {
    /// Nothing yet.
    pub(super) fn new(
        group: &'static Group,
        labels: Attributes,
        is_overflow: bool,
        born: u64,
    ) -> Self {
        Self {
            group,
            labels,
            is_overflow,
            born,
            cells: empty(group).collect(),
            exemplars: Vec::new(),
        }
    }

    /// Adds a thread's series.
    pub(super) fn add(&mut self, series: &Series) {
        self.born = self.born.min(series.born);
        self.add_cells(|at| series.cells[at].load(Relaxed));
        let exemplars = series
            .exemplars
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        self.add_exemplars(&exemplars);
    }

    /// Adds another sum of the same group.
    pub(super) fn add_sum(&mut self, other: &Self) {
        self.born = self.born.min(other.born);
        self.add_cells(|at| other.cells[at]);
        self.add_exemplars(&other.exemplars);
    }

    fn add_cells(&mut self, cell: impl Fn(usize) -> u64) {
        let mut at = 0;
        for measure in self.group.measures {
            let behind = at + measure.limits.len() + 1;
            // Sum and buckets add up alike.
            for index in at..=behind {
                self.cells[index] = self.cells[index].saturating_add(cell(index));
            }
            self.cells[behind + 1] = self.cells[behind + 1].min(cell(behind + 1));
            self.cells[behind + 2] = self.cells[behind + 2].max(cell(behind + 2));
            at += width(measure);
        }
    }

    fn add_exemplars(&mut self, more: &[Option<Exemplar>]) {
        if self.exemplars.len() < more.len() {
            self.exemplars.resize(more.len(), None);
        }
        for (mine, more) in self.exemplars.iter_mut().zip(more) {
            let Some(more) = more else { continue };
            if mine
                .as_ref()
                .is_none_or(|mine| mine.time_unix_nano < more.time_unix_nano)
            {
                *mine = Some(more.clone());
            }
        }
    }

    /// The state of the group's measure `at` as exporters read it; `None` when no value was recorded.
    pub(super) fn point(&self, at: usize) -> Option<HistogramPoint> {
        let measure = self.group.measures.get(at)?;
        let from: usize = self.group.measures[..at].iter().map(width).sum();
        let cells = self.cells.get(from..from + width(measure))?;
        let (buckets, behind) = cells.split_at(measure.limits.len() + 1);
        let count = buckets.iter().sum();
        let &[sum, min, max] = behind else {
            return None;
        };
        (count > 0).then(|| HistogramPoint {
            count,
            sum: measure.shown(sum),
            min: Some(measure.shown(min)),
            max: Some(measure.shown(max)),
            buckets: buckets.to_vec(),
            exemplars: match at {
                0 => self.exemplars.iter().flatten().cloned().collect(),
                _ => Vec::new(),
            },
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        identity::Role,
        protocol::{dns::LOOKUPS, samples::exchange},
    };

    fn series() -> Series {
        Series::new(&LOOKUPS, [].into(), false, 1)
    }

    fn record(series: &Series, ns: u64, time: Option<u64>) {
        let exemplar = time.map(|time_unix_nano| Exemplar {
            value: 0.0,
            time_unix_nano,
            trace_id: [1; 16],
            span_id: [1; 8],
        });
        series.record(exchange(Role::Client).detail.describe(), ns, exemplar);
    }

    fn sum(series: &[&Series]) -> Sum {
        let mut sum = Sum::new(&LOOKUPS, [].into(), false, 9);
        series.iter().for_each(|series| sum.add(series));
        sum
    }

    #[test]
    fn a_bound_belongs_to_the_bucket_below_it() {
        for (ns, bucket) in [
            (0, 0),
            (5_000_000, 0),
            (5_000_001, 1),
            (10_000_000, 1),
            (1_000_000_000, 9),
            (1_000_100_000, 10),
            (10_000_000_000, 13),
            (10_100_000_000, 14),
            (u64::MAX, 14),
        ] {
            let series = series();
            record(&series, ns, None);
            let point = sum(&[&series]).point(0).unwrap();
            assert_eq!(point.buckets[bucket], 1, "{ns}");
        }
    }

    #[test]
    fn adding_up_keeps_the_newest_exemplar() {
        let (a, b) = (series(), series());
        assert!(sum(&[&a]).point(0).is_none());
        record(&a, 500_000_000, Some(1));
        record(&b, 500_000_000, Some(2));
        record(&b, 2_000_000_000, None);
        let point = sum(&[&a, &b]).point(0).unwrap();
        assert_eq!(
            (point.count, point.sum, point.min, point.max),
            (3, 3.0, Some(0.5), Some(2.0))
        );
        let [exemplar] = &point.exemplars[..] else {
            panic!("{point:?}")
        };
        assert_eq!((exemplar.value, exemplar.time_unix_nano), (0.5, 2));
    }
}
