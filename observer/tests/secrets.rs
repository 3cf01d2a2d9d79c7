//! TLS secrets on their way from real programs to the daemon: they are those that the peer's own key log says.
//!
//! What is compared, and what a failure shows, are digests: no secret is in any output. None of the servers logs keys.
#![allow(clippy::unwrap_used, reason = "tests panic, they don't return errors")]

use std::{
    collections::BTreeSet,
    fs,
    io::Write as _,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    sync::{Arc, Mutex, atomic::Ordering},
};

use observer::{
    kernel::{Features, Kernel, KernelTypes, LoadOptions, SecretSlots},
    tls::{ArmedCounts, ArmedFiles, PROGRAMS, secrets},
};
use observer_abi::{
    loss::Counter,
    secret::{SecretSlot, label},
};
use observer_tests::{Certificate, Environment, Folder, Server, free_port, openssl_client, until};
use sha2::{Digest as _, Sha256};

/// What a secret is for, and its digest.
type Digests = BTreeSet<(u32, [u8; 32])>;

/// The programs at work, as the daemon has them, in this process.
struct Observing {
    kernel: Arc<Mutex<Kernel>>,
    files: ArmedFiles,
    slots: SecretSlots,
    counts: Arc<ArmedCounts>,
    /// Processes that hash too much.
    busy: Vec<u32>,
}

impl Observing {
    fn begin() -> Self {
        Self::but_for(std::process::id())
    }

    /// All processes but one.
    fn but_for(observer_tgid: u32) -> Self {
        let types = KernelTypes::of_running_kernel().unwrap();
        let features = Features::probe(&types);
        let options = LoadOptions {
            observer_tgid,
            tls: true,
            ..LoadOptions::default()
        };
        let mut kernel = Kernel::load(&types, &features, &options).unwrap();
        kernel.load_uprobes(PROGRAMS).unwrap();
        kernel.forget_others();
        let slots = kernel.take_secrets().unwrap();
        kernel.policy().unwrap().enable(true).unwrap();
        let kernel = Arc::new(Mutex::new(kernel));
        let counts = Arc::new(ArmedCounts::default());
        let files = ArmedFiles::new(Arc::clone(&kernel), Arc::clone(&counts)).unwrap();
        Self {
            kernel,
            files,
            slots,
            counts,
            busy: Vec::new(),
        }
    }

    /// What processes told since the last time, with how many secrets that was.
    fn told(&mut self, into: &mut Digests, is_it: impl Fn(u32) -> bool) {
        let each = |slot: &SecretSlot| {
            if is_it(slot.tgid) {
                let secret = &slot.secret[..slot.length as usize];
                assert!(secrets::read(slot).is_some());
                assert!(slot.time_ns > 0);
                into.insert((slot.label, Sha256::digest(secret).into()));
            }
        };
        self.slots.drain(each, |pid| self.busy.push(pid));
    }

    fn counter(&self, wanted: Counter) -> u64 {
        let counters = self.kernel.lock().unwrap().counters().unwrap();
        let found = counters.iter().find(|(counter, ..)| *counter == wanted);
        found.unwrap().2
    }
}

/// What a key log says, but for what opens nothing.
fn logged(log: &Path) -> Digests {
    let text = fs::read_to_string(log).unwrap_or_default();
    let mut found = Digests::new();
    for line in text.lines() {
        let fields: Vec<&str> = line.split(' ').collect();
        let [written, _, secret] = fields[..] else {
            continue;
        };
        let number = match written {
            "CLIENT_RANDOM" => label::MASTER,
            "CLIENT_HANDSHAKE_TRAFFIC_SECRET" => label::CLIENT_HANDSHAKE,
            "SERVER_HANDSHAKE_TRAFFIC_SECRET" => label::SERVER_HANDSHAKE,
            "CLIENT_TRAFFIC_SECRET_0" => label::CLIENT_TRAFFIC,
            "SERVER_TRAFFIC_SECRET_0" => label::SERVER_TRAFFIC,
            _ => continue,
        };
        let Some(secret) = bytes(secret) else {
            continue;
        };
        found.insert((number, Sha256::digest(secret).into()));
    }
    found
}

/// The bytes of a hex number that is whole.
fn bytes(hex: &str) -> Option<Vec<u8>> {
    let pairs = hex.as_bytes().chunks(2);
    pairs
        .map(|pair| u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok())
        .collect()
}

/// Secrets of a handshake of TLS 1.3 without 0-RTT, and of one of TLS 1.2.
const OF_1_3: usize = 4;
const OF_1_2: usize = 1;
/// Breakpoints that a handshake may meet.
const MOST_HITS: u64 = 12;

