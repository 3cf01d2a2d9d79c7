//! One service's series on one thread.

use std::sync::{
    Arc,
    atomic::{AtomicI64, AtomicU64, Ordering::Relaxed},
};

use foldhash::HashMap;

use super::{Attributes, Exemplar, cells::Series};
use crate::{
    exchange::{Exchange, Incomplete},
    kubernetes::Peer,
    process::Value,
    protocol::{self, Describe, Group, Key, Names, Open, SeriesKey},
};

/// Reasons of incomplete exchanges, by number.
pub(super) const REASONS: usize = 7;

/// Every reason, by its number.
pub(super) const ALL_REASONS: [Incomplete; REASONS] = [
    Incomplete::LostBytes,
    Incomplete::HeadTooLarge,
    Incomplete::Closed,
    Incomplete::Reset,
    Incomplete::Abandoned,
    Incomplete::Malformed,
    Incomplete::Unanswered,
];

/// Incomplete exchanges by reason. One thread writes.
#[derive(Debug, Default)]
pub(super) struct Reasons([AtomicU64; REASONS]);

impl Reasons {
    pub(super) fn count(&self, reason: Incomplete) {
        if let Some(at) = ALL_REASONS.iter().position(|known| *known == reason) {
            let count = &self.0[at];
            count.store(count.load(Relaxed) + 1, Relaxed);
        }
    }

    pub(super) fn read(&self) -> [u64; REASONS] {
        std::array::from_fn(|at| self.0[at].load(Relaxed))
    }
}

/// Requests of one kind that are open now. One thread writes.
#[derive(Debug)]
pub struct OpenCount {
    pub(super) open: Open,
    count: AtomicI64,
}

impl OpenCount {
    /// One more.
    pub fn started(&self) {
        self.count.store(self.now() + 1, Relaxed);
    }

    /// One less, but never below zero.
    pub fn ended(&self) {
        self.count.store((self.now() - 1).max(0), Relaxed);
    }

    /// How many there are.
    pub fn now(&self) -> i64 {
        self.count.load(Relaxed)
    }
}

/// The bounds within which series may be made.
#[derive(Clone, Copy, Debug)]
pub(super) struct Room {
    /// Series of each group.
    pub(super) cap: usize,
    /// How many more the thread may make.
    pub(super) spare: usize,
}

/// An exchange to be counted.
#[derive(Clone, Copy)]
pub(super) struct Measured<'a> {
    pub(super) exchange: &'a Exchange,
    pub(super) detail: &'a dyn Describe,
    pub(super) duration_ns: u64,
    pub(super) route: Option<&'a Arc<str>>,
    /// When it was seen, ns since the Unix epoch, where its span is exported.
    pub(super) exemplar: Option<u64>,
}

/// The series of one service.
///
/// What a collection reads stands behind shared pointers: it takes those, and reads while the thread goes on.
#[derive(Default)]
pub(super) struct ServiceSeries {
    groups: Vec<GroupSeries>,
    pub(super) series: Arc<Vec<Arc<Series>>>,
    pub(super) reasons: Arc<Reasons>,
    pub(super) open: Arc<Vec<Arc<OpenCount>>>,
    /// How many there are, the overflow series not counted.
    count: usize,
}

/// What leads to the series of one group.
struct GroupSeries {
    group: &'static Group,
    names: Names,
    /// The last one: most exchanges are like the one before.
    last: Option<(Key, usize)>,
    /// A pointer stands for its route: the route is kept alive, so no other can take its place.
    by_key: HashMap<Key, (usize, Option<Arc<str>>)>,
    by_labels: HashMap<Attributes, usize>,
    overflow: Option<usize>,
    count: usize,
}

impl GroupSeries {
    fn new(group: &'static Group) -> Self {
        Self {
            group,
            names: Names::default(),
            last: None,
            by_key: HashMap::default(),
            by_labels: HashMap::default(),
            overflow: None,
            count: 0,
        }
    }
}

