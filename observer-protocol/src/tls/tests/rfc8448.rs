//! RFC 8448 section 3, "Simple 1-RTT Handshake": secrets, keys and records of the trace.

use super::unhex;
use crate::tls::{
    ContentType, Record, Secret, Suite,
    key::Key,
    schedule::{expand_label, next_generation},
    suite::Hash,
};

const CLIENT_HANDSHAKE: &str = "b3eddb126e067f35a780b3abf45e2d8f3b1a950738f52e9600746a0e27a55a21";
const CLIENT_TRAFFIC: &str = "9e40646ce79a7f9dc05af8889bce6552875afa0b06df0087f792ebb7c17504a5";
const SERVER_TRAFFIC: &str = "a11af9f05531f856ad47116b45a950328204b4f44bfb6b3a4b4f1f3fcb631643";

#[test]
fn traffic_secrets_give_the_trace_s_keys() {
    let keys = [
        (
            CLIENT_HANDSHAKE,
            "dbfaa693d1762c5b666af5d950258d01",
            "5bd3c71b836e0b76bb73265f",
        ),
        (
            "b67b7d690cc16c4e75e54213cb2d37b4e9c912bcded9105d42befd59d391ad38",
            "3fce516009c21727d0f2e4e86ee403bc",
            "5d313eb2671276ee13000b30",
        ),
        (
            CLIENT_TRAFFIC,
            "17422dda596ed5d9acd890e3c63f5051",
            "5b78923dee08579033e523d9",
        ),
        (
            SERVER_TRAFFIC,
            "9f02283b6c9c07efc26bb9f2ac92e356",
            "cf782b88dd83549aadf1e984",
        ),
    ];
    for (secret, key, iv) in keys {
        let (mut a, mut b) = ([0; 16], [0; 12]);
        expand_label(Hash::Sha256, &unhex(secret), "key", &mut a);
        expand_label(Hash::Sha256, &unhex(secret), "iv", &mut b);
        assert_eq!((&a[..], &b[..]), (&unhex(key)[..], &unhex(iv)[..]));
    }
}

fn key(secret: &str) -> Key {
    let secret = Secret::new(&unhex(secret)).unwrap();
    Key::of_traffic_secret(Suite::of(0x1301).unwrap(), &secret).unwrap()
}

#[test]
fn the_trace_s_records_open() {
    let fifty: Vec<u8> = (0..50).collect();
    let records = [
        (
            CLIENT_TRAFFIC,
            0,
            "17 03 03 00 43 a2 3f 70 54 b6 2c 94 d0 af fa fe 82 28 ba 55 cb ef ac ea 42 f9 14 aa 66 bc ab 3f 2b 98 19 a8 a5 b4
             6b 39 5b d5 4a 9a 20 44 1e 2b 62 97 4e 1f 5a 62 92 a2 97 70 14 bd 1e 3d ea e6 3a ee bb 21 69 49 15 e4",
            ContentType::ApplicationData,
            Some(&fifty[..]),
        ),
        (
            CLIENT_TRAFFIC,
            1,
            "17 03 03 00 13 c9 87 27 60 65 56 66 b7 4d 7f f1 15 3e fd 6d b6 d0 b0 e3",
            ContentType::Alert,
            Some(&[1, 0]),
        ),
        (
            SERVER_TRAFFIC,
            1,
            "17 03 03 00 43 2e 93 7e 11 ef 4a c7 40 e5 38 ad 36 00 5f c4 a4 69 32 fc 32 25 d0 5f 82 aa 1b 36 e3 0e fa f9 7d 90
             e6 df fc 60 2d cb 50 1a 59 a8 fc c4 9c 4b f2 e5 f0 a2 1c 00 47 c2 ab f3 32 54 0d d0 32 e1 67 c2 95 5d",
            ContentType::ApplicationData,
            Some(&fifty[..]),
        ),
        (
            CLIENT_HANDSHAKE,
            0,
            "17 03 03 00 35 75 ec 4d c2 38 cc e6 0b 29 80 44 a7 1e 21 9c 56 cc 77 b0 51 7f e9 b9 3c 7a 4b fc 44 d8 7f 38 f8 03
             38 ac 98 fc 46 de b3 84 bd 1c ae ac ab 68 67 d7 26 c4 05 46",
            ContentType::Handshake,
            None,
        ),
    ];
    for (secret, number, record, content_type, content) in records {
        let mut bytes = unhex(record);
        let record = Record::new(0, &bytes, &[]).unwrap();
        let key = key(secret);
        let plain = key.open(number, &record).unwrap();
        assert!(plain.proven);
        assert_eq!(plain.content_type, Some(content_type));
        match content {
            Some(content) => assert_eq!(plain.first, content),
            // A Finished of SHA-256.
            None => assert_eq!(plain.first[..4], [20, 0, 0, 32]),
        }
        // Not with another number, nor with a bit changed.
        assert_eq!(key.open(number + 1, &record), None);
        for at in 5..bytes.len() {
            bytes[at] ^= 1;
            let record = Record::new(0, &bytes, &[]).unwrap();
            assert_eq!(key.open(number, &record), None);
            bytes[at] ^= 1;
        }
    }
}

/// Computed by Python's `hmac` from the definition (RFC 8446 sections 7.1 and 7.2).
#[test]
fn a_generation_follows_the_other_as_hkdf_computes_it() {
    let table = [
        (
            Hash::Sha256,
            32,
            "e4e9fd5395b1b2c12d57c49ca803ccab1944c4b7404cffb80eae7a8737708e4c",
            "7f4c64e89fb7124f0c5d3f8d327b6bac8815adb33df26771bb4df02198702e12",
        ),
        (
            Hash::Sha384,
            48,
            "76eb5e0655ece81316ee028f0064bd573f0d57551094dd89316ce1d0f194da645649f31bf6f077cbf870aa584ca16022",
            "a22e25e23a82d4a4152cedd6e201a9f0f1032d2fb2475f639c65bec8740fabc93a425fe938e4c053ffbdb8b3ddf2feed",
        ),
    ];
    for (hash, length, second, third) in table {
        let first = Secret::new(&vec![7; length]).unwrap();
        let found = next_generation(hash, &first).unwrap();
        assert_eq!(found.bytes(), unhex(second));
        assert_eq!(next_generation(hash, &found).unwrap().bytes(), unhex(third));
    }
}
