//! Loss and other events that are counted per CPU where they happen.

/// Places in the one value per CPU of the map `COUNTERS`.
#[repr(u32)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Counter {
    /// Records submitted to a ring.
    Records = 0,
    /// Payload and header bytes submitted.
    RecordBytes = 1,
    /// Records lost because the ring was full.
    RingFull = 2,
    /// Connections not tracked because the table refused the entry.
    ConnectionTableFull = 3,
    /// Bytes whose buffer could not be found (sendfile, splice, some of io_uring): counted, not read.
    BufferUnknown = 4,
    /// Copies from user memory that faulted.
    CopyFault = 5,
    /// Data of 32-bit processes, whose registers are not read.
    Compat = 6,
    /// Handoffs written.
    HandoffWritten = 7,
    /// Handoffs found by the other end.
    HandoffFound = 8,
    /// Requests opened with a parent from the thread.
    ThreadParent = 9,
    /// Calls from threads with more than one open request: no parent was named.
    ThreadAmbiguous = 10,
    /// Process events lost because their ring was full.
    ProcessRingFull = 11,
    /// Thread contexts not kept because the table refused the entry.
    ThreadTableFull = 12,
    /// System calls that submitted to io_uring, whose bytes the `syscall` tier does not see.
    IoUring = 13,
    /// Calls whose descriptor stood for another file at their end (`syscall` tier): counted, not read.
    DescriptorChanged = 14,
    /// Requests opened with a parent from an event loop, a goroutine or a Python context.
    UnitParent = 15,
    /// What goroutines, contexts or waiting work do was not kept because the table refused the entry.
    UnitTableFull = 16,
    /// Requests that got a `traceparent` line.
    HeaderInjected = 17,
    /// Requests that got none: they carry a context already.
    HeaderPresent = 18,
    /// The head was not wholly in one send.
    HeaderSplit = 19,
    /// The request was sent before the one before it was answered, or in one send with it.
    HeaderPipelined = 20,
    /// Where the next request begins is not certain: nothing more is injected into this connection.
    HeaderUncertain = 21,
    /// Connections of captured processes that carry something else than HTTP/1 requests.
    HeaderNotHttp = 22,
    /// The kernel had no room, or refused.
    HeaderFailed = 23,
    /// Contexts that left in a TCP option.
    OptionWritten = 24,
    /// Contexts from a TCP option that a request was given.
    OptionFound = 25,
    /// TCP options of observer's kind that were not taken: from a peer outside of the configured networks, on a
    /// connection that did not agree on them, or malformed.
    OptionRefused = 26,
    /// Requests that left without the TCP option although the connection agreed on it: no room next to the data or to
    /// other options.
    OptionLeftOut = 27,
    /// Calls that a spare program took over.
    SpareRan = 28,
    /// TLS connections on which contexts may travel.
    Opaque = 29,
    /// Contexts that left on such a connection.
    OpaquePassed = 30,
    /// Contexts that the other end of such a connection took.
    OpaqueTaken = 31,
    /// TLS connections that showed to be shared by several requests at once: no context travels on them any more.
    OpaqueShared = 32,
    /// Calls without a parent of which it was told what they may have been made for.
    LinkFound = 33,
    /// Datagrams to and from name servers.
    Datagrams = 34,
    /// Of those, the ones that were not read since another task was being served on that CPU.
    DatagramMissed = 35,
    /// Processes forked whose policy, or runtime, was not kept because the table refused the entry: they are not captured,
    /// or nothing is said of what they work on.
    ProcessTableFull = 36,
    /// Frames of framed streams that were followed as they were sent.
    FramesSent = 37,
    /// The same as they were received.
    FramesReceived = 38,
    /// How often it was not known any more where the next frame begins.
    FrameGap = 39,
    /// Entries of functions that TLS secrets pass through, in captured processes.
    KeyPointHit = 40,
    /// TLS secrets that were told.
    SecretTold = 41,
    /// TLS secrets lost because no slot was free.
    SecretDropped = 42,
    /// What passed through such a function and was no secret that opens anything: another length, a label that is not known,
    /// memory that could not be read.
    SecretRefused = 43,
}

/// Number of counters.
pub const COUNTERS: u32 = 44;
/// Room for counters in the kernel's map: a power of two.
pub const COUNTER_ROOM: usize = 64;
const _: () = assert!(COUNTERS as usize <= COUNTER_ROOM);

impl Counter {
    /// Every counter with the name under which the daemon exports it.
    pub const ALL: [(Counter, &'static str); COUNTERS as usize] = [
        (Counter::Records, "records"),
        (Counter::RecordBytes, "record_bytes"),
        (Counter::RingFull, "ring_full"),
        (Counter::ConnectionTableFull, "connection_table_full"),
        (Counter::BufferUnknown, "buffer_unknown"),
        (Counter::CopyFault, "copy_fault"),
        (Counter::Compat, "compat"),
        (Counter::HandoffWritten, "handoff_written"),
        (Counter::HandoffFound, "handoff_found"),
        (Counter::ThreadParent, "thread_parent"),
        (Counter::ThreadAmbiguous, "thread_ambiguous"),
        (Counter::ProcessRingFull, "process_ring_full"),
        (Counter::ThreadTableFull, "thread_table_full"),
        (Counter::IoUring, "io_uring"),
        (Counter::DescriptorChanged, "descriptor_changed"),
        (Counter::UnitParent, "unit_parent"),
        (Counter::UnitTableFull, "unit_table_full"),
        (Counter::HeaderInjected, "header_injected"),
        (Counter::HeaderPresent, "header_present"),
        (Counter::HeaderSplit, "header_split"),
        (Counter::HeaderPipelined, "header_pipelined"),
        (Counter::HeaderUncertain, "header_uncertain"),
        (Counter::HeaderNotHttp, "header_not_http"),
        (Counter::HeaderFailed, "header_failed"),
        (Counter::OptionWritten, "tcp_option_written"),
        (Counter::OptionFound, "tcp_option_found"),
        (Counter::OptionRefused, "tcp_option_refused"),
        (Counter::OptionLeftOut, "tcp_option_left_out"),
        (Counter::SpareRan, "spare_ran"),
        (Counter::Opaque, "tls_connections"),
        (Counter::OpaquePassed, "tls_context_passed"),
        (Counter::OpaqueTaken, "tls_context_taken"),
        (Counter::OpaqueShared, "tls_shared"),
        (Counter::LinkFound, "link_found"),
        (Counter::Datagrams, "datagrams"),
        (Counter::DatagramMissed, "datagram_missed"),
        (Counter::ProcessTableFull, "process_table_full"),
        (Counter::FramesSent, "frames_sent"),
        (Counter::FramesReceived, "frames_received"),
        (Counter::FrameGap, "frame_gaps"),
        (Counter::KeyPointHit, "tls_key_point_hits"),
        (Counter::SecretTold, "tls_secrets"),
        (Counter::SecretDropped, "tls_secrets_dropped"),
        (Counter::SecretRefused, "tls_secrets_refused"),
    ];
}
