//! Says whether trace context travels in TCP options, and takes in the servers that were there before.

use crate::{
    config::Network,
    kernel::{Kernel, tcp_option::TcpOption},
};

/// Logs what was decided; where options are on, servers that listen already answer from now on. `can_adopt` is
/// [`can_adopt`](crate::kernel::tcp_option::can_adopt).
pub(super) fn begin(kernel: &mut Kernel, peers: &[Network], can_adopt: bool) {
    match kernel.tcp_option() {
        TcpOption::Off => return,
        TcpOption::Refused(reason) => {
            tracing::warn!(%reason, "no trace context in TCP options: it stays off");
            return;
        }
        TcpOption::On => {}
    }
    let peers: Vec<String> = peers.iter().map(ToString::to_string).collect();
    tracing::info!(peers = peers.join(","), "trace context in TCP options");
    if !can_adopt {
        tracing::warn!(
            "servers that listen already take no trace context from TCP options on this kernel (before 6.12): restart them"
        );
        return;
    }
    match kernel.adopt_listeners() {
        Ok(adopted) => {
            tracing::debug!(?adopted, "listening sockets");
            if adopted.left_out + adopted.namespaces_left_out > 0 {
                tracing::warn!(
                    sockets = adopted.left_out,
                    network_namespaces = adopted.namespaces_left_out,
                    "some servers that listen already take no trace context from TCP options: restart them"
                );
            }
        }
        Err(error) => {
            let error = format!("{error:#}");
            tracing::warn!(
                error,
                "servers that listen already take no trace context from TCP options: restart them"
            );
        }
    }
}
