//! Routes: low-cardinality names for paths.
//!
//! In: a service, a request's path, and whether that is served. Out: `http.route`, or `None`. Owns: the user's patterns and
//! what was learned.
//!
//! A user's pattern wins. Else a template is learned: segments that look like parameters become `{id}`, `{uuid}` and
//! so on (the table is in `classify.rs`), others stay as they are. A query is never part of a route, a matrix
//! parameter (`;jsessionid=…`) neither, and a trailing slash makes no difference.
//!
//! What bounds it, per program (services with one name learn together, so forked workers and restarts share):
//! - **Only what a service serves is learned**: a path that got 404, 405, 400 or 501, or no answer at all, is looked
//!   up but teaches nothing. A scanner's thousand paths leave no trace.
//! - A level with more than 40 names collapses into `{*}`; the 20 busiest names stay.
//! - At most 200 routes (configurable), then new ones are `None`; at most 8 levels, then `/*`; at most 256 programs,
//!   then the one idle for longest is forgotten.
//!
//! What it trades away: a path may be told as itself before its level collapses, and as `{*}` after.

mod classify;
mod pattern;
mod tree;

use std::{
    collections::HashMap,
    hash::BuildHasher,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
};

use foldhash::fast::RandomState;

pub use self::pattern::PatternError;
use self::{pattern::Pattern, tree::Tree};
use crate::{process::Service, protocol::RouteInput};

/// Slots of a thread's cache, a power of two.
const SLOTS: usize = 2_048;
/// Every so many hits of the cache the tree is told, so that it knows its busy names.
const TELL: u32 = 16;
/// Programs that are remembered.
const PROGRAMS: usize = 256;
/// Longer paths are not cached.
const CACHED_PATH: usize = 256;

/// The segments of a path without empty ones and matrix parameters.
fn segments(path: &str) -> impl Iterator<Item = &str> {
    let segments = path
        .split('/')
        .map(|segment| segment.split_once(';').map_or(segment, |(name, _)| name));
    segments.filter(|segment| !segment.is_empty())
}

/// One thread's way to the routes. Clones share what is learned, each with a cache of its own.
pub struct Routes {
    shared: Arc<Shared>,
    hasher: RandomState,
    /// Direct-mapped: bounded, nothing to evict, and a flood of paths costs only its own slots.
    cache: Box<[Option<Slot>]>,
    version: u64,
}

struct Slot {
    service: Arc<Service>,
    path: String,
    learns: bool,
    route: Option<Arc<str>>,
    hits: u32,
}

struct Shared {
    patterns: Vec<Pattern>,
    cap: usize,
    programs: Mutex<Programs>,
    /// Goes up when a level collapses: caches start over.
    version: AtomicU64,
}

#[derive(Default)]
struct Programs {
    trees: HashMap<Arc<str>, (Tree, u64)>,
    turn: u64,
}

impl Routes {
    /// Routes by `patterns`, else learned, at most `cap` (200 is a good one) of the latter for each program.
    ///
    /// # Errors
    /// The first pattern that can't be used.
    pub fn new<S: AsRef<str>>(patterns: &[S], cap: usize) -> Result<Self, PatternError> {
        let patterns = patterns
            .iter()
            .map(|p| Pattern::parse(p.as_ref()))
            .collect::<Result<_, _>>()?;
        let version = AtomicU64::new(0);
        Ok(Self::over(Arc::new(Shared {
            patterns,
            cap,
            programs: Mutex::default(),
            version,
        })))
    }

    /// Routes that are all learned.
    pub fn learning(cap: usize) -> Self {
        Self::over(Arc::new(Shared {
            patterns: Vec::new(),
            cap,
            programs: Mutex::default(),
            version: AtomicU64::new(0),
        }))
    }

    fn over(shared: Arc<Shared>) -> Self {
        let cache = std::iter::repeat_with(|| None).take(SLOTS).collect();
        Self {
            version: shared.version.load(Relaxed),
            shared,
            hasher: RandomState::default(),
            cache,
        }
    }

