//! Sends events to one receiver. The event files are the queue: a cursor on disk says how far they were sent.
//!
//! A batch is written, then its acknowledgement by the receiver's TCP is waited for, then the cursor goes on. A
//! connection that breaks in the middle of a batch sends it again. One that the receiver ends afterwards sends the last
//! batch again: acknowledged is what lies in the receiver's memory, not what it has read.

use std::fs;
use std::io::{self, Read, Write};
use std::net::{TcpStream, ToSocketAddrs};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use rustls::{ClientConfig, ClientConnection, StreamOwned};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::clock::Clock;
use super::syslog;
use crate::config::{Syslog, Transport};
use crate::control::tls;
use crate::document::host_of;
use crate::record::{Batch, Cursor, read_after};
use crate::sys;

/// How long showing certificates may take.
const HANDSHAKE: Duration = Duration::from_secs(10);

/// Bytes of event lines in a batch: what may be sent twice at most.
const BATCH: usize = 64 << 10;

/// How often the files are looked at.
const LOOK: Duration = Duration::from_millis(200);

/// How long a receiver may take nothing before the connection counts as broken.
const PATIENCE: Duration = Duration::from_secs(60);

/// How long a server may take to refuse a certificate, once it has it: TLS 1.3 tells only then.
const REFUSAL: Duration = Duration::from_millis(500);

/// Waits between two attempts to connect: from the first to the longest, each twice the one before.
const WAIT: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(60));

/// How a sender is doing, for metrics and people.
#[derive(Debug, Default)]
pub(super) struct Progress {
    /// Messages that the receiver's TCP acknowledged.
    pub(super) sent: AtomicU64,
    /// Events that were removed before they were sent, at most.
    pub(super) lost: AtomicU64,
    /// Connections that could not be made or broke.
    pub(super) failures: AtomicU64,
    /// Whether there is a connection.
    pub(super) connected: AtomicBool,
}

/// What the cursor's file holds.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Saved {
    /// Behind the last batch that was acknowledged.
    cursor: String,
    /// Before it.
    before: String,
    /// Whether that batch is to be sent again.
    again: bool,
    sent: u64,
    lost: u64,
}

/// One receiver and what is sent to it.
pub(super) struct Sender {
    to: Syslog,
    records: PathBuf,
    file: PathBuf,
    saved: Saved,
    host: String,
    tls: Option<Arc<ClientConfig>>,
    clock: Arc<Clock>,
    progress: Arc<Progress>,
    stop: Arc<AtomicBool>,
    wait: (Duration, Duration),
}

