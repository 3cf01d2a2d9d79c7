//! An exchange that goes on in the protocol that its answer leads to.

use observer_abi::control::shape;
use observer_protocol::protocol::Side;

use crate::{
    exchange::{Exchange, Incomplete},
    protocol::{Detail, websocket::WebSocketExchange},
    stream::script::{MS, Script},
};

const ASK: &str =
    "GET /chat HTTP/1.1\r\nHost: h\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n";
const LEAD: &str =
    "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n";
/// `hi`, masked with nothing, and without a mask.
const FROM_CLIENT: &[u8] = b"\x81\x82\0\0\0\0hi";
const FROM_SERVER: &[u8] = b"\x81\x02hi";

fn facts(exchange: &Exchange) -> &WebSocketExchange {
    match &exchange.detail {
        Detail::WebSocket(facts) => facts,
        other => panic!("not WebSocket: {other:?}"),
    }
}

#[test]
fn the_handshake_lasts_as_long_as_its_connection_and_counts_its_messages() {
    for mut script in [Script::client(), Script::server()] {
        // The first message comes with the answer.
        script
            .request(ASK)
            .response([LEAD.as_bytes(), FROM_SERVER].concat());
        assert_eq!(script.count(), 0);
        let asked = script.seen.modes.clone();
        assert_eq!(asked, [(script.key(), shape::FRAMES)]);
        script.request([FROM_CLIENT, FROM_CLIENT].concat());
        script.response(FROM_SERVER).wait(500 * MS);
        assert_eq!(script.count(), 0);
        script.request(b"\x88\x82\0\0\0\0\x03\xe8");
        script.response(b"\x88\x02\x03\xe8");
        assert_eq!(script.count(), 1);
        let facts = facts(script.last());
        assert_eq!((facts.messages, facts.bytes), ([2, 2], [4, 4]));
        assert_eq!(facts.closed, Some((Side::Request, Some(1000))));
        assert_eq!(facts.handshake.status, Some(101));
        assert_eq!(facts.handshake.texts.target(), "/chat");
        assert!(!facts.unseen && script.is_whole());
        assert_eq!(script.shard.counters().switches, 1);
        script.close();
        assert_eq!(script.count(), 1);
        script.assert_settled();
    }
}

#[test]
fn a_connection_that_nobody_closed_was_cut() {
    for (reset, incomplete) in [(false, Incomplete::Closed), (true, Incomplete::Reset)] {
        let mut script = Script::server();
        script.request(ASK).response(LEAD).request(FROM_CLIENT);
        if reset {
            script.reset();
        } else {
            script.close();
        }
        assert_eq!(script.last().incomplete, Some(incomplete));
        assert_eq!(facts(script.last()).closed, None);
        assert!(script.last().outcome().failed);
        script.assert_settled();
    }
}