impl ServiceSeries {
    /// Adds an exchange whose duration is known. Returns how many series it made, the overflow series not counted.
    pub(super) fn record(&mut self, measured: Measured<'_>, now: u64, room: Room) -> usize {
        let before = self.count;
        let Measured {
            exchange, detail, ..
        } = measured;
        let group = self.group(detail.group(exchange));
        let index = self.find(group, measured, now, room);
        if let Some(series) = self.series.get(index) {
            let exemplar = measured.exemplar.map(|time_unix_nano| Exemplar {
                value: 0.0,
                time_unix_nano,
                trace_id: exchange.context.trace_id,
                span_id: exchange.context.span_id,
            });
            series.record(detail, measured.duration_ns, exemplar);
        }
        self.count - before
    }

    /// The place of a group, of which there are a few.
    fn group(&mut self, group: &'static Group) -> usize {
        match self.groups.iter().position(|known| known.group == group) {
            Some(at) => at,
            None => {
                self.groups.push(GroupSeries::new(group));
                self.groups.len() - 1
            }
        }
    }

    /// The series of an exchange.
    fn find(&mut self, at: usize, measured: Measured<'_>, now: u64, room: Room) -> usize {
        let Measured {
            exchange,
            detail,
            route,
            ..
        } = measured;
        let group = &mut self.groups[at];
        let mut key = SeriesKey::new(&mut group.names, 2 * room.cap);
        detail.series(exchange, route, &mut key);
        let peer = exchange.peer_service.as_deref();
        key.peer(peer.map_or(0, Peer::number));
        let Some(key) = key.finish() else {
            return self.overflow(at, now);
        };
        if let Some((last, index)) = group.last
            && last == key
        {
            return index;
        }
        if let Some((index, _)) = group.by_key.get(&key) {
            group.last = Some((key, *index));
            return *index;
        }
        let mut labels = protocol::Attributes::with_capacity(8);
        detail.labels(exchange, route, &mut labels);
        labels.some_text("service.peer.name", peer.map(|it| Arc::clone(&it.name)));
        labels.some_text(
            "service.peer.namespace",
            peer.map(|it| Arc::clone(&it.namespace)),
        );
        let index = self.labelled(at, labels.into_sorted().into(), now, room);
        let group = &mut self.groups[at];
        // Routes may come as ever new pointers to the same text: forget them all rather than grow.
        if group.by_key.len() >= 4 * room.cap.max(16) {
            group.by_key.clear();
        }
        group.by_key.insert(key, (index, route.cloned()));
        group.last = Some((key, index));
        index
    }

    fn labelled(&mut self, at: usize, labels: Attributes, now: u64, room: Room) -> usize {
        let group = &mut self.groups[at];
        if let Some(index) = group.by_labels.get(&labels) {
            return *index;
        }
        if group.count >= room.cap || room.spare == 0 {
            return self.overflow(at, now);
        }
        group.count += 1;
        self.count += 1;
        let index = self.series.len();
        group.by_labels.insert(Arc::clone(&labels), index);
        let series = Series::new(group.group, labels, false, now);
        Arc::make_mut(&mut self.series).push(Arc::new(series));
        index
    }

    fn overflow(&mut self, at: usize, now: u64) -> usize {
        let group = &mut self.groups[at];
        *group.overflow.get_or_insert_with(|| {
            let series = Series::new(group.group, overflow_labels(), true, now);
            Arc::make_mut(&mut self.series).push(Arc::new(series));
            self.series.len() - 1
        })
    }

    /// The count of open requests of that kind, if there was one.
    pub(super) fn open(&self, open: &Open) -> Option<&Arc<OpenCount>> {
        self.open
            .iter()
            .find(|count| count.open.key == open.key && count.open.group == open.group)
    }

    /// The same; begins at 0 where there was none.
    pub(super) fn open_or_new(&mut self, open: Open) -> Arc<OpenCount> {
        if let Some(count) = self.open(&open) {
            return Arc::clone(count);
        }
        let count = Arc::new(OpenCount {
            open,
            count: AtomicI64::new(0),
        });
        Arc::make_mut(&mut self.open).push(Arc::clone(&count));
        count
    }

    /// How many series there are, the overflow series not counted.
    pub(super) const fn len(&self) -> usize {
        self.count
    }
}

/// The attributes of the series of what found no room.
pub(super) fn overflow_labels() -> Attributes {
    Arc::new([("otel.metric.overflow", Value::Bool(true))])
}
