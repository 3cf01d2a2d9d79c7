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
    /// Secrets that were proven to be a direction's of a connection.
    secrets_proven,
    /// Connections seen.
    connections,
    /// Connections of which something that the application says was read.
    connections_read,
    /// Connections given up: no secret came that opens them.
    no_key,
    /// Connections given up: their hellos were not seen, so they are older than observer.
    no_handshake,
    /// Connections given up: what protects their records is not read.
    unknown_cipher,
    /// Connections given up: records were lost, and their numbers were not found again.
    lost,
    /// Connections left alone once their handshake was over: both ends agreed on another protocol that is not read.
    other_protocol,
    /// Records seen.
    records,
    /// Records that stayed closed, as no secret came in time.
    records_no_key,
    /// Records that stayed closed, as nothing proved their key or their number.
    records_unproven,
    /// Records that stayed closed, as their number was not found behind a loss.
    records_lost,
    /// Records that stayed closed, as what they carry was not captured.
    records_unknown_content,
    /// Records that stayed closed for another reason.
    records_unreadable,
    /// Times that what waited for a key was given up, because all connections together kept too much.
    released,
    /// Handshakes that were seen from begin to end.
    handshakes,
    /// Those of them that failed.
    handshakes_failed,
}
