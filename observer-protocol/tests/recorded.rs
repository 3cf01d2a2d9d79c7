//! Connections of real programs, recorded by `tests/recordings/record.py`: what is opened is what was said, however the secrets
//! come, whatever of the records is there.
#![allow(clippy::unwrap_used, reason = "tests panic, they don't return errors")]

use std::{
    collections::{BTreeMap, VecDeque},
    fs,
    path::Path,
};

use observer_protocol::tls::{
    Alert, Candidates, Event, Label, Plain, RECORDS, Reading, Reason, Record, Secret, Side, Told,
    records,
};

/// One recorded connection.
struct Recording {
    name: String,
    facts: BTreeMap<String, String>,
    /// Label, client random, secret.
    keys: Vec<(Label, [u8; 32], Vec<u8>)>,
    said: BTreeMap<char, usize>,
    /// What was sent, in the order seen.
    turns: Vec<(Side, Vec<u8>)>,
}

fn unhex(text: &str) -> Vec<u8> {
    (0..text.len() / 2)
        .map(|at| u8::from_str_radix(&text[2 * at..2 * at + 2], 16).unwrap())
        .collect()
}

fn recordings() -> Vec<Recording> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/recordings");
    let mut all: Vec<_> = fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|end| end == "txt"))
        .map(|path| read(&path))
        .collect();
    all.sort_by(|one, other| one.name.cmp(&other.name));
    assert!(all.len() >= 36, "{} recordings", all.len());
    all
}

fn recording(name: &str) -> Recording {
    let all = recordings();
    all.into_iter().find(|one| one.name == name).unwrap()
}

fn read(path: &Path) -> Recording {
    let mut recording = Recording {
        name: path.file_stem().unwrap().to_string_lossy().into_owned(),
        facts: BTreeMap::new(),
        keys: Vec::new(),
        said: BTreeMap::new(),
        turns: Vec::new(),
    };
    for line in fs::read_to_string(path).unwrap().lines() {
        let words: Vec<_> = line.split(' ').collect();
        match words[..] {
            ["key", label, random, secret] => {
                if let Some(label) = Label::read(label.as_bytes()) {
                    let random = unhex(random).try_into().unwrap();
                    recording.keys.push((label, random, unhex(secret)));
                }
            }
            ["said", side, count] => {
                let side = side.chars().next().unwrap();
                recording.said.insert(side, count.parse().unwrap());
            }
            ["c", bytes] => recording.turns.push((Side::Client, unhex(bytes))),
            ["s", bytes] => recording.turns.push((Side::Server, unhex(bytes))),
            [fact, value] => drop(recording.facts.insert(fact.into(), value.into())),
            _ => panic!("{line}"),
        }
    }
    recording
}

/// What `record.py` has the side say.
fn pattern(side: char, count: usize) -> Vec<u8> {
    let word = if side == 'c' { "client" } else { "server" };
    let mut text: Vec<u8> = (0..count / 16 + 1)
        .flat_map(|line| format!("{line:08} {word}\n").into_bytes())
        .collect();
    text.truncate(count);
    text
}

/// A record as it was shipped.
#[derive(Clone)]
struct Shipped {
    from: Side,
    at: u64,
    bytes: Vec<u8>,
    last: Vec<u8>,
    /// It was not, and its bytes were counted.
    lost: bool,
}

impl Recording {
    /// Its records, whole, in the order in which they began.
    fn records(&self) -> Vec<Shipped> {
        let mut streams = [Vec::new(), Vec::new()];
        let mut begun: Vec<(usize, Shipped)> = Vec::new();
        let mut order = BTreeMap::new();
        for (turn, (from, bytes)) in self.turns.iter().enumerate() {
            let stream = &mut streams[*from as usize];
            order.insert((*from as usize, stream.len()), turn);
            stream.extend_from_slice(bytes);
        }
        for from in [Side::Client, Side::Server] {
            for record in records(0, &streams[from as usize]) {
                assert!(record.is_whole());
                let (_, turn) = order
                    .range(..=(from as usize, record.at as usize))
                    .next_back()
                    .unwrap();
                let range = record.at as usize..record.end() as usize;
                begun.push((
                    *turn,
                    Shipped {
                        from,
                        at: record.at,
                        bytes: streams[from as usize][range].to_vec(),
                        last: Vec::new(),
                        lost: false,
                    },
                ));
            }
        }
        begun.sort_by_key(|(turn, _)| *turn);
        begun.into_iter().map(|(_, record)| record).collect()
    }

