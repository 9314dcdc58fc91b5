use std::io::{self, Write};
use std::net::{Shutdown, TcpStream, ToSocketAddrs};
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustls::{ClientConnection, StreamOwned};

use super::client::Duplex;
use super::{ControlError, tls};
use crate::document::host_of;

/// Port of the remote API where none is named.
pub const REMOTE_PORT: u16 = 7443;

/// How long reaching a box may take, for each of its addresses.
const CONNECT: Duration = Duration::from_secs(5);

/// A box, and who asks it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RemoteBox {
    /// `HOST:PORT`.
    pub address: String,
    /// Own certificate (PEM).
    pub certificate: PathBuf,
    /// Its secret key (PEM).
    pub key: PathBuf,
    /// The authority that issued the box's certificate (PEM).
    pub ca: PathBuf,
}

impl RemoteBox {
    /// Connects and shows certificates; no answer may take longer than `patience` from then on.
    pub(super) fn connect(&self, patience: Duration) -> Result<Box<dyn Duplex>, ControlError> {
        let remote = |what: String| ControlError::Remote { address: self.address.clone(), what };
        let own = Some((self.certificate.as_path(), self.key.as_path()));
        let config = tls::client(&self.ca, own).map_err(|error| remote(error.to_string()))?;
        let name = tls::server_name(host_of(&self.address)).map_err(|error| remote(error.to_string()))?;
        let hint = "is `vambrace console` running there, with `console.listen`?";
        let addresses = self.address.to_socket_addrs().map_err(|error| remote(error.to_string()))?;
        let mut stream = Err(io::Error::new(io::ErrorKind::NotFound, "the name has no address"));
        for address in addresses {
            stream = TcpStream::connect_timeout(&address, CONNECT);
            if stream.is_ok() {
                break;
            }
        }
        let stream = stream.map_err(|error| remote(format!("{error}; {hint}")))?;
        let prepared = stream
            .set_read_timeout(Some(patience))
            .and_then(|()| stream.set_write_timeout(Some(patience)))
            .and_then(|()| stream.set_nodelay(true));
        prepared.map_err(|error| remote(error.to_string()))?;
        let connection = ClientConnection::new(config, name).map_err(|error| remote(error.to_string()))?;
        let mut stream = StreamOwned::new(connection, stream);
        while stream.conn.is_handshaking() {
            stream.conn.complete_io(&mut stream.sock).map_err(|error| ended(Path::new(&self.address), &error))?;
        }
        stream.flush().map_err(|error| ended(Path::new(&self.address), &error))?;
        Ok(Box::new(stream))
    }
}

impl Duplex for StreamOwned<ClientConnection, TcpStream> {
    fn set_patience(&self, patience: Duration) -> io::Result<()> {
        self.sock.set_read_timeout(Some(patience))
    }

    fn end_writing(&mut self) -> io::Result<()> {
        self.conn.send_close_notify();
        self.flush()?;
        self.sock.shutdown(Shutdown::Write)
    }
}

/// Why the conversation with a box ended.
pub(super) fn ended(address: &Path, error: &io::Error) -> ControlError {
    let hint = match error.kind() {
        io::ErrorKind::UnexpectedEof | io::ErrorKind::ConnectionReset | io::ErrorKind::ConnectionAborted => {
            "; the box let the connection go: after failed attempts it keeps an address out for a while"
        }
        io::ErrorKind::InvalidData => "; --ca must have issued the box's certificate, and the box's client_ca yours",
        _ => "",
    };
    ControlError::Remote { address: address.display().to_string(), what: format!("{error}{hint}") }
}
