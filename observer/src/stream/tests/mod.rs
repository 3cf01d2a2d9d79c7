//! What a shard makes of connections, told through [`Script`](super::script::Script).

mod lifetime;
mod links;
mod loss;
mod messages;
mod pipelining;
mod roles;
