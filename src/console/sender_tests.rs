#![allow(clippy::arithmetic_side_effects)]

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader};
use std::net::{SocketAddr, TcpListener};
use std::sync::Mutex;
use std::thread::JoinHandle;

use super::*;
use crate::config::Which;
use crate::console::certificates::Certificates;

/// How a receiver behaves.
#[derive(Clone, Default)]
struct Manner {
    tls: Option<Arc<rustls::ServerConfig>>,
    /// Rest between two reads of at most 4 KiB.
    slow: Duration,
    /// Ends the connection after so many messages, unread ones lost.
    close_after: Option<usize>,
    /// So many connections are ended after half a second without reading from them.
    deaf: usize,
}

/// A receiver by RFC 5425, section 4.3: `MSG-LEN SP SYSLOG-MSG`, written from the RFC.
struct Receiver {
    address: SocketAddr,
    messages: Arc<Mutex<Vec<String>>>,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Receiver {
    fn start(address: SocketAddr, manner: Manner) -> Self {
        let listener = TcpListener::bind(address).unwrap();
        let address = listener.local_addr().unwrap();
        listener.set_nonblocking(true).unwrap();
        let (messages, stop) = (Arc::new(Mutex::new(Vec::new())), Arc::new(AtomicBool::new(false)));
        let thread = {
            let (messages, stop) = (Arc::clone(&messages), Arc::clone(&stop));
            std::thread::spawn(move || {
                let mut deaf = manner.deaf;
                while !stop.load(Ordering::Relaxed) {
                    let Ok((stream, _)) = listener.accept() else {
                        std::thread::sleep(Duration::from_millis(5));
                        continue;
                    };
                    if deaf > 0 {
                        deaf -= 1;
                        std::thread::sleep(Duration::from_millis(500));
                        continue;
                    }
                    stream.set_nonblocking(false).unwrap();
                    stream.set_read_timeout(Some(Duration::from_millis(50))).unwrap();
                    let _ = match &manner.tls {
                        None => receive(stream, &manner, &messages, &stop),
                        Some(config) => {
                            let connection = rustls::ServerConnection::new(Arc::clone(config)).unwrap();
                            receive(StreamOwned::new(connection, stream), &manner, &messages, &stop)
                        }
                    };
                }
            })
        };
        Self { address, messages, stop, thread: Some(thread) }
    }

    /// Event ids in order of arrival.
    fn ids(&self) -> Vec<u64> {
        let id = |message: &String| message.split("eventId=\"").nth(1)?.split('"').next()?.parse().ok();
        self.messages.lock().unwrap().iter().filter_map(id).collect()
    }

    fn wait_for(&self, what: impl Fn(&Self) -> bool) {
        let begun = Instant::now();
        while !what(self) {
            assert!(begun.elapsed() < Duration::from_secs(30), "{:?}", self.messages.lock().unwrap().last());
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    fn end(mut self) -> Vec<u64> {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.take().unwrap().join().unwrap();
        self.ids()
    }
}

fn receive(stream: impl Read, manner: &Manner, messages: &Mutex<Vec<String>>, stop: &AtomicBool) -> io::Result<()> {
    let mut reader = BufReader::with_capacity(4096, stream);
    let mut count = 0;
    let mut waiting = Vec::new();
    loop {
        if stop.load(Ordering::Relaxed) {
            return Ok(());
        }
        let piece = match reader.fill_buf() {
            Ok([]) => return Ok(()),
            Ok(piece) => piece.to_vec(),
            Err(error) if is_impatience(&error) => continue,
            Err(error) => return Err(error),
        };
        reader.consume(piece.len());
        waiting.extend(piece);
        std::thread::sleep(manner.slow);
        while let Some(blank) = waiting.iter().position(|byte| *byte == b' ') {
            let len: usize = std::str::from_utf8(&waiting[..blank]).unwrap().parse().expect("MSG-LEN");
            assert!(!waiting.starts_with(b"0"), "NONZERO-DIGIT *DIGIT");
            if waiting.len() < blank + 1 + len {
                break;
            }
            let message: Vec<u8> = waiting.drain(..blank + 1 + len).skip(blank + 1).collect();
            let message = String::from_utf8(message).unwrap();
            assert!(
                message.starts_with('<') && message.contains(" vambrace ") && message.contains("CEF:0|"),
                "{message}"
            );
            messages.lock().unwrap().push(message);
            count += 1;
            if Some(count) == manner.close_after {
                return Ok(());
            }
        }
    }
}

struct Records(PathBuf);

impl Records {
    fn new(name: &str) -> Self {
        let directory = std::env::temp_dir().join(format!("vambrace-sender-{}-{name}", std::process::id()));
        let _ = fs::remove_dir_all(&directory);
        fs::create_dir_all(directory.join("records")).unwrap();
        Self(directory)
    }

    fn path(&self) -> PathBuf {
        self.0.join("records")
    }

    fn write(&self, ids: std::ops::Range<u64>) {
        let path = self.path().join("eve.json");
        let mut file = fs::OpenOptions::new().create(true).append(true).open(path).unwrap();
        let mut text = String::new();
        for id in ids {
            text += &format!(
                "{{\"timestamp\":\"2026-11-23T13:58:02.114209+0000\",\"event_type\":\"notice\",\"host\":\"b\",\
                 \"notice\":{{\"event_id\":{id},\"kind\":\"mode\",\"sentence\":\"{}\"}}}}\n",
                "words ".repeat(40)
            );
        }
        file.write_all(text.as_bytes()).unwrap();
    }

    fn turn(&self, number: u64) -> PathBuf {
        let older = self.path().join(format!("eve-{number:08}-x.json"));
        fs::rename(self.path().join("eve.json"), &older).unwrap();
        older
    }

    fn start(&self, to: Syslog) -> Running {
        let stop = Arc::new(AtomicBool::new(false));
        let mut sender =
            Sender::new(&to, &self.path(), &self.0.join("console"), nobodys_clock(), Arc::clone(&stop)).unwrap();
        sender.wait = (Duration::from_millis(20), Duration::from_millis(100));
        let progress = sender.progress();
        Running { stop, progress, thread: std::thread::spawn(move || sender.run()) }
    }
}

impl Drop for Records {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

struct Running {
    stop: Arc<AtomicBool>,
    progress: Arc<Progress>,
    thread: JoinHandle<()>,
}

impl Running {
    fn end(self) {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.join().unwrap();
    }
}

fn plain(address: SocketAddr) -> Syslog {
    Syslog {
        name: "soc".into(),
        address: address.to_string(),
        transport: Transport::Tcp,
        events: Which::Security,
        ca: None,
        certificate: None,
        key: None,
    }
}

fn anywhere() -> SocketAddr {
    "127.0.0.1:0".parse().unwrap()
}

/// A port on which nobody listens.
fn nobody() -> SocketAddr {
    TcpListener::bind(anywhere()).unwrap().local_addr().unwrap()
}

/// All of 1 to `last` are there in order; how many came more than once.
fn repeated(ids: &[u64], last: u64) -> usize {
    let mut counts = BTreeMap::new();
    for id in ids {
        *counts.entry(*id).or_insert(0) += 1;
    }
    assert_eq!(counts.keys().copied().collect::<Vec<_>>(), (1..=last).collect::<Vec<_>>(), "nothing is missing");
    ids.len() - counts.len()
}

/// Most messages that one batch of these tests holds.
const IN_BATCH: usize = BATCH / 350;

#[test]
fn an_outage_loses_nothing() {
    let records = Records::new("outage");
    let address = nobody();
    records.write(1..301);
    let sender = records.start(plain(address));
    std::thread::sleep(Duration::from_millis(200));
    records.turn(1);
    records.write(301..601);
    assert!(sender.progress.failures.load(Ordering::Relaxed) > 0);
    let receiver = Receiver::start(address, Manner::default());
    receiver.wait_for(|it| it.ids().len() >= 600);
    assert!(sender.progress.connected.load(Ordering::Relaxed));
    sender.end();
    assert_eq!(repeated(&receiver.end(), 600), 0);
}

#[test]
fn a_restart_in_the_middle_repeats_a_batch_at_most() {
    let records = Records::new("restart");
    records.write(1..2001);
    let slow = Manner { slow: Duration::from_millis(1), ..Manner::default() };
    let receiver = Receiver::start(anywhere(), slow);
    for until in [300, 900] {
        let sender = records.start(plain(receiver.address));
        receiver.wait_for(|it| it.ids().len() > until);
        sender.end();
    }
    let sender = records.start(plain(receiver.address));
    receiver.wait_for(|it| it.ids().contains(&2000));
    sender.end();
    let repeated = repeated(&receiver.end(), 2000);
    assert!(repeated <= 2 * IN_BATCH, "{repeated} of two restarts");
}

#[test]
fn killed_between_acknowledgement_and_cursor_repeats_one_batch() {
    let records = Records::new("killed");
    records.write(1..1001);
    let receiver = Receiver::start(anywhere(), Manner::default());
    let stop = Arc::new(AtomicBool::new(false));
    let sender =
        Sender::new(&plain(receiver.address), &records.path(), &records.0.join("console"), nobodys_clock(), stop)
            .unwrap();
    // As far as a process gets that is killed before it could write the cursor down.
    let batch = read_after(&records.path(), &Cursor::default(), BATCH).unwrap();
    let (bytes, messages) = sender.rendered(&batch);
    let mut wire = sender.connect().unwrap();
    wire.send(&bytes, &sender.stop).unwrap();
    drop((wire, sender));
    let sender = records.start(plain(receiver.address));
    receiver.wait_for(|it| it.ids().contains(&1000));
    sender.end();
    assert_eq!(repeated(&receiver.end(), 1000), usize::try_from(messages).unwrap());
}

#[test]
fn a_slow_receiver_gets_all_of_it_once() {
    let records = Records::new("slow");
    records.write(1..1501);
    let receiver = Receiver::start(anywhere(), Manner { slow: Duration::from_millis(3), ..Manner::default() });
    let sender = records.start(plain(receiver.address));
    receiver.wait_for(|it| it.ids().len() >= 1500);
    assert_eq!(sender.progress.failures.load(Ordering::Relaxed), 0);
    sender.end();
    assert_eq!(repeated(&receiver.end(), 1500), 0);
}

#[test]
fn a_receiver_that_closes_loses_nothing() {
    let records = Records::new("closes");
    records.write(1..1001);
    let closing = Receiver::start(anywhere(), Manner { close_after: Some(400), ..Manner::default() });
    let sender = records.start(plain(closing.address));
    closing.wait_for(|it| it.ids().contains(&1000));
    let failures = sender.progress.failures.load(Ordering::Relaxed);
    sender.end();
    let repeated = repeated(&closing.end(), 1000);
    assert!(failures >= 2, "it closed {failures} times");
    assert!(repeated <= usize::try_from(failures).unwrap() * IN_BATCH, "{repeated} in {failures} connections");
}

/// What TCP acknowledged lay in the receiver's memory and went with it.
#[test]
fn a_receiver_that_dies_with_what_it_has_not_read_gets_it_again() {
    let records = Records::new("deaf");
    records.write(1..101);
    let receiver = Receiver::start(anywhere(), Manner { deaf: 2, ..Manner::default() });
    let sender = records.start(plain(receiver.address));
    // The second time after a restart: what is to be sent again is remembered.
    let begun = Instant::now();
    while sender.progress.failures.load(Ordering::Relaxed) == 0 {
        assert!(begun.elapsed() < Duration::from_secs(10));
        std::thread::sleep(Duration::from_millis(5));
    }
    assert_eq!(sender.progress.sent.load(Ordering::Relaxed), 100, "as far as TCP can tell");
    sender.end();
    let sender = records.start(plain(receiver.address));
    receiver.wait_for(|it| it.ids().len() >= 100);
    sender.end();
    assert_eq!(repeated(&receiver.end(), 100), 0);
}

#[test]
fn what_retention_removed_is_counted_and_told() {
    let records = Records::new("removed");
    let address = nobody();
    records.write(1..11);
    let receiver = Receiver::start(address, Manner::default());
    let sender = records.start(plain(address));
    receiver.wait_for(|it| it.ids().len() == 10);
    sender.end();
    receiver.end();
    records.write(11..21);
    let gone = records.turn(1);
    records.write(21..31);
    fs::remove_file(gone).unwrap();
    let receiver = Receiver::start(address, Manner::default());
    let sender = records.start(plain(address));
    receiver.wait_for(|it| it.ids().len() == 10);
    receiver.wait_for(|_| sender.progress.lost.load(Ordering::Relaxed) == 10);
    sender.end();
    assert!(receiver.messages.lock().unwrap()[0].contains("up to 10 events are missing here"));
    assert_eq!(receiver.end(), (21..31).collect::<Vec<_>>());
}

fn tls_manner(certificates: &Certificates) -> Manner {
    let (certificate, key) = (certificates.path("box.pem"), certificates.path("box.key"));
    Manner { tls: Some(tls::server(&certificate, &key, &certificates.path("ca.pem")).unwrap()), ..Manner::default() }
}

fn by_tls(address: SocketAddr, certificates: &Certificates, ca: &Certificates) -> Syslog {
    Syslog {
        transport: Transport::Tls,
        ca: Some(ca.path("ca.pem")),
        certificate: Some(certificates.path("user.pem")),
        key: Some(certificates.path("user.key")),
        ..plain(address)
    }
}

#[test]
fn tls_with_certificates_on_both_ends() {
    let records = Records::new("tls");
    let certificates = Certificates::make(&records.0.join("certificates"));
    records.write(1..501);
    let receiver = Receiver::start(anywhere(), tls_manner(&certificates));
    let sender = records.start(by_tls(receiver.address, &certificates, &certificates));
    receiver.wait_for(|it| it.ids().len() >= 500);
    sender.end();
    assert_eq!(repeated(&receiver.end(), 500), 0);
}

#[test]
fn wrong_certificates_send_nothing_and_lose_nothing() {
    let records = Records::new("wrong");
    let ours = Certificates::make(&records.0.join("ours"));
    let theirs = Certificates::make(&records.0.join("theirs"));
    records.write(1..101);
    let receiver = Receiver::start(anywhere(), tls_manner(&ours));
    // The receiver is not who it should be; then the receiver does not know us.
    for to in [by_tls(receiver.address, &ours, &theirs), by_tls(receiver.address, &theirs, &ours)] {
        let sender = records.start(to);
        let begun = Instant::now();
        while sender.progress.failures.load(Ordering::Relaxed) < 2 {
            assert!(begun.elapsed() < Duration::from_secs(20));
            std::thread::sleep(Duration::from_millis(20));
        }
        assert_eq!(sender.progress.sent.load(Ordering::Relaxed), 0);
        sender.end();
    }
    assert!(receiver.ids().is_empty());
    let sender = records.start(by_tls(receiver.address, &ours, &ours));
    receiver.wait_for(|it| it.ids().len() >= 100);
    sender.end();
    assert_eq!(repeated(&receiver.end(), 100), 0);
}

#[test]
fn a_damaged_cursor_is_told_of() {
    let records = Records::new("damaged");
    fs::create_dir_all(records.0.join("console")).unwrap();
    fs::write(records.0.join("console/syslog-soc.json"), "{}").unwrap();
    let stop = Arc::new(AtomicBool::new(false));
    let error = Sender::new(&plain(nobody()), &records.path(), &records.0.join("console"), nobodys_clock(), stop)
        .err()
        .unwrap();
    assert!(error.to_string().contains("remove it to begin anew"), "{error}");
}

/// A clock that no guard answers for.
fn nobodys_clock() -> Arc<Clock> {
    Arc::new(Clock::new(Path::new("/no/such/socket")))
}
