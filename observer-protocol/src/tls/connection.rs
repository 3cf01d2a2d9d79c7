//! One connection: from its hellos to its end.

use super::{
    alert::Alert,
    candidates::{Candidates, Wanted},
    certificate::not_after_of_message,
    direction::{Direction, Stage},
    event::{Event, Outcome, Reason},
    hello::{ClientHello, ServerHello, Version, encrypted_extensions},
    key::{Agreed, Key, Plain},
    messages::{Message, Messages},
    record::{ContentType, Record, Side},
    schedule::next_generation,
    secret::{Label, Secret},
    suite::Suite,
};

/// What has been understood of one connection. Its memory is bounded: a message of at most 4 KiB and one key a side.
///
/// Each side's records are offered in the order of the wire; how both sides' alternate matters little, since a record
/// [waits](Outcome::Waits) for what it needs of the other side.
pub struct Connection {
    client: Direction,
    server: Direction,
    client_random: Option<[u8; 32]>,
    /// The client would send data before the handshake's end.
    early_data: bool,
    server_hello: Option<Box<ServerHello>>,
    /// TLS 1.3: the server asked for another hello.
    retried: bool,
    /// The server's hello answers the client's last one.
    answered: bool,
    suite: Option<&'static Suite>,
    /// TLS 1.2: it has a handshake of its own, and resumes no other's.
    exchanges_keys: bool,
    /// Which secrets are tried first.
    handshake: u64,
}

impl Default for Connection {
    fn default() -> Self {
        Self::new()
    }
}

/// What a record waits for, or why it stays closed: the way out of the functions below.
type Opened = Result<Plain, Outcome>;

impl Connection {
    /// A connection of which nothing has been seen.
    pub fn new() -> Self {
        Self {
            client: Direction::new(),
            server: Direction::new(),
            client_random: None,
            early_data: false,
            server_hello: None,
            retried: false,
            answered: false,
            suite: None,
            exchanges_keys: false,
            handshake: 0,
        }
    }

    /// The version that both sides agreed on, as far as the server's hello was seen.
    pub fn version(&self) -> Option<Version> {
        self.server_hello.as_ref().map(|hello| hello.version)
    }

