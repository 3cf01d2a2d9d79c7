//! OTLP/gRPC: requests that are encoded already, over one HTTP/2 connection.
//!
//! The generated clients of `opentelemetry-proto` encode at every attempt; here a request is encoded once, its size
//! is known before it is sent, and a retry costs a reference count. On the wire there is no difference.

use prost::bytes::{Buf, Bytes};
use tonic::codec::{
    BufferSettings, Codec, CompressionEncoding, DecodeBuf, Decoder, EncodeBuf, Encoder,
};
use tonic::codegen::http::uri::PathAndQuery;
use tonic::metadata::MetadataMap;
use tonic::transport::{Certificate, Channel, ClientTlsConfig, Endpoint, Identity};

use super::config::{Compression, SignalConfig};
use super::failure::Failure;
use super::signal::Signal;

/// A client of one method.
pub(super) struct Grpc {
    endpoint: Endpoint,
    compression: Compression,
    client: tonic::client::Grpc<Channel>,
    path: PathAndQuery,
    metadata: MetadataMap,
}

impl Grpc {
    /// Connects on first use. Needs a runtime's context.
    pub(super) fn new(signal: Signal, config: &SignalConfig) -> anyhow::Result<Self> {
        let mut endpoint = Endpoint::from_shared(config.endpoint.0.to_string())?
            .user_agent(super::sender::USER_AGENT)?
            .connect_timeout(config.timeout);
        if config.endpoint.secure() {
            endpoint = endpoint.tls_config(tls(config))?;
        }
        Ok(Self {
            client: client(&endpoint, config.compression),
            endpoint,
            compression: config.compression,
            path: PathAndQuery::from_static(signal.grpc_path()),
            metadata: MetadataMap::from_headers(config.headers.clone()),
        })
    }

    /// Gives the connection up. One whose other end vanished would otherwise swallow requests until TCP notices,
    /// minutes later; HTTP/2 pings would notice too, but servers punish clients that send them often.
    pub(super) fn reconnect(&mut self) {
        self.client = client(&self.endpoint, self.compression);
    }

    /// One attempt; returns the encoded response.
    pub(super) async fn send(&mut self, body: Bytes) -> Result<Bytes, Failure> {
        self.client.ready().await.map_err(|error| {
            Failure::connection(super::failure::with_causes("connection", Some(&error)))
        })?;
        let mut request = tonic::Request::new(body);
        *request.metadata_mut() = self.metadata.clone();
        match self.client.unary(request, self.path.clone(), Encoded).await {
            Ok(response) => Ok(response.into_inner()),
            Err(status) => Err(Failure::grpc(&status)),
        }
    }
}

fn client(endpoint: &Endpoint, compression: Compression) -> tonic::client::Grpc<Channel> {
    let client = tonic::client::Grpc::new(endpoint.connect_lazy())
        .accept_compressed(CompressionEncoding::Gzip);
    match compression {
        Compression::None => client,
        Compression::Gzip => client.send_compressed(CompressionEncoding::Gzip),
    }
}

fn tls(config: &SignalConfig) -> ClientTlsConfig {
    let tls = match &config.tls.roots {
        Some(pem) => ClientTlsConfig::new().ca_certificate(Certificate::from_pem(pem)),
        None => ClientTlsConfig::new().with_native_roots(),
    };
    match &config.tls.identity {
        Some((chain, key)) => tls.identity(Identity::from_pem(chain, key)),
        None => tls,
    }
}

/// Messages that are bytes already.
struct Encoded;

impl Codec for Encoded {
    type Encode = Bytes;
    type Decode = Bytes;
    type Encoder = Self;
    type Decoder = Self;

    fn encoder(&mut self) -> Self {
        Self
    }

    fn decoder(&mut self) -> Self {
        Self
    }
}

impl Encoder for Encoded {
    type Item = Bytes;
    type Error = tonic::Status;

    fn encode(&mut self, item: Bytes, to: &mut EncodeBuf<'_>) -> Result<(), tonic::Status> {
        prost::bytes::BufMut::put(to, item);
        Ok(())
    }

    fn buffer_settings(&self) -> BufferSettings {
        BufferSettings::default()
    }
}

impl Decoder for Encoded {
    type Item = Bytes;
    type Error = tonic::Status;

    fn decode(&mut self, from: &mut DecodeBuf<'_>) -> Result<Option<Bytes>, tonic::Status> {
        Ok(Some(from.copy_to_bytes(from.remaining())))
    }

    fn buffer_settings(&self) -> BufferSettings {
        BufferSettings::default()
    }
}
