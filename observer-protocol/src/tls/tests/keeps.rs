//! What the candidates keep, and in which order they are tried.

use crate::tls::{
    Candidates, Label, Secret, Told,
    candidates::{Found, Wanted},
};

fn secret(number: u8, length: usize) -> Secret {
    Secret::new(&vec![number; length]).unwrap()
}

fn told(label: Label, client_random: u8, handshake: u64) -> Told {
    Told {
        label: Some(label),
        client_random: (client_random > 0).then_some([client_random; 32]),
        handshake,
    }
}

/// The order in which secrets are tried that open nothing.
fn order(candidates: &mut Candidates, labels: &[Label], random: u8, handshake: u64) -> Vec<u8> {
    let mut order = Vec::new();
    let wanted = Wanted {
        labels,
        length: 32,
        client_random: Some([random; 32]),
        handshake,
        after: 0,
        fresh: false,
    };
    let none: Option<Found<()>> = candidates.find(&wanted, 0, |secret, _| {
        order.push(secret.bytes()[0]);
        None
    });
    assert!(none.is_none());
    order
}

#[test]
fn the_likely_ones_are_tried_first() {
    let mut candidates = Candidates::new(10, 10);
    candidates.add(told(Label::ServerHandshake, 0, 8), secret(1, 32), 0);
    candidates.add(told(Label::ClientHandshake, 5, 9), secret(2, 32), 0);
    candidates.add(told(Label::ServerHandshake, 0, 9), secret(3, 32), 0);
    candidates.add(Told::default(), secret(4, 32), 0);
    candidates.add(told(Label::ServerHandshake, 5, 7), secret(5, 32), 0);
    candidates.add(told(Label::ServerHandshake, 0, 9), secret(6, 48), 0);
    let labels = [Label::ServerHandshake];
    assert_eq!(order(&mut candidates, &labels, 5, 9), [5, 3, 1, 4]);
    // What opened something comes last.
    let wanted = Wanted {
        labels: &labels,
        length: 32,
        client_random: None,
        handshake: 0,
        after: 0,
        fresh: false,
    };
    let found = candidates.find(&wanted, 0, |secret, _| {
        (secret.bytes()[0] == 1).then_some(())
    });
    assert_eq!(found.unwrap().handshake, 8);
    assert_eq!(order(&mut candidates, &labels, 0, 0), [3, 4, 5, 1]);
    assert_eq!(candidates.trials(), 4 + 1 + 4);
}

#[test]
fn what_opened_a_record_is_another_connections_or_the_other_ends() {
    let mut candidates = Candidates::new(10, 10);
    candidates.add(told(Label::ServerHandshake, 0, 0), secret(1, 32), 0);
    candidates.add(told(Label::ServerHandshake, 0, 0), secret(2, 32), 0);
    let mut tried = |random: u8, fresh: bool, right: u8| {
        let mut tried = Vec::new();
        let wanted = Wanted {
            labels: &[Label::ServerHandshake],
            length: 32,
            client_random: (random > 0).then_some([random; 32]),
            handshake: 0,
            after: 0,
            fresh,
        };
        candidates.find(&wanted, 0, |secret, _| {
            tried.push(secret.bytes()[0]);
            (secret.bytes()[0] == right).then_some(())
        });
        tried
    };
    // One end has it after a search, and the other end has the same random.
    assert_eq!(tried(7, true, 2), [1, 2]);
    // Another connection with keys of its own has not this one,
    assert_eq!(tried(8, true, 0), [1]);
    // one that resumes may have,
    assert_eq!(tried(8, false, 0), [1, 2]);
    // and so may one whose random is not known.
    assert_eq!(tried(0, false, 0), [1, 2]);
    assert_eq!(tried(7, true, 2), [2]);
    // Behind the other end it is only a relay's between them, which passes on the same random.
    assert_eq!(tried(8, false, 0), [1]);
    assert_eq!(tried(0, false, 0), [1]);
    assert_eq!(tried(7, true, 2), [2]);
    assert_eq!(tried(7, true, 2), [2]);
    assert_eq!(candidates.len(), 2);
    assert_eq!(candidates.expire(1, 1), 1);
    assert!(candidates.is_empty());
}

