//! Metric families that are not a service's: the daemon's own.

/// What a family's samples mean.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Only goes up. `_total` is added to the name where it is missing.
    Counter,
    /// Goes up and down.
    Gauge,
}

/// Labels of a sample: names, which may be OpenTelemetry keys (`.` becomes `_`), and values.
pub type Labels = Vec<(&'static str, String)>;

/// A metric with all its samples.
#[derive(Clone, Debug, PartialEq)]
pub struct Family {
    /// Name with the unit, e.g. `observer_queue_bytes`. Without `service_name`: it is the daemon's own.
    pub name: &'static str,
    /// One sentence.
    pub help: &'static str,
    /// What it means.
    pub kind: Kind,
    /// Labels and value of each sample; the labels must differ.
    pub samples: Vec<(Labels, f64)>,
}

impl Family {
    /// A family with one sample without labels.
    pub fn single(name: &'static str, help: &'static str, kind: Kind, value: f64) -> Self {
        Self {
            name,
            help,
            kind,
            samples: vec![(Vec::new(), value)],
        }
    }

    /// A family with one label.
    pub fn by(
        name: &'static str,
        help: &'static str,
        kind: Kind,
        label: &'static str,
        samples: impl IntoIterator<Item = (String, f64)>,
    ) -> Self {
        let samples = samples
            .into_iter()
            .map(|(value, sample)| (vec![(label, value)], sample))
            .collect();
        Self {
            name,
            help,
            kind,
            samples,
        }
    }
}