    fn is_13(&self) -> bool {
        self.name.ends_with("13")
    }
}

/// A connection's reading, and what it said.
struct Run {
    reading: Reading,
    candidates: Candidates,
    events: Vec<Event>,
}

impl Run {
    fn new() -> Self {
        Self {
            reading: Reading::new(1 << 20),
            candidates: Candidates::new(4096, 4096),
            events: Vec::new(),
        }
    }

    fn tell(&mut self, told: Told, secret: &[u8]) {
        self.candidates.add(told, Secret::new(secret).unwrap(), 0);
        let Self {
            reading, events, ..
        } = self;
        reading.told(&mut self.candidates, 1, &mut |_, event| events.push(event));
    }

    fn record(&mut self, shipped: &Shipped) {
        if shipped.lost {
            return self.reading.lost(shipped.from, shipped.bytes.len() as u64);
        }
        let record = Record::new(shipped.at, &shipped.bytes, &shipped.last).unwrap();
        let Self {
            reading, events, ..
        } = self;
        let mut say = |_, event| events.push(event);
        reading.record(shipped.from, &record, &mut self.candidates, 1, &mut say);
    }

    /// Gives up what waits; says how many records these were.
    fn pass(&mut self) -> usize {
        let before = self.unopened().len();
        let Self {
            reading, events, ..
        } = self;
        let mut say = |_, event| events.push(event);
        reading.expire(2, &mut self.candidates, 2, &mut say);
        assert_eq!(reading.held(), 0);
        self.unopened().len() - before
    }

    /// Records that stayed closed.
    fn unopened(&self) -> Vec<(Side, u64, Reason)> {
        let unopened = self.events.iter().filter_map(|event| match event {
            Event::Unopened {
                from, at, reason, ..
            } => Some((*from, *at, *reason)),
            _ => None,
        });
        unopened.collect()
    }

    /// What a side said, as far as its content is whole and without gaps.
    fn said(&self, side: Side) -> Vec<u8> {
        let mut said = Vec::new();
        for event in &self.events {
            if let Event::Data {
                from,
                position,
                plain,
                ..
            } = event
                && *from == side
            {
                assert_eq!(plain.first.len(), plain.length, "a part");
                assert_eq!(*position, said.len() as u64, "the position");
                said.extend_from_slice(&plain.first);
            }
        }
        said
    }

    /// Each record of application data, by side and position on the wire.
    fn data(&self) -> BTreeMap<(usize, u64), Plain> {
        self.events
            .iter()
            .filter_map(|event| match event {
                Event::Data {
                    from, at, plain, ..
                } => Some(((*from as usize, *at), plain.clone())),
                _ => None,
            })
            .collect()
    }

    fn alerts(&self) -> Vec<(Side, Alert, bool)> {
        self.events
            .iter()
            .filter_map(|event| match event {
                Event::Alert { from, alert, fatal } => Some((*from, *alert, *fatal)),
                _ => None,
            })
            .collect()
    }
}

/// How the secrets come.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Secrets {
    /// First, with label and random.
    Told,
    /// First, with their label alone, behind as many of other handshakes.
    Labelled,
    /// First, with nothing, behind as many of other handshakes.
    Bare,
    /// When all records have come.
    Late,
}

