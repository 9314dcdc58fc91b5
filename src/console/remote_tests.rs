#![allow(clippy::arithmetic_side_effects)]

use std::io::{BufRead, Write};
use std::net::TcpListener;
use std::sync::Mutex;

use super::*;
use crate::config::Role;
use crate::console::certificates::Certificates;
use crate::console::listen::{Bounds, listen};
use crate::control::{Caller, Handler, Outcome, RemoteBox, Server, Status};

/// The packet process: writes down what it was asked for whom.
#[derive(Default)]
struct Box4(Mutex<Vec<(String, String, String)>>);

impl Handler for Box4 {
    fn handle(&self, request: Request, caller: &Caller) -> Response {
        // Without a person nothing is recorded: only who watches the state may come so, after it was recorded once.
        match caller.person.clone() {
            Some(person) => {
                assert_eq!(person.address, IpAddr::from([127, 0, 0, 1]));
                self.0.lock().unwrap().push((person.user, person.role, request.summary()));
            }
            None => assert!(matches!(request, Request::Status), "{request:?}"),
        }
        match request {
            Request::Status => Response::Status(Box::new(Status { mode: "enforce".into(), ..Status::default() })),
            Request::Mode { mode, for_seconds } => {
                Response::Mode(Outcome { from: "learn".into(), to: mode, for_seconds, warnings: Vec::new() })
            }
            _ => Response::Done,
        }
    }

    fn trusts(&self, _: u32) -> bool {
        true
    }
}

struct Setting {
    directory: PathBuf,
    ours: Certificates,
    packet_process: Arc<Box4>,
    server: Option<Server>,
    stop: Arc<AtomicBool>,
    outcomes: Arc<Outcomes>,
    thread: Option<std::thread::JoinHandle<()>>,
    remote: RemoteBox,
}

impl Setting {
    fn new(name: &str, role: Role) -> Self {
        let directory = std::env::temp_dir().join(format!("vambrace-remote-{}-{name}", std::process::id()));
        let _ = std::fs::remove_dir_all(&directory);
        let ours = Certificates::make(&directory.join("ours"));
        let packet_process = Arc::new(Box4::default());
        let socket = directory.join("control.sock");
        let server = Server::start(&socket, packet_process.clone()).unwrap();
        let console = Console {
            certificate: Some(ours.path("box.pem")),
            key: Some(ours.path("box.key")),
            client_ca: Some(ours.path("ca.pem")),
            users: vec![User { name: "eva".into(), role, certificate: ours.user_print.clone() }],
            ..Console::default()
        };
        let stop = Arc::new(AtomicBool::new(false));
        let remote =
            Remote::new(&console, &socket, &directory, Diagnostics::new(Path::new("/nonexistent")), Arc::clone(&stop))
                .unwrap()
                .unwrap();
        let outcomes = Arc::clone(&remote.outcomes);
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let thread = {
            let (stop, remote) = (Arc::clone(&stop), Arc::new(remote));
            let serve: Arc<dyn Fn(TcpStream, SocketAddr) + Send + Sync> =
                Arc::new(move |stream, peer| remote.serve(stream, peer));
            std::thread::spawn(move || listen(&listener, "remote", Bounds { all: 8, each: 8 }, &stop, &serve))
        };
        let remote = RemoteBox {
            address: address.to_string(),
            certificate: ours.path("user.pem"),
            key: ours.path("user.key"),
            ca: ours.path("ca.pem"),
        };
        Self { directory, ours, packet_process, server: Some(server), stop, outcomes, thread: Some(thread), remote }
    }

    fn asked(&self) -> Vec<(String, String, String)> {
        self.packet_process.0.lock().unwrap().clone()
    }
}

impl Drop for Setting {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
        self.server.take();
        let _ = std::fs::remove_dir_all(&self.directory);
    }
}

fn entry(user: &str, role: &str, what: &str) -> (String, String, String) {
    (user.into(), role.into(), what.into())
}

fn mode(mode: &str) -> Request {
    Request::Mode { mode: mode.into(), for_seconds: Some(60) }
}

#[test]
fn a_user_asks_as_far_as_the_role_reaches_and_all_of_it_is_recorded() {
    let setting = Setting::new("asks", Role::Operator);
    let mut client = Client::connect_remote(&setting.remote).unwrap();
    assert!(matches!(client.ask(&Request::Status).unwrap(), Response::Status(status) if status.mode == "enforce"));
    assert!(matches!(client.ask(&mode("lockdown")).unwrap(), Response::Mode(outcome) if outcome.to == "lockdown"));
    let Response::Failed { kind, messages } = client.ask(&mode("observe")).unwrap() else { panic!("not allowed") };
    assert_eq!((kind, messages.concat().contains("takes the role engineer")), (FailureKind::Failed, true));
    let operator = |what: &str| entry("eva", "operator", what);
    assert_eq!(
        setting.asked(),
        [operator("status"), operator("mode lockdown for 60 s"), operator("mode observe for 60 s")],
        "the last as a refusal"
    );
}

