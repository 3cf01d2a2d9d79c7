//! The function that labels lead to.

use std::{
    collections::{BTreeMap, BTreeSet},
    ops::Range,
};

use super::{
    FoundBy, KeyPoint, Kind, Label, LabelString, Unknown, flow::Function, frames, references,
};
use crate::elf::Image;

/// Longest function that is read, bytes.
const LONGEST: u64 = 256 << 10;
/// Most bytes of all functions that are read.
const MOST: u64 = 8 << 20;
/// So many different labels that lead to one function are certain, whatever else one of them leads to.
const CERTAIN: usize = 3;

/// The one function that is called with the labels.
pub(super) fn point(image: &Image<'_>, labels: &[LabelString]) -> Result<KeyPoint, Unknown> {
    let label_at = |address: u64| {
        let index = labels.binary_search_by_key(&address, |label| label.address);
        index.ok().map(|index| labels[index].label)
    };
    let candidates = references::find(
        image,
        |address| label_at(address).is_some(),
        labels.iter().map(|label| label.address),
    )?;
    let mut led: BTreeMap<u64, BTreeSet<Label>> = BTreeMap::new();
    let mut size = 0;
    for extent in frames::containing(image, &candidates)? {
        size += extent.end.saturating_sub(extent.start).min(LONGEST);
        if size > MOST {
            return Err(Unknown::TooMany("functions that name a label of a key log"));
        }
        let Some(mut function) = decode(image, &extent) else {
            continue;
        };
        let calls = function.calls_with(label_at);
        for (label, target) in calls {
            led.entry(target).or_default().insert(label);
        }
    }
    let (address, labels) = choose(&led)?;
    let begins = frames::containing(image, &[address])?
        .into_iter()
        .find(|extent| extent.start == address)
        .and_then(|extent| decode(image, &extent))
        .is_some_and(|mut function| function.reads_arguments());
    let offset = image.code_offset(address).filter(|_| begins);
    Ok(KeyPoint {
        kind: Kind::LogSecret,
        offset: offset.ok_or(Unknown::NoFunction)?,
        address,
        found_by: FoundBy::Labels(labels),
    })
}

/// The function of this extent; none where it is too long, or not all of it is executed.
pub(super) fn decode(image: &Image<'_>, extent: &Range<u64>) -> Option<Function> {
    let size = extent.end.checked_sub(extent.start)?;
    // What is not executed was not searched: any number of labels may be named there.
    image.code_offset(extent.start)?;
    image.code_offset(extent.end.checked_sub(1)?)?;
    let bytes = (size <= LONGEST).then(|| image.bytes(extent.start, size))?;
    Some(Function::decode(&bytes?, extent.start))
}

/// The function, and how many labels lead to it.
fn choose(led: &BTreeMap<u64, BTreeSet<Label>>) -> Result<(u64, usize), Unknown> {
    let certain = |labels: &BTreeSet<Label>| labels.len() >= CERTAIN;
    let likely: Vec<_> = led
        .iter()
        .filter(|(_, labels)| certain(labels) || labels.contains(&Label::ClientRandom))
        .map(|(address, labels)| (*address, labels.len()))
        .collect();
    let best: Vec<_> = likely
        .iter()
        .copied()
        .filter(|(_, labels)| *labels >= CERTAIN)
        .collect();
    match (&likely[..], &best[..]) {
        ([], _) => Err(Unknown::NoCall),
        ([one], _) | (_, [one]) => Ok(*one),
        _ => Err(Unknown::Ambiguous(likely.len())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chosen(led: &[(u64, &[Label])]) -> Result<(u64, usize), Unknown> {
        let led = led
            .iter()
            .map(|(address, labels)| (*address, labels.iter().copied().collect()));
        choose(&led.collect())
    }

    #[test]
    fn the_master_secrets_label_alone_is_enough_where_it_leads_to_one_function() {
        use Label::{ClientRandom, ClientTraffic0, Exporter, ServerTraffic0};
        assert_eq!(chosen(&[(1, &[ClientRandom])]), Ok((1, 1)));
        assert_eq!(
            chosen(&[(1, &[ClientRandom]), (2, &[Exporter])]),
            Ok((1, 1))
        );
        assert_eq!(chosen(&[]), Err(Unknown::NoCall));
        assert_eq!(
            chosen(&[(2, &[Exporter, ClientTraffic0])]),
            Err(Unknown::NoCall)
        );
        let two = chosen(&[(1, &[ClientRandom]), (2, &[ClientRandom])]);
        assert_eq!(two, Err(Unknown::Ambiguous(2)));
        let three: &[Label] = &[ClientTraffic0, ServerTraffic0, Exporter];
        assert_eq!(chosen(&[(1, &[ClientRandom]), (2, three)]), Ok((2, 3)));
        assert_eq!(
            chosen(&[(1, three), (2, three)]),
            Err(Unknown::Ambiguous(2))
        );
    }
}
