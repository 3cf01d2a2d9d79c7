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
mod group;
pub mod http1;
#[cfg(test)]
pub(crate) mod made_up;
mod outcome;
#[cfg(test)]
pub(crate) mod samples;
mod series;
mod summary;

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
use crate::process::Value;

/// Generates what depends on the whole list: [`ProtocolId`] and [`Detail`].
macro_rules! protocols {
    ($($(#[$doc:meta])* $number:literal => $module:ident::$Facts:ident as $Name:ident,)*) => {
        /// A protocol's number, for tables that hold a byte each. Numbers stay as they are: the kernel programs hold
        /// them, too.
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
        #[repr(u8)]
        pub enum ProtocolId {
            /// Not told yet, or none that is understood.
            #[default]
            Unknown = 0,
            $($(#[$doc])* $Name = $number,)*
        }

        impl ProtocolId {
            /// All that are understood, in the order of the list.
            pub const ALL: &[Self] = &[$(Self::$Name),*];

            /// The protocol of that number; [`Unknown`](Self::Unknown) where there is none.
            pub const fn of(number: u8) -> Self {
                match number {
                    $($number => Self::$Name,)*
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
                    $(Self::$Name => $module::summary(kind, attributes),)*
                    Self::Unknown => Summary::default(),
                }
            }
        }

        /// The groups of all protocols, in the order of the list; each once, as several protocols may share one.
        pub fn groups() -> Vec<&'static Group> {
            let mut groups: Vec<&'static Group> = Vec::new();
            for more in [$($module::GROUPS),*] {
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
            $($(#[$doc])* $Name($module::$Facts),)*
        }

        impl Detail {
            /// Which protocol it is.
            pub const fn id(&self) -> ProtocolId {
                match self {
                    $(Self::$Name(_) => ProtocolId::$Name,)*
                }
            }

            /// What its protocol says of it.
            pub fn describe(&self) -> &dyn Describe {
                match self {
                    $(Self::$Name(facts) => facts,)*
                }
            }
        }

        $(impl From<$module::$Facts> for Detail {
            fn from(facts: $module::$Facts) -> Self {
                Self::$Name(facts)
            }
        })*
    };
}

protocols! {
    /// HTTP/1.0 and 1.1.
    1 => http1::HttpExchange as Http1,
    /// DNS over UDP.
    2 => dns::DnsExchange as Dns,
}

/// Hands the list of those that are spoken on connections to a macro: `Name => reader,` of each.
macro_rules! streams {
    ($take:ident) => {
        $take! {
            Http1 => observer_protocol::http1::Http1,
            #[cfg(test)]
            MadeUp => $crate::protocol::made_up::MadeUp,
        }
    };
}
pub(crate) use streams;

/// The protocol of the datagrams that the kernel ships.
pub(crate) type NameService = observer_protocol::dns::Dns;

impl Default for Detail {
    /// That of an exchange of which nothing is known.
    fn default() -> Self {
        Self::Http1(http1::HttpExchange::default())
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
