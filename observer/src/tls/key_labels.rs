//! The labels of all files with key points, as the kernel programs know them: by where they stand (`observer_abi::secret`).

use std::{collections::HashMap, hash::BuildHasher};

use observer_abi::secret::{LABELS, label, label_key};

use super::points::{KeyPoints, Kind, Label};

/// Where labels are told: the kernel's map.
pub(super) trait Table {
    /// Tells a label's number, in the place of another.
    fn set(&mut self, key: u64, number: u32);
    /// Takes a label back.
    fn remove(&mut self, key: u64);
}

/// All labels that were told, with how many files have them there.
pub(super) struct KeyLabels<T> {
    table: T,
    told: HashMap<u64, Numbers>,
}

/// How many files say each number.
type Numbers = HashMap<u32, usize>;

impl<T: Table> KeyLabels<T> {
    pub(super) fn new(table: T) -> Self {
        Self {
            table,
            told: HashMap::new(),
        }
    }

    /// Tells the labels of a file. Returns whether there was room for them.
    pub(super) fn add(&mut self, points: &KeyPoints) -> bool {
        let labels: Vec<(u64, u32)> = labels(points).collect();
        if self.told.len() + labels.len() > LABELS as usize {
            return false;
        }
        for (key, number) in labels {
            let numbers = self.told.entry(key).or_default();
            *numbers.entry(number).or_default() += 1;
            self.table.set(key, said(numbers));
        }
        true
    }

    /// Takes the labels of a file back.
    pub(super) fn remove(&mut self, points: &KeyPoints) {
        for (key, number) in labels(points) {
            let Some(numbers) = self.told.get_mut(&key) else {
                continue;
            };
            if let Some(files) = numbers.get_mut(&number) {
                *files = files.saturating_sub(1);
            }
            numbers.retain(|_, files| *files > 0);
            if numbers.is_empty() {
                self.told.remove(&key);
                self.table.remove(key);
            } else {
                let number = said(numbers);
                self.table.set(key, number);
            }
        }
    }
}

/// What is told where files say these: two files with different labels at the same distance tell that nothing is known.
fn said<S: BuildHasher>(numbers: &HashMap<u32, usize, S>) -> u32 {
    let mut numbers = numbers.keys();
    match (numbers.next(), numbers.next()) {
        (Some(only), None) => *only,
        _ => label::UNKNOWN,
    }
}

/// Key and number of each label, for each function that is called with labels.
fn labels(points: &KeyPoints) -> impl Iterator<Item = (u64, u32)> + '_ {
    points
        .points
        .iter()
        .filter(|point| matches!(point.kind, Kind::LogSecret | Kind::GoWriteKeyLog))
        .flat_map(|point| {
            let key = |label| label_key(label, point.address);
            let labels = points.labels.iter();
            labels.map(move |label| (key(label.address), number(label.label)))
        })
}

/// A label's number.
pub(super) const fn number(label: Label) -> u32 {
    match label {
        Label::ClientRandom => label::MASTER,
        Label::ClientEarlyTraffic => label::CLIENT_EARLY,
        Label::ClientHandshakeTraffic => label::CLIENT_HANDSHAKE,
        Label::ServerHandshakeTraffic => label::SERVER_HANDSHAKE,
        Label::ClientTraffic0 | Label::ClientTrafficN => label::CLIENT_TRAFFIC,
        Label::ServerTraffic0 | Label::ServerTrafficN => label::SERVER_TRAFFIC,
        Label::Exporter | Label::EarlyExporter => label::OPENS_NOTHING,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tls::points::{FoundBy, KeyPoint, LabelString};

    impl Table for HashMap<u64, u32> {
        fn set(&mut self, key: u64, number: u32) {
            self.insert(key, number);
        }

        fn remove(&mut self, key: u64) {
            HashMap::remove(self, &key);
        }
    }

    fn file(function: u64, labels: &[(u64, Label)]) -> KeyPoints {
        let labels = labels.iter().map(|(address, label)| LabelString {
            address: *address,
            offset: *address,
            label: *label,
        });
        KeyPoints {
            points: vec![KeyPoint {
                kind: Kind::LogSecret,
                offset: function,
                address: function,
                found_by: FoundBy::Symbol,
            }],
            labels: labels.collect(),
            build_id: None,
        }
    }

    #[test]
    fn a_label_is_told_until_the_last_file_that_has_it_is_gone() {
        let points = file(0x5123, &[(0x9000, Label::ClientRandom)]);
        let key = label_key(0x9000, 0x5123);
        let mut all = KeyLabels::new(HashMap::new());
        assert!(all.add(&points) && all.add(&points));
        assert_eq!(all.table.get(&key), Some(&label::MASTER));
        all.remove(&points);
        assert_eq!(all.table.get(&key), Some(&label::MASTER));
        all.remove(&points);
        assert!(all.table.is_empty() && all.told.is_empty());
        // What was never told takes nothing away.
        all.remove(&points);
    }

    #[test]
    fn two_files_with_different_labels_at_one_distance_tell_none() {
        let one = file(0x5123, &[(0x9000, Label::ClientTraffic0)]);
        let other = file(0x1_5123, &[(0x1_9000, Label::ServerTraffic0)]);
        let key = label_key(0x9000, 0x5123);
        let mut all = KeyLabels::new(HashMap::new());
        assert!(all.add(&one) && all.add(&other));
        assert_eq!(all.table.get(&key), Some(&label::UNKNOWN));
        all.remove(&one);
        assert_eq!(all.table.get(&key), Some(&label::SERVER_TRAFFIC));
    }

    #[test]
    fn there_is_an_end_to_labels() {
        let mut all = KeyLabels::new(HashMap::new());
        let labels: Vec<(u64, Label)> = (0..LABELS.into())
            .map(|at| (0x10_0000 + at, Label::ClientRandom))
            .collect();
        assert!(all.add(&file(0x1000, &labels)));
        assert!(!all.add(&file(0x2001, &labels[..1])));
        assert_eq!(all.table.len(), LABELS as usize);
    }
}