impl Sender {
    /// A sender of the events in `records`; its cursor lies in `directory`.
    ///
    /// # Errors
    /// A certificate can't be used, or the folder can't be written.
    pub(super) fn new(
        to: &Syslog,
        records: &Path,
        directory: &Path,
        clock: Arc<Clock>,
        stop: Arc<AtomicBool>,
    ) -> io::Result<Self> {
        let tls = tls_of(to)?;
        fs::create_dir_all(directory)?;
        let file = directory.join(format!("syslog-{}.json", to.name));
        let saved = match fs::read(&file) {
            Ok(bytes) => read_saved(&bytes)
                .ok_or_else(|| io::Error::other(format!("{}: no cursor; remove it to begin anew", file.display())))?,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                // Not the months before: who wants those reads the files.
                let cursor = Cursor::before_growing(records)?.to_string();
                Saved { before: cursor.clone(), cursor, again: false, sent: 0, lost: 0 }
            }
            Err(error) => return Err(error),
        };
        let progress = Arc::new(Progress::default());
        progress.sent.store(saved.sent, Ordering::Relaxed);
        progress.lost.store(saved.lost, Ordering::Relaxed);
        let host = rustix::system::uname().nodename().to_string_lossy().into_owned();
        let (to, records) = (to.clone(), records.to_owned());
        let sender = Self { to, records, file, saved, host, tls, clock, progress, stop, wait: WAIT };
        sender.save()?;
        Ok(sender)
    }

    /// How it is doing.
    pub(super) fn progress(&self) -> Arc<Progress> {
        Arc::clone(&self.progress)
    }

    /// Sends until told to stop.
    pub(super) fn run(mut self) {
        let mut wait = self.wait.0;
        let mut told = String::new();
        while !self.stopped() {
            let begun = Instant::now();
            let result = self.connect().and_then(|mut wire| {
                tracing::info!(receiver = self.to.name, address = self.to.address, "connected");
                self.progress.connected.store(true, Ordering::Relaxed);
                told.clear();
                self.talk(&mut wire)
            });
            self.progress.connected.store(false, Ordering::Relaxed);
            let Err(error) = result else { break };
            self.progress.failures.fetch_add(1, Ordering::Relaxed);
            // The same trouble is told of once.
            if error.to_string() != told {
                tracing::warn!(receiver = self.to.name, address = self.to.address, %error, "events wait; going on trying");
                told = error.to_string();
            }
            if begun.elapsed() > self.wait.1 {
                wait = self.wait.0;
            }
            self.pause(wait);
            wait = wait.saturating_mul(2).min(self.wait.1);
        }
    }

    fn stopped(&self) -> bool {
        self.stop.load(Ordering::Relaxed)
    }

    fn pause(&self, time: Duration) {
        let begun = Instant::now();
        while begun.elapsed() < time && !self.stopped() {
            std::thread::sleep(LOOK.min(time));
        }
    }

    fn connect(&self) -> io::Result<Wire> {
        connect(&self.to.address, self.tls.as_ref())
    }

    /// Sends over one connection until told to stop; an error where it broke.
    fn talk(&mut self, wire: &mut Wire) -> io::Result<()> {
        let mut at = if self.saved.again { self.saved.before.clone() } else { self.saved.cursor.clone() };
        loop {
            if self.stopped() {
                wire.close();
                return Ok(());
            }
            let cursor: Cursor = at.parse().map_err(io::Error::other)?;
            let batch = read_after(&self.records, &cursor, BATCH)?;
            if batch.lines.is_empty() {
                self.again_where(wire.is_open())?;
                std::thread::sleep(LOOK);
                continue;
            }
            // Where it has gone meanwhile, what it took last may be lost with it.
            self.again_where(wire.is_open())?;
            let (bytes, messages) = self.rendered(&batch);
            let sent = wire.send(&bytes, &self.stop).and_then(|()| wire.is_open());
            if self.stopped() && sent.is_err() {
                // Not known to have arrived: sent again after the start.
                return Ok(());
            }
            sent?;
            self.saved.cursor = batch.after.to_string();
            self.saved.lost = self.saved.lost.saturating_add(batch.lost);
            if messages > 0 {
                self.saved.before = at;
                self.saved.again = false;
                self.saved.sent = self.saved.sent.saturating_add(messages);
                // Lines that the receiver does not want may be read again.
                self.save()?;
            }
            at = self.saved.cursor.clone();
            self.progress.sent.store(self.saved.sent, Ordering::Relaxed);
            self.progress.lost.store(self.saved.lost, Ordering::Relaxed);
        }
    }

    /// Where the receiver ended the connection, the last batch may have lain in its memory unread.
    fn again_where(&mut self, open: io::Result<()>) -> io::Result<()> {
        if open.is_err() && self.saved.before != self.saved.cursor {
            self.saved.again = true;
            self.save()?;
        }
        open
    }

    fn rendered(&self, batch: &Batch) -> (Vec<u8>, u64) {
        let synchronised = self.clock.is_synchronised();
        let (mut bytes, mut messages) = (Vec::new(), 0_u64);
        let mut put = |message: Vec<u8>| {
            bytes.extend_from_slice(&message);
            messages = messages.saturating_add(1);
        };
        if batch.removed {
            tracing::error!(
                receiver = self.to.name,
                events = batch.lost,
                "event files were removed before they were sent"
            );
            let text = format!(
                "Event files were removed to keep to record.size_budget before they were sent: up to {} events are \
                 missing here.",
                batch.lost
            );
            put(syslog::own(&self.host, "unsent_removed", &text, synchronised));
        }
        for line in &batch.lines {
            let Ok(line) = serde_json::from_str::<Value>(line) else { continue };
            if syslog::is_wanted(&line, self.to.events)
                && let Some(message) = syslog::message(&line, synchronised)
            {
                put(message);
            }
        }
        (bytes, messages)
    }

    fn save(&self) -> io::Result<()> {
        super::replace(&self.file, serde_json::to_string(&self.saved)?.as_bytes())
    }
}

fn tls_of(to: &Syslog) -> io::Result<Option<Arc<ClientConfig>>> {
    match (to.transport, &to.ca) {
        (Transport::Tls, Some(ca)) => {
            let own = to.certificate.as_deref().zip(to.key.as_deref());
            tls::client(ca, own).map(Some).map_err(io::Error::other)
        }
        _ => Ok(None),
    }
}

fn connect(address: &str, tls: Option<&Arc<ClientConfig>>) -> io::Result<Wire> {
    let mut last = io::Error::new(io::ErrorKind::NotFound, "the name has no address");
    for socket_address in address.to_socket_addrs()? {
        match TcpStream::connect_timeout(&socket_address, Duration::from_secs(5)) {
            Ok(stream) => return Wire::over(stream, tls, host_of(address)),
            Err(error) => last = error,
        }
    }
    Err(last)
}

/// Sends one event that says what it is, and waits until the receiver's TCP has it.
///
/// # Errors
/// The receiver can't be reached, is not who it should be, or closed the connection.
pub(super) fn send_test(to: &Syslog) -> io::Result<()> {
    let mut wire = connect(&to.address, tls_of(to)?.as_ref())?;
    let host = rustix::system::uname().nodename().to_string_lossy().into_owned();
    let text = format!("A test of the receiver {}, asked for by a person.", to.name);
    let message = syslog::own(&host, "test", &text, sys::clock::synchronised().unwrap_or(false));
    wire.send(&message, &AtomicBool::new(false))?;
    wire.is_open()?;
    wire.close();
    Ok(())
}