fn run(recording: &Recording, secrets: Secrets, shipped: Vec<Shipped>) -> Run {
    let mut run = Run::new();
    let tell = |run: &mut Run| {
        for (number, (label, random, secret)) in recording.keys.iter().enumerate() {
            let mut told = Told {
                label: Some(*label),
                client_random: Some(*random),
                handshake: 0,
            };
            if secrets != Secrets::Told {
                told.client_random = None;
            }
            if secrets == Secrets::Bare {
                told.label = None;
            }
            if matches!(secrets, Secrets::Labelled | Secrets::Bare) {
                let other: Vec<_> = secret.iter().map(|byte| byte ^ 1 ^ number as u8).collect();
                run.tell(told, &other);
            }
            run.tell(told, secret);
        }
    };
    if secrets != Secrets::Late {
        tell(&mut run);
    }
    shipped.iter().for_each(|record| run.record(record));
    if secrets == Secrets::Late {
        tell(&mut run);
    }
    run
}

/// The client's early data that no library tells the secret of, or that the server refused.
fn unread(recording: &Recording) -> usize {
    if recording.name == "openssl_early_refused_13" {
        64
    } else {
        0
    }
}

#[test]
fn all_that_was_said_is_opened_however_the_secrets_come() {
    for recording in recordings() {
        for secrets in [
            Secrets::Told,
            Secrets::Labelled,
            Secrets::Bare,
            Secrets::Late,
        ] {
            let name = format!("{} {secrets:?}", recording.name);
            let mut run = run(&recording, secrets, recording.records());
            if unread(&recording) > 0 {
                continue;
            }
            assert_eq!(run.pass(), 0, "{name}: records wait");
            assert_eq!(run.unopened(), [], "{name}");
            for (side, word) in [(Side::Client, 'c'), (Side::Server, 's')] {
                assert!(
                    run.said(side) == pattern(word, recording.said[&word]),
                    "{name}: {side:?} said something else"
                );
            }
        }
    }
}

#[test]
fn early_data_that_the_server_refuses_stays_closed_and_the_rest_is_opened() {
    let recording = recording("openssl_early_refused_13");
    let mut run = run(&recording, Secrets::Told, recording.records());
    let closed = run.pass();
    let unopened = run.unopened();
    assert!(closed >= 1 && unopened.len() == closed);
    assert!(
        unopened
            .iter()
            .all(|(side, _, reason)| (*side, *reason) == (Side::Client, Reason::NoKey))
    );
    // What was lost is counted with its record's tag.
    let data = run.data();
    let client: Vec<u8> = data
        .iter()
        .filter(|((side, _), _)| *side == Side::Client as usize)
        .flat_map(|(_, plain)| plain.first.clone())
        .collect();
    assert!(client == pattern('c', recording.said[&'c'])[64..]);
    assert!(run.said(Side::Server) == pattern('s', recording.said[&'s']));
}

/// A suite's name in the registry as OpenSSL has it.
fn as_openssl(name: &str) -> String {
    let name = name.strip_prefix("TLS_").unwrap().replace("_WITH_", "_");
    let name = name.strip_prefix("RSA_").unwrap_or(&name);
    name.replace("AES_", "AES")
        .replace("CBC_", "")
        .replace("POLY1305_SHA256", "POLY1305")
        .replace("CCM_8", "CCM8")
        .replace('_', "-")
}