/// Handshakes of both versions with a server, which has mapped what it needs by now. Returns the programs that saw them.
fn prove(server: &Server) -> Observing {
    let mut observing = Observing::begin();
    // A worker may serve: processes of the server's group.
    let group = |pid: u32| {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
        let fields = stat.rsplit_once(") ").map_or("", |(_, rest)| rest);
        fields.split(' ').nth(2) == Some(&server.pid().to_string())
    };
    let processes: Vec<u32> = fs::read_dir("/proc")
        .unwrap()
        .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok())
        .filter(|pid| group(*pid))
        .collect();
    for pid in &processes {
        observing.files.look_at_process(*pid);
    }
    let folder = Folder::new();
    let log = folder.path().join("log");
    let mut told = Digests::new();
    for (version, count) in [("-tls1_3", OF_1_3), ("-tls1_2", OF_1_3 + OF_1_2)] {
        let before = observing.counter(Counter::KeyPointHit);
        let mut client = openssl_client(server.port(), version, &log);
        let mut input = client.stdin.take().unwrap();
        let _ = input.write_all(b"GET / HTTP/1.0\r\n\r\n");
        until("both ends told their secrets", || {
            observing.told(&mut told, group);
            (logged(&log).len() >= count && told.len() >= count).then_some(())
        });
        // The client's own library may be the same file: both ends' hits.
        let hits = observing.counter(Counter::KeyPointHit) - before;
        assert!((1..=2 * MOST_HITS).contains(&hits), "{version}: {hits}");
        drop(input);
        let _ = client.kill();
        client.wait().unwrap();
    }
    observing.told(&mut told, group);
    assert!(told == logged(&log), "{} told", told.len());
    assert_eq!(told.len(), OF_1_3 + OF_1_2);
    assert_eq!(observing.counter(Counter::SecretDropped), 0);
    assert_eq!(observing.counts.unknown.load(Ordering::Relaxed), 0);
    observing
}

#[test]
fn debians_openssl_tells_the_secrets_that_its_peer_logs() {
    let Some(_environment) = Environment::enter() else {
        return;
    };
    let certificate = Certificate::new();
    let folder = Folder::new();
    let nginx = Server::nginx(&folder);
    let next = format!("http://127.0.0.1:{}", nginx.port());
    prove(&Server::tls_hop(&certificate, &next, &["--answer-tls"]));
}

#[test]
fn a_static_stripped_openssl_tells_the_secrets_that_its_peer_logs() {
    let Some(environment) = Environment::enter() else {
        return;
    };
    let (certificate, folder) = (Certificate::new(), Folder::new());
    prove(&Server::static_nginx(&environment, &certificate, &folder).1);
}

#[test]
fn a_static_stripped_boringssl_tells_the_secrets_that_its_peer_logs() {
    let Some(environment) = Environment::enter() else {
        return;
    };
    let (certificate, folder) = (Certificate::new(), Folder::new());
    prove(&Server::envoy(&environment, &certificate, &folder).1);
}

#[test]
fn a_stripped_go_program_tells_the_secrets_that_its_peer_logs() {
    let Some(environment) = Environment::enter() else {
        return;
    };
    let (certificate, folder) = (Certificate::new(), Folder::new());
    prove(&Server::caddy(&environment, &certificate, &folder).1);
}

#[test]
fn node_tells_the_secrets_that_its_peer_logs() {
    let Some(_environment) = Environment::enter() else {
        return;
    };
    prove(&Server::node_tls(&Certificate::new()));
}

#[test]
fn gnutls_tells_the_secrets_that_its_peer_logs() {
    let Some(_environment) = Environment::enter() else {
        return;
    };
    let (certificate, folder) = (Certificate::new(), Folder::new());
    let mut observing = Observing::begin();
    let mut told = Digests::new();
    let log: PathBuf = folder.path().join("log");
    for version in ["1.3", "1.2"] {
        let mut server = Command::new("python3")
            .arg(Environment::programs().join("tls_late.py"))
            .args([certificate.path(), &log])
            .arg(version)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut lines =
            std::io::BufRead::lines(std::io::BufReader::new(server.stdout.take().unwrap()));
        let port: u16 = lines.next().unwrap().unwrap().parse().unwrap();
        let mut wget = Command::new("wget")
            .args(["-q", "-O", "/dev/null", "--no-check-certificate", "-t", "1"])
            .arg(format!("https://127.0.0.1:{port}/"))
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        assert_eq!(lines.next().unwrap().unwrap(), "connected");
        // Its library is mapped by now, and its handshake waits.
        observing.files.look_at_process(wget.id());
        server.stdin.take().unwrap().write_all(b"\n").unwrap();
        server.wait().unwrap();
        let _ = wget.kill();
        wget.wait().unwrap();
        let client = wget.id();
        observing.told(&mut told, |pid| pid == client);
    }
    assert!(told == logged(&log), "{} told", told.len());
    assert_eq!(told.len(), OF_1_3 + OF_1_2);
}

