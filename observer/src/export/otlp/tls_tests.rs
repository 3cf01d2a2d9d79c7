use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};

use rcgen::{CertifiedKey, KeyPair, generate_simple_self_signed};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;
use tonic::transport::{Certificate, Identity, ServerTlsConfig};

use super::receiver::{Script, grpc, http_on, until};
use super::tests::{config, spans, start};
use super::*;

/// A self-signed certificate and its key, PEM, also as files.
struct Party {
    certificate: String,
    key: String,
    certificate_file: PathBuf,
    key_file: PathBuf,
}

impl Party {
    fn new(name: &str) -> Self {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let CertifiedKey::<KeyPair> { cert, signing_key } =
            generate_simple_self_signed([name.to_owned()]).unwrap();
        let number = NUMBER.fetch_add(1, Relaxed);
        let file = |kind| {
            std::env::temp_dir().join(format!(
                "observer-tls-test-{}-{number}-{kind}.pem",
                std::process::id()
            ))
        };
        let party = Self {
            certificate: cert.pem(),
            key: signing_key.serialize_pem(),
            certificate_file: file("certificate"),
            key_file: file("key"),
        };
        std::fs::write(&party.certificate_file, &party.certificate).unwrap();
        std::fs::write(&party.key_file, &party.key).unwrap();
        party
    }

    fn certificate_path(&self) -> &str {
        self.certificate_file.to_str().unwrap()
    }

    fn key_path(&self) -> &str {
        self.key_file.to_str().unwrap()
    }
}

impl Drop for Party {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.certificate_file);
        let _ = std::fs::remove_file(&self.key_file);
    }
}

struct TlsListener {
    tcp: TcpListener,
    acceptor: TlsAcceptor,
}

impl axum::serve::Listener for TlsListener {
    type Io = TlsStream<TcpStream>;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (Self::Io, SocketAddr) {
        loop {
            let (stream, address) = self.tcp.accept().await.unwrap();
            if let Ok(stream) = self.acceptor.accept(stream).await {
                return (stream, address);
            }
        }
    }

    fn local_addr(&self) -> std::io::Result<SocketAddr> {
        self.tcp.local_addr()
    }
}

async fn https(script: Arc<Script>, server: &Party, client: Option<&Party>) -> SocketAddr {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = rustls::ServerConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()
        .unwrap();
    let builder = match client {
        None => builder.with_no_client_auth(),
        Some(client) => {
            let mut roots = rustls::RootCertStore::empty();
            roots
                .add(CertificateDer::from_pem_slice(client.certificate.as_bytes()).unwrap())
                .unwrap();
            let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider);
            builder.with_client_cert_verifier(verifier.build().unwrap())
        }
    };
    let chain = vec![CertificateDer::from_pem_slice(server.certificate.as_bytes()).unwrap()];
    let key = PrivateKeyDer::from_pem_slice(server.key.as_bytes()).unwrap();
    let acceptor = TlsAcceptor::from(Arc::new(builder.with_single_cert(chain, key).unwrap()));
    let tcp = TcpListener::bind("127.0.0.1:0").await.unwrap();
    http_on(TlsListener { tcp, acceptor }, script)
}

async fn grpc_tls(script: Arc<Script>, server: &Party, client: Option<&Party>) -> SocketAddr {
    let mut tls =
        ServerTlsConfig::new().identity(Identity::from_pem(&server.certificate, &server.key));
    if let Some(client) = client {
        tls = tls.client_ca_root(Certificate::from_pem(&client.certificate));
    }
    grpc(script, Some(tls)).await
}

