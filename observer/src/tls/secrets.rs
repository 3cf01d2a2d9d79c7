//! From a slot of the kernel's to what a shard takes.

use observer_abi::secret::{SecretSlot, label};
use observer_protocol::tls::{Label, Secret, Told};

/// What a slot tells; `None` where it holds no secret.
///
/// The copy is the caller's to hand on: it is wiped when it is dropped.
pub fn read(slot: &SecretSlot) -> Option<(Told, Secret)> {
    let length = usize::try_from(slot.length).ok()?;
    let bytes = slot.secret.get(..length)?;
    // A page that was not there reads as zeroes; no secret is all zero.
    if bytes.iter().all(|byte| *byte == 0) {
        return None;
    }
    let told = Told {
        label: purpose(slot.label),
        client_random: (slot.has_random != 0).then_some(slot.client_random),
        handshake: slot.handshake,
    };
    Some((told, Secret::new(bytes)?))
}

/// What a secret with this number of a label is for.
const fn purpose(number: u32) -> Option<Label> {
    Some(match number {
        label::MASTER => Label::Master,
        label::CLIENT_EARLY => Label::ClientEarly,
        label::CLIENT_HANDSHAKE => Label::ClientHandshake,
        label::SERVER_HANDSHAKE => Label::ServerHandshake,
        label::CLIENT_TRAFFIC => Label::ClientTraffic,
        label::SERVER_TRAFFIC => Label::ServerTraffic,
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use observer_abi::secret::LONGEST;

    use crate::tls::{key_labels, points};

    fn slot(label: u32, length: u32) -> SecretSlot {
        SecretSlot {
            time_ns: 1,
            handshake: 7,
            tgid: 2,
            label,
            length,
            has_random: 1,
            client_random: [3; 32],
            secret: [4; LONGEST],
            reserved: [0; 2],
        }
    }

    #[test]
    fn every_label_comes_out_as_what_the_library_wrote() {
        for written in points::Label::ALL {
            let number = key_labels::number(written);
            let expected = Label::read(written.text().as_bytes());
            assert_eq!(purpose(number), expected, "{}", written.text());
            // What opens nothing is not even told by the kernel.
            assert_eq!(number == label::OPENS_NOTHING, expected.is_none());
        }
    }

    #[test]
    fn a_slot_is_read_with_what_the_library_said() {
        let (told, _) = read(&slot(label::SERVER_HANDSHAKE, 32)).unwrap();
        assert_eq!(told.label, Some(Label::ServerHandshake));
        assert_eq!(told.client_random, Some([3; 32]));
        assert_eq!(told.handshake, 7);
        let without = SecretSlot {
            has_random: 0,
            ..slot(label::UNKNOWN, 48)
        };
        let (told, _) = read(&without).unwrap();
        assert_eq!((told.label, told.client_random), (None, None));
    }

    #[test]
    fn what_holds_no_secret_is_none() {
        assert!(read(&slot(label::MASTER, 0)).is_none());
        assert!(read(&slot(label::MASTER, 31)).is_none());
        assert!(read(&slot(label::MASTER, u32::MAX)).is_none());
        let empty = SecretSlot {
            secret: [0; LONGEST],
            ..slot(label::MASTER, 48)
        };
        assert!(read(&empty).is_none());
    }
}
