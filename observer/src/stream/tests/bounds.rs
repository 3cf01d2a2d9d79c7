//! What all connections together may keep.

use crate::{
    exchange::Incomplete,
    stream::{
        Shard, StreamConfig,
        script::{GET, OK, Script},
    },
};

/// A shard that keeps 100 KB of unfinished heads.
fn small() -> Script {
    let mut script = Script::server();
    script.shard = Shard::new(StreamConfig {
        held_bytes: 100_000,
        ..StreamConfig::default()
    });
    script
}

#[test]
fn unfinished_heads_of_all_connections_together_are_bounded() {
    let mut script = small();
    let head = format!("GET /slow HTTP/1.1\r\nHost: h\r\nX: {}", "x".repeat(5000));
    for sock in 0..1000 {
        script.sock = 0xffff_8881_0000_0000 + sock * 4096;
        script.next_generation().request(&head);
        assert!(script.shard.held_bytes() <= 100_000);
    }
    assert!(script.shard.held_bytes() > 90_000);
    assert_eq!(
        script.shard.counters().heads_released,
        1000 - 100_000 / head.len() as u64,
        "what does not fit is counted"
    );
    // A request whose head was let go is still one, and its answer ends it.
    script.response(OK);
    assert_eq!(script.statuses(), [Some(200)]);
    assert_eq!(script.last().incomplete, Some(Incomplete::LostBytes));
    assert_eq!(script.last().http().unwrap().texts.target(), "/slow");
    script.exchange();
    assert_eq!(script.last().incomplete, None);
    script.shard.drain(script.now, &mut script.seen);
    assert_eq!(script.shard.held_bytes(), 0);
    script.assert_settled();
}

#[test]
fn room_comes_back_with_the_rest_of_a_head_and_with_the_end_of_a_connection() {
    let mut script = small();
    script.request(&GET[..20]);
    assert_eq!(script.shard.held_bytes(), 20);
    script.request(&GET[20..]);
    assert_eq!(script.shard.held_bytes(), 0);
    script.response(&OK[..10]);
    assert_eq!(script.shard.held_bytes(), 10);
    script.close();
    assert_eq!(script.shard.held_bytes(), 0);
    script.next_generation().request(&GET[..20]);
    // The socket's address is used again, without a word about the end.
    script.next_generation().exchange();
    assert_eq!(script.shard.held_bytes(), 0);
}

#[test]
fn open_exchanges_of_all_connections_together_are_bounded() {
    let mut script = Script::client();
    script.shard = Shard::new(StreamConfig {
        max_exchanges: 10,
        ..StreamConfig::default()
    });
    for sock in 0..15 {
        script.sock = 0xffff_8881_0000_0000 + sock * 4096;
        script.next_generation().request(GET);
    }
    assert_eq!(script.count(), 5);
    assert_eq!(script.last().incomplete, Some(Incomplete::LostBytes));
    assert_eq!(script.shard.counters().exchanges_refused, 5);
    script.response(OK);
    assert_eq!(script.shard.counters().responses_without_request, 1);
    script.shard.drain(script.now, &mut script.seen);
    assert_eq!(script.count(), 15);
    script.assert_settled();
}
