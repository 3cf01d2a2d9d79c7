//! The attributes of a span, in the conventions' order of importance.

use std::sync::Arc;

use super::{
    HttpExchange, Method, scheme,
    target::{full_url, path, server},
};
use crate::{
    identity::Role,
    process::Text,
    protocol::exchange::Common,
    protocol::{Attributes, Describe, ErrorType, SpanBuilder},
};

impl HttpExchange {
    /// `{method} {route}` or `{method}`, and the attributes.
    pub(super) fn describe_span(&self, common: &Common, route: Option<&Arc<str>>) -> SpanBuilder {
        let route = route.filter(|_| common.role == Role::Server);
        let method = Method::of(&self.method);
        let name: Text = match route {
            Some(route) => format!("{} {route}", method.in_span_name()).into(),
            None => method.in_span_name().into(),
        };
        let mut out = Attributes::with_capacity(24);
        // Where a lost head took the method with it there is none to report.
        if !self.method.is_empty() {
            out.text("http.request.method", method.as_str());
            if method == Method::Other {
                out.text("http.request.method_original", self.method.to_string());
            }
        }
        out.int("http.response.status_code", self.status);
        let error = self.outcome(common).error;
        out.some_text("error.type", error.map(ErrorType::value));
        self.places(common, route, &mut out);
        out.some_text(
            "user_agent.original",
            self.texts.user_agent().map(Arc::from),
        );
        out.int("http.request.body.size", self.request_body_size);
        out.int("http.response.body.size", self.response_body_size);
        out.observed(common);
        let times = &common.times;
        out.seconds(
            "observer.response.first_byte",
            Some(times.request_start),
            times.response_start,
        );
        if common.role == Role::Server {
            out.seconds(
                "observer.accept.wait",
                times.connection_established,
                times.connection_accepted,
            );
        }
        SpanBuilder {
            name,
            attributes: out,
        }
    }

    /// URL, server and peer.
    fn places(&self, common: &Common, route: Option<&Arc<str>>, out: &mut Attributes) {
        let (server_address, server_port) = server(self, common);
        let path = path(self.texts.target());
        match common.role {
            Role::Server => {
                out.text("url.scheme", scheme(common.tls));
                out.some_text("url.path", path.map(Arc::from));
                out.some_text("http.route", route.cloned());
            }
            Role::Client => {
                let address = server_address.as_deref();
                let url = full_url(self, common.tls, path, address, server_port);
                out.some_text("url.full", url);
            }
        }
        out.some_text("server.address", server_address);
        out.int("server.port", server_port);
        out.peer(common);
        let version = self.version.map(|version| version.as_str());
        out.some_text("network.protocol.version", version);
        out.transport(common);
        if let Some(session) = &common.session {
            session.describe(out);
        }
    }
}