fn read_saved(bytes: &[u8]) -> Option<Saved> {
    let saved: Saved = serde_json::from_slice(bytes).ok()?;
    let fine = [&saved.cursor, &saved.before].into_iter().all(|place| place.parse::<Cursor>().is_ok());
    fine.then_some(saved)
}

/// A connection to a receiver.
enum Wire {
    Plain(TcpStream),
    Tls(Box<StreamOwned<ClientConnection, TcpStream>>),
}

impl Wire {
    fn over(stream: TcpStream, tls: Option<&Arc<ClientConfig>>, host: &str) -> io::Result<Self> {
        stream.set_nodelay(true)?;
        stream.set_write_timeout(Some(LOOK))?;
        let Some(config) = tls else {
            stream.set_read_timeout(Some(Duration::from_millis(1)))?;
            return Ok(Self::Plain(stream));
        };
        let name = tls::server_name(host).map_err(io::Error::other)?;
        let connection = ClientConnection::new(Arc::clone(config), name).map_err(io::Error::other)?;
        let mut stream = StreamOwned::new(connection, stream);
        stream.sock.set_read_timeout(Some(LOOK))?;
        tls::shake_hands(&mut stream.conn, &mut stream.sock, HANDSHAKE, &AtomicBool::new(false))?;
        // In TLS 1.3 this end is done before the other has looked at its certificate.
        stream.sock.set_read_timeout(Some(REFUSAL))?;
        let mut wire = Self::Tls(Box::new(stream));
        wire.is_open()?;
        wire.socket().set_read_timeout(Some(Duration::from_millis(1)))?;
        Ok(wire)
    }

    fn socket(&self) -> &TcpStream {
        match self {
            Self::Plain(stream) => stream,
            Self::Tls(stream) => &stream.sock,
        }
    }

    /// Writes all of it and waits until the other end's TCP has acknowledged it.
    fn send(&mut self, bytes: &[u8], stop: &AtomicBool) -> io::Result<()> {
        let mut rest = bytes;
        let mut moved = Instant::now();
        let mut waiting = 0;
        loop {
            let step = if rest.is_empty() { self.flush() } else { self.write(rest) };
            match step {
                Ok(0) if rest.is_empty() => {
                    if sys::socket::unacknowledged(self.socket())? == 0 {
                        return Ok(());
                    }
                    // What is on its way is acknowledged within 40 ms where the receiver delays it.
                    std::thread::sleep(Duration::from_millis(1));
                    self.is_open()?;
                }
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(len) => {
                    rest = rest.get(len..).unwrap_or_default();
                    moved = Instant::now();
                }
                Err(error) if is_impatience(&error) => {}
                Err(error) => return Err(error),
            }
            let now = sys::socket::unacknowledged(self.socket())?;
            if now != waiting {
                (waiting, moved) = (now, Instant::now());
            }
            if stop.load(Ordering::Relaxed) && moved.elapsed() > LOOK {
                return Err(io::Error::new(io::ErrorKind::Interrupted, "told to stop"));
            }
            if moved.elapsed() > PATIENCE {
                return Err(io::Error::new(io::ErrorKind::TimedOut, "the receiver took nothing for a minute"));
            }
        }
    }

    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Self::Plain(stream) => stream.write(bytes),
            Self::Tls(stream) => stream.write(bytes),
        }
    }

    /// 0 where all was handed to the kernel.
    fn flush(&mut self) -> io::Result<usize> {
        match self {
            Self::Plain(stream) => stream.flush(),
            Self::Tls(stream) => stream.flush(),
        }
        .map(|()| 0)
    }

    /// Looks whether the other end has closed; what it says is not listened to.
    fn is_open(&mut self) -> io::Result<()> {
        let mut heard = [0; 512];
        for _ in 0..64 {
            let read = match self {
                Self::Plain(stream) => stream.read(&mut heard),
                Self::Tls(stream) => stream.read(&mut heard),
            };
            match read {
                Ok(0) => {
                    return Err(io::Error::new(io::ErrorKind::UnexpectedEof, "the receiver closed the connection"));
                }
                Ok(_) => {}
                Err(error) if is_impatience(&error) => return Ok(()),
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    fn close(&mut self) {
        if let Self::Tls(stream) = self {
            stream.conn.send_close_notify();
            let _ = stream.flush();
        }
        let _ = self.socket().shutdown(std::net::Shutdown::Write);
    }
}

fn is_impatience(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut | io::ErrorKind::Interrupted)
}

#[cfg(test)]
#[path = "sender_tests.rs"]
mod tests;
