//! What leads to a series without building its attributes.

use std::{collections::hash_map::Entry, net::IpAddr, sync::Arc};

use foldhash::HashMap;

/// Words of a key that a protocol fills.
const WORDS: usize = 4;

/// Tells the series of a group apart. Two keys may lead to one series, but never one key to two.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Key {
    words: [u64; WORDS],
    peer: u64,
}

/// A key in the making. Nothing is allocated for what was seen before.
#[derive(Debug)]
pub struct SeriesKey<'a> {
    words: [u64; WORDS],
    peer: u64,
    used: usize,
    crowded: bool,
    names: &'a mut Names,
    most: usize,
}

impl<'a> SeriesKey<'a> {
    /// An empty one. `names` are those of the service and group, of which at most `most` are numbered.
    pub(crate) fn new(names: &'a mut Names, most: usize) -> Self {
        Self {
            words: [0; WORDS],
            peer: 0,
            used: 0,
            crowded: false,
            names,
            most,
        }
    }

    /// Adds a number.
    pub fn number(&mut self, number: u64) {
        match self.words.get_mut(self.used) {
            Some(word) => *word = number,
            None => self.crowded = true,
        }
        self.used += 1;
    }

    /// Says which of the cluster's services was called, by its number; 0 is none.
    pub(crate) fn peer(&mut self, number: u64) {
        self.peer = number;
    }

    /// Adds a text that stays alive as long as the key is remembered: the route.
    pub fn pointer(&mut self, text: Option<&Arc<str>>) {
        self.number(text.map_or(0, |text| Arc::as_ptr(text).cast::<u8>().addr() as u64));
    }

    /// The number of a name: even, and never 0.
    pub fn name(&mut self, name: &str) -> u64 {
        if self.names.last.1 != 0 && self.names.last.0 == name {
            return u64::from(self.names.last.1);
        }
        if let Some(number) = self.names.texts.get(name) {
            let (last, its_number) = &mut self.names.last;
            last.clear();
            last.push_str(name);
            *its_number = *number;
            return u64::from(*number);
        }
        if self.names.texts.len() >= self.most {
            self.crowded = true;
            return 0;
        }
        let number = 2 * (self.names.texts.len() as u32 + 1);
        self.names.texts.insert(name.into(), number);
        u64::from(number)
    }

    /// The number of an address: odd.
    pub fn address(&mut self, address: IpAddr) -> u64 {
        let next = 2 * self.names.addresses.len() as u32 + 1;
        let full = self.names.addresses.len() >= self.most;
        match self.names.addresses.entry(address) {
            Entry::Occupied(number) => u64::from(*number.get()),
            Entry::Vacant(_) if full => {
                self.crowded = true;
                0
            }
            Entry::Vacant(entry) => u64::from(*entry.insert(next)),
        }
    }

    /// The key; `None` where there are too many names to number: such an exchange belongs to the overflow series.
    pub(crate) fn finish(self) -> Option<Key> {
        (!self.crowded).then_some(Key {
            words: self.words,
            peer: self.peer,
        })
    }
}

/// Names and addresses that a group's keys number.
#[derive(Debug, Default)]
pub(crate) struct Names {
    texts: HashMap<Box<str>, u32>,
    /// The last one that was asked for, and its number, 0 where there was none: most are as the one before.
    last: (String, u32),
    addresses: HashMap<IpAddr, u32>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_keep_their_numbers_up_to_the_bound() {
        let mut names = Names::default();
        let mut number = |name: &str| {
            let mut key = SeriesKey::new(&mut names, 2);
            let number = key.name(name);
            (number, key.finish().is_some())
        };
        assert_eq!(number("a"), (2, true));
        assert_eq!(number("b"), (4, true));
        assert_eq!(number("a"), (2, true));
        assert_eq!(number("a"), (2, true));
        assert_eq!(number("b"), (4, true));
        assert_eq!(number(""), (0, false), "which nothing was asked for before");
        assert_eq!(number("c"), (0, false));
    }

    #[test]
    fn a_key_that_is_too_long_is_none() {
        let mut names = Names::default();
        let mut key = SeriesKey::new(&mut names, 2);
        (0..=WORDS as u64).for_each(|number| key.number(number));
        assert_eq!(key.finish(), None);
    }
}
