//! What a shard makes of connections, told through [`Script`](super::script::Script).

mod bounds;
mod lifetime;
mod links;
mod lookups;
mod loss;
mod messages;
mod multiplexed;
mod pipelining;
mod roles;
mod sealed;
mod websocket;
