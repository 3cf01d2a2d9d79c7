//! FastCGI 1.0 (<https://fastcgi-archives.github.io/FastCGI_Specification.html>): what a web server asks an application, php-fpm
//! most of all, and what that answers.
//!
//! In: records of both directions, in order, and what is known of bytes that were not captured. Out: requests, as their parameters
//! name them, and answers, with the status of their CGI head (RFC 3875 section 6).
//! Owns: parameters and heads that are not complete, and which request a record is of.
//!
//! A connection may carry several requests at once. nginx, Apache httpd and lighttpd have one at a time, and php-fpm refuses others, so
//! in the kernel a request counts as what its thread works on, until a record begins another one before that has ended.

mod answer;
mod parameters;
mod protocol;
mod record;
mod rows;
#[cfg(test)]
mod tests;

pub use self::{
    parameters::{Asked, RequestHead},
    protocol::{Answer, FastCgi},
    record::kind,
    rows::ROWS,
};
