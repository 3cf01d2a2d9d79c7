//! Secrets that libraries told and whose connection is not known, or that may serve another.
//!
//! Comes in: secrets, with or without their label. Goes out: the one that opens a record. Owns: a bounded number of secrets
//! with their age; the eldest goes first.

use std::{
    collections::{HashSet, VecDeque, hash_map::RandomState},
    fmt,
    hash::BuildHasher,
};

use super::{
    key::Key,
    secret::{Label, Secret},
    suite::Suite,
};

/// What is known about a secret besides its bytes.
#[derive(Clone, Copy, Debug, Default)]
pub struct Told {
    /// What it is for; nothing where the library did not say.
    pub label: Option<Label>,
    /// The client's random bytes, where the library tells them. They only order the trials.
    pub client_random: Option<[u8; 32]>,
    /// A number that the secrets of one handshake share, as the address of its state; 0 is none. It may be used again by
    /// another handshake, so it only orders the trials.
    pub handshake: u64,
}

struct Candidate {
    told: Told,
    secret: Secret,
    /// Counts up; the younger candidate has the higher one.
    sequence: u64,
    /// When it was told or last used, by the caller's clock.
    at: u64,
    /// It opened a record.
    used: bool,
    /// What leads to it in [`Candidates::known`].
    fingerprint: u64,
    derived: Derived,
}

/// TLS 1.3: the key that was made of a secret when it was tried on a record of that suite: where many handshakes go on at once, a secret
/// is tried on many, and making its key costs ten times more than trying it.
pub(super) type Derived = Option<(&'static Suite, Key)>;

/// Secrets that opened a record of one connection and are tried on another: its other end, which speaks at the same time.
const MOST_USED: usize = 64;

/// The same of TLS 1.2's master secrets, of which resumptions use old ones again.
const MOST_USED_MASTERS: usize = 256;

/// Secrets that served both ends of a connection. What passes TLS on without a part in it (a proxy's tunnel, a sidecar) has sockets of
/// its own with the same records, which show the client's random bytes: only by these are such secrets found again. And one end may
/// tell a secret when both have used what the other told: kept as a new one it would be tried on each connection that comes.
const MOST_RELAYED: usize = 512;

/// What a record may be opened with, and what orders the trials.
pub(super) struct Wanted<'a> {
    pub(super) labels: &'a [Label],
    /// Bytes of the secret.
    pub(super) length: usize,
    pub(super) client_random: Option<[u8; 32]>,
    pub(super) handshake: u64,
    /// Those up to this sequence were tried.
    pub(super) after: u64,
    /// The secret is this connection's own: one that opened a record of another connection is not tried.
    pub(super) fresh: bool,
}

/// A secret that opened a record.
pub(super) struct Found<T> {
    pub(super) secret: Secret,
    pub(super) label: Option<Label>,
    pub(super) handshake: u64,
    pub(super) opened: T,
}

/// A bounded number of secrets. Times are of a clock of the caller's, in any unit.
pub struct Candidates {
    traffic: VecDeque<Candidate>,
    /// Labelled as TLS 1.2's, or proven to be. Resumptions tell nothing and need the old ones: these are kept longer.
    masters: VecDeque<Candidate>,
    /// Traffic secrets that served both ends.
    relayed: VecDeque<Candidate>,
    limits: (usize, usize),
    /// Hashes of those that are kept, with keys of their own, so that a new one is seldom compared.
    known: HashSet<u64>,
    hasher: RandomState,
    sequence: u64,
    dropped: u64,
    trials: u64,
}

/// How many there are, and nothing of them.
impl fmt::Debug for Candidates {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Candidates")
            .field("traffic", &self.traffic.len())
            .field("masters", &self.masters.len())
            .finish_non_exhaustive()
    }
}

impl Candidates {
    /// Room for so many traffic secrets of TLS 1.3 (and secrets without a label), and so many master secrets of TLS 1.2.
    pub fn new(traffic: usize, masters: usize) -> Self {
        Self {
            traffic: VecDeque::new(),
            masters: VecDeque::new(),
            relayed: VecDeque::new(),
            limits: (traffic.max(1), masters.max(1)),
            known: HashSet::new(),
            hasher: RandomState::new(),
            sequence: 0,
            dropped: 0,
            trials: 0,
        }
    }

    /// Takes a secret. One that is known already, since both ends of a connection told it, is not kept twice; another label of
    /// the same secret is not believed more than the first.
    pub fn add(&mut self, told: Told, secret: Secret, now: u64) {
        let (list, limit) = if told.label == Some(Label::Master) {
            (&mut self.masters, self.limits.1)
        } else {
            (&mut self.traffic, self.limits.0)
        };
        let fingerprint = self.hasher.hash_one(secret.bytes());
        if !self.known.insert(fingerprint) {
            let is_it = |known: &&mut Candidate| known.secret.is(&secret);
            let known = match self.relayed.iter_mut().rfind(is_it) {
                Some(known) => Some(known),
                None => list.iter_mut().rfind(is_it),
            };
            if let Some(known) = known {
                known.at = now;
                known.told.label = known.told.label.or(told.label);
                known.told.client_random = known.told.client_random.or(told.client_random);
                return;
            }
        }
        if list.len() >= limit
            && let Some(eldest) = list.pop_front()
        {
            self.known.remove(&eldest.fingerprint);
            self.dropped += 1;
        }
        self.sequence += 1;
        list.push_back(Candidate {
            told,
            secret,
            sequence: self.sequence,
            at: now,
            used: false,
            fingerprint,
            derived: None,
        });
    }

