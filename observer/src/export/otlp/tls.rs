//! Certificates: whom to trust, and who we are.

use std::sync::Arc;

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ClientConfig, RootCertStore};

use super::variables::{ConfigError, Found};

const CERTIFICATES: &str = "path of a PEM file with one or more certificates";
const KEY: &str = "path of a PEM file with one private key";

/// PEM texts, read and checked when the configuration is read.
#[derive(Clone, Default)]
pub struct TlsFiles {
    /// Trusted instead of the system's roots.
    pub(super) roots: Option<Vec<u8>>,
    /// Client certificate chain and its key.
    pub(super) identity: Option<(Vec<u8>, Vec<u8>)>,
}

impl std::fmt::Debug for TlsFiles {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("TlsFiles")
            .field("roots", &self.roots.is_some())
            .field("identity", &self.identity.is_some())
            .finish()
    }
}

impl TlsFiles {
    /// Reads the files. A client certificate needs its key and the other way round.
    pub(super) fn read(
        roots: Option<Found>,
        certificate: Option<Found>,
        key: Option<Found>,
    ) -> Result<Self, ConfigError> {
        let roots = roots.map(|found| read_certificates(&found)).transpose()?;
        let identity = match (certificate, key) {
            (None, None) => None,
            (Some(certificate), Some(key)) => {
                let chain = read_certificates(&certificate)?;
                let text = read_file(&key, KEY)?;
                PrivateKeyDer::from_pem_slice(&text)
                    .map_err(|error| key.error(format!("no private key: {error}"), KEY))?;
                Some((chain, text))
            }
            (Some(found), None) => {
                return Err(found.error("a client certificate without its key", KEY));
            }
            (None, Some(found)) => {
                return Err(found.error("a client key without its certificate", CERTIFICATES));
            }
        };
        Ok(Self { roots, identity })
    }

    /// For OTLP/HTTP. Without `secure` nothing is loaded, so that a machine without any root certificates can
    /// still send plain HTTP.
    pub(super) fn client_config(&self, secure: bool) -> anyhow::Result<ClientConfig> {
        let builder =
            ClientConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
                .with_safe_default_protocol_versions()?;
        let mut store = RootCertStore::empty();
        match &self.roots {
            _ if !secure => {}
            Some(pem) => {
                for certificate in CertificateDer::pem_slice_iter(pem) {
                    store.add(certificate?)?;
                }
            }
            None => {
                let loaded = rustls_native_certs::load_native_certs();
                store.add_parsable_certificates(loaded.certs);
                anyhow::ensure!(
                    !store.is_empty(),
                    "an https endpoint needs trusted certificates and this system has none: install its \
                     ca-certificates or set OTEL_EXPORTER_OTLP_CERTIFICATE"
                );
            }
        }
        let builder = builder.with_root_certificates(store);
        Ok(match &self.identity {
            Some((chain, key)) if secure => builder.with_client_auth_cert(
                CertificateDer::pem_slice_iter(chain).collect::<Result<_, _>>()?,
                PrivateKeyDer::from_pem_slice(key)?,
            )?,
            _ => builder.with_no_client_auth(),
        })
    }
}

fn read_file(found: &Found, accepted: &'static str) -> Result<Vec<u8>, ConfigError> {
    std::fs::read(&found.value)
        .map_err(|error| found.error(format!("can't be read: {error}"), accepted))
}

fn read_certificates(found: &Found) -> Result<Vec<u8>, ConfigError> {
    let text = read_file(found, CERTIFICATES)?;
    let certificates = CertificateDer::pem_slice_iter(&text)
        .collect::<Result<Vec<_>, _>>()
        .map_err(|error| found.error(format!("not PEM: {error}"), CERTIFICATES))?;
    if certificates.is_empty() {
        return Err(found.error("holds no certificate", CERTIFICATES));
    }
    Ok(text)
}
