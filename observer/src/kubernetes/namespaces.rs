//! What the user allows of namespaces' labels and annotations.
//!
//! Namespaces are told for the whole cluster; of those that carry nothing allowed nothing is kept.

use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
};

use super::{
    api::Metadata,
    pod::{Kept, LONGEST},
};

/// Namespaces that are kept, at most.
const MOST_NAMESPACES: usize = 16_384;

/// Attributes, by their keys.
pub(super) type Attributes = Arc<[(String, String)]>;

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Namespaces(HashMap<String, Namespace>);

#[derive(Debug)]
struct Namespace {
    attributes: Attributes,
    /// It is no longer there; what its last pods said gets its attributes still.
    is_gone: bool,
}

/// What became of a namespace that was told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Applied {
    /// Its attributes are others by now.
    Changed,
    /// They are as they were.
    Same,
    /// There was no room for it.
    Refused,
}

impl Namespaces {
    /// A namespace as it is now.
    pub(super) fn apply(&mut self, metadata: &Metadata, kept: &Kept) -> Applied {
        let Metadata {
            name,
            labels,
            annotations,
            ..
        } = metadata;
        let mut attributes = Vec::new();
        for (kind, keys, values) in [
            ("label", &kept.namespace_labels, labels),
            ("annotation", &kept.namespace_annotations, annotations),
        ] {
            attributes.extend(keys.iter().filter_map(|key| {
                let value = values.get(key).filter(|value| value.len() <= LONGEST)?;
                Some((format!("k8s.namespace.{kind}.{key}"), value.clone()))
            }));
        }
        if attributes.is_empty() {
            return match self.0.remove(name) {
                Some(_) => Applied::Changed,
                None => Applied::Same,
            };
        }
        let is_full = self.0.len() >= MOST_NAMESPACES;
        match self.0.get_mut(name) {
            Some(known) => {
                known.is_gone = false;
                if *known.attributes == *attributes {
                    return Applied::Same;
                }
                known.attributes = attributes.into();
            }
            None if is_full => return Applied::Refused,
            None => {
                let namespace = Namespace {
                    attributes: attributes.into(),
                    is_gone: false,
                };
                self.0.insert(name.clone(), namespace);
            }
        }
        Applied::Changed
    }

    /// A namespace is gone.
    pub(super) fn remove(&mut self, name: &str) {
        if let Some(namespace) = self.0.get_mut(name) {
            namespace.is_gone = true;
        }
    }

    /// Those that are not in a complete list are gone.
    pub(super) fn retain(&mut self, listed: &HashSet<Arc<str>>) {
        for (name, namespace) in &mut self.0 {
            namespace.is_gone |= !listed.contains(&**name);
        }
    }

    /// Forgets those that are gone, but for those in use.
    pub(super) fn prune(&mut self, used: impl Fn(&str) -> bool) {
        self.0
            .retain(|name, namespace| !namespace.is_gone || used(name));
    }

    /// What is allowed of a namespace, `None` where that is nothing or it is not known.
    pub(super) fn attributes(&self, name: &str) -> Option<&Attributes> {
        self.0.get(name).map(|namespace| &namespace.attributes)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    fn kept() -> Kept {
        Kept {
            namespace_labels: vec!["team".into(), "tier".into()],
            namespace_annotations: vec!["owner".into()],
            ..Kept::default()
        }
    }

    fn namespace(name: &str, labels: &[(&str, &str)], annotations: &[(&str, &str)]) -> Metadata {
        let map = |pairs: &[(&str, &str)]| -> BTreeMap<String, String> {
            let pairs = pairs.iter();
            pairs
                .map(|(key, value)| ((*key).to_owned(), (*value).to_owned()))
                .collect()
        };
        Metadata {
            name: name.to_owned(),
            labels: map(labels),
            annotations: map(annotations),
            ..Metadata::default()
        }
    }

    #[test]
    fn only_what_is_allowed_is_kept_and_a_value_that_is_too_long_is_left_out() {
        let mut namespaces = Namespaces::default();
        let long = "a".repeat(LONGEST + 1);
        let told = namespace(
            "shop",
            &[("team", "checkout"), ("secret", "x"), ("tier", &long)],
            &[("owner", "ann"), ("team", "x")],
        );
        assert_eq!(namespaces.apply(&told, &kept()), Applied::Changed);
        assert_eq!(namespaces.apply(&told, &kept()), Applied::Same);
        let attributes = namespaces.attributes("shop").unwrap();
        let pair = |key: &str, value: &str| (key.to_owned(), value.to_owned());
        assert_eq!(
            **attributes,
            [
                pair("k8s.namespace.label.team", "checkout"),
                pair("k8s.namespace.annotation.owner", "ann"),
            ]
        );
        let bare = namespace("shop", &[("secret", "x")], &[]);
        assert_eq!(namespaces.apply(&bare, &kept()), Applied::Changed);
        assert!(namespaces.attributes("shop").is_none());
        assert_eq!(namespaces.apply(&told, &Kept::default()), Applied::Same);
        assert!(namespaces.attributes("shop").is_none());
    }

    #[test]
    fn one_that_is_gone_stays_while_it_is_used_and_there_is_room_for_a_bounded_number() {
        let mut namespaces = Namespaces::default();
        for number in 0..MOST_NAMESPACES {
            let told = namespace(&format!("n{number}"), &[("team", "a")], &[]);
            assert_eq!(namespaces.apply(&told, &kept()), Applied::Changed);
        }
        let more = namespace("more", &[("team", "a")], &[]);
        assert_eq!(namespaces.apply(&more, &kept()), Applied::Refused);
        namespaces.remove("n0");
        namespaces.retain(&["n0", "n1"].map(Arc::from).into());
        namespaces.prune(|name| name == "n2");
        for (name, is_there) in [("n0", false), ("n1", true), ("n2", true), ("n3", false)] {
            assert_eq!(namespaces.attributes(name).is_some(), is_there, "{name}");
        }
        assert_eq!(namespaces.apply(&more, &kept()), Applied::Changed);
    }
}
