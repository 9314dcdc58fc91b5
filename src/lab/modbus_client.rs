//! A small Modbus/TCP client on a blocking socket, for the PLC, the robot's own program and the attacks.

use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::time::Duration;

/// One connection to a server; one request outstanding at a time.
#[derive(Debug)]
pub(crate) struct Client {
    stream: TcpStream,
    transaction: u16,
}

/// An ADU around `pdu` for unit 255.
pub(crate) fn adu(transaction: u16, pdu: &[u8]) -> Vec<u8> {
    let mut bytes = transaction.to_be_bytes().to_vec();
    bytes.extend([0, 0]);
    bytes.extend((pdu.len() as u16 + 1).to_be_bytes());
    bytes.push(255);
    bytes.extend(pdu);
    bytes
}

/// A PDU of a function code and 16-bit words.
pub(crate) fn pdu(function: u8, words: &[u16]) -> Vec<u8> {
    let mut bytes = vec![function];
    bytes.extend(words.iter().flat_map(|word| word.to_be_bytes()));
    bytes
}

impl Client {
    /// A client over a connected stream; an answer must come within a second.
    pub(crate) fn over(stream: TcpStream) -> Option<Self> {
        stream.set_nodelay(true).ok()?;
        stream.set_read_timeout(Some(Duration::from_secs(1))).ok()?;
        Some(Self { stream, transaction: 0 })
    }

    /// Sends `pdu` and returns the answer's PDU.
    pub(crate) fn request(&mut self, pdu: &[u8]) -> io::Result<Vec<u8>> {
        self.transaction = self.transaction.wrapping_add(1);
        self.stream.write_all(&adu(self.transaction, pdu))?;
        let mut header = [0; 7];
        self.stream.read_exact(&mut header)?;
        let length = usize::from(u16::from_be_bytes([header[4], header[5]]));
        if header[..2] != self.transaction.to_be_bytes() || !(2..=254).contains(&length) {
            return Err(io::Error::other("answer does not fit the request"));
        }
        let mut answer = vec![0; length - 1];
        self.stream.read_exact(&mut answer)?;
        match answer.first() {
            Some(function) if function & 0x80 == 0 => Ok(answer),
            _ => Err(io::Error::other(format!("exception {}", answer.get(1).copied().unwrap_or_default()))),
        }
    }

    /// Reads `quantity` holding registers.
    pub(crate) fn read_registers(&mut self, address: u16, quantity: u16) -> io::Result<Vec<u16>> {
        let answer = self.request(&pdu(3, &[address, quantity]))?;
        let data = answer.get(2..).unwrap_or_default();
        if data.len() != usize::from(quantity) * 2 {
            return Err(io::Error::other("answer of another length"));
        }
        Ok(data.chunks_exact(2).map(|pair| u16::from_be_bytes([pair[0], pair[1]])).collect())
    }

    /// Writes one holding register.
    pub(crate) fn write_register(&mut self, address: u16, value: u16) -> io::Result<()> {
        self.request(&pdu(6, &[address, value])).map(|_| ())
    }

    /// Writes consecutive holding registers.
    pub(crate) fn write_registers(&mut self, address: u16, values: &[u16]) -> io::Result<()> {
        let mut request = pdu(16, &[address, values.len() as u16]);
        request.push((values.len() * 2) as u8);
        request.extend(values.iter().flat_map(|value| value.to_be_bytes()));
        self.request(&request).map(|_| ())
    }

    /// Reads discrete inputs 0 to 7 of a remote I/O device and writes its coil 0.
    pub(crate) fn cycle_remote_io(&mut self, lamp: bool) -> io::Result<u8> {
        let answer = self.request(&pdu(2, &[0, 8]))?;
        self.request(&pdu(5, &[0, if lamp { 0xff00 } else { 0 }]))?;
        answer.get(2).copied().ok_or_else(|| io::Error::other("answer without inputs"))
    }
}
