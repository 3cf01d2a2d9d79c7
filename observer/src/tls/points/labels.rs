//! The labels that name secrets (the NSS key log format, RFC 9850), and where they stand in a file.

use std::collections::BTreeSet;

use memchr::memmem::Finder;

use super::{Unknown, segments};
use crate::elf::{Image, Segment};

/// Most copies of labels in one file.
const MOST: usize = 64;

/// What a secret is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Label {
    /// The master secret of TLS 1.2.
    ClientRandom,
    /// What 0-RTT data is under.
    ClientEarlyTraffic,
    /// The client's part of the handshake.
    ClientHandshakeTraffic,
    /// The server's part of the handshake.
    ServerHandshakeTraffic,
    /// What the client sends.
    ClientTraffic0,
    /// What the server sends.
    ServerTraffic0,
    /// What the client sends after an update of keys (OpenSSL).
    ClientTrafficN,
    /// What the server sends after an update of keys (OpenSSL).
    ServerTrafficN,
    /// No traffic is under it.
    Exporter,
    /// No traffic is under it.
    EarlyExporter,
}

impl Label {
    /// All of them.
    pub const ALL: [Self; 10] = [
        Self::ClientRandom,
        Self::ClientEarlyTraffic,
        Self::ClientHandshakeTraffic,
        Self::ServerHandshakeTraffic,
        Self::ClientTraffic0,
        Self::ServerTraffic0,
        Self::ClientTrafficN,
        Self::ServerTrafficN,
        Self::Exporter,
        Self::EarlyExporter,
    ];

    /// As libraries write it.
    pub fn text(self) -> &'static str {
        match self {
            Self::ClientRandom => "CLIENT_RANDOM",
            Self::ClientEarlyTraffic => "CLIENT_EARLY_TRAFFIC_SECRET",
            Self::ClientHandshakeTraffic => "CLIENT_HANDSHAKE_TRAFFIC_SECRET",
            Self::ServerHandshakeTraffic => "SERVER_HANDSHAKE_TRAFFIC_SECRET",
            Self::ClientTraffic0 => "CLIENT_TRAFFIC_SECRET_0",
            Self::ServerTraffic0 => "SERVER_TRAFFIC_SECRET_0",
            Self::ClientTrafficN => "CLIENT_TRAFFIC_SECRET_N",
            Self::ServerTrafficN => "SERVER_TRAFFIC_SECRET_N",
            Self::Exporter => "EXPORTER_SECRET",
            Self::EarlyExporter => "EARLY_EXPORTER_SECRET",
        }
    }
}

/// One copy of a label.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct LabelString {
    /// Where it stands, as an address of the file, before it is loaded somewhere.
    pub address: u64,
    /// Where in the file, bytes.
    pub offset: u64,
    /// Which it is.
    pub label: Label,
}

/// How a label ends.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum End {
    /// With a NUL, as C's do.
    Nul,
    /// With its length: whatever comes behind.
    Any,
}

/// Labels in a file.
#[derive(Default)]
pub(super) struct Labels {
    /// All copies of all labels that end as is wanted.
    pub(super) strings: Vec<LabelString>,
    /// Those that stand there, but end otherwise.
    pub(super) others: BTreeSet<Label>,
}

/// All copies of all labels in what is only read; in what is executed only where they are nowhere else, as some linkers
/// put both into one segment.
pub(super) fn find(image: &Image<'_>, end: End) -> Result<Labels, Unknown> {
    let mut labels = Labels::default();
    search(image, end, &mut labels, |segment| {
        !segment.is_writable() && !segment.is_executable()
    })?;
    if labels.strings.is_empty() {
        search(image, end, &mut labels, |segment| {
            !segment.is_writable() && segment.is_executable()
        })?;
    }
    Ok(labels)
}

fn search(
    image: &Image<'_>,
    end: End,
    labels: &mut Labels,
    wanted: impl Fn(&Segment) -> bool,
) -> Result<(), Unknown> {
    // Two searches find the ten.
    let common = ["CLIENT_RANDOM", "_SECRET"].map(|part| (part, Finder::new(part)));
    let Labels {
        strings: found,
        others,
    } = labels;
    segments::each(image, wanted, |address, bytes| {
        for (part, finder) in &common {
            for at in finder.find_iter(bytes) {
                for (label, start, ends) in standing(bytes, part, at) {
                    if end == End::Nul && ends == End::Any {
                        others.insert(label);
                        continue;
                    }
                    let address = address.wrapping_add(start as u64);
                    let offset = image.file_offset(address).ok_or(Unknown::Cut)?;
                    found.push(LabelString {
                        address,
                        offset,
                        label,
                    });
                }
            }
        }
        found.sort_unstable();
        found.dedup();
        if found.len() > MOST {
            return Err(Unknown::TooMany("labels of a key log"));
        }
        Ok(())
    })
}

/// The labels one of whose parts stands at a place, with where each begins and how it ends. (One may be the end of another.)
fn standing<'a>(
    bytes: &'a [u8],
    part: &'a str,
    at: usize,
) -> impl Iterator<Item = (Label, usize, End)> + 'a {
    Label::ALL.into_iter().filter_map(move |label| {
        let text = label.text();
        let start = at.checked_sub(text.find(part)?)?;
        let behind = bytes.get(start..)?.strip_prefix(text.as_bytes())?;
        let ends = match behind.first() {
            Some(0) => End::Nul,
            _ => End::Any,
        };
        Some((label, start, ends))
    })
}