    /// The suite that both sides agreed on; nothing where it is not read here.
    pub const fn suite(&self) -> Option<&'static Suite> {
        self.suite
    }

    /// Takes the next record of a side and says what it understood. `now` is what the secret that it is opened with was last
    /// used at.
    pub fn record(
        &mut self,
        from: Side,
        record: &Record<'_>,
        candidates: &mut Candidates,
        now: u64,
        say: &mut impl FnMut(Event),
    ) -> Outcome {
        let version_13 = self.is_13();
        let encrypted = if version_13 {
            record.content_type == ContentType::ApplicationData
        } else {
            self.direction(from).stage != Stage::Clear
                || record.content_type == ContentType::ApplicationData
        };
        if !encrypted {
            // Whether it means something depends on the version.
            if record.content_type == ContentType::ChangeCipherSpec
                && !version_13
                && self.server_hello.is_none()
                && self.client_random.is_some()
            {
                return Outcome::Waits;
            }
            self.clear(from, record, say);
            return Outcome::Taken;
        }
        let Some(hello) = &self.server_hello else {
            // A client's early data comes before the server's hello.
            if from == Side::Client && self.client_random.is_some() {
                return Outcome::Waits;
            }
            return self.closed(from, record, Reason::NoHandshake);
        };
        let Some(suite) = self.suite else {
            let reason = match hello.version {
                Version::TLS_12 | Version::TLS_13 => Reason::Suite(hello.suite),
                version => Reason::Version(version.0),
            };
            return self.closed(from, record, reason);
        };
        if self.direction(from).is_given_up() {
            return self.closed(from, record, Reason::Lost);
        }
        let opened = if version_13 {
            self.open_13(from, record, suite, candidates, now, say)
        } else {
            self.open_12(from, record, candidates, now, say)
        };
        match opened {
            Ok(plain) => self.opened(from, record, plain, say),
            Err(Outcome::Unopened(reason)) => self.closed(from, record, reason),
            Err(outcome) => outcome,
        }
    }

    /// Gives up a record that [waited](Outcome::Waits); it is counted.
    pub fn pass(&mut self, from: Side, record: &Record<'_>) {
        let change = record.content_type == ContentType::ChangeCipherSpec;
        if change && !self.is_13() && self.direction(from).stage == Stage::Application {
            // What it says is known without opening it.
            self.change_12(from);
        } else {
            self.direction_mut(from).pass(record);
        }
    }

    /// So many bytes of a side were not seen, of which no record's header is known.
    pub fn lost(&mut self, from: Side, bytes: u64) {
        self.direction_mut(from).lost(bytes);
    }

    fn is_13(&self) -> bool {
        self.retried || self.version() == Some(Version::TLS_13)
    }

    /// Bytes that the application of a side said, see [`Event::Data`].
    pub(super) fn position(&self, side: Side) -> u64 {
        self.direction(side).position
    }

    fn direction(&self, side: Side) -> &Direction {
        match side {
            Side::Client => &self.client,
            Side::Server => &self.server,
        }
    }

    fn direction_mut(&mut self, side: Side) -> &mut Direction {
        match side {
            Side::Client => &mut self.client,
            Side::Server => &mut self.server,
        }
    }

    fn closed(&mut self, from: Side, record: &Record<'_>, reason: Reason) -> Outcome {
        self.pass(from, record);
        Outcome::Unopened(reason)
    }

    /// A record that is not encrypted.
    fn clear(&mut self, from: Side, record: &Record<'_>, say: &mut impl FnMut(Event)) {
        match record.content_type {
            ContentType::Handshake => self.messages(from, record.first, missing(record), say),
            ContentType::Alert => self.alert(from, record.first, say),
            // TLS 1.3 sends it for the looks.
            ContentType::ChangeCipherSpec if self.server_hello.is_some() && !self.is_13() => {
                self.change_12(from);
            }
            ContentType::ChangeCipherSpec | ContentType::ApplicationData => {}
        }
    }

    fn alert(&self, from: Side, bytes: &[u8], say: &mut impl FnMut(Event)) {
        if let Some(alert) = Alert::read(bytes) {
            say(Event::Alert {
                from,
                alert,
                fatal: alert.is_fatal(self.is_13()),
            });
        }
    }

    /// Handshake messages of a record, opened or in the clear.
    fn messages(&mut self, from: Side, bytes: &[u8], missing: usize, say: &mut impl FnMut(Event)) {
        let mut messages = std::mem::take(&mut self.direction_mut(from).messages);
        let mut changed = false;
        messages.feed(bytes, missing, |message| {
            changed |= self.message(from, &message, say);
        });
        // A message that changes the key is the last under it.
        if !changed {
            self.direction_mut(from).messages = messages;
        }
    }

    /// One message; true where the sender's next record has another key.
    fn message(&mut self, from: Side, message: &Message<'_>, say: &mut impl FnMut(Event)) -> bool {
        let version_13 = self.is_13();
        let body = message.body;
        match (message.kind, from) {
            (1, Side::Client) => self.client_hello(message, say),
            (2, Side::Server) => return self.server_hello(message, say),
            (4, Side::Server) => say(Event::Ticket),
            (5, Side::Client) if version_13 && self.client.stage == Stage::Early => {
                self.client.next_key(Stage::Handshake);
                return true;
            }
            (8, Side::Server) if version_13 => {
                let (protocol, early_data) = encrypted_extensions(body);
                say(Event::EncryptedExtensions {
                    protocol,
                    early_data,
                });
            }
            (11, _) => {
                self.exchanges_keys = true;
                say(Event::Certificate {
                    from,
                    not_after: not_after_of_message(body, version_13),
                });
            }
            // The keys' exchange, either side's.
            (12 | 16, _) => self.exchanges_keys = true,
            (20, _) => {
                say(Event::Finished { from });
                if version_13 && self.direction(from).stage != Stage::Application {
                    self.direction_mut(from).next_key(Stage::Application);
                    return true;
                }
            }
            (24, _) if version_13 && self.direction(from).stage == Stage::Application => {
                say(Event::KeyUpdate { from });
                let next = self.next_generation(from);
                self.direction_mut(from).next_key(Stage::Application);
                if let Some((key, secret)) = next {
                    let direction = self.direction_mut(from);
                    direction.key = Some(key);
                    direction.secret = Some(secret);
                }
                return true;
            }
            _ => {}
        }
        false
    }

    fn client_hello(&mut self, message: &Message<'_>, say: &mut impl FnMut(Event)) {
        let Some(mut hello) = ClientHello::read(message.body) else {
            return;
        };
        hello.whole &= message.whole;
        if self.client.stage == Stage::Application {
            say(Event::Renegotiation);
        }
        self.early_data = hello.early_data;
        if self.client.stage == Stage::Early && !hello.early_data {
            // The second hello after a retry.
            self.client.next_key(Stage::Handshake);
        }
        self.client_random = Some(hello.random);
        self.exchanges_keys = false;
        self.answered = false;
        say(Event::ClientHello(Box::new(hello)));
    }

    fn server_hello(&mut self, message: &Message<'_>, say: &mut impl FnMut(Event)) -> bool {
        let Some(mut hello) = ServerHello::read(message.body).map(Box::new) else {
            return false;
        };
        hello.whole &= message.whole;
        let retry = hello.retry;
        if retry {
            self.retried = true;
        } else {
            let suite = Suite::of(hello.suite);
            let version_13 = hello.version == Version::TLS_13;
            self.suite = suite.filter(|suite| {
                suite.is_of_13() == version_13 && (version_13 || hello.version == Version::TLS_12)
            });
            self.answered = true;
            self.server_hello = Some(hello.clone());
            if version_13 {
                // Without the client's hello, nobody knows whether it sends early data.
                let early = self.early_data || self.client_random.is_none();
                self.client.next_key(if early {
                    Stage::Early
                } else {
                    Stage::Handshake
                });
                self.server.next_key(Stage::Handshake);
            }
        }
        let changed = !retry && hello.version == Version::TLS_13;
        say(Event::ServerHello(hello));
        changed
    }

    /// TLS 1.2: the sender's next record has the keys of the last hellos.
    fn change_12(&mut self, from: Side) {
        self.direction_mut(from).next_key(Stage::Application);
    }

    fn agreed(&self) -> Option<Agreed<'_>> {
        Some(Agreed {
            suite: self.suite?,
            client_random: self.client_random.as_ref()?,
            server: self.server_hello.as_deref()?,
        })
    }

    /// TLS 1.3: a side's next key.
    fn next_generation(&self, from: Side) -> Option<(Key, Secret)> {
        let suite = self.suite?;
        let secret = next_generation(suite.hash, self.direction(from).secret.as_ref()?)?;
        Some((Key::of_traffic_secret(suite, &secret)?, secret))
    }

    /// What was captured of a record that is not whole, where its key and number are known. Else it waits for one behind it
    /// that proves them.
    fn part(&mut self, from: Side, record: &Record<'_>) -> Opened {
        let direction = self.direction_mut(from);
        let key = direction.key.as_ref().ok_or(Outcome::Waits)?;
        if direction.number >= direction.certain {
            // The handshake may have ended where nobody saw it, and the key with it. The key may have changed in what was lost,
            // too, so it says nothing that some ciphers need no number.
            let ended = direction.stage != Stage::Application && direction.messages.is_lost();
            if ended || direction.slack > 0 {
                return Err(Outcome::Waits);
            }
        }
        let plain = key
            .part(direction.number, record)
            .ok_or(Outcome::Unopened(Reason::Malformed))?;
        direction.number = direction.number.saturating_add(1);
        Ok(plain)
    }

    /// The record has a number under its side's key: in TLS 1.3, what is not encrypted has none.
    pub(super) fn is_counted(&self, record: &Record<'_>) -> bool {
        !self.is_13() || record.content_type == ContentType::ApplicationData
    }

    /// Looks at a whole record before `ahead` others of its side, that wait, are taken: if it proves their key and their
    /// numbers, they can be offered again.
    pub(super) fn look_ahead(
        &mut self,
        from: Side,
        ahead: u64,
        record: &Record<'_>,
        candidates: &mut Candidates,
        now: u64,
        say: &mut impl FnMut(Event),
    ) -> bool {
        let (Some(suite), true) = (self.suite, record.is_whole()) else {
            return false;
        };
        let direction = self.direction(from);
        if direction.is_given_up() || direction.stage == Stage::Clear {
            return false;
        }
        let next = direction.number;
        let looked = Some((record.at, next.saturating_add(ahead)));
        let present = direction.key.as_ref().and_then(|key| {
            if direction.looked == looked {
                return None;
            }
            let (_, number) = direction.search(key, next.saturating_add(ahead), record)?;
            Some((number, next))
        });
        self.direction_mut(from).looked = looked;
        let direction = self.direction(from);
        let found = match present {
            Some(found) => Some(found),
            None if self.is_13()
                && (direction.key.is_none() || direction.stage != Stage::Application) =>
            {
                let bound = self.bind_13(from, ahead, record, suite, candidates, now, say);
                bound.map(|(_, number)| (number, 0))
            }
            None if !self.is_13() && direction.key.is_none() => {
                let bound = self.bind_12(from, ahead, record, candidates, now, say);
                bound.ok().map(|(_, number)| (number, 0))
            }
            None => None,
        };
        let Some((number, next)) = found else {
            return false;
        };
        let lost = self.direction_mut(from).certain(number, ahead, next);
        if lost > 0 {
            say(Event::Found { from, lost });
        }
        true
    }

    /// Opens with the present key.
    fn present(
        &mut self,
        from: Side,
        record: &Record<'_>,
        say: &mut impl FnMut(Event),
    ) -> Option<Plain> {
        let (plain, lost) = self.direction_mut(from).open(record)?;
        if lost > 0 {
            say(Event::Found { from, lost });
        }
        Some(plain)
    }

    fn open_13(
        &mut self,
        from: Side,
        record: &Record<'_>,
        suite: &'static Suite,
        candidates: &mut Candidates,
        now: u64,
        say: &mut impl FnMut(Event),
    ) -> Opened {
        if !record.is_whole() {
            return self.part(from, record);
        }
        // The present key was tried before the secrets were.
        if after(self.direction(from), record, 0) == 0
            && let Some(plain) = self.present(from, record, say)
        {
            return Ok(plain);
        }
        let stage = self.direction(from).stage;
        if stage == Stage::Application && self.direction(from).key.is_some() {
            // The update of the key was lost.
            let next = self.next_generation(from).and_then(|(key, secret)| {
                let (plain, number) = self.direction(from).search(&key, 0, record)?;
                Some((key, secret, plain, number))
            });
            let Some((key, secret, plain, number)) = next else {
                self.direction_mut(from).searched_in_vain();
                return Err(Outcome::Unopened(Reason::Lost));
            };
            say(Event::KeyUpdate { from });
            self.direction_mut(from).proven(key, Some(secret), number);
            return Ok(plain);
        }
        let bound = self.bind_13(from, 0, record, suite, candidates, now, say);
        bound.map(|(plain, _)| plain).ok_or(Outcome::Waits)
    }

    /// Looks for the secret that opens a record of TLS 1.3 which has at least the number `least`; says its number.
    #[expect(
        clippy::too_many_arguments,
        reason = "what a record is offered with, and its number"
    )]
    fn bind_13(
        &mut self,
        from: Side,
        least: u64,
        record: &Record<'_>,
        suite: &'static Suite,
        candidates: &mut Candidates,
        now: u64,
        say: &mut impl FnMut(Event),
    ) -> Option<(Plain, u64)> {
        let labels: &[Label] = match (from, self.direction(from).stage) {
            (Side::Server, Stage::Application) => &[Label::ServerTraffic],
            (Side::Client, Stage::Application) => &[Label::ClientTraffic],
            (Side::Server, _) => &[Label::ServerHandshake, Label::ServerTraffic],
            (Side::Client, Stage::Early) => &[
                Label::ClientEarly,
                Label::ClientHandshake,
                Label::ClientTraffic,
            ],
            (Side::Client, _) => &[Label::ClientHandshake, Label::ClientTraffic],
        };
        let direction = self.direction(from);
        let wanted = Wanted {
            labels,
            length: suite.hash.length(),
            client_random: self.client_random,
            handshake: self.handshake,
            after: after(direction, record, least),
            fresh: self.client_random.is_some(),
        };
        let found = candidates.find(&wanted, now, |secret, derived| {
            let key = match derived.take() {
                Some((of, key)) if std::ptr::eq(of, suite) => key,
                _ => Key::of_traffic_secret(suite, secret)?,
            };
            match direction.try_key(&key, least, record) {
                Some((plain, number)) => Some((key, plain, number)),
                None => {
                    *derived = Some((suite, key));
                    None
                }
            }
        });
        self.direction_mut(from).tried = (record.at, least, candidates.youngest());
        let found = found?;
        if found.handshake != 0 {
            self.handshake = found.handshake;
        }
        let (key, plain, number) = found.opened;
        let direction = self.direction_mut(from);
        direction.stage = match found.label {
            Some(Label::ClientEarly) => Stage::Early,
            Some(Label::ClientHandshake | Label::ServerHandshake) => Stage::Handshake,
            Some(_) => Stage::Application,
            None => stage_of(direction.stage, direction.key.is_some(), &plain),
        };
        direction.proven(key, Some(found.secret), number);
        say(Event::Bound { from });
        Some((plain, number))
    }

    fn open_12(
        &mut self,
        from: Side,
        record: &Record<'_>,
        candidates: &mut Candidates,
        now: u64,
        say: &mut impl FnMut(Event),
    ) -> Opened {
        if self.direction(from).stage == Stage::Clear {
            // The change of keys was lost.
            if self.direction(from).slack == 0 {
                return Err(Outcome::Unopened(Reason::Malformed));
            }
            let slack = self.direction(from).slack;
            self.change_12(from);
            self.direction_mut(from).slack = slack;
        }
        if !record.is_whole() {
            return self.part(from, record);
        }
        if self.direction(from).key.is_some() {
            if let Some(plain) = self.present(from, record, say) {
                return Ok(plain);
            }
            self.direction_mut(from).searched_in_vain();
            return Err(Outcome::Unopened(Reason::Lost));
        }
        let bound = self.bind_12(from, 0, record, candidates, now, say);
        bound.map(|(plain, _)| plain)
    }

    /// Looks for the secret that opens a record of TLS 1.2 which has at least the number `least`; says its number.
    fn bind_12(
        &mut self,
        from: Side,
        least: u64,
        record: &Record<'_>,
        candidates: &mut Candidates,
        now: u64,
        say: &mut impl FnMut(Event),
    ) -> Result<(Plain, u64), Outcome> {
        // A new handshake may have begun already on the other side, so its hellos say nothing of this key.
        let direction = self.direction(from);
        if let Some((plain, number)) = direction
            .prepared
            .as_ref()
            .and_then(|key| direction.search(key, least, record))
        {
            let direction = self.direction_mut(from);
            if let Some(key) = direction.prepared.take() {
                direction.proven(key, None, number);
            }
            say(Event::Bound { from });
            return Ok((plain, number));
        }
        if !self.answered {
            return Err(Outcome::Waits);
        }
        let agreed = self
            .agreed()
            .ok_or(Outcome::Unopened(Reason::NoHandshake))?;
        let direction = self.direction(from);
        let wanted = Wanted {
            labels: &[Label::Master],
            length: 48,
            client_random: self.client_random,
            handshake: self.handshake,
            after: after(direction, record, least),
            fresh: self.exchanges_keys,
        };
        let other = match from {
            Side::Client => Side::Server,
            Side::Server => Side::Client,
        };
        let found = candidates.find(&wanted, now, |secret, _| {
            let key = Key::of_master_secret(&agreed, secret, from)?;
            let (plain, number) = direction.search(&key, least, record)?;
            let prepared = Key::of_master_secret(&agreed, secret, other);
            Some((key, prepared, plain, number))
        });
        self.direction_mut(from).tried = (record.at, least, candidates.youngest());
        let found = found.ok_or(Outcome::Waits)?;
        if found.handshake != 0 {
            self.handshake = found.handshake;
        }
        let (key, prepared, plain, number) = found.opened;
        self.direction_mut(other).prepared = prepared;
        self.direction_mut(from).proven(key, None, number);
        say(Event::Bound { from });
        Ok((plain, number))
    }

    /// A record's content.
    fn opened(
        &mut self,
        from: Side,
        record: &Record<'_>,
        plain: Plain,
        say: &mut impl FnMut(Event),
    ) -> Outcome {
        let Some(content_type) = plain.content_type else {
            let direction = self.direction_mut(from);
            direction.messages.lose();
            direction.position = direction.position.saturating_add(plain.length as u64);
            return Outcome::Unopened(Reason::ContentType);
        };
        match content_type {
            ContentType::ApplicationData => {
                let direction = self.direction_mut(from);
                // No message reaches over it (RFC 8446 section 5.1), so the next one begins with a record.
                direction.messages = Messages::default();
                let position = direction.position;
                direction.position = position.saturating_add(plain.length as u64);
                say(Event::Data {
                    from,
                    position,
                    at: record.at,
                    early: direction.stage == Stage::Early,
                    plain,
                });
            }
            ContentType::Handshake => {
                let messages = &mut self.direction_mut(from).messages;
                if plain.proven {
                    messages.find_again(&plain.first);
                } else if !plain.exact {
                    messages.lose();
                }
                let missing = plain.length - plain.first.len();
                self.messages(from, &plain.first, missing, say);
            }
            ContentType::Alert => self.alert(from, &plain.first, say),
            ContentType::ChangeCipherSpec if !self.is_13() => self.change_12(from),
            ContentType::ChangeCipherSpec => {}
        }
        Outcome::Taken
    }
}

