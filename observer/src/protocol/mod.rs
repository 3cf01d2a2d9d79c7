//! The protocols that observer understands, and what each says of its exchanges.
//!
//! In: the facts of one exchange, as its parser found them.
//! Out: one [`Detail`] an exchange, behind which everything downstream reads what it needs.
//! Owns: the one list of protocols. A protocol is a line in it and a file here; no other place tells them apart.

mod account;
pub(crate) mod attributes;
pub mod conventions;
mod describe;
pub mod dns;
pub mod exchange;
pub mod fastcgi;
mod group;
pub mod grpc;
pub mod http1;
mod http2;
#[cfg(any(test, feature = "made-up"))]
pub mod made_up;
mod outcome;
#[cfg(test)]
pub(crate) mod samples;
mod series;
mod summary;
pub mod tls;
#[cfg(any(test, feature = "made-up"))]
pub mod turns;
pub mod websocket;

pub(crate) use self::{
    account::{Account, Carried, DatagramAccount},
    series::Names,
};
pub use self::{
    attributes::Attributes,
    describe::{Delivery, Describe, RouteInput, SpanBuilder, SpanKind},
    group::{BYTES, Group, Instrument, Measure, Open, OpenRequests, SECONDS},
    outcome::{ErrorType, Outcome},
    series::{Key, SeriesKey},
    summary::{Row, Status, Summary},
};
use observer_protocol::protocol::Protocol;

use crate::{kernel::ProtocolRows, process::Value};

/// Generates what depends on the whole list: [`ProtocolId`] and [`Detail`].
macro_rules! protocols {
    ($($(#[$doc:meta])* $number:literal => $module:ident::$Facts:ident as $Name:ident $(if $cfg:meta)?,)*) => {
        /// A protocol's number, for tables that hold a byte each. Numbers stay as they are: the kernel programs hold
        /// them, too.
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
        #[repr(u8)]
        pub enum ProtocolId {
            /// Not told yet, or none that is understood.
            #[default]
            Unknown = 0,
            $($(#[cfg($cfg)])? $(#[$doc])* $Name = $number,)*
        }

        impl ProtocolId {
            /// All that are understood, in the order of the list.
            pub const ALL: &[Self] = &[$($(#[cfg($cfg)])? Self::$Name),*];

            /// The protocol of that number; [`Unknown`](Self::Unknown) where there is none.
            pub const fn of(number: u8) -> Self {
                match number {
                    $($(#[cfg($cfg)])? $number => Self::$Name,)*
                    _ => Self::Unknown,
                }
            }

            /// A span's kind and attributes in a line.
            pub fn summary<'a>(
                self,
                kind: SpanKind,
                attributes: &'a [(&'static str, Value)],
            ) -> Summary<'a> {
                match self {
                    $($(#[cfg($cfg)])? Self::$Name => $module::summary(kind, attributes),)*
                    Self::Unknown => Summary::default(),
                }
            }
        }

        /// The groups of all protocols, in the order of the list; each once, as several protocols may share one.
        pub fn groups() -> Vec<&'static Group> {
            let mut groups: Vec<&'static Group> = Vec::new();
            for more in [$($(#[cfg($cfg)])? $module::GROUPS),*] {
                for group in more {
                    if !groups.contains(group) {
                        groups.push(group);
                    }
                }
            }
            groups
        }

        /// An exchange's protocol, and what only that one knows of it.
        #[derive(Clone, Debug, PartialEq, Eq)]
        pub enum Detail {
            $($(#[cfg($cfg)])? $(#[$doc])* $Name($module::$Facts),)*
        }

        impl Detail {
            /// Which protocol it is.
            pub const fn id(&self) -> ProtocolId {
                match self {
                    $($(#[cfg($cfg)])? Self::$Name(_) => ProtocolId::$Name,)*
                }
            }

            /// What its protocol says of it.
            pub fn describe(&self) -> &dyn Describe {
                match self {
                    $($(#[cfg($cfg)])? Self::$Name(facts) => facts,)*
                }
            }
        }

        $($(#[cfg($cfg)])? impl From<$module::$Facts> for Detail {
            fn from(facts: $module::$Facts) -> Self {
                Self::$Name(facts)
            }
        })*
    };
}

protocols! {
    /// HTTP, of whatever version.
    1 => http1::HttpExchange as Http,
    /// DNS over UDP.
    2 => dns::DnsExchange as Dns,
    /// Handshakes of TLS.
    3 => tls::Handshake as Tls,
    /// Remote procedure calls over HTTP: gRPC, gRPC-Web, Connect.
    5 => grpc::GrpcExchange as Grpc,
    /// FastCGI.
    6 => fastcgi::FastCgiExchange as FastCgi,
    /// WebSocket, behind a handshake of HTTP.
    7 => websocket::WebSocketExchange as WebSocket,
    /// One that nobody speaks, for tests.
    200 => made_up::MadeUpExchange as MadeUp if any(test, feature = "made-up"),
}

/// Hands the list of those that are spoken on connections to a macro: `Name => reader, how its messages begin;` of each.
macro_rules! streams {
    ($take:ident) => {
        $take! {
            Http1 => observer_protocol::http1::Http1, observer_protocol::http1::ROWS;
            Http2 => observer_protocol::http2::Http2, observer_protocol::http2::ROWS;
            FastCgi => observer_protocol::fastcgi::FastCgi, observer_protocol::fastcgi::ROWS;
            WebSocket => observer_protocol::websocket::WebSocket, &[];
            #[cfg(any(test, feature = "made-up"))]
            MadeUp => $crate::protocol::made_up::MadeUp, $crate::protocol::made_up::ROWS;
            #[cfg(any(test, feature = "made-up"))]
            Turns => $crate::protocol::turns::Turns, $crate::protocol::turns::ROWS;
        }
    };
}
pub(crate) use streams;

/// Generates [`rows`].
macro_rules! rows {
    ($($(#[$attribute:meta])* $Name:ident => $Protocol:ty, $rows:expr;)*) => {
        /// How the messages of each protocol begin, by its number. Of two that fit, the first counts.
        pub(crate) fn rows() -> Vec<ProtocolRows> {
            vec![$($(#[$attribute])* ProtocolRows {
                number: <$Protocol as Protocol>::NUMBER.0,
                multiplexed: <$Protocol as Protocol>::SHARED,
                rows: $rows,
                layout: <$Protocol as Protocol>::LAYOUT,
            }),*]
        }
    };
}
streams!(rows);

/// The protocol of the datagrams that the kernel ships.
pub(crate) type NameService = observer_protocol::dns::Dns;

impl Default for Detail {
    /// That of an exchange of which nothing is known.
    fn default() -> Self {
        Self::Http(http1::HttpExchange::default())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_lead_back_to_their_protocols() {
        for id in ProtocolId::ALL {
            assert_eq!(ProtocolId::of(*id as u8), *id);
        }
        assert_eq!(ProtocolId::of(0), ProtocolId::Unknown);
        assert_eq!(ProtocolId::of(255), ProtocolId::Unknown);
    }
}