    /// The route of a server's request. The same route is the same `Arc` until it is forgotten.
    pub fn of(&mut self, service: &Arc<Service>, input: RouteInput<'_>) -> Option<Arc<str>> {
        let (path, learns) = (input.path, input.is_served);
        let version = self.shared.version.load(Relaxed);
        if version != self.version {
            self.cache.fill_with(|| None);
            self.version = version;
        }
        let address = Arc::as_ptr(service) as usize;
        let index = self.hasher.hash_one((address, path)) as usize & (SLOTS - 1);
        let slot = &mut self.cache[index];
        let mut hits = 1;
        if let Some(slot) = slot
            && slot.path == path
            && Arc::ptr_eq(&slot.service, service)
            // What was not learned from may be learned now.
            && (slot.learns || !learns || slot.route.is_some())
        {
            slot.hits += 1;
            if slot.hits < TELL {
                return slot.route.clone();
            }
            hits = u64::from(TELL);
        }
        let route = self.shared.route(&service.name, path, hits, learns);
        if path.len() > CACHED_PATH {
            return route;
        }
        match slot {
            Some(slot) => {
                slot.path.clear();
                slot.path.push_str(path);
                slot.service.clone_from(service);
                (slot.learns, slot.hits) = (learns, 0);
                slot.route.clone_from(&route);
            }
            None => {
                *slot = Some(Slot {
                    service: service.clone(),
                    path: path.to_owned(),
                    learns,
                    route: route.clone(),
                    hits: 0,
                });
            }
        }
        route
    }

    /// Lets go of the services that `dead` names; see [`Registry::expire`](super::Registry::expire). What their
    /// programs taught stays.
    pub fn expire(&mut self, dead: &dyn Fn(&Service) -> bool) {
        for slot in &mut self.cache {
            slot.take_if(|slot| dead(&slot.service));
        }
    }
}

impl Clone for Routes {
    fn clone(&self) -> Self {
        Self::over(self.shared.clone())
    }
}

impl Shared {
    fn route(&self, program: &Arc<str>, path: &str, hits: u64, learns: bool) -> Option<Arc<str>> {
        if let Some(pattern) = self.patterns.iter().find(|pattern| pattern.matches(path)) {
            return Some(pattern.route.clone());
        }
        // A thread that died with the lock left at worst a route out.
        let mut programs = self.programs.lock().unwrap_or_else(PoisonError::into_inner);
        let found = programs
            .tree(program, learns)?
            .route(path, hits, learns, self.cap);
        if found.changed {
            self.version.fetch_add(1, Relaxed);
        }
        found.route
    }
}

impl Programs {
    /// The tree of a program, a new one where it may be learned.
    fn tree(&mut self, program: &Arc<str>, learns: bool) -> Option<&mut Tree> {
        self.turn += 1;
        let known = self.trees.contains_key(program);
        if !known && !learns {
            return None;
        }
        if !known && self.trees.len() >= PROGRAMS {
            let idle = self
                .trees
                .iter()
                .min_by_key(|(_, (_, turn))| *turn)
                .map(|(program, _)| program.clone());
            self.trees.remove(&idle?);
        }
        let (tree, turn) = self.trees.entry(program.clone()).or_default();
        *turn = self.turn;
        Some(tree)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        identity::Role,
        trace::samples::{exchange, http, service},
    };

    impl Routes {
        /// The route of a request over HTTP.
        fn route(
            &mut self,
            service: &Arc<Service>,
            target: &str,
            status: Option<u16>,
        ) -> Option<Arc<str>> {
            let mut exchange = exchange(Role::Server);
            http(&mut exchange).set_target(target);
            http(&mut exchange).status = status;
            let input = exchange.detail.describe().route(&exchange)?;
            self.of(service, input)
        }
    }