#[test]
fn the_handshake_says_what_the_programs_say() {
    for recording in recordings() {
        let name = &recording.name;
        let run = run(&recording, Secrets::Told, recording.records());
        let fact = |fact: &str| recording.facts.get(fact).map(String::as_str);
        let hello = run.events.iter().find_map(|event| match event {
            Event::ClientHello(hello) => Some(hello),
            _ => None,
        });
        let hello = hello.unwrap();
        assert!(hello.whole, "{name}");
        assert_eq!(hello.server_name.as_deref(), fact("sni"), "{name}");
        let answer = run.events.iter().rev().find_map(|event| match event {
            Event::ServerHello(hello) => Some(hello),
            _ => None,
        });
        let answer = answer.unwrap();
        assert!(answer.whole && !answer.retry, "{name}");
        let version = if recording.is_13() { "1.3" } else { "1.2" };
        assert_eq!(answer.version.name(), Some(version), "{name}");
        assert_eq!(
            run.reading.connection().version(),
            Some(answer.version),
            "{name}"
        );
        if let Some(resumed) = fact("resumed") {
            let same_session =
                !answer.session_id.is_empty() && answer.session_id == hello.session_id;
            let seen = if recording.is_13() {
                answer.pre_shared_key
            } else {
                same_session
            };
            assert_eq!(seen, resumed == "1", "{name}");
        }
        let suite = run.reading.connection().suite().unwrap();
        match (fact("suite"), fact("openssl_suite")) {
            (Some(told), _) => assert_eq!(suite.name, told, "{name}"),
            (_, Some(told)) if recording.is_13() => assert_eq!(suite.name, told, "{name}"),
            (_, Some(told)) => assert_eq!(as_openssl(suite.name), told, "{name}"),
            _ => assert!(name.contains("refused"), "{name}"),
        }
        let protocol = run.events.iter().find_map(|event| match event {
            Event::EncryptedExtensions { protocol, .. } => protocol.clone(),
            Event::ServerHello(hello) => hello.protocol.clone(),
            _ => None,
        });
        if let Some(told) = fact("alpn") {
            assert_eq!(protocol.as_deref(), Some(told.as_bytes()), "{name}");
        }
        let certificate = run.events.iter().find_map(|event| match event {
            Event::Certificate { from, not_after } => Some((*from, *not_after)),
            _ => None,
        });
        let resumed = fact("resumed") == Some("1");
        let not_after = fact("not_after").unwrap().parse().unwrap();
        let told = (!resumed).then_some((Side::Server, Some(not_after)));
        assert_eq!(certificate, told, "{name}");
    }
}

#[test]
fn what_ends_a_connection_is_told() {
    let unknown_ca = Alert {
        level: 2,
        description: 48,
    };
    for name in ["python_refused_12", "python_refused_13"] {
        let recording = recording(name);
        let run = run(&recording, Secrets::Told, recording.records());
        assert_eq!(run.alerts()[0], (Side::Client, unknown_ca, true), "{name}");
        assert_eq!(unknown_ca.name(), Some("unknown_ca"));
    }
    let recording = recording("python_13");
    let run = run(&recording, Secrets::Told, recording.records());
    let alerts = run.alerts();
    assert!(
        alerts.len() == 2
            && alerts
                .iter()
                .all(|(_, alert, fatal)| alert.is_close_notify() && !fatal)
    );
}

#[test]
fn retries_early_data_updates_and_renegotiations_are_told() {
    let count = |name: &str, which: fn(&Event) -> bool| {
        let recording = recording(name);
        let run = run(&recording, Secrets::Told, recording.records());
        run.events.iter().filter(|event| which(event)).count()
    };
    let retries = |event: &Event| matches!(event, Event::ServerHello(hello) if hello.retry);
    assert_eq!(count("openssl_retry_13", retries), 1);
    assert_eq!(count("python_13", retries), 0);
    let early = |event: &Event| matches!(event, Event::Data { early: true, .. });
    assert_eq!(count("openssl_early_13", early), 1);
    assert_eq!(count("python_resumed_13", early), 0);
    // Of the three, two asked for the other side's.
    let update = |event: &Event| matches!(event, Event::KeyUpdate { .. });
    assert_eq!(count("openssl_key_update_13", update), 5);
    let renegotiation = |event: &Event| matches!(event, Event::Renegotiation);
    assert_eq!(count("openssl_renegotiation_12", renegotiation), 1);
    let ticket = |event: &Event| matches!(event, Event::Ticket);
    assert_eq!(count("python_13", ticket), 2);
}

/// See [`as_shipped`].
const LEFT: usize = 512;

