//! The shop: a gateway that asks a catalog and a payment service.

use std::{io, net::SocketAddr};

use super::{
    http::{Client, Handler, Request, Response},
    random::Random,
};

/// Takes orders; asks the other two, one after the other.
pub(super) struct Gateway {
    catalog: Client,
    payments: Client,
}

impl Gateway {
    pub(super) fn new(catalog: SocketAddr, payments: SocketAddr) -> Self {
        Self {
            catalog: Client::new(catalog),
            payments: Client::new(payments),
        }
    }

    fn order(&mut self, number: &str) -> io::Result<Response> {
        let item = self.catalog.send("GET", &format!("/items/{number}"), "")?;
        let payment = self
            .payments
            .send("GET", &format!("/payments/{number}"), "")?;
        Ok(match (item.status, payment.status) {
            (200, 200) => Response::new(
                200,
                format!("{{\"item\":{},\"payment\":{}}}", item.body, payment.body),
            ),
            (404, _) => Response::new(404, "{}"),
            _ => Response::new(502, "{\"error\":\"a service failed\"}"),
        })
    }
}

impl Handler for Gateway {
    fn answer(&mut self, request: &Request) -> Response {
        let segments: Vec<&str> = request.target.split('/').skip(1).collect();
        let answer = match (request.method.as_str(), segments.as_slice()) {
            ("GET", ["health"]) => Ok(Response::new(200, "{}")),
            ("GET", ["orders", number]) => self.order(number),
            ("POST", ["orders"]) => self
                .payments
                .send("POST", "/payments", "{\"amount\":1999}")
                .map(|payment| match payment.status {
                    201 => payment,
                    _ => Response::new(502, "{\"error\":\"the payment failed\"}"),
                }),
            ("GET", ["users", user]) => self.catalog.send("GET", &format!("/users/{user}"), ""),
            _ => Ok(Response::new(404, "{}")),
        };
        answer.unwrap_or_else(|_| Response::new(502, "{\"error\":\"a service did not answer\"}"))
    }
}

/// Quick; does not know every user.
#[derive(Default)]
pub(super) struct Catalog(Random);

impl Handler for Catalog {
    fn answer(&mut self, request: &Request) -> Response {
        if request.target.starts_with("/items/") {
            self.0.work(1, 5);
            return Response::new(200, "{\"name\":\"teapot\",\"price\":1999}");
        }
        self.0.work(2, 10);
        if request.target.starts_with("/users/") && !self.0.percent(4) {
            Response::new(200, "{\"name\":\"Ada\"}")
        } else {
            Response::new(404, "{}")
        }
    }
}

/// Slow, slower for one in ten, and one in fourteen fails.
#[derive(Default)]
pub(super) struct Payments(Random);

impl Handler for Payments {
    fn answer(&mut self, request: &Request) -> Response {
        if self.0.percent(10) {
            self.0.work(150, 450);
        } else {
            self.0.work(15, 60);
        }
        match (self.0.between(1, 100), request.method.as_str()) {
            (1..=5, _) => Response::new(503, "{\"error\":\"the bank is closed\"}"),
            (6..=7, _) => Response::new(500, "{\"error\":\"the ledger is wet\"}"),
            (_, "POST") => Response::new(201, "{\"paid\":true}"),
            _ => Response::new(200, "{\"paid\":true}"),
        }
    }
}