/// A server of rustls in this process, with the file of its certificate; it answers each connection once.
fn rustls_server(certificate: &Certificate) -> u16 {
    use rustls::pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject as _};
    let certificates = CertificateDer::pem_file_iter(certificate.path().join("cert.pem"))
        .unwrap()
        .map(Result::unwrap)
        .collect();
    let key = PrivateKeyDer::from_pem_file(certificate.path().join("key.pem")).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(certificates, key)
        .unwrap();
    let config = Arc::new(config);
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let connection = rustls::ServerConnection::new(Arc::clone(&config)).unwrap();
            let mut secure = rustls::StreamOwned::new(connection, stream.unwrap());
            let _ = std::io::Read::read(&mut secure, &mut [0; 1000]);
            let _ = secure.write_all(b"HTTP/1.0 200 OK\r\n\r\n");
        }
    });
    port
}

#[test]
fn rings_block_functions_tell_the_secrets_that_its_peer_logs_until_it_hashes_too_much() {
    let Some(_environment) = Environment::enter() else {
        return;
    };
    let certificate = Certificate::new();
    let port = rustls_server(&certificate);
    let mut observing = Observing::but_for(0);
    let this = std::process::id();
    observing.files.look_at_process(this);
    assert_eq!(observing.counts.files.load(Ordering::Relaxed), 1);
    let folder = Folder::new();
    let log = folder.path().join("log");
    let mut told = Digests::new();
    for (version, count) in [("-tls1_3", OF_1_3), ("-tls1_2", OF_1_3 + OF_1_2)] {
        let mut client = openssl_client(port, version, &log);
        let mut input = client.stdin.take().unwrap();
        let _ = input.write_all(b"GET / HTTP/1.0\r\n\r\n");
        until("the server told what the client logged", || {
            observing.told(&mut told, |pid| pid == this);
            let logged = logged(&log);
            // It tells keys, and not what they are for.
            let known = |(_, digest): &(u32, [u8; 32])| told.contains(&(label::UNKNOWN, *digest));
            (logged.len() >= count && logged.iter().all(known)).then_some(())
        });
        drop(input);
        let _ = client.kill();
        client.wait().unwrap();
    }
    let hits = observing.counter(Counter::KeyPointHit);
    eprintln!("{hits} hits, {} keys in two handshakes", told.len());
    let suites = rustls::crypto::ring::default_provider().cipher_suites;
    let hash = suites[0].tls13().unwrap().common.hash_provider;
    let hash = |times: usize| {
        for _ in 0..times {
            std::hint::black_box(hash.hash(b"a file"));
        }
    };
    until("too much is said to be too much", || {
        hash(2000);
        observing.told(&mut told, |_| false);
        observing.busy.contains(&this).then_some(())
    });
    observing.files.give_up(this);
    assert_eq!(observing.counts.files.load(Ordering::Relaxed), 0);
    assert_eq!(observing.counts.unknown.load(Ordering::Relaxed), 1);
    let hits = observing.counter(Counter::KeyPointHit);
    hash(2000);
    assert_eq!(observing.counter(Counter::KeyPointHit), hits);
}

/// A copy of a program and of a library that it needs, each a new file.
fn copies(folder: &Path) -> (PathBuf, PathBuf) {
    let (program, library) = (folder.join("openssl"), folder.join("libssl.so.3"));
    fs::copy(
        find(&["/usr/bin/openssl", "/usr/local/bin/openssl"]),
        &program,
    )
    .unwrap();
    let libraries = [
        "/usr/lib/x86_64-linux-gnu/libssl.so.3",
        "/lib/x86_64-linux-gnu/libssl.so.3",
        "/usr/lib64/libssl.so.3",
    ];
    fs::copy(find(&libraries), &library).unwrap();
    (program, library)
}

fn find(paths: &[&str]) -> PathBuf {
    let mut found = paths.iter().map(PathBuf::from).filter(|path| path.exists());
    found.next().unwrap_or_else(|| panic!("none of {paths:?}"))
}

/// `openssl s_server` with the library of a folder.
fn own_server(program: &Path, folder: &Path, certificate: &Certificate) -> Server {
    let port = free_port();
    let mut command = Command::new(program);
    command
        .args(["s_server", "-quiet", "-www", "-accept", &port.to_string()])
        .arg("-cert")
        .arg(certificate.path().join("cert.pem"))
        .arg("-key")
        .arg(certificate.path().join("key.pem"))
        .env("LD_LIBRARY_PATH", folder)
        .stderr(Stdio::null());
    Server::start(&mut command, port)
}

