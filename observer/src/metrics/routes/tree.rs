//! The learned routes of one program.

use std::{borrow::Cow, collections::HashMap, sync::Arc};

use super::{
    classify::{is_parameter, template},
    segments,
};

/// Distinct names at one level before it collapses.
const CHILDREN: usize = 40;
/// Names that survive a collapse: the busiest, if they were seen this often.
const SURVIVORS: usize = 20;
const SURVIVOR_HITS: u64 = 32;
/// Levels; what lies deeper is one `*`.
const DEPTH: usize = 8;
/// Stands for any name of a collapsed level.
const ANY: &str = "{*}";

/// A tree of path segments, with a route at each node where a path ended. It grows by at most [`DEPTH`] nodes with
/// each route, and routes are capped.
#[derive(Default)]
pub(super) struct Tree {
    root: Node,
    routes: usize,
}

#[derive(Default)]
struct Node {
    children: HashMap<Box<str>, Node>,
    hits: u64,
    /// Too many names were seen: a new one is `{*}`.
    collapsed: bool,
    route: Option<Arc<str>>,
}

/// What a path is to the tree.
pub(super) struct Found {
    pub(super) route: Option<Arc<str>>,
    /// A level collapsed: what was told about other paths may be different now.
    pub(super) changed: bool,
}

impl Tree {
    /// The route of a path that was seen `hits` times. With `learn`, a path that was never seen makes a new route
    /// as long as there are fewer than `cap`; without, only known routes are found.
    pub(super) fn route(&mut self, path: &str, hits: u64, learn: bool, cap: usize) -> Found {
        let (routes, mut changed) = (self.routes, false);
        let learn = learn && routes < cap;
        let mut text = String::with_capacity(path.len());
        let mut node = &mut self.root;
        for (depth, segment) in segments(path).enumerate() {
            if depth == DEPTH {
                text.push_str("/*");
                break;
            }
            let segment = template(segment).unwrap_or(Cow::Borrowed(segment));
            if learn && node.must_collapse(&segment) {
                self.routes -= node.collapse();
                changed = true;
            }
            let name = node.name(segment);
            if !learn && !node.children.contains_key(&*name) {
                return Found {
                    route: None,
                    changed,
                };
            }
            text.push('/');
            text.push_str(&name);
            node = node.children.entry(name.into_owned().into()).or_default();
            node.hits += hits;
        }
        if node.route.is_none() && learn {
            self.routes += 1;
            node.route = Some(if text.is_empty() {
                "/".into()
            } else {
                text.into()
            });
        }
        Found {
            route: node.route.clone(),
            changed,
        }
    }

    /// How many routes there are.
    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.routes
    }
}