/// What the kernel's walker ships: of long records the first bytes, as many as the budget has left, and the last.
fn as_shipped(records: Vec<Shipped>) -> Vec<Shipped> {
    let cut = |mut record: Shipped| {
        let length = record.bytes.len() as u32;
        let whole = RECORDS.whole.contains(&record.bytes[0]);
        if length > RECORDS.short && !whole && !record.lost {
            let last = record.bytes.len() - RECORDS.last as usize;
            record.last = record.bytes[last..].to_vec();
            record.bytes.truncate(LEFT);
        }
        record
    };
    records.into_iter().map(cut).collect()
}

#[test]
fn of_cut_records_the_parts_are_those_of_the_whole() {
    let (mut parts, mut exact) = (0, 0);
    for recording in recordings() {
        let name = &recording.name;
        let mut whole = run(&recording, Secrets::Told, recording.records());
        let mut cut = run(
            &recording,
            Secrets::Labelled,
            as_shipped(recording.records()),
        );
        let closed = (whole.pass(), cut.pass());
        // With everything as long as that, no whole record comes that could prove anything.
        let padded = name == "openssl_padded_13";
        assert!(closed.0 == closed.1 || padded, "{name}: {closed:?}");
        // Where the end of the content was not captured, nobody knows what the record carries.
        let closed = |(_, _, reason): &(_, _, Reason)| match reason {
            Reason::ContentType | Reason::Unproven => padded,
            reason => unread(&recording) > 0 && *reason == Reason::NoKey,
        };
        assert!(
            cut.unopened().iter().all(closed),
            "{name}: {:?}",
            cut.unopened()
        );
        let unopened = cut.unopened().len();
        assert_eq!(unopened > 0, padded || unread(&recording) > 0, "{name}");
        let (whole, cut) = (whole.data(), cut.data());
        assert!(
            (0..=unopened).contains(&(whole.len() - cut.len())),
            "{name}: {} {} {unopened}",
            whole.len(),
            cut.len()
        );
        for (at, part) in cut {
            let full = &whole[&at];
            parts += usize::from(!part.proven);
            assert_eq!(part.content_type, full.content_type, "{name}");
            assert_eq!(part.first, full.first[..part.first.len()], "{name}");
            assert!(
                part.proven || part.first.len() >= full.length.min(480),
                "{name}"
            );
            assert_eq!(
                part.last,
                full.first[part.last_at.min(full.length)..][..part.last.len()],
                "{name}"
            );
            exact += usize::from(!part.proven && part.exact);
            if part.exact {
                assert_eq!(part.length, full.length, "{name}");
            } else {
                assert!(name.contains("_etm_"), "{name}");
                assert!(
                    (full.length..full.length + 256).contains(&part.length),
                    "{name}"
                );
            }
        }
    }
    assert!(
        parts > 50 && exact > 40,
        "{parts} parts, {exact} with their length"
    );
}

#[test]
fn what_is_lost_costs_what_was_in_it_and_no_more() {
    let (mut found, mut costs) = (0, 0);
    for recording in recordings() {
        for cut in [false, true] {
            if cut && recording.name == "openssl_padded_13" {
                // No whole record comes that could prove anything.
                continue;
            }
            let ship = |records| if cut { as_shipped(records) } else { records };
            let mut all = run(&recording, Secrets::Told, ship(recording.records()));
            all.pass();
            let all = all.data();
            let records = recording.records();
            for (number, lost) in records.iter().enumerate() {
                let name = format!("{} without {number}, cut: {cut}", recording.name);
                let mut records = records.clone();
                records[number].lost = true;
                let mut run = run(&recording, Secrets::Labelled, ship(records));
                run.pass();
                let data = run.data();
                for (at, plain) in &data {
                    let full = &all[at];
                    assert_eq!(plain, full, "{name}: another content");
                }
                if all.contains_key(&(lost.from as usize, lost.at)) {
                    // One whose key only the lost record could have proven.
                    let unproven = |one: &&(_, _, Reason)| cut && one.2 == Reason::Unproven;
                    let unproven = run.unopened().iter().filter(unproven).count();
                    costs += unproven;
                    assert_eq!(data.len() + 1 + unproven, all.len(), "{name}");
                    let again = |event: &&Event| matches!(event, Event::Found { .. });
                    found += run.events.iter().filter(again).count();
                }
            }
        }
    }
    assert!(found > 200, "{found} found again");
    assert!(costs < 5, "{costs} others are closed");
}

