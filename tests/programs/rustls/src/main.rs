//! The test service on rustls: `serve CERTIFICATES PORT`, or its client, reqwest: `get VERSION CERTIFICATES URL PATH...`.
//!
//! CERTIFICATES is a folder with cert.pem and key.pem, VERSION is 1.2 or 1.3. The client asks URL for each PATH by GET, or
//! sends so many bytes by POST where the path is /echo/BYTES; it writes a line for each answer: status, bytes of its body, path.

use std::error::Error;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::sync::Arc;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
#[cfg(feature = "aws-lc")]
use rustls::crypto::aws_lc_rs::default_provider;
#[cfg(feature = "ring")]
use rustls::crypto::ring::default_provider;
use rustls::crypto::{verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime, pem::PemObject};
use rustls::{
    CertificateError, ClientConfig, DigitallySignedStruct, ServerConfig, ServerConnection,
    SignatureScheme, StreamOwned, version,
};

type Result<T> = std::result::Result<T, Box<dyn Error>>;

fn main() -> Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match arguments[..] {
        ["serve", certificates, port] => serve(certificates, port.parse()?),
        ["get", version, certificates, url, ref paths @ ..] => {
            get(version, certificates, url, paths)
        }
        _ => Err("serve CERTIFICATES PORT, or get VERSION CERTIFICATES URL PATH...".into()),
    }
}

fn serve(certificates: &str, port: u16) -> Result<()> {
    let chain = vec![CertificateDer::from_pem_file(format!(
        "{certificates}/cert.pem"
    ))?];
    let key = PrivateKeyDer::from_pem_file(format!("{certificates}/key.pem"))?;
    let config = ServerConfig::builder_with_provider(Arc::new(default_provider()))
        .with_safe_default_protocol_versions()?
        .with_no_client_auth()
        .with_single_cert(chain, key)?;
    let config = Arc::new(config);
    for stream in TcpListener::bind((Ipv4Addr::LOCALHOST, port))?.incoming() {
        let (stream, config) = (stream?, Arc::clone(&config));
        std::thread::spawn(move || {
            // What the client does wrong is its matter.
            let _ = connection(stream, config);
        });
    }
    Ok(())
}

fn connection(stream: TcpStream, config: Arc<ServerConfig>) -> Result<()> {
    stream.set_nodelay(true)?;
    let mut stream = BufReader::new(StreamOwned::new(ServerConnection::new(config)?, stream));
    loop {
        let mut line = String::new();
        if stream.read_line(&mut line)? == 0 {
            return Ok(());
        }
        let path = line.split(' ').nth(1).ok_or("no path")?.to_owned();
        let mut length = 0;
        loop {
            line.clear();
            stream.read_line(&mut line)?;
            let Some((name, value)) = line.split_once(':') else {
                break;
            };
            if name.eq_ignore_ascii_case("content-length") {
                length = value.trim().parse()?;
            }
        }
        std::io::copy(&mut (&mut stream).take(length), &mut std::io::sink())?;
        let (status, body) = match path.rsplit_once('/') {
            Some(("/bytes", size)) => ("200 OK", vec![b'x'; size.parse()?]),
            Some(("/echo", _)) => ("200 OK", format!("{length}\n").into_bytes()),
            _ => ("404 Not Found", b"not found\n".to_vec()),
        };
        let head = format!(
            "HTTP/1.1 {status}\r\nContent-Length: {}\r\n\r\n",
            body.len()
        );
        let answer = [head.as_bytes(), &body].concat();
        stream.get_mut().write_all(&answer)?;
        stream.get_mut().flush()?;
    }
}

/// The one certificate that is taken: it signs itself, which rustls takes from no root.
#[derive(Debug)]
struct Expected(CertificateDer<'static>);

impl ServerCertVerifier for Expected {
    fn verify_server_cert(
        &self,
        presented: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> std::result::Result<ServerCertVerified, rustls::Error> {
        if *presented == self.0 {
            return Ok(ServerCertVerified::assertion());
        }
        Err(CertificateError::UnknownIssuer.into())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> std::result::Result<HandshakeSignatureValid, rustls::Error> {
        let known = default_provider().signature_verification_algorithms;
        verify_tls12_signature(message, certificate, signature, &known)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> std::result::Result<HandshakeSignatureValid, rustls::Error> {
        let known = default_provider().signature_verification_algorithms;
        verify_tls13_signature(message, certificate, signature, &known)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        default_provider()
            .signature_verification_algorithms
            .supported_schemes()
    }
}

fn get(version: &str, certificates: &str, url: &str, paths: &[&str]) -> Result<()> {
    let expected = CertificateDer::from_pem_file(format!("{certificates}/cert.pem"))?;
    let version = if version == "1.2" {
        &version::TLS12
    } else {
        &version::TLS13
    };
    let config = ClientConfig::builder_with_provider(Arc::new(default_provider()))
        .with_protocol_versions(&[version])?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(Expected(expected)))
        .with_no_client_auth();
    let client = reqwest::Client::builder()
        .tls_backend_preconfigured(config)
        .no_proxy()
        .build()?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    runtime.block_on(async {
        for path in paths {
            let address = format!("{url}{path}");
            let request = match path.strip_prefix("/echo/") {
                Some(size) => client.post(address).body(vec![b'y'; size.parse()?]),
                None => client.get(address),
            };
            let answer = request.send().await?;
            let status = answer.status().as_u16();
            println!("{status} {} {path}", answer.bytes().await?.len());
        }
        Ok(())
    })
}
