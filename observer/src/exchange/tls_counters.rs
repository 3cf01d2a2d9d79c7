//! What a shard counts of TLS that is read at the wire.

macro_rules! counters {
    ($($(#[$doc:meta])* $name:ident,)*) => {
        /// Counts since the shard began.
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
        pub struct TlsCounters {
            $($(#[$doc])* pub $name: u64,)*
        }

        impl TlsCounters {
            /// Adds another shard's counts.
            pub fn add(&mut self, other: &Self) {
                $(self.$name += other.$name;)*
            }

            /// Every count by name.
            pub fn named(&self) -> impl IntoIterator<Item = (&'static str, u64)> {
                [$((stringify!($name), self.$name)),*]
            }
        }
    };
}

counters! {
    /// Secrets that libraries told.
    secrets,
    /// Those that were wiped without having opened anything: of other shards' connections, of QUIC, of refused handshakes.
    secrets_unused,
}