#[test]
fn what_waits_for_a_secret_is_bounded() {
    let recording = recording("python_13");
    let mut run = Run::new();
    let limit = 4096;
    run.reading = Reading::new(limit);
    let records = recording.records();
    for record in &records {
        run.record(record);
        assert!(run.reading.held() <= limit);
    }
    assert!(run.reading.held() > 0 && run.data().is_empty());
    // The first came too early for their secrets, those behind them are opened.
    let closed = run.unopened();
    assert!(closed.iter().all(|(_, _, reason)| *reason == Reason::NoKey));
    for (label, _, secret) in &recording.keys {
        let told = Told {
            label: Some(*label),
            ..Told::default()
        };
        run.tell(told, secret);
    }
    let all = self::run(&recording, Secrets::Told, records).data();
    let data = run.data();
    assert!(!data.is_empty() && data.len() < all.len());
    for (at, plain) in data {
        assert_eq!(plain, all[&at]);
    }
    assert_eq!(
        (run.reading.held(), run.unopened().len()),
        (0, closed.len())
    );
}

/// xorshift64*: what fails once fails each time.
struct Random(u64);

impl Random {
    fn below(&mut self, bound: usize) -> usize {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        ((self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 33) as usize) % bound.max(1)
    }
}

#[test]
fn whatever_is_lost_or_cut_or_late_no_byte_is_wrong() {
    let mut random = Random(1);
    let (mut opened, mut closed) = (0, 0);
    for recording in recordings() {
        let mut all = run(&recording, Secrets::Told, recording.records());
        all.pass();
        let all = all.data();
        for round in 0..2 {
            let name = format!("{} round {round}", recording.name);
            let mut run = Run::new();
            let mut keys: Vec<_> = recording.keys.iter().collect();
            let losses = random.below(4);
            let mut sides = [VecDeque::new(), VecDeque::new()];
            for mut record in recording.records() {
                let length = record.bytes.len();
                match random.below(12) {
                    0..3 if losses > 0 => {
                        record.lost = random.below(4) < losses;
                    }
                    3..6 => {
                        let last = random.below(length.min(60));
                        record.last = record.bytes[length - last..].to_vec();
                        record.bytes.truncate(5 + random.below(length - 5));
                    }
                    // A bit is another; parts have no tag that would tell.
                    6 if losses > 2 => record.bytes[5 + random.below(length - 5)] ^= 4,
                    _ => {}
                }
                sides[record.from as usize].push_back((record, length));
            }
            while sides.iter().any(|side| !side.is_empty()) || !keys.is_empty() {
                if random.below(3) == 0 && !keys.is_empty() {
                    let (label, _, secret) = keys.remove(random.below(keys.len()));
                    let told = Told {
                        label: (random.below(2) == 0).then_some(*label),
                        ..Told::default()
                    };
                    run.tell(told, secret);
                }
                if let Some((record, length)) = sides[random.below(2)].pop_front() {
                    if record.lost {
                        run.reading.lost(record.from, length as u64);
                    } else {
                        run.record(&record);
                    }
                }
                if random.below(40) == 0 {
                    run.pass();
                }
            }
            run.pass();
            let data = run.data();
            opened += data.len();
            closed += all.len() - data.len();
            for (at, part) in data {
                let full = &all[&at];
                assert_eq!(part.content_type, full.content_type, "{name} {at:?}");
                assert_eq!(part.first, full.first[..part.first.len()], "{name} {at:?}");
                let tail = &full.first[part.last_at.min(full.length)..];
                assert_eq!(part.last, tail[..part.last.len()], "{name} {at:?}");
                assert!(!part.exact || part.length == full.length, "{name} {at:?}");
            }
        }
    }
    assert!(
        opened > 100 && closed > 100,
        "{opened} opened, {closed} closed"
    );
}