#[test]
fn of_what_relays_may_want_a_bounded_number_is_kept() {
    let mut candidates = Candidates::new(1000, 10);
    let wanted = |random: u16| Wanted {
        labels: &[Label::ServerTraffic],
        length: 32,
        client_random: Some(std::array::from_fn(|at| random.to_be_bytes()[at % 2])),
        handshake: 0,
        after: 0,
        fresh: true,
    };
    let bytes = |number: u16| -> Secret {
        let bytes: [u8; 32] = std::array::from_fn(|at| number.to_be_bytes()[at % 2]);
        Secret::new(&bytes).unwrap()
    };
    let find = |candidates: &mut Candidates, number: u16| {
        let right = bytes(number);
        let found = candidates.find(&wanted(number), 0, |secret, _| {
            secret.is(&right).then_some(())
        });
        found.is_some()
    };
    for number in 0..600 {
        candidates.add(told(Label::ServerTraffic, 0, 0), bytes(number), 0);
        assert!(find(&mut candidates, number) && find(&mut candidates, number));
    }
    assert_eq!((candidates.len(), candidates.dropped()), (512, 0));
    let relayed = (0..600).filter(|number| find(&mut candidates, *number));
    let last: Vec<u16> = (88..600).collect();
    assert_eq!(relayed.collect::<Vec<u16>>(), last);
    // What the other end tells late of these is no new one; of what went it is.
    for number in [88, 599, 87] {
        candidates.add(told(Label::ServerTraffic, 0, 0), bytes(number), 0);
    }
    assert_eq!(candidates.len(), 513);
    let before = candidates.trials();
    assert!(find(&mut candidates, 87));
    assert_eq!(candidates.trials(), before + 1);
}

#[test]
fn what_both_ends_tell_is_kept_once_and_the_eldest_goes_first() {
    let mut candidates = Candidates::new(3, 1);
    for number in [1, 2, 1, 3, 4] {
        candidates.add(told(Label::ServerTraffic, 0, 0), secret(number, 32), 0);
    }
    candidates.add(told(Label::Master, 0, 0), secret(9, 48), 0);
    assert_eq!((candidates.len(), candidates.dropped()), (4, 1));
    let labels = [Label::ServerTraffic];
    assert_eq!(order(&mut candidates, &labels, 0, 0), [2, 3, 4]);
}

#[test]
fn secrets_expire_by_kind_and_use() {
    let mut candidates = Candidates::new(10, 10);
    candidates.add(told(Label::ServerTraffic, 0, 0), secret(1, 32), 10);
    candidates.add(told(Label::Master, 0, 0), secret(2, 48), 10);
    // One without a label that turns out to be TLS 1.2's.
    candidates.add(Told::default(), secret(3, 48), 10);
    let wanted = Wanted {
        labels: &[Label::Master],
        length: 48,
        client_random: None,
        handshake: 0,
        after: 0,
        fresh: false,
    };
    let found = candidates.find(&wanted, 20, |secret, _| {
        (secret.bytes()[0] == 3).then_some(())
    });
    assert!(found.is_some());
    assert_eq!(candidates.expire(30, 15), 2);
    assert_eq!(candidates.len(), 1);
    assert_eq!(candidates.expire(30, 30), 0);
    assert!(candidates.is_empty());
}

#[test]
fn labels_are_those_of_the_key_log() {
    let read = |label: &str| Label::read(label.as_bytes());
    assert_eq!(read("CLIENT_RANDOM"), Some(Label::Master));
    assert_eq!(read("SERVER_TRAFFIC_SECRET_0"), Some(Label::ServerTraffic));
    assert_eq!(read("CLIENT_TRAFFIC_SECRET_12"), Some(Label::ClientTraffic));
    assert_eq!(read("CLIENT_TRAFFIC_SECRET_N"), Some(Label::ClientTraffic));
    for none in [
        "EXPORTER_SECRET",
        "CLIENT_TRAFFIC_SECRET_",
        "CLIENT_TRAFFIC_SECRET_X",
        "",
    ] {
        assert_eq!(read(none), None);
    }
    assert!(Secret::new(&[0; 31]).is_none() && Secret::new(&[0; 49]).is_none());
}
