//! Both ends of a TLS connection in memory: what they send, and the secrets that a library tells.

use std::{
    io::{Read, Write},
    sync::{Arc, Mutex, OnceLock},
};

use observer_protocol::tls::{Label, Secret, Told};
use rcgen::{CertifiedKey, generate_simple_self_signed};
use rustls::{
    ClientConfig, ClientConnection, RootCertStore, ServerConfig, ServerConnection,
    SupportedProtocolVersion,
    crypto::ring,
    pki_types::{CertificateDer, PrivateKeyDer},
};

pub(super) use rustls::version::{TLS12, TLS13};

/// Who speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum From {
    Client,
    Server,
}

/// What a connection is like.
#[derive(Clone)]
pub(super) struct Setting {
    pub(super) version: &'static SupportedProtocolVersion,
    pub(super) alpn: Vec<&'static str>,
    /// What the client offers before these.
    pub(super) offers: Vec<&'static str>,
    /// Which of what is said is damaged on its way: who reads it ends the connection.
    pub(super) damaged: Option<usize>,
    /// The client does not know the certificate.
    pub(super) refused: bool,
}

impl Setting {
    pub(super) fn of(version: &'static SupportedProtocolVersion) -> Self {
        Self {
            version,
            alpn: vec!["http/1.1"],
            offers: Vec::new(),
            damaged: None,
            refused: false,
        }
    }
}

/// Keeps what a library would tell.
#[derive(Debug, Default)]
struct Log(Mutex<Vec<(Label, Vec<u8>)>>);

impl rustls::KeyLog for Log {
    fn log(&self, label: &str, _client_random: &[u8], secret: &[u8]) {
        if let Some(label) = Label::read(label.as_bytes()) {
            self.0.lock().unwrap().push((label, secret.to_vec()));
        }
    }
}

fn certificate() -> &'static CertifiedKey<rcgen::KeyPair> {
    static MADE: OnceLock<CertifiedKey<rcgen::KeyPair>> = OnceLock::new();
    MADE.get_or_init(|| generate_simple_self_signed(["shop.example".to_owned()]).unwrap())
}

/// What went over the wire, in order, and what the library told.
#[derive(Clone)]
pub(super) struct Wire {
    pub(super) turns: Vec<(From, Vec<u8>)>,
    pub(super) secrets: Vec<(Label, Vec<u8>)>,
}

impl Wire {
    /// A connection on which this is said, and which both ends close in order.
    pub(super) fn new(setting: &Setting, said: &[(From, Vec<u8>)]) -> Self {
        let log = Arc::new(Log::default());
        let provider = Arc::new(ring::default_provider());
        let made = certificate();
        let key = PrivateKeyDer::try_from(made.signing_key.serialize_der()).unwrap();
        let der = CertificateDer::from(made.cert.der().to_vec());
        let mut roots = RootCertStore::empty();
        if !setting.refused {
            roots.add(der.clone()).unwrap();
        }
        let alpn: Vec<Vec<u8>> = setting
            .alpn
            .iter()
            .map(|name| name.as_bytes().to_vec())
            .collect();
        let mut client = ClientConfig::builder_with_provider(Arc::clone(&provider))
            .with_protocol_versions(&[setting.version])
            .unwrap()
            .with_root_certificates(roots)
            .with_no_client_auth();
        let offers = setting.offers.iter();
        client.alpn_protocols = offers.map(|name| name.as_bytes().to_vec()).collect();
        client.alpn_protocols.extend_from_slice(&alpn);
        let mut server = ServerConfig::builder_with_provider(provider)
            .with_protocol_versions(&[setting.version])
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![der], key)
            .unwrap();
        server.alpn_protocols = alpn;
        server.key_log = Arc::clone(&log) as Arc<dyn rustls::KeyLog>;
        let name = "shop.example".try_into().unwrap();
        let mut client = ClientConnection::new(Arc::new(client), name).unwrap();
        let mut server = ServerConnection::new(Arc::new(server)).unwrap();
        client.set_buffer_limit(None);
        server.set_buffer_limit(None);
        let mut turns = Vec::new();
        let mut carry =
            |client: &mut ClientConnection, server: &mut ServerConnection, mut damages: bool| {
                loop {
                    let mut moved = false;
                    for from in [From::Client, From::Server] {
                        let mut bytes = Vec::new();
                        match from {
                            From::Client => {
                                while client.wants_write() {
                                    client.write_tls(&mut bytes).unwrap();
                                }
                            }
                            From::Server => {
                                while server.wants_write() {
                                    server.write_tls(&mut bytes).unwrap();
                                }
                            }
                        }
                        if bytes.is_empty() {
                            continue;
                        }
                        moved = true;
                        if std::mem::take(&mut damages)
                            && let Some(last) = bytes.last_mut()
                        {
                            *last ^= 1;
                        }
                        let mut left = &bytes[..];
                        let mut read = Vec::new();
                        while !left.is_empty() {
                            // Where one refuses the other's certificate, that one's alert is still to be sent.
                            match from {
                                From::Client => {
                                    server.read_tls(&mut left).unwrap();
                                    let _ = server.process_new_packets();
                                    let _ = server.reader().read_to_end(&mut read);
                                }
                                From::Server => {
                                    client.read_tls(&mut left).unwrap();
                                    let _ = client.process_new_packets();
                                    let _ = client.reader().read_to_end(&mut read);
                                }
                            }
                        }
                        turns.push((from, bytes));
                    }
                    if !moved {
                        return;
                    }
                }
            };
        carry(&mut client, &mut server, false);
        for (number, (from, bytes)) in said.iter().enumerate() {
            match from {
                From::Client => client.writer().write_all(bytes).unwrap(),
                From::Server => server.writer().write_all(bytes).unwrap(),
            }
            carry(&mut client, &mut server, setting.damaged == Some(number));
        }
        if !setting.refused && setting.damaged.is_none() {
            server.send_close_notify();
            carry(&mut client, &mut server, false);
        }
        let secrets = log.0.lock().unwrap().clone();
        Self { turns, secrets }
    }

    /// What the library told, in its order.
    pub(super) fn told(&self) -> impl Iterator<Item = (Told, Secret)> + '_ {
        self.secrets.iter().map(|(label, secret)| {
            let told = Told {
                label: Some(*label),
                ..Told::default()
            };
            (told, Secret::new(secret).unwrap())
        })
    }
}
