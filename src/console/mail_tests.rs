#![allow(clippy::arithmetic_side_effects)]

use std::io::Write as _;
use std::io::{BufRead, BufReader, Read};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Mutex;

use rustls::{ServerConfig, ServerConnection, StreamOwned};

use super::*;
use crate::console::certificates::Certificates;

/// A relay by RFC 5321 that keeps what it was handed: commands and mails.
struct TestRelay {
    address: SocketAddr,
    said: Arc<Mutex<Vec<String>>>,
}

/// How a relay behaves beside the RFC.
#[derive(Clone, Copy, Default)]
struct Manner {
    /// Rest before it says that it has taken a mail.
    slow: Duration,
    /// It greets and says nothing more.
    silent: bool,
}

fn converse(stream: impl Read + io::Write, said: &Mutex<Vec<String>>, greets: bool, manner: Manner) -> Option<()> {
    let mut stream = BufReader::new(stream);
    let put =
        |stream: &mut BufReader<_>, text: &str| io::Write::write_all(BufReader::get_mut(stream), text.as_bytes()).ok();
    if greets {
        put(&mut stream, "220 relay\r\n")?;
    }
    loop {
        let mut line = String::new();
        if stream.read_line(&mut line).ok()? == 0 {
            return None;
        }
        said.lock().unwrap().push(line.trim_end().to_owned());
        if manner.silent {
            continue;
        }
        let verb = line.split_ascii_whitespace().next().unwrap_or_default().to_owned();
        match verb.as_str() {
            "EHLO" => put(&mut stream, "250-relay\r\n250-STARTTLS\r\n250 AUTH PLAIN\r\n")?,
            "STARTTLS" => {
                put(&mut stream, "220 go\r\n")?;
                return Some(());
            }
            "AUTH" => put(&mut stream, "235 fine\r\n")?,
            "RCPT" if line.contains("nobody") => put(&mut stream, "550 no such user\r\n")?,
            "DATA" => {
                put(&mut stream, "354 go\r\n")?;
                let mut mail = String::new();
                while !mail.ends_with("\r\n.\r\n") {
                    if stream.read_line(&mut mail).ok()? == 0 {
                        return None;
                    }
                }
                said.lock().unwrap().push(mail);
                std::thread::sleep(manner.slow);
                put(&mut stream, "250 taken\r\n")?;
            }
            "QUIT" => return put(&mut stream, "221 bye\r\n"),
            _ => put(&mut stream, "250 fine\r\n")?,
        }
    }
}

impl TestRelay {
    fn start(tls: Option<Arc<ServerConfig>>) -> Self {
        Self::with(tls, Manner::default())
    }

    fn with(tls: Option<Arc<ServerConfig>>, manner: Manner) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let (address, said) = (listener.local_addr().unwrap(), Arc::new(Mutex::new(Vec::new())));
        let into = Arc::clone(&said);
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let stream: TcpStream = stream.unwrap();
                if converse(&stream, &into, true, manner).is_some()
                    && let Some(tls) = &tls
                {
                    let connection = ServerConnection::new(Arc::clone(tls)).unwrap();
                    into.lock().unwrap().push("TLS".into());
                    let _ = converse(StreamOwned::new(connection, stream), &into, false, manner);
                }
            }
        });
        Self { address, said }
    }

    fn said(&self) -> Vec<String> {
        self.said.lock().unwrap().clone()
    }

    /// The texts of the mails.
    fn mails(&self) -> Vec<String> {
        let said = self.said();
        let mails = said.iter().filter(|said| said.starts_with("From: "));
        mails.map(|mail| decoded(mail.split_once("\r\n\r\n").unwrap().1)).collect()
    }
}

fn decoded(text: &str) -> String {
    let mut bits = Vec::new();
    for digit in text.chars().filter(|digit| !digit.is_whitespace() && !matches!(digit, '=' | '.')) {
        let value = match digit {
            'A'..='Z' => digit as u32 - 'A' as u32,
            'a'..='z' => digit as u32 - 'a' as u32 + 26,
            '0'..='9' => digit as u32 - '0' as u32 + 52,
            '+' => 62,
            '/' => 63,
            other => panic!("{other} in base64"),
        };
        bits.extend((0..6).rev().map(|bit| value >> bit & 1));
    }
    let bytes = bits.chunks_exact(8).map(|eight| eight.iter().fold(0, |byte, bit| byte << 1 | bit));
    String::from_utf8(bytes.map(|byte| u8::try_from(byte).unwrap()).collect()).unwrap()
}

struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("vambrace-mail-{}-{name}", std::process::id()));
        let _ = fs::remove_dir_all(&path);
        fs::create_dir_all(path.join("records")).unwrap();
        Self(path)
    }

    fn write(&self, ids: std::ops::Range<u32>, kind: &str) {
        let path = self.0.join("records/eve.json");
        let mut file = fs::OpenOptions::new().create(true).append(true).open(path).unwrap();
        for id in ids {
            let line = format!(
                "{{\"timestamp\":\"2026-11-23T13:58:02.114209+0000\",\"event_type\":\"notice\",\"host\":\"b\",\
                 \"notice\":{{\"event_id\":{id},\"kind\":\"{kind}\",\"sentence\":\"S\u{e4}tze, {kind} {id}.\"}}}}\n"
            );
            file.write_all(line.as_bytes()).unwrap();
        }
    }

    fn mailer(&self, to: &MailTo) -> Mailer {
        let stop = Arc::new(AtomicBool::new(false));
        Mailer::new(to, &self.0.join("records"), &self.0.join("console"), stop).unwrap()
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn to(relay: SocketAddr) -> MailTo {
    MailTo {
        relay: relay.to_string(),
        security: Security::None,
        ca: None,
        from: "box@plant.example".into(),
        to: vec!["eva@plant.example".into(), "otto@plant.example".into()],
        user: None,
        password_file: None,
        every_minutes: 60,
        per_day: 2,
    }
}

fn at(text: &str) -> jiff::Timestamp {
    text.parse().unwrap()
}

#[test]
fn digests_come_when_something_happened_and_not_more_often_than_agreed() {
    let folder = Folder::new("digest");
    let relay = TestRelay::start(None);
    let mut mailer = folder.mailer(&to(relay.address));
    folder.write(1..5, "mode");
    mailer.look(at("2026-11-30T08:00:00Z")).unwrap();
    assert!(relay.mails().is_empty(), "a mode is nothing to be woken for");
    folder.write(5..40, "scan");
    mailer.look(at("2026-11-30T08:01:00Z")).unwrap();
    let mail = relay.mails().concat();
    assert!(mail.contains("35 events of note among 39.") && mail.contains("      35  notice scan\n"), "{mail}");
    assert_eq!(mail.matches("S\u{e4}tze, scan").count(), 20, "the first of them are quoted: {mail}");
    let said = relay.said();
    assert_eq!(
        said[1..4],
        ["MAIL FROM:<box@plant.example>", "RCPT TO:<eva@plant.example>", "RCPT TO:<otto@plant.example>"]
    );
    let head = said.iter().find(|said| said.starts_with("From: ")).unwrap();
    for line in
        ["To: <eva@plant.example>,\r\n <otto@plant.example>\r\n", "35 events of note\r\n", "MIME-Version: 1.0\r\n"]
    {
        assert!(head.contains(line), "{head}");
    }
    // Within the hour, then after it, then beyond the cap of the day, also over a restart.
    folder.write(40..41, "quarantine");
    mailer.look(at("2026-11-30T08:59:00Z")).unwrap();
    assert_eq!(relay.mails().len(), 1);
    mailer.look(at("2026-11-30T09:01:30Z")).unwrap();
    assert_eq!(relay.mails().len(), 2);
    folder.write(41..43, "quarantine");
    let mut mailer = folder.mailer(&to(relay.address));
    mailer.look(at("2026-11-30T23:59:00Z")).unwrap();
    assert_eq!(relay.mails().len(), 2, "two a day");
    mailer.look(at("2026-12-01T00:00:10Z")).unwrap();
    let mails = relay.mails();
    assert_eq!(mails.len(), 3);
    assert!(
        mails[2].contains("2 events of note among 2.") && mails[2].contains("the cap of mails a day"),
        "{}",
        mails[2]
    );
}

#[test]
fn a_test_mail_says_what_it_is() {
    let relay = TestRelay::start(None);
    send_test(&to(relay.address)).unwrap();
    assert!(relay.mails().concat().contains("A test, asked for by a person."));
}

#[test]
fn a_mail_that_was_refused_is_sent_later() {
    let folder = Folder::new("refused");
    let relay = TestRelay::start(None);
    let nobody = MailTo { to: vec!["nobody@plant.example".into()], ..to(relay.address) };
    folder.write(1..3, "scan");
    let error = folder.mailer(&nobody).look(at("2026-11-30T08:00:00Z")).unwrap_err();
    assert_eq!(error.to_string(), "the relay refused every recipient: nobody@plant.example: 550 no such user");
    folder.mailer(&to(relay.address)).look(at("2026-11-30T08:02:00Z")).unwrap();
    assert!(relay.mails().concat().contains("2 events of note"), "nothing was forgotten");
}

#[test]
fn one_refused_recipient_keeps_nothing_from_the_others() {
    let folder = Folder::new("one-refused");
    let relay = TestRelay::start(None);
    let to = MailTo { to: vec!["nobody@plant.example".into(), "eva@plant.example".into()], ..to(relay.address) };
    folder.write(1..3, "scan");
    let mut mailer = folder.mailer(&to);
    mailer.look(at("2026-11-30T08:00:00Z")).unwrap();
    let mails = relay.mails();
    assert_eq!(mails.len(), 1);
    let told = "The relay does not take mails for nobody@plant.example: 550 no such user";
    assert!(mails[0].contains("2 events of note") && mails[0].contains(told), "{}", mails[0]);
    mailer.look(at("2026-11-30T09:30:00Z")).unwrap();
    assert_eq!(relay.mails().len(), 1, "it was sent");
    assert!(send_test(&to).unwrap_err().to_string().contains("taken, but not for all: nobody@plant.example: 550"));
}

#[test]
fn a_relay_that_takes_long_to_take_a_mail_gets_it_once() {
    let folder = Folder::new("slow");
    let relay = TestRelay::with(None, Manner { slow: Duration::from_millis(900), ..Manner::default() });
    let mut mailer = folder.mailer(&to(relay.address));
    mailer.relay.patience = (Duration::from_millis(300), Duration::from_secs(20));
    folder.write(1..3, "scan");
    mailer.look(at("2026-11-30T08:00:00Z")).unwrap();
    mailer.look(at("2026-11-30T09:30:00Z")).unwrap();
    assert_eq!(relay.mails().len(), 1);
}

#[test]
fn a_silent_relay_holds_nobody_up() {
    let folder = Folder::new("silent");
    let relay = TestRelay::with(None, Manner { silent: true, ..Manner::default() });
    folder.write(1..3, "scan");
    let mut mailer = folder.mailer(&to(relay.address));
    mailer.relay.patience.0 = Duration::from_millis(400);
    assert_eq!(mailer.look(at("2026-11-30T08:00:00Z")).unwrap_err().kind(), io::ErrorKind::TimedOut);
    // Told to stop in the middle of it.
    let mailer = folder.mailer(&to(relay.address));
    let (stop, begun) = (Arc::clone(&mailer.stop), Instant::now());
    let running = std::thread::spawn(move || mailer.run());
    while relay.said().len() < 2 {
        std::thread::sleep(Duration::from_millis(5));
    }
    stop.store(true, Ordering::Relaxed);
    running.join().unwrap();
    assert!(begun.elapsed() < Duration::from_secs(10), "{:?}", begun.elapsed());
}

/// What no mail is due for is not read again after a start, and not counted as lost once it is removed.
#[test]
fn what_is_nothing_of_note_is_not_lost_later() {
    let folder = Folder::new("cursor");
    let relay = TestRelay::start(None);
    folder.write(1..2, "scan");
    folder.mailer(&to(relay.address)).look(at("2026-11-29T08:00:00Z")).unwrap();
    assert_eq!(relay.mails().len(), 1);
    folder.write(2..500, "mode");
    let stop = {
        let mailer = folder.mailer(&to(relay.address));
        let stop = Arc::clone(&mailer.stop);
        let running = std::thread::spawn(move || mailer.run());
        std::thread::sleep(Duration::from_millis(300));
        stop.store(true, Ordering::Relaxed);
        running.join().unwrap();
        stop
    };
    assert!(stop.load(Ordering::Relaxed) && relay.mails().len() == 1);
    fs::remove_file(folder.0.join("records/eve.json")).unwrap();
    folder.write(500..501, "scan");
    folder.mailer(&to(relay.address)).look(at("2026-11-30T08:00:00Z")).unwrap();
    let mail = &relay.mails()[1];
    assert!(mail.contains("1 events of note among 1.") && !mail.contains("removed unread"), "{mail}");
}

#[test]
fn passwords_travel_inside_tls_alone() {
    let folder = Folder::new("tls");
    let certificates = Certificates::make(&folder.0.join("keys"));
    let read = |name: &str| fs::read(certificates.path(name)).unwrap();
    use rustls::pki_types::pem::PemObject;
    let chain = rustls::pki_types::CertificateDer::from_pem_slice(&read("box.pem")).unwrap();
    let key = rustls::pki_types::PrivateKeyDer::from_pem_slice(&read("box.key")).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
    let config = config.with_no_client_auth().with_single_cert(vec![chain], key).unwrap();
    let relay = TestRelay::start(Some(Arc::new(config)));
    fs::write(folder.0.join("password"), "secret\n").unwrap();
    let to = MailTo {
        security: Security::Starttls,
        ca: Some(certificates.path("ca.pem")),
        user: Some("box".into()),
        password_file: Some(folder.0.join("password")),
        ..to(relay.address)
    };
    folder.write(1..2, "scan");
    folder.mailer(&to).look(at("2026-11-30T08:00:00Z")).unwrap();
    let said = relay.said();
    let place = |what: &str| said.iter().position(|said| said.starts_with(what)).unwrap_or_else(|| panic!("{said:?}"));
    assert!(place("STARTTLS") < place("TLS") && place("TLS") < place("AUTH PLAIN AGJveABzZWNyZXQ="), "{said:?}");
    assert_eq!(relay.mails().len(), 1);
    // A relay that is not who it should be gets neither password nor mail.
    let other = Certificates::make(&folder.0.join("other"));
    folder.write(2..3, "scan");
    let wrong = MailTo { ca: Some(other.path("ca.pem")), ..to.clone() };
    assert!(folder.mailer(&wrong).look(at("2026-11-30T10:00:00Z")).is_err());
    assert_eq!((relay.mails().len(), relay.said().iter().filter(|said| said.starts_with("AUTH")).count()), (1, 1));
    let bare = MailTo { security: Security::None, ..to };
    let error = folder.mailer(&bare).look(at("2026-11-30T11:00:00Z")).unwrap_err();
    assert!(error.to_string().contains("does not travel without TLS"), "{error}");
}
