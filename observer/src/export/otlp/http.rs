//! OTLP/HTTP with binary protobuf bodies, HTTP/1.1 on a kept connection.

use std::io::Write;

use flate2::write::GzEncoder;
use prost::bytes::Bytes;
use reqwest::header::{CONTENT_ENCODING, CONTENT_TYPE, HeaderMap, HeaderValue, RETRY_AFTER};
use reqwest::redirect::{Attempt, Policy};
use reqwest::{Client, Response, Url};

use super::config::{Compression, SignalConfig};
use super::failure::{Failure, Retry, with_causes};

/// A client of one URL.
pub(super) struct Http {
    client: Client,
    url: Url,
    compression: Compression,
}

const PROTOBUF: &str = "application/x-protobuf";
/// Of an answer: real ones are a few bytes.
const MAX_ANSWER_BYTES: usize = 64 << 10;

impl Http {
    /// Connects on first use.
    pub(super) fn new(config: &SignalConfig) -> anyhow::Result<Self> {
        let mut headers = HeaderMap::new();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static(PROTOBUF));
        if config.compression == Compression::Gzip {
            headers.insert(CONTENT_ENCODING, HeaderValue::from_static("gzip"));
        }
        for (name, value) in &config.headers {
            headers.insert(name.clone(), value.clone());
        }
        let client = Client::builder()
            .tls_backend_preconfigured(config.tls.client_config(config.endpoint.secure())?)
            .user_agent(super::sender::USER_AGENT)
            .default_headers(headers)
            .redirect(Policy::custom(follow))
            .timeout(config.timeout)
            .build()?;
        Ok(Self {
            client,
            url: config.endpoint.0.clone(),
            compression: config.compression,
        })
    }

    /// One attempt; returns the encoded response.
    pub(super) async fn send(&self, body: Bytes) -> Result<Bytes, Failure> {
        let body = match self.compression {
            Compression::None => body,
            Compression::Gzip => gzip(&body).map_err(|error| Failure {
                retry: Retry::Never,
                message: format!("compression: {error}"),
            })?,
        };
        let sent = self.client.post(self.url.clone()).body(body).send().await;
        let response = sent.map_err(|error| connection(&error.without_url()))?;
        let status = response.status();
        let retry_after = header(&response, RETRY_AFTER.as_str());
        let content_type = header(&response, CONTENT_TYPE.as_str()).unwrap_or_default();
        let answer = read(response).await;
        if !status.is_success() {
            return Err(Failure::http(
                status.as_u16(),
                retry_after.as_deref(),
                &answer.unwrap_or_default(),
            ));
        }
        let answer = answer.map_err(|error| connection(&error.without_url()))?;
        if content_type.starts_with("text/html") {
            return Err(Failure {
                retry: Retry::Never,
                message: format!("HTTP {status} with a web page: is this an OTLP endpoint?"),
            });
        }
        // Receivers that answer in JSON say the same thing: taken.
        Ok(if content_type.starts_with(PROTOBUF) {
            answer
        } else {
            Bytes::new()
        })
    }
}

fn connection(error: &reqwest::Error) -> Failure {
    Failure::connection(with_causes(
        &error.to_string(),
        std::error::Error::source(error),
    ))
}

/// Only redirects that keep method and body, and only where the headers may go as well.
fn follow(attempt: Attempt) -> reqwest::redirect::Action {
    let previous = attempt.previous();
    let same_place = previous.first().is_some_and(|first| {
        let next = attempt.url();
        first.host_str() == next.host_str()
            && (first.scheme() == next.scheme() || next.scheme() == "https")
    });
    if matches!(attempt.status().as_u16(), 307 | 308) && same_place && previous.len() <= 3 {
        attempt.follow()
    } else {
        attempt.stop()
    }
}

fn header(response: &Response, name: &str) -> Option<String> {
    response
        .headers()
        .get(name)?
        .to_str()
        .ok()
        .map(str::to_owned)
}

async fn read(mut response: Response) -> Result<Bytes, reqwest::Error> {
    let mut body = Vec::new();
    while let Some(chunk) = response.chunk().await? {
        let room = MAX_ANSWER_BYTES - body.len();
        body.extend_from_slice(&chunk[..chunk.len().min(room)]);
        if chunk.len() > room {
            break;
        }
    }
    Ok(body.into())
}

fn gzip(body: &[u8]) -> std::io::Result<Bytes> {
    let mut encoder = GzEncoder::new(
        Vec::with_capacity(body.len() / 4),
        flate2::Compression::fast(),
    );
    encoder.write_all(body)?;
    Ok(encoder.finish()?.into())
}