/// Which secrets were tried on this record already.
fn after(direction: &Direction, record: &Record<'_>, least: u64) -> u64 {
    let (at, as_least, sequence) = direction.tried;
    if (at, as_least) == (record.at, least) {
        sequence
    } else {
        0
    }
}

/// Bytes of a record that were not captured behind its first.
const fn missing(record: &Record<'_>) -> usize {
    record.length - record.first.len()
}

/// What the first record that a secret without a label opens says about how far its sender is.
fn stage_of(stage: Stage, had_key: bool, plain: &Plain) -> Stage {
    // Tickets and updates of keys come after the handshake.
    let kind = plain.first.first();
    let handshake =
        plain.content_type == Some(ContentType::Handshake) && !matches!(kind, Some(4 | 24));
    match stage {
        // Only early data and its end have this key.
        Stage::Early if !handshake || kind == Some(&5) => Stage::Early,
        Stage::Early => Stage::Handshake,
        // The end of the handshake was lost: what follows has the application's keys.
        Stage::Handshake if had_key || !handshake => Stage::Application,
        stage => stage,
    }
}

/// Who speaks, by a record that begins a handshake: a client's hello or a server's.
pub fn says_hello(record: &Record<'_>) -> Option<Side> {
    match (record.content_type, record.first.first()?) {
        (ContentType::Handshake, 1) => Some(Side::Client),
        (ContentType::Handshake, 2) => Some(Side::Server),
        _ => None,
    }
}
