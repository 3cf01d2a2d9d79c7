//! Where things are sent, and where they are served.

use std::{net::SocketAddr, str::FromStr};

use url::Url;

use super::{Rejected, text::deserialize_from_str};

/// Where the Prometheus page is served; `None` is nowhere.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Listen(pub Option<SocketAddr>);

impl FromStr for Listen {
    type Err = Rejected;

    fn from_str(text: &str) -> Result<Self, Rejected> {
        match text {
            "off" => Ok(Self(None)),
            _ => text
                .parse()
                .map(|address| Self(Some(address)))
                .map_err(|_| {
                    Rejected::new(
                        text,
                        "an address to listen on",
                        "IP:PORT, e.g. 127.0.0.1:9464 or [::]:9464; or off",
                    )
                }),
        }
    }
}

/// Where OTLP goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Endpoint {
    /// Nowhere: OTLP is off.
    Off,
    /// A URL with scheme `http` or `https` and a host.
    Url(String),
}

impl FromStr for Endpoint {
    type Err = Rejected;

    fn from_str(text: &str) -> Result<Self, Rejected> {
        if text == "off" {
            return Ok(Self::Off);
        }
        match problem_of(text) {
            None => Ok(Self::Url(text.to_owned())),
            Some(problem) => Err(Rejected::new(
                text,
                "an OTLP endpoint",
                "a URL, e.g. http://localhost:4317 or https://otlp.example.com; or off",
            )
            .because(problem)),
        }
    }
}

/// Why a text is no URL of a collector.
fn problem_of(text: &str) -> Option<String> {
    if !(text.starts_with("http://") || text.starts_with("https://")) {
        return Some("it begins with neither http:// nor https://".to_owned());
    }
    // The URL standard drops such characters: what is left may name another host.
    if text.chars().any(|c| c.is_whitespace() || c.is_control()) {
        return Some("a space, or a character that does not show".to_owned());
    }
    match Url::parse(text) {
        Err(error) => Some(error.to_string()),
        Ok(url) if url.port() == Some(0) => Some("port 0".to_owned()),
        Ok(_) => None,
    }
}

deserialize_from_str!(Listen, Endpoint);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn endpoints_are_urls_with_a_host() {
        for right in [
            "http://localhost:4317",
            "https://a.b/c",
            "http://[::1]:4318",
            "http://[::1]",
            "https://user@host",
        ] {
            assert_eq!(
                right.parse(),
                Ok(Endpoint::Url(right.to_owned())),
                "{right}"
            );
        }
        assert_eq!("off".parse(), Ok(Endpoint::Off));
        for wrong in [
            "",
            "localhost:4317",
            "http://",
            "http://:4317",
            "ftp://a",
            "http://a b",
            "http://a:0",
            "http://a:70000",
            "http://a:x",
            "http://[::1",
            "http://[::1:4317",
            "http://[::g]",
            "http://a\tb",
            "http:a",
            "http://a%",
            "http://1.2.3.256",
        ] {
            assert!(wrong.parse::<Endpoint>().is_err(), "{wrong}");
        }
        let message = "http://[::1".parse::<Endpoint>().unwrap_err().to_string();
        assert_eq!(
            message,
            "`http://[::1` is not an OTLP endpoint (invalid IPv6 address): write a URL, e.g. http://localhost:4317 or \
             https://otlp.example.com; or off"
        );
    }

    #[test]
    fn an_address_to_listen_on_has_a_port() {
        assert_eq!("off".parse(), Ok(Listen(None)));
        assert_eq!(
            "[::1]:9464".parse(),
            Ok(Listen(Some("[::1]:9464".parse().unwrap())))
        );
        assert!("9464".parse::<Listen>().is_err());
    }
}