    fn routes(patterns: &[&str]) -> Routes {
        Routes::new(patterns, 200).unwrap()
    }

    fn text(route: Option<Arc<str>>) -> Option<String> {
        route.map(|route| route.to_string())
    }

    #[test]
    fn patterns_win_over_what_is_learned() {
        let mut routes = routes(&["/users/{name}", "/files/*"]);
        let api = service("api");
        for (target, expected) in [
            ("/users/42?q=1", Some("/users/{name}")),
            ("/files/a/b?x", Some("/files/*")),
            ("/orders/42?secret", Some("/orders/{id}")),
            ("http://h/orders/43", Some("/orders/{id}")),
            ("*", None),
            ("h:443", None),
        ] {
            for _ in 0..40 {
                assert_eq!(
                    text(routes.route(&api, target, Some(200))).as_deref(),
                    expected,
                    "{target}"
                );
            }
        }
        assert!(Routes::new(&["bad"], 200).is_err());
    }

    #[test]
    fn the_same_route_is_the_same_arc_on_every_thread() {
        let mut here = routes(&[]);
        let mut there = here.clone();
        let (one, two) = (service("api"), service("api"));
        let a = here.route(&one, "/users/1", Some(200)).unwrap();
        let b = there.route(&two, "/users/2", Some(200)).unwrap();
        assert!(Arc::ptr_eq(&a, &b));
    }

    #[test]
    fn a_scanner_leaves_no_trace() {
        let mut routes = routes(&[]);
        let api = service("api");
        routes.route(&api, "/users/1", Some(200));
        for n in 0..20_000 {
            let status = [Some(404), Some(400), Some(405), Some(501), None][n % 5];
            assert_eq!(
                routes.route(&api, &format!("/x{n}x/y{n}y.php"), status),
                None
            );
        }
        assert_eq!(
            text(routes.route(&api, "/users/9", Some(404))).as_deref(),
            Some("/users/{id}")
        );
        assert_eq!(
            routes.shared.programs.lock().unwrap().trees["api"].0.len(),
            1
        );
        // A path that was refused first is learned once it is served.
        assert_eq!(routes.route(&api, "/late", Some(404)), None);
        assert_eq!(
            text(routes.route(&api, "/late", Some(200))).as_deref(),
            Some("/late")
        );
        assert_eq!(
            text(routes.route(&api, "/late", Some(404))).as_deref(),
            Some("/late")
        );
    }

    #[test]
    fn a_server_that_answers_everything_stays_bounded() {
        let mut routes = routes(&[]);
        let api = service("api");
        for _ in 0..1_000 {
            routes.route(&api, "/health", Some(200));
        }
        let mut distinct = std::collections::HashSet::new();
        for n in 0..30_000u32 {
            let word =
                |n: u32| n.to_string().replace(|c: char| c.is_ascii_digit(), "") + &letters(n);
            let path = format!("/{}/{}/{}", word(n % 5_000), word(n % 77), word(n));
            distinct.extend(routes.route(&api, &path, Some(200)));
        }
        assert!(distinct.len() <= 200, "{}", distinct.len());
        assert_eq!(
            text(routes.route(&api, "/health", Some(200))).as_deref(),
            Some("/health")
        );
    }

    fn letters(mut n: u32) -> String {
        let mut word = String::from("w");
        while n > 0 {
            word.push(char::from(b'g' + (n % 16) as u8));
            n /= 16;
        }
        word
    }

    #[test]
    fn programs_are_bounded_and_dead_services_let_go() {
        let mut routes = routes(&[]);
        let services: Vec<_> = (0..1_000).map(|n| service(&format!("s{n}"))).collect();
        for service in &services {
            routes.route(service, "/a", Some(200));
        }
        assert_eq!(routes.shared.programs.lock().unwrap().trees.len(), PROGRAMS);
        routes.expire(&|_| true);
        assert!(
            services
                .iter()
                .all(|service| Arc::strong_count(service) == 1)
        );
    }
}
