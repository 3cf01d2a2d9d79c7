//! The load: so many requests a second, over varied routes.

use std::{
    io,
    net::SocketAddr,
    thread,
    time::{Duration, Instant},
};

use super::{http::Client, random::Random};

/// Sends for ever. Each thread has one connection and its own turns, so the rate holds while some requests are
/// slow; turns that were missed are not made up for.
pub(super) fn run(gateway: SocketAddr, rate: u32) -> io::Result<()> {
    let threads = (rate / 8 + 2).min(256);
    let turn = Duration::from_secs(1) / rate.max(1);
    let start = Instant::now();
    let mut running = Vec::new();
    for number in 0..threads {
        let thread = thread::Builder::new()
            .spawn(move || sender(gateway, start + turn * number, turn * threads))?;
        running.push(thread);
    }
    for thread in running {
        let _ = thread.join();
    }
    Ok(())
}

fn sender(gateway: SocketAddr, mut next: Instant, every: Duration) {
    let mut client = Client::new(gateway);
    let mut random = Random::default();
    loop {
        thread::sleep(next.saturating_duration_since(Instant::now()));
        let (method, target, body) = request(&mut random);
        // Failures are what the demo is there to show.
        let _ = client.send(method, &target, body);
        next += every;
        let late = Instant::now().saturating_duration_since(next);
        next += every * u32::try_from(late.as_nanos() / every.as_nanos().max(1)).unwrap_or(0);
    }
}

fn request(random: &mut Random) -> (&'static str, String, &'static str) {
    match random.between(1, 100) {
        1..=45 => ("GET", format!("/orders/{}", random.between(1000, 9999)), ""),
        46..=75 => ("GET", format!("/users/{}", random.uuid()), ""),
        76..=90 => ("POST", "/orders".into(), "{\"item\":7}"),
        91..=97 => ("GET", "/health".into(), ""),
        _ => ("GET", "/favicon.ico".into(), ""),
    }
}