#[test]
fn nobody_says_for_whom_they_ask() {
    let setting = Setting::new("feigned", Role::Viewer);
    let mut client = Client::connect_remote(&setting.remote).unwrap();
    let boss = Person { user: "boss".into(), role: "engineer".into(), address: IpAddr::from([10, 0, 0, 1]) };
    assert!(matches!(client.ask_for(&Request::Status, Some(&boss)).unwrap(), Response::Failed { .. }));
    let denied = Request::Denied { what: "a".into(), why: "b".into() };
    assert!(matches!(client.ask(&denied).unwrap(), Response::Failed { .. }));
    assert!(setting.asked().iter().all(|(user, role, _)| user == "eva" && role == "viewer"));
}

#[test]
fn event_lines_come_page_by_page_and_are_recorded_once() {
    let setting = Setting::new("lines", Role::Viewer);
    let line = |id: u32| format!("{{\"event_id\":{id},\"text\":\"{}\"}}\n", "\\u0001\\\"".repeat(100));
    let path = setting.directory.join("eve.json");
    std::fs::write(&path, (1..=2000).map(line).collect::<String>()).unwrap();
    let mut client = Client::connect_remote(&setting.remote).unwrap();
    let (mut after, mut lines, mut pages) = (String::new(), Vec::new(), 0);
    loop {
        let answer = client.ask(&Request::EventLines { after: after.clone(), wait: false }).unwrap();
        let Response::EventLines { lines: more, after: next, lost: None } = answer else { panic!("{answer:?}") };
        if more.is_empty() {
            break;
        }
        lines.extend(more);
        (after, pages) = (next, pages + 1);
    }
    assert_eq!((lines.len(), pages > 3), (2000, true));
    assert_eq!(lines[1999].clone() + "\n", line(2000));
    assert_eq!(setting.asked(), [entry("eva", "viewer", "events")]);
    let writer = std::thread::spawn(move || {
        std::thread::sleep(Duration::from_millis(300));
        std::fs::OpenOptions::new().append(true).open(path).unwrap().write_all(line(2001).as_bytes()).unwrap();
    });
    let answer = client.ask(&Request::EventLines { after, wait: true }).unwrap();
    assert!(matches!(answer, Response::EventLines { lines, .. } if lines.len() == 1), "the request waits for it");
    writer.join().unwrap();
    let end = client.ask(&Request::EventLines { after: "end".into(), wait: false }).unwrap();
    let Response::EventLines { lines, after, lost: None } = end else { panic!("{end:?}") };
    assert_eq!((lines.len(), after.is_empty()), (0, false), "only what comes from now on");
    let odd = client.ask(&Request::EventLines { after: "../x".into(), wait: false }).unwrap();
    assert!(matches!(odd, Response::Failed { kind: FailureKind::Usage, .. }));
}

#[test]
fn who_watches_the_state_is_recorded_once_a_connection() {
    let setting = Setting::new("watches", Role::Viewer);
    for _ in 0..2 {
        let mut client = Client::connect_remote(&setting.remote).unwrap();
        for _ in 0..4 {
            assert!(matches!(client.ask(&Request::Status).unwrap(), Response::Status(_)));
        }
    }
    assert_eq!(setting.asked(), [entry("eva", "viewer", "status"), entry("eva", "viewer", "status")]);
}

#[test]
fn strangers_are_refused_recorded_and_kept_out() {
    let setting = Setting::new("strangers", Role::Engineer);
    let theirs = Certificates::make(&setting.directory.join("theirs"));
    // A certificate of our authority that is no user's: the box says so.
    let unknown = RemoteBox {
        certificate: setting.ours.path("box.pem"),
        key: setting.ours.path("box.key"),
        ..setting.remote.clone()
    };
    let answer = Client::connect_remote(&unknown).unwrap().ask(&Request::Status).unwrap();
    let Response::Failed { messages, .. } = answer else { panic!("{answer:?}") };
    assert!(messages.concat().contains(&setting.ours.box_print), "{messages:?}");
    // One of another authority, and a box that is not who it should be.
    let stranger =
        RemoteBox { certificate: theirs.path("user.pem"), key: theirs.path("user.key"), ..setting.remote.clone() };
    let fooled = RemoteBox { ca: theirs.path("ca.pem"), ..setting.remote.clone() };
    for remote in [&stranger, &fooled] {
        let error = Client::connect_remote(remote).and_then(|mut client| client.ask(&Request::Status)).unwrap_err();
        assert!(matches!(error, ControlError::Remote { .. }), "{error}");
    }
    let plain = TcpStream::connect(&setting.remote.address).unwrap();
    (&plain).write_all(b"{\"protocol\":1,\"request\":\"status\"}\n").unwrap();
    let begun = Instant::now();
    while setting.asked().len() < 4 {
        assert!(begun.elapsed() < Duration::from_secs(10));
        std::thread::sleep(Duration::from_millis(10));
    }
    assert_eq!(setting.asked(), vec![entry("", "", "connection"); 4]);
    assert_eq!(setting.outcomes.refused.load(Ordering::Relaxed), 4);
    // Four failures: now the user waits a second as well, for it is the same address.
    let asked = Client::connect_remote(&setting.remote).and_then(|mut it| it.ask(&Request::Status));
    if begun.elapsed() < Duration::from_millis(900) {
        assert!(asked.is_err() && setting.outcomes.locked_out.load(Ordering::Relaxed) > 0);
    }
    std::thread::sleep(Duration::from_millis(1100));
    assert!(matches!(
        Client::connect_remote(&setting.remote).unwrap().ask(&Request::Status).unwrap(),
        Response::Status(_)
    ));
}

