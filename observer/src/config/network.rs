//! Networks, in CIDR notation.

use std::{
    fmt,
    net::{IpAddr, Ipv6Addr},
    str::FromStr,
};

use ipnet::IpNet;

use super::{Rejected, text::deserialize_from_str};

/// A network as a person writes it (RFC 4632, RFC 4291 section 2.3): its first address and the length of its prefix, or
/// one address.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Network(IpNet);

impl From<Network> for IpNet {
    fn from(network: Network) -> Self {
        network.0
    }
}

impl FromStr for Network {
    type Err = Rejected;

    fn from_str(text: &str) -> Result<Self, Rejected> {
        parse(text).map(Self).ok_or_else(|| {
            Rejected::new(
                text,
                "a network",
                "its first address and the length of its prefix, e.g. 10.1.0.0/16 or fd00:1::/32; or one address",
            )
        })
    }
}

fn parse(text: &str) -> Option<IpNet> {
    let network = match text.contains('/') {
        true => text.parse().ok()?,
        false => IpNet::from(text.parse::<IpAddr>().ok()?),
    };
    // A network of mapped addresses is written as one of IPv4: as `::ffff:0.0.0.0/0` it would mean all of IPv6, too.
    let is_mapped = matches!(network, IpNet::V6(network) if is_mapped(network.addr()));
    (!is_mapped && network == network.trunc()).then_some(network)
}

fn is_mapped(address: Ipv6Addr) -> bool {
    address.to_ipv4_mapped().is_some()
}

impl fmt::Display for Network {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(formatter)
    }
}

deserialize_from_str!(Network);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn networks_have_an_address_and_a_prefix() {
        for (text, shown) in [
            ("10.0.0.0/8", "10.0.0.0/8"),
            ("0.0.0.0/0", "0.0.0.0/0"),
            ("192.0.2.7", "192.0.2.7/32"),
            ("fd00:1::/32", "fd00:1::/32"),
            ("::/0", "::/0"),
            ("2001:db8::1", "2001:db8::1/128"),
        ] {
            let network: Network = text.parse().unwrap();
            assert_eq!(network.to_string(), shown);
        }
    }

    #[test]
    fn what_is_no_network_is_refused_with_the_accepted_form() {
        for wrong in [
            "",
            "10.0.0.0/",
            "10.0.0.0/33",
            "10.0.0.1/8",
            "10.0/8",
            "10.0.0.0/+8",
            "fd00::1/32",
            "::/129",
            "::ffff:10.0.0.0/104",
            "::ffff:10.0.0.1",
            " 10.0.0.0/8",
            "host/8",
            "10.0.0.0/8/8",
        ] {
            let message = wrong.parse::<Network>().unwrap_err().to_string();
            assert!(
                message.contains("is not a network: write its first address"),
                "{message}"
            );
        }
    }
}