impl Node {
    /// Under which name a segment goes on.
    fn name<'a>(&self, segment: Cow<'a, str>) -> Cow<'a, str> {
        let own =
            !self.collapsed || self.children.contains_key(&*segment) || is_parameter(&segment);
        if own { segment } else { ANY.into() }
    }

    fn must_collapse(&self, segment: &str) -> bool {
        !self.collapsed && self.children.len() >= CHILDREN && !self.children.contains_key(segment)
    }

    /// Forgets all names but the busiest; returns how many routes went with them.
    fn collapse(&mut self) -> usize {
        self.collapsed = true;
        let mut hits: Vec<u64> = self.children.values().map(|child| child.hits).collect();
        hits.sort_unstable_by(|a, b| b.cmp(a));
        let least = hits
            .get(SURVIVORS)
            .map_or(0, |hits| hits + 1)
            .max(SURVIVOR_HITS);
        let before = self.count();
        self.children
            .retain(|name, child| child.hits >= least || is_parameter(name));
        before - self.count()
    }

    /// Routes at and below this node; at most [`DEPTH`] deep.
    fn count(&self) -> usize {
        usize::from(self.route.is_some()) + self.children.values().map(Self::count).sum::<usize>()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn route(tree: &mut Tree, path: &str) -> Option<String> {
        tree.route(path, 1, true, 200)
            .route
            .map(|route| route.to_string())
    }

    #[test]
    fn names_stay_and_ids_become_parameters() {
        let mut tree = Tree::default();
        for (path, expected) in [
            ("/", "/"),
            ("/users", "/users"),
            ("/users/", "/users"),
            ("//users//42", "/users/{id}"),
            ("/users/42/orders/2026-11-21", "/users/{id}/orders/{date}"),
            ("/a;jsessionid=1F/b", "/a/b"),
            (
                "/1/2/3/4/5/6/7/8/9/10/11",
                "/{id}/{id}/{id}/{id}/{id}/{id}/{id}/{id}/*",
            ),
        ] {
            assert_eq!(route(&mut tree, path).as_deref(), Some(expected), "{path}");
        }
    }

    #[test]
    fn a_level_with_too_many_names_collapses_but_keeps_the_busy_ones() {
        let mut tree = Tree::default();
        for _ in 0..100 {
            route(&mut tree, "/health");
            route(&mut tree, "/users/42");
        }
        let words = (0..500).map(|n| format!("/word{}x", char::from_u32(0x4e00 + n).unwrap()));
        let routes: Vec<_> = words.map(|path| route(&mut tree, &path).unwrap()).collect();
        assert_eq!(routes[499], "/{*}");
        assert_eq!(route(&mut tree, "/health").as_deref(), Some("/health"));
        assert_eq!(route(&mut tree, "/users/7").as_deref(), Some("/users/{id}"));
        assert_eq!(route(&mut tree, "/77").as_deref(), Some("/{id}"));
        // /health, /users/{id}, /{id}, /{*}: the routes of the names that were forgotten don't count any more.
        assert_eq!(tree.len(), 4);
        assert!(
            tree.root.children.len() <= CHILDREN,
            "{}",
            tree.root.children.len()
        );
    }

    #[test]
    fn beyond_the_cap_known_routes_are_found_and_new_ones_are_not() {
        let mut tree = Tree::default();
        let path = |n: usize| {
            format!(
                "/{}/{}",
                ["a", "b", "c", "d"][n % 4],
                ["w", "x", "y", "z"][n / 4 % 4]
            )
        };
        for n in 0..16 {
            tree.route(&path(n), 1, true, 10);
        }
        assert_eq!(tree.len(), 10);
        let found = |tree: &mut Tree, n| tree.route(&path(n), 1, true, 10).route;
        assert!((0..10).all(|n| found(&mut tree, n).is_some()));
        assert!((10..16).all(|n| found(&mut tree, n).is_none()));
    }

    #[test]
    fn deep_floods_end_in_one_route_not_in_none() {
        let mut tree = Tree::default();
        for n in 0..2_000 {
            let word = |level: u32| format!("{}x", char::from_u32(0x4e00 + n * 7 + level).unwrap());
            let path: String = (0..6).map(|level| format!("/{}", word(level))).collect();
            route(&mut tree, &path);
        }
        let last = route(&mut tree, "/a/b/c/d/e/f");
        assert_eq!(last.as_deref(), Some("/{*}/{*}/{*}/{*}/{*}/{*}"));
        assert!(tree.len() < 200, "{}", tree.len());
    }

    #[test]
    fn braces_from_the_wire_are_no_parameters() {
        let mut tree = Tree::default();
        for n in 0..500 {
            route(&mut tree, &format!("/{{a{n}}}"));
        }
        assert_eq!(route(&mut tree, "/{zz}").as_deref(), Some("/{*}"));
    }

    #[test]
    fn without_learning_nothing_grows() {
        let mut tree = Tree::default();
        route(&mut tree, "/users/1");
        for n in 0..1_000 {
            assert!(
                tree.route(&format!("/wp-{n}x/login.php"), 1, false, 200)
                    .route
                    .is_none()
            );
        }
        assert!(tree.route("/users", 1, false, 200).route.is_none());
        assert!(tree.route("/users/2", 1, false, 200).route.is_some());
        assert_eq!((tree.len(), tree.root.children.len()), (1, 1));
    }
}
