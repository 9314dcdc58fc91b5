//! A small RTDE client on a blocking socket, for the PLC and the attacks.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

/// A package: size, type, payload.
pub(crate) fn package(kind: u8, payload: &[u8]) -> Vec<u8> {
    let mut bytes = (payload.len() as u16 + 3).to_be_bytes().to_vec();
    bytes.push(kind);
    bytes.extend(payload);
    bytes
}

/// An `O` package of protocol version 2.
pub(crate) fn output_setup(frequency_hz: f64, names: &str) -> Vec<u8> {
    let mut payload = frequency_hz.to_be_bytes().to_vec();
    payload.extend(names.as_bytes());
    package(b'O', &payload)
}

/// One connection.
#[derive(Debug)]
pub(crate) struct Client {
    stream: TcpStream,
}

impl Client {
    /// Connects and asks for protocol version 2.
    pub(crate) fn connect(address: SocketAddr, patience: Duration) -> io::Result<Self> {
        let stream = TcpStream::connect_timeout(&address, patience)?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(patience))?;
        let mut client = Self { stream };
        client.exchange(&package(b'V', &[0, 2]), b'V')?;
        Ok(client)
    }

    /// A second handle for sending while another thread reads.
    pub(crate) fn writer(&self) -> io::Result<TcpStream> {
        self.stream.try_clone()
    }

    /// Sends a package and returns the payload of the answer of type `kind`.
    pub(crate) fn exchange(&mut self, bytes: &[u8], kind: u8) -> io::Result<Vec<u8>> {
        self.stream.write_all(bytes)?;
        loop {
            let (found, payload) = self.receive()?;
            if found == kind {
                return Ok(payload);
            }
        }
    }

    /// The next package.
    pub(crate) fn receive(&mut self) -> io::Result<(u8, Vec<u8>)> {
        let mut header = [0; 3];
        self.stream.read_exact(&mut header)?;
        let size = usize::from(u16::from_be_bytes([header[0], header[1]]));
        let length = size.checked_sub(3).ok_or_else(|| io::Error::other("RTDE size below 3"))?;
        let mut payload = vec![0; length];
        self.stream.read_exact(&mut payload)?;
        Ok((header[2], payload))
    }

    /// Sets up a recipe (`O` or `I`); its id must not be 0.
    pub(crate) fn set_up(&mut self, bytes: &[u8], kind: u8) -> io::Result<u8> {
        let answer = self.exchange(bytes, kind)?;
        match answer.first() {
            Some(id @ 1..) => Ok(*id),
            _ => Err(io::Error::other(format!("recipe refused: {}", String::from_utf8_lossy(&answer)))),
        }
    }
}