#[test]
fn a_dead_packet_process_is_told_from_a_dead_box() {
    let mut setting = Setting::new("dead", Role::Viewer);
    setting.server.take();
    let answer = Client::connect_remote(&setting.remote).unwrap().ask(&Request::Status).unwrap();
    assert!(matches!(answer, Response::Failed { kind: FailureKind::Unreachable, .. }), "{answer:?}");
    let nobody = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let error = Client::connect_remote(&RemoteBox { address: nobody.to_string(), ..setting.remote.clone() });
    assert!(error.unwrap_err().to_string().contains("is `vambrace console` running there"));
}

#[test]
fn bytes_that_drip_do_not_hold_a_place() {
    let directory = std::env::temp_dir().join(format!("vambrace-drip-{}", std::process::id()));
    let ours = Certificates::make(&directory);
    let config = tls::server(&ours.path("box.pem"), &ours.path("box.key"), &ours.path("ca.pem")).unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let dripping = std::thread::spawn(move || {
        let mut stream = TcpStream::connect(address).unwrap();
        // The head of a record of 16 KiB, and then a byte now and then.
        let mut bytes = [0x16, 3, 1, 0x3f, 0xff, 1, 0, 0x3f, 0xfb].into_iter().chain(std::iter::repeat(3));
        let begun = Instant::now();
        while stream.write_all(&[bytes.next().unwrap()]).is_ok() && begun.elapsed() < Duration::from_secs(20) {
            std::thread::sleep(Duration::from_millis(20));
        }
    });
    let (mut socket, _) = listener.accept().unwrap();
    socket.set_read_timeout(Some(Duration::from_millis(100))).unwrap();
    let mut connection = ServerConnection::new(config).unwrap();
    let begun = Instant::now();
    let within = Duration::from_millis(400);
    let error = tls::shake_hands(&mut connection, &mut socket, within, &AtomicBool::new(false)).unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::TimedOut);
    assert!(begun.elapsed() < Duration::from_secs(5), "{:?}", begun.elapsed());
    drop(socket);
    dripping.join().unwrap();
    std::fs::remove_dir_all(directory).unwrap();
}

/// Sessions are not resumed in either version: each connection shows its certificate, and its role counts.
#[test]
fn no_session_is_resumed() {
    use rustls::pki_types::pem::PemObject;
    let setting = Setting::new("resumed", Role::Viewer);
    let read = |name: &str| std::fs::read(setting.ours.path(name)).unwrap();
    let certificate = |name: &str| rustls::pki_types::CertificateDer::from_pem_slice(&read(name)).unwrap();
    let mut roots = rustls::RootCertStore::empty();
    roots.add(certificate("ca.pem")).unwrap();
    for version in [&rustls::version::TLS12, &rustls::version::TLS13] {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let builder = rustls::ClientConfig::builder_with_provider(provider).with_protocol_versions(&[version]).unwrap();
        let key = rustls::pki_types::PrivateKeyDer::from_pem_slice(&read("user.key")).unwrap();
        let config = builder.with_root_certificates(roots.clone());
        // Keeps and offers whatever sessions the server gives.
        let config = Arc::new(config.with_client_auth_cert(vec![certificate("user.pem")], key).unwrap());
        for _ in 0..2 {
            let name = rustls::pki_types::ServerName::try_from("127.0.0.1").unwrap();
            let connection = rustls::ClientConnection::new(Arc::clone(&config), name).unwrap();
            let socket = TcpStream::connect(&setting.remote.address).unwrap();
            let mut stream = rustls::StreamOwned::new(connection, socket);
            stream.write_all(b"{\"protocol\":1,\"request\":\"mode\",\"mode\":\"observe\"}\n").unwrap();
            let mut line = String::new();
            BufReader::new(&mut stream).read_line(&mut line).unwrap();
            assert!(line.contains("your role is viewer"), "{line}");
            assert_eq!(stream.conn.handshake_kind(), Some(rustls::HandshakeKind::Full), "{version:?}");
        }
    }
}