    /// Wipes the traffic secrets that were told or last used before `traffic`, and the master secrets before `masters`. Returns
    /// how many of these opened no record.
    pub fn expire(&mut self, traffic: u64, masters: u64) -> usize {
        let mut unused = 0;
        for (list, before) in [(&mut self.traffic, traffic), (&mut self.masters, masters)] {
            list.retain(|candidate| {
                let old = candidate.at < before;
                unused += usize::from(old && !candidate.used);
                if old {
                    self.known.remove(&candidate.fingerprint);
                }
                !old
            });
        }
        self.relayed.retain(|candidate| {
            let old = candidate.at < traffic;
            if old {
                self.known.remove(&candidate.fingerprint);
            }
            !old
        });
        unused
    }

    /// How many secrets are kept.
    pub fn len(&self) -> usize {
        self.traffic.len() + self.masters.len() + self.relayed.len()
    }

    /// No secret is kept.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// How many secrets went because there was no room.
    pub const fn dropped(&self) -> u64 {
        self.dropped
    }

    /// How many secrets were tried on records.
    pub const fn trials(&self) -> u64 {
        self.trials
    }

    /// Number of the youngest secret.
    pub(super) const fn youngest(&self) -> u64 {
        self.sequence
    }

    /// The first secret that `open` says to be right. Tried first are those with the client's random, then those of the same
    /// handshake, then those that opened nothing yet, from the eldest on, then some of the others from the youngest on. A traffic
    /// secret has two ends: behind the second only who shows the same random bytes is given it.
    pub(super) fn find<T>(
        &mut self,
        wanted: &Wanted<'_>,
        now: u64,
        mut open: impl FnMut(&Secret, &mut Derived) -> Option<T>,
    ) -> Option<Found<T>> {
        if let Some(found) = self.find_relayed(wanted, now, &mut open) {
            return Some(found);
        }
        let masters = wanted.labels.contains(&Label::Master);
        let mut order = Vec::new();
        let lists = [(false, &self.traffic), (true, &self.masters)];
        for (of_masters, list) in lists {
            if of_masters && !masters {
                continue;
            }
            // They lie by their sequence, but for those that turned out to be masters.
            let new = if of_masters {
                0
            } else {
                list.partition_point(|candidate| candidate.sequence <= wanted.after)
            };
            order.extend(
                list.iter()
                    .enumerate()
                    .skip(new)
                    .filter_map(|(at, candidate)| {
                        let told = &candidate.told;
                        let fits = candidate.sequence > wanted.after
                            && candidate.secret.bytes().len() == wanted.length
                            && told
                                .label
                                .is_none_or(|label| wanted.labels.contains(&label));
                        let named = told.client_random.is_some();
                        let rank = if named && told.client_random == wanted.client_random {
                            0
                        } else if wanted.fresh && named && candidate.used {
                            return None;
                        } else if told.handshake != 0 && told.handshake == wanted.handshake {
                            1
                        } else if !candidate.used {
                            2
                        } else {
                            3
                        };
                        let age = if rank == 3 {
                            u64::MAX - candidate.sequence
                        } else {
                            candidate.sequence
                        };
                        fits.then_some((rank, age, of_masters, at))
                    }),
            );
        }
        order.sort_unstable();
        let most = if masters {
            MOST_USED_MASTERS
        } else {
            MOST_USED
        };
        let unused = order.partition_point(|(rank, ..)| *rank < 3);
        order.truncate(unused + most);
        for (_, _, of_masters, at) in order {
            let list = if of_masters {
                &mut self.masters
            } else {
                &mut self.traffic
            };
            let Some(candidate) = list.get_mut(at) else {
                continue;
            };
            self.trials += 1;
            let Some(opened) = open(&candidate.secret, &mut candidate.derived) else {
                continue;
            };
            let again = std::mem::replace(&mut candidate.used, true);
            candidate.at = now;
            // The connection's other end on this host finds it at once.
            candidate.told.client_random = wanted.client_random.or(candidate.told.client_random);
            let found = Found {
                secret: candidate.secret.copy(),
                label: candidate.told.label,
                handshake: candidate.told.handshake,
                opened,
            };
            // A master secret without a label is kept as one from now on.
            if masters
                && !of_masters
                && let Some(candidate) = self.traffic.remove(at)
            {
                if self.masters.len() >= self.limits.1
                    && let Some(eldest) = self.masters.pop_front()
                {
                    self.known.remove(&eldest.fingerprint);
                    self.dropped += 1;
                }
                self.masters.push_back(candidate);
            } else if again
                && !of_masters
                && let Some(candidate) = self.traffic.remove(at)
            {
                if self.relayed.len() >= MOST_RELAYED
                    && let Some(eldest) = self.relayed.pop_front()
                {
                    self.known.remove(&eldest.fingerprint);
                }
                self.relayed.push_back(candidate);
            }
            return Some(found);
        }
        None
    }

    /// The same of those that served both ends.
    fn find_relayed<T>(
        &mut self,
        wanted: &Wanted<'_>,
        now: u64,
        open: &mut impl FnMut(&Secret, &mut Derived) -> Option<T>,
    ) -> Option<Found<T>> {
        let random = wanted.client_random?;
        for candidate in self.relayed.iter_mut().rev() {
            let Candidate { told, secret, .. } = candidate;
            let fits = told.client_random == Some(random)
                && candidate.sequence > wanted.after
                && secret.bytes().len() == wanted.length
                && told
                    .label
                    .is_none_or(|label| wanted.labels.contains(&label));
            if !fits {
                continue;
            }
            self.trials += 1;
            if let Some(opened) = open(secret, &mut candidate.derived) {
                candidate.at = now;
                return Some(Found {
                    secret: secret.copy(),
                    label: told.label,
                    handshake: told.handshake,
                    opened,
                });
            }
        }
        None
    }
}
