//! Connections of real programs (`observer-protocol/tests/recordings`), however their bytes are cut: what is said is what they
//! said, to the byte, in order.
#![allow(clippy::unwrap_used, reason = "tests panic, they don't return errors")]

use std::{fs, path::Path};

use observer_protocol::tls::{Candidates, Label, Secret, Told};

use super::{Piece, Said, Session};
use crate::{exchange::Call, identity::ProcessKey};

struct Recording {
    name: String,
    keys: Vec<(Label, Vec<u8>)>,
    /// What client and server said, bytes.
    said: [usize; 2],
    /// 0 is the client.
    turns: Vec<(usize, Vec<u8>)>,
}

fn unhex(text: &str) -> Vec<u8> {
    (0..text.len() / 2)
        .map(|at| u8::from_str_radix(&text[2 * at..2 * at + 2], 16).unwrap())
        .collect()
}

fn recordings() -> Vec<Recording> {
    let folder =
        Path::new(env!("CARGO_MANIFEST_DIR")).join("../observer-protocol/tests/recordings");
    let files = fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path());
    let all: Vec<_> = files
        .filter(|path| path.extension().is_some_and(|end| end == "txt"))
        .map(|path| {
            let mut recording = Recording {
                name: path.file_stem().unwrap().to_string_lossy().into_owned(),
                keys: Vec::new(),
                said: [0; 2],
                turns: Vec::new(),
            };
            for line in fs::read_to_string(&path).unwrap().lines() {
                match line.split(' ').collect::<Vec<_>>()[..] {
                    ["key", label, _, secret] => {
                        let label = Label::read(label.as_bytes());
                        recording
                            .keys
                            .extend(label.map(|label| (label, unhex(secret))));
                    }
                    ["said", side, count] => {
                        recording.said[usize::from(side == "s")] = count.parse().unwrap();
                    }
                    ["c", bytes] => recording.turns.push((0, unhex(bytes))),
                    ["s", bytes] => recording.turns.push((1, unhex(bytes))),
                    _ => {}
                }
            }
            recording
        })
        .collect();
    assert!(all.len() >= 36, "{} recordings", all.len());
    all
}

/// What the recorder has a side say.
fn pattern(side: usize, count: usize) -> Vec<u8> {
    let word = ["client", "server"][side];
    let mut text: Vec<u8> = (0..count / 16 + 1)
        .flat_map(|line| format!("{line:08} {word}\n").into_bytes())
        .collect();
    text.truncate(count);
    text
}

const fn call(time_ns: u64) -> Call {
    Call {
        time_ns,
        process: ProcessKey {
            tgid: 1,
            start_ns: 1,
        },
        tid: 1,
    }
}

struct Run {
    session: Session,
    secrets: Candidates,
    /// What each side said, and where it is not certain.
    said: [Vec<u8>; 2],
    times: [Vec<(u64, u64)>; 2],
    closed: usize,
}

impl Run {
    fn new(session: Session) -> Self {
        Self {
            session,
            secrets: Candidates::new(64, 64),
            said: Default::default(),
            times: Default::default(),
            closed: 0,
        }
    }

    fn tell(&mut self, recording: &Recording) {
        for (label, secret) in &recording.keys {
            let told = Told {
                label: Some(*label),
                ..Told::default()
            };
            self.secrets.add(told, Secret::new(secret).unwrap(), 0);
            self.session.told(&mut self.secrets, 0);
            self.take();
        }
    }

    fn take(&mut self) {
        while let Some(said) = self.session.next() {
            match said {
                Said::Data(data) => {
                    let said = &mut self.said[data.direction];
                    assert_eq!(data.start, said.len() as u64);
                    assert!(data.is_certain);
                    assert_eq!(data.length, data.first.len() as u64);
                    said.extend_from_slice(&data.first);
                    assert!(data.begun.time_ns <= data.ended.time_ns);
                    self.times[data.direction].push((data.begun.time_ns, data.ended.time_ns));
                }
                Said::Closed(_) => self.closed += 1,
                Said::Handshake(_) | Said::Failed(..) => {}
            }
        }
    }
}

#[test]
fn what_is_said_is_what_was_said_however_it_is_cut_and_whenever_the_secrets_come() {
    for recording in recordings() {
        if recording.name.contains("early_refused") {
            continue;
        }
        for size in [usize::MAX, 1, 5, 1000] {
            for late in [0, 2, usize::MAX] {
                for client in [None, Some(0)] {
                    let name = format!("{} {size} {late}", recording.name);
                    let mut run = Run::new(Session::new(client, call(0)));
                    let mut ends = [0, 0];
                    let mut now = 0;
                    for (turn, (side, bytes)) in recording.turns.iter().enumerate() {
                        if turn == late {
                            run.tell(&recording);
                        }
                        for bytes in bytes.chunks(size.min(bytes.len().max(1))) {
                            now += 1;
                            let start = ends[*side];
                            ends[*side] += bytes.len() as u64;
                            let piece = Piece {
                                start,
                                bytes,
                                end: ends[*side],
                                counted: true,
                                call: call(now),
                            };
                            run.session.piece(*side, &piece, &mut run.secrets);
                            run.take();
                        }
                    }
                    if late == usize::MAX {
                        run.tell(&recording);
                    }
                    assert_eq!(run.closed, 0, "{name}");
                    assert!(!run.session.waits(), "{name}");
                    for side in [0, 1] {
                        assert!(
                            run.said[side] == pattern(side, recording.said[side]),
                            "{name}: {side} said something else"
                        );
                        assert!(run.times[side].is_sorted(), "{name}");
                    }
                }
            }
        }
    }
}