#[test]
fn a_library_that_was_deleted_tells_secrets_and_is_let_go_of_when_nobody_maps_it() {
    let Some(_environment) = Environment::enter() else {
        return;
    };
    let (certificate, folder) = (Certificate::new(), Folder::new());
    let (program, library) = copies(folder.path());
    let server = own_server(&program, folder.path(), &certificate);
    fs::remove_file(&program).unwrap();
    fs::remove_file(&library).unwrap();
    // As an upgrade leaves it.
    fs::write(&library, "another").unwrap();
    let mut observing = prove(&server);
    let (id, armed) = (server.pid(), Arc::clone(&observing.counts));
    let armed = || armed.files.load(Ordering::Relaxed);
    observing.files.sweep(|pid| pid == id);
    assert_eq!(armed(), 1);
    drop(server);
    observing.files.sweep(|pid| pid == id);
    // It may begin again.
    assert_eq!(armed(), 1);
    observing.files.sweep(|pid| pid == id);
    assert_eq!(armed(), 0);
}

#[test]
fn a_file_that_two_overlays_show_has_one_breakpoint() {
    let Some(_environment) = Environment::enter() else {
        return;
    };
    let (certificate, folder) = (Certificate::new(), Folder::new());
    let path = |name: &str| folder.path().join(name);
    for name in ["lower", "one", "other", "empty"] {
        fs::create_dir(path(name)).unwrap();
    }
    copies(&path("lower"));
    let mounts = ["one", "other"].map(|name| {
        let lower = format!(
            "lowerdir={}:{}",
            path("empty").display(),
            path("lower").display()
        );
        let mounted = Command::new("mount")
            .args(["-t", "overlay", "overlay", "-o", &lower])
            .arg(path(name))
            .status();
        mounted
            .is_ok_and(|status| status.success())
            .then(|| Mounted(path(name)))
    });
    if mounts.iter().any(Option::is_none) {
        eprintln!(
            "skipped: no overlay can be mounted on the file system of {}",
            folder.path().display()
        );
        return;
    }
    let servers = ["one", "other"]
        .map(|name| own_server(&path(name).join("openssl"), &path(name), &certificate));
    let mut observing = Observing::begin();
    for server in &servers {
        observing.files.look_at_process(server.pid());
    }
    assert_eq!(observing.counts.files.load(Ordering::Relaxed), 2);
    for server in &servers {
        let (mut told, before) = (Digests::new(), observing.counter(Counter::KeyPointHit));
        let mut client = openssl_client(server.port(), "-tls1_3", &path("log"));
        until("the server told its secrets", || {
            observing.told(&mut told, |pid| pid == server.pid());
            (told.len() == OF_1_3).then_some(())
        });
        let _ = client.kill();
        client.wait().unwrap();
        // With the exporter's; the client's library is another file.
        let hits = observing.counter(Counter::KeyPointHit) - before;
        assert_eq!(hits, OF_1_3 as u64 + 1);
    }
}

/// Unmounted when dropped.
struct Mounted(PathBuf);

impl Drop for Mounted {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(&self.0).status();
    }
}

#[test]
fn a_library_with_labels_and_no_function_is_counted_as_unknown() {
    use object::{Object as _, ObjectSegment as _, SegmentFlags, elf};
    let Some(_environment) = Environment::enter() else {
        return;
    };
    let folder = Folder::new();
    let (_, library) = copies(folder.path());
    // The same without its code.
    let mut bytes = fs::read(&library).unwrap();
    let file = object::File::parse(&*bytes).unwrap();
    let code = file.segments().find_map(|segment| match segment.flags() {
        SegmentFlags::Elf { p_flags } if p_flags & elf::PF_X != 0 => Some(segment.file_range()),
        _ => None,
    });
    let (start, size) = code.unwrap();
    bytes[start as usize..(start + size) as usize].fill(0x90);
    fs::write(&library, bytes).unwrap();
    let mut holder = Command::new("python3")
        .arg("-c")
        .arg("import mmap, sys\nfile = open(sys.argv[1], 'rb')\nmapped = mmap.mmap(file.fileno(), 4096, mmap.MAP_PRIVATE, mmap.PROT_READ | mmap.PROT_EXEC)\nprint('mapped', flush=True)\nsys.stdin.read()")
        .arg(&library)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut said = String::new();
    let output = holder.stdout.take().unwrap();
    std::io::BufRead::read_line(&mut std::io::BufReader::new(output), &mut said).unwrap();
    let mut observing = Observing::begin();
    observing.files.look_at_process(holder.id());
    let counts = &observing.counts;
    assert_eq!(counts.unknown.load(Ordering::Relaxed), 1);
    assert_eq!(counts.files.load(Ordering::Relaxed), 0);
    drop(holder.stdin.take());
    holder.wait().unwrap();
    observing.files.sweep(|_| false);
    assert_eq!(observing.counts.unknown.load(Ordering::Relaxed), 0);
}
