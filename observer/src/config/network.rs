//! Networks, in CIDR notation.

use std::{fmt, net::IpAddr, str::FromStr};

use super::{Rejected, text::deserialize_from_str};

/// A network: an address, and how many of its leading bits count (RFC 4632, RFC 4291 section 2.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Network {
    address: IpAddr,
    bits: u8,
}

impl Network {
    /// The address as IPv6, IPv4 mapped into it, and how many of its 128 bits count.
    pub fn mapped(self) -> ([u8; 16], u32) {
        match self.address {
            IpAddr::V4(address) => (address.to_ipv6_mapped().octets(), 96 + u32::from(self.bits)),
            IpAddr::V6(address) => (address.octets(), u32::from(self.bits)),
        }
    }
}

impl FromStr for Network {
    type Err = Rejected;

    fn from_str(text: &str) -> Result<Self, Rejected> {
        parse(text).ok_or_else(|| {
            Rejected::new(
                text,
                "a network",
                "its first address and the length of its prefix, e.g. 10.1.0.0/16 or fd00:1::/32; or one address",
            )
        })
    }
}

fn parse(text: &str) -> Option<Network> {
    let (address, bits) = match text.split_once('/') {
        Some((address, bits)) => (address, Some(bits)),
        None => (text, None),
    };
    let address: IpAddr = address.parse().ok()?;
    let (number, width) = match address {
        IpAddr::V4(address) => (u128::from(address.to_bits()) << 96, 32),
        // Written so, 0.0.0.0/0 and its like would mean all of IPv6, too.
        IpAddr::V6(address) if address.to_ipv4_mapped().is_some() => return None,
        IpAddr::V6(address) => (address.to_bits(), 128),
    };
    let bits = match bits {
        Some(bits) if bits.bytes().all(|byte| byte.is_ascii_digit()) => bits.parse().ok()?,
        Some(_) => return None,
        None => width,
    };
    let rest = number.checked_shl(u32::from(bits)).unwrap_or(0);
    (bits <= width && rest == 0).then_some(Network { address, bits })
}

impl fmt::Display for Network {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.address, self.bits)
    }
}

deserialize_from_str!(Network);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn networks_have_an_address_and_a_prefix() {
        for (text, shown, bits) in [
            ("10.0.0.0/8", "10.0.0.0/8", 104),
            ("0.0.0.0/0", "0.0.0.0/0", 96),
            ("192.0.2.7", "192.0.2.7/32", 128),
            ("fd00:1::/32", "fd00:1::/32", 32),
            ("::/0", "::/0", 0),
            ("2001:db8::1", "2001:db8::1/128", 128),
        ] {
            let network: Network = text.parse().unwrap();
            assert_eq!(
                (network.to_string().as_str(), network.mapped().1),
                (shown, bits)
            );
        }
        let (address, _) = "10.0.0.0/8".parse::<Network>().unwrap().mapped();
        assert_eq!(
            address,
            [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, 10, 0, 0, 0]
        );
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