/// Sends three spans with these variables and tells what became of them and why the first attempt failed.
async fn outcome(
    protocol: &str,
    server: &Party,
    client: Option<&Party>,
    vars: &[(&str, &str)],
) -> SignalCounters {
    let script = Script::new([]);
    let address = match protocol {
        "grpc" => grpc_tls(Arc::clone(&script), server, client).await,
        _ => https(Arc::clone(&script), server, client).await,
    };
    let total = ("OTEL_BSP_EXPORT_TIMEOUT", "300");
    let vars: Vec<_> = vars.iter().copied().chain([total]).collect();
    let exporter = start(config(&format!("https://{address}"), protocol, &vars));
    exporter.enqueue(spans(3));
    until("the spans are settled", || {
        exporter.counters().queue_spans == 0
    })
    .await;
    let counters = exporter.counters().traces;
    assert_eq!(script.spans() as u64, counters.sent);
    counters
}

const CERTIFICATE: &str = "OTEL_EXPORTER_OTLP_CERTIFICATE";
const CLIENT_CERTIFICATE: &str = "OTEL_EXPORTER_OTLP_CLIENT_CERTIFICATE";
const CLIENT_KEY: &str = "OTEL_EXPORTER_OTLP_CLIENT_KEY";

#[tokio::test]
async fn a_backend_with_the_configured_certificate_is_trusted_and_no_other() {
    let (server, stranger) = (Party::new("127.0.0.1"), Party::new("127.0.0.1"));
    let other_name = Party::new("example.com");
    for protocol in ["grpc", "http/protobuf"] {
        let trusted = [(CERTIFICATE, server.certificate_path())];
        let counters = outcome(protocol, &server, None, &trusted).await;
        assert_eq!(
            counters,
            SignalCounters {
                sent: 3,
                ..SignalCounters::default()
            },
            "{protocol}"
        );
        let counters = outcome(protocol, &stranger, None, &trusted).await;
        assert_eq!(
            (counters.sent, counters.dropped_unreachable),
            (0, 3),
            "{protocol}"
        );
        let wrong_name = [(CERTIFICATE, other_name.certificate_path())];
        let counters = outcome(protocol, &other_name, None, &wrong_name).await;
        assert_eq!(
            (counters.sent, counters.dropped_unreachable),
            (0, 3),
            "{protocol}"
        );
    }
}

#[tokio::test]
async fn a_client_certificate_is_shown_to_a_backend_that_asks() {
    let (server, client) = (Party::new("127.0.0.1"), Party::new("observer"));
    for protocol in ["grpc", "http/protobuf"] {
        let with = [
            (CERTIFICATE, server.certificate_path()),
            (CLIENT_CERTIFICATE, client.certificate_path()),
            (CLIENT_KEY, client.key_path()),
        ];
        let counters = outcome(protocol, &server, Some(&client), &with).await;
        assert_eq!(counters.sent, 3, "{protocol}");
        let counters = outcome(protocol, &server, Some(&client), &with[..1]).await;
        assert_eq!(
            (counters.sent, counters.dropped_unreachable),
            (0, 3),
            "{protocol}"
        );
    }
}

#[test]
fn certificate_files_that_make_no_sense_are_errors() {
    let party = Party::new("a");
    let message = |vars: &[(&str, &str)]| {
        let read = |name: &str| {
            vars.iter()
                .find(|(key, _)| *key == name)
                .map(|(_, value)| (*value).to_owned())
        };
        let overrides = OtlpOverrides {
            endpoint: Some("https://c:4317".into()),
            ..OtlpOverrides::default()
        };
        OtlpConfig::from_env_and(overrides, read)
            .unwrap_err()
            .to_string()
    };
    assert!(message(&[(CERTIFICATE, party.key_path())]).contains("holds no certificate"));
    let half = message(&[(CLIENT_CERTIFICATE, party.certificate_path())]);
    assert!(half.contains("without its key"), "{half}");
    assert!(message(&[(CLIENT_KEY, party.key_path())]).contains("without its certificate"));
    let swapped = [
        (CLIENT_CERTIFICATE, party.certificate_path()),
        (CLIENT_KEY, party.certificate_path()),
    ];
    assert!(message(&swapped).contains("no private key"));
}
