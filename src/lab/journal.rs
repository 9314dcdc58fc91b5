//! What an actor did, one JSON object a line on stdout, so that a test sees what reached it.

use std::fs::File;
use std::io::{self, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread;
use std::time::Duration;

use serde_json::{Value, json};

/// Prints `fields` with the time first; a reader that has gone away is no reason to stop.
pub(crate) fn print_line(fields: Value) {
    let mut line = json!({ "at": jiff::Timestamp::now().to_string() });
    if let (Some(object), Value::Object(fields)) = (line.as_object_mut(), fields) {
        object.extend(fields);
    }
    let mut out = io::stdout().lock();
    let _gone = writeln!(out, "{line}").and_then(|()| out.flush());
}

/// Where an actor writes what it does.
#[derive(Clone, Debug, Default)]
pub(crate) struct Journal {
    /// Directory for the raw bytes of every connection, where one was asked for.
    raw: Option<PathBuf>,
    connections: Arc<AtomicU32>,
}

impl Journal {
    /// A journal on stdout; `raw` is created when absent.
    pub(crate) fn new(raw: Option<&Path>) -> io::Result<Self> {
        if let Some(directory) = raw {
            std::fs::create_dir_all(directory)?;
        }
        Ok(Self { raw: raw.map(Path::to_owned), connections: Arc::default() })
    }

    /// One action that was executed.
    pub(crate) fn did(&self, interface: &str, peer: Option<SocketAddr>, did: &str, detail: Value) {
        let mut fields = json!({ "interface": interface, "did": did });
        if let Some(object) = fields.as_object_mut() {
            if let Some(peer) = peer {
                object.insert("peer".into(), json!(peer.to_string()));
            }
            if let Value::Object(detail) = detail {
                object.extend(detail);
            }
        }
        print_line(fields);
    }

    fn raw_file(&self, interface: &str, peer: SocketAddr) -> Option<File> {
        let number = self.connections.fetch_add(1, Ordering::Relaxed);
        let directory = self.raw.as_ref()?;
        File::create(directory.join(format!("{number:04}-{interface}-{}-{}.bin", peer.ip(), peer.port()))).ok()
    }
}

/// What a connection brought within a time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Arrived {
    /// This many bytes.
    Bytes(usize),
    /// Nothing, and it stands.
    Nothing,
    /// It has ended; a reset is an end too.
    End,
}

/// One connection whose received bytes are kept when the journal was asked to.
#[derive(Debug)]
pub(crate) struct Connection {
    pub(crate) stream: TcpStream,
    pub(crate) peer: SocketAddr,
    pub(crate) interface: &'static str,
    pub(crate) journal: Journal,
    raw: Option<File>,
}

impl Connection {
    /// A connection with `peer`, whoever opened it.
    pub(crate) fn over(stream: TcpStream, peer: SocketAddr, interface: &'static str, journal: &Journal) -> Self {
        let _unsupported = stream.set_nodelay(true);
        Self { raw: journal.raw_file(interface, peer), stream, peer, interface, journal: journal.clone() }
    }

    /// Reads what has arrived; 0 at the end of the stream, which a reset is too.
    pub(crate) fn read(&mut self, buffer: &mut [u8]) -> usize {
        match self.arrived(buffer) {
            Arrived::Bytes(count) => count,
            Arrived::Nothing | Arrived::End => 0,
        }
    }

    /// Reads what arrives within `time`.
    pub(crate) fn read_within(&mut self, buffer: &mut [u8], time: Duration) -> Arrived {
        if self.stream.set_read_timeout(Some(time)).is_err() {
            return Arrived::End;
        }
        self.arrived(buffer)
    }

    fn arrived(&mut self, buffer: &mut [u8]) -> Arrived {
        let count = loop {
            match self.stream.read(buffer) {
                Ok(0) => return Arrived::End,
                Ok(count) => break count,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut) => {
                    return Arrived::Nothing;
                }
                Err(_) => return Arrived::End,
            }
        };
        if let (Some(file), Some(bytes)) = (&mut self.raw, buffer.get(..count)) {
            let _full_disk = file.write_all(bytes);
        }
        Arrived::Bytes(count)
    }

    /// Reads until `buffer` is full; false where the stream ended before.
    pub(crate) fn read_exact(&mut self, buffer: &mut [u8]) -> bool {
        let mut filled = 0;
        while filled < buffer.len() {
            match self.read(&mut buffer[filled..]) {
                0 => return false,
                count => filled += count,
            }
        }
        true
    }

    /// Sends `bytes`; false where the peer is gone.
    pub(crate) fn write(&mut self, bytes: &[u8]) -> bool {
        self.stream.write_all(bytes).is_ok()
    }

    /// Journals one action of this connection's peer.
    pub(crate) fn did(&self, did: &str, detail: Value) {
        self.journal.did(self.interface, Some(self.peer), did, detail);
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        let _already_closed = self.stream.shutdown(Shutdown::Both);
    }
}

/// Listens on `address` and gives every connection a thread of its own.
pub(crate) fn serve(
    address: SocketAddr,
    interface: &'static str,
    journal: &Journal,
    handler: impl Fn(Connection) + Send + Sync + 'static,
) -> io::Result<()> {
    let listener = TcpListener::bind(address)
        .map_err(|error| io::Error::new(error.kind(), format!("{interface} cannot listen on {address}: {error}")))?;
    let journal = journal.clone();
    let handler = Arc::new(handler);
    thread::Builder::new().name(interface.into()).spawn(move || {
        for stream in listener.incoming() {
            let Ok(stream) = stream else { continue };
            let Ok(peer) = stream.peer_addr() else { continue };
            let connection = Connection::over(stream, peer, interface, &journal);
            let handler = Arc::clone(&handler);
            let _no_thread = thread::Builder::new().name(interface.into()).spawn(move || handler(connection));
        }
    })?;
    Ok(())
}
