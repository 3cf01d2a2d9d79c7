//! Which pods are traced, as the user asked for.

use globset::GlobSet;

use super::{label_selector::LabelSelector, member::Member};

/// What the user selects of pods: each list that is not empty has to fit.
#[derive(Clone, Debug, Default)]
pub struct PodSelector {
    /// Namespaces.
    pub namespaces: GlobSet,
    /// Pods' labels: one of these has to match.
    pub labels: Vec<LabelSelector>,
    /// Images of containers, by name with or without tag.
    pub images: GlobSet,
    /// Namespaces that are left alone.
    pub exclude_namespaces: GlobSet,
}

/// What the selector says of a process in a pod.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It is selected.
    Picked,
    /// It is left alone, whatever else selects it.
    Refused,
    /// Neither.
    Indifferent,
}

impl PodSelector {
    /// Whether anything is selected.
    pub fn selects(&self) -> bool {
        !(self.namespaces.is_empty() && self.labels.is_empty() && self.images.is_empty())
    }

    /// What becomes of a process in this container; of one in a pod that is not known with `None`. That one is refused
    /// where namespaces are excluded, since it may be in one of them.
    pub fn decide(&self, member: Option<&Member>) -> Verdict {
        let Some(member) = member else {
            return match self.exclude_namespaces.is_empty() {
                true => Verdict::Indifferent,
                false => Verdict::Refused,
            };
        };
        let pod = member.pod();
        if pod.refuses || self.exclude_namespaces.is_match(&pod.namespace) {
            return Verdict::Refused;
        }
        let fits = self.selects()
            && (self.namespaces.is_empty() || self.namespaces.is_match(&pod.namespace))
            && (self.labels.is_empty() || self.labels.iter().any(|it| it.matches(&pod.labels)))
            && (self.images.is_empty() || self.has_image(member));
        if fits {
            Verdict::Picked
        } else {
            Verdict::Indifferent
        }
    }

    fn has_image(&self, member: &Member) -> bool {
        let image = member.container().and_then(|it| it.image.as_ref());
        image.is_some_and(|image| {
            let tagged = image
                .tag_or_latest()
                .map(|tag| format!("{}:{tag}", image.name));
            self.images.is_match(&image.name)
                || tagged.is_some_and(|tagged| self.images.is_match(tagged))
        })
    }
}
