use std::time::{Duration, Instant};

use super::*;
use crate::export::otlp::receiver::{ACTIVE, DURATION, REQUESTS, histogram, snapshot};

/// Name, start and point of each series.
fn shown(series: &[Series<'_>]) -> Vec<(&'static str, u64, Point)> {
    series
        .iter()
        .map(|it| {
            (
                it.instrument.name,
                it.start_unix_nano,
                it.point.clone().into_owned(),
            )
        })
        .collect()
}

/// Takes the difference and notes it as sent.
fn step(previous: &mut Previous, snapshot: &Snapshot) -> Vec<(&'static str, u64, Point)> {
    let now = moment(snapshot, Instant::now());
    let series = previous.difference(snapshot, now, &mut Began::default());
    previous.sent(&series, now);
    shown(&series)
}

fn moment(snapshot: &Snapshot, monotonic: Instant) -> Moment {
    Moment {
        unix_nano: snapshot.time_unix_nano,
        monotonic,
    }
}

#[test]
fn the_first_difference_is_everything_and_the_next_what_came_since() {
    let mut previous = Previous::default();
    let first = step(
        &mut previous,
        &snapshot(2000, 5, 1, histogram([1, 2, 0], &[])),
    );
    assert_eq!(first[0], (DURATION.name, 1000, histogram([1, 2, 0], &[])));
    assert_eq!(first[1], (REQUESTS.name, 1000, Point::Counter(5)));

    let second = step(
        &mut previous,
        &snapshot(3000, 9, -1, histogram([1, 4, 1], &[])),
    );
    let (name, start, Point::Histogram(histogram)) = &second[0] else {
        panic!("a histogram")
    };
    assert_eq!((*name, *start), (DURATION.name, 2000));
    assert_eq!(
        (histogram.count, histogram.sum, histogram.buckets.as_slice()),
        (3, 1.5, &[0, 2, 1][..])
    );
    assert_eq!(
        (histogram.min, histogram.max),
        (None, None),
        "not known for the time between"
    );
    assert_eq!(second[1], (REQUESTS.name, 2000, Point::Counter(4)));
    assert_eq!(
        second[2],
        (ACTIVE.name, 1000, Point::UpDown(-1)),
        "up-down sums stay cumulative"
    );
}

#[test]
fn unchanged_series_are_left_out() {
    let mut previous = Previous::default();
    let same = || snapshot(2000, 5, 1, histogram([1, 2, 0], &[]));
    step(&mut previous, &same());
    assert_eq!(
        step(&mut previous, &same()),
        [(ACTIVE.name, 1000, Point::UpDown(1))]
    );
}

#[test]
fn what_was_not_sent_is_part_of_the_next_difference() {
    let mut previous = Previous::default();
    step(
        &mut previous,
        &snapshot(2000, 5, 0, histogram([1, 0, 0], &[])),
    );
    let lost = snapshot(3000, 8, 0, histogram([2, 0, 0], &[]));
    assert_eq!(
        shown(&previous.difference(&lost, moment(&lost, Instant::now()), &mut Began::default()))[1],
        (REQUESTS.name, 2000, Point::Counter(3))
    );
    let next = step(
        &mut previous,
        &snapshot(4000, 10, 0, histogram([3, 0, 0], &[])),
    );
    assert_eq!(next[1], (REQUESTS.name, 2000, Point::Counter(5)));
}

#[test]
fn a_series_that_began_again_counts_in_full() {
    let mut previous = Previous::default();
    step(
        &mut previous,
        &snapshot(2000, 5, 0, histogram([3, 0, 0], &[])),
    );
    let fewer = step(
        &mut previous,
        &snapshot(3000, 2, 0, histogram([1, 0, 0], &[])),
    );
    assert_eq!(fewer[0], (DURATION.name, 1000, histogram([1, 0, 0], &[])));
    assert_eq!(fewer[1], (REQUESTS.name, 1000, Point::Counter(2)));
    let mut restarted = snapshot(4000, 9, 0, histogram([9, 0, 0], &[]));
    restarted.services[0].start_unix_nano = 3500;
    assert_eq!(
        step(&mut previous, &restarted)[1],
        (REQUESTS.name, 3500, Point::Counter(9))
    );
}

#[test]
fn series_that_are_gone_are_forgotten() {
    let mut previous = Previous::default();
    step(
        &mut previous,
        &snapshot(2000, 5, 0, histogram([3, 0, 0], &[])),
    );
    assert_eq!(previous.points.len(), 2);
    step(&mut previous, &Snapshot::default());
    assert!(previous.points.is_empty());
}

#[test]
fn services_that_share_an_instance_id_are_told_apart() {
    // Those that others were added up in have the instance `overflow`, each name its own.
    let both = |a: u64, b: u64| {
        let mut snapshot = snapshot(2000, a, 0, histogram([1, 0, 0], &[]));
        let mut other =
            crate::export::otlp::receiver::snapshot(2000, b, 0, histogram([1, 0, 0], &[]));
        let mut service = other.services.remove(0);
        let it = &service.service;
        service.service = Arc::new(Service {
            name: "other".into(),
            instance_id: it.instance_id.clone(),
            attributes: it.attributes.clone(),
            extra_attributes: it.extra_attributes.clone(),
            instrumentation: crate::process::Instrumentation::default(),
        });
        // The same Arcs, as attributes are shared.
        for (mine, theirs) in service
            .metrics
            .iter_mut()
            .zip(&snapshot.services[0].metrics)
        {
            for (mine, theirs) in mine.points.iter_mut().zip(&theirs.points) {
                mine.0 = Arc::clone(&theirs.0);
            }
        }
        snapshot.services.push(service);
        snapshot
    };
    let counts = |series: Vec<(&str, u64, Point)>| -> Vec<Point> {
        let requests = series.into_iter().filter(|it| it.0 == REQUESTS.name);
        requests.map(|it| it.2).collect()
    };
    let mut previous = Previous::default();
    step(&mut previous, &both(5, 100));
    assert_eq!(
        counts(step(&mut previous, &both(6, 102))),
        [Point::Counter(1), Point::Counter(2)]
    );
}

#[test]
fn no_difference_begins_after_it_ends_when_the_clock_is_set_back() {
    let (mut previous, mut began) = (Previous::default(), Began::default());
    let early = snapshot(9000, 5, 1, histogram([1, 0, 0], &[]));
    let then = moment(&early, Instant::now());
    let series = previous.difference(&early, then, &mut began);
    previous.sent(&series, then);
    let late = snapshot(500, 7, 1, histogram([2, 0, 0], &[]));
    let now = moment(&late, then.monotonic + Duration::from_nanos(300));
    let series = shown(&previous.difference(&late, now, &mut began));
    assert_eq!(
        series[1],
        (REQUESTS.name, 200, Point::Counter(2)),
        "as long as it was"
    );
    assert_eq!(series[2].1, 499, "up-down sums: right before");
    let later = snapshot(1200, 7, 1, histogram([2, 0, 0], &[]));
    let series = shown(&cumulative(&later, &mut began));
    assert!(
        series.iter().all(|it| it.1 == 499),
        "it moved once: {series:?}"
    );
}
