//! Writing captures: pcapng with nanoseconds, interface names, and what is known of each packet.
//!
//! Source: draft-ietf-opsawg-pcapng. Little-endian, one section. Wireshark and tshark show comments, packet ids and
//! verdicts.

use std::io::{self, Write};
use std::net::IpAddr;

/// What is captured on.
#[derive(Clone, Copy, Debug, Default)]
pub struct InterfaceDescription<'a> {
    /// Name, such as `robot`.
    pub name: &'a str,
    /// A sentence about it, or empty.
    pub description: &'a str,
    /// Its MAC address where it has one.
    pub mac: Option<[u8; 6]>,
}

/// Which way a packet went through an interface.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    /// Received there.
    Received,
    /// Sent there.
    Sent,
}

/// What became of a packet, in the numbers of the platform that decided.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict<'a> {
    /// Bytes of the platform's own meaning (type 0).
    Platform(&'a [u8]),
    /// Numbers of Linux traffic control (type 1): 0 is let through, 2 is dropped.
    TrafficControl(u64),
    /// Numbers of Linux XDP (type 2): 1 is dropped, 2 is let through.
    Xdp(u64),
}

/// One packet to be written.
#[derive(Clone, Copy, Debug, Default)]
pub struct PacketRecord<'a> {
    /// Number of its interface, in the order that [`PcapngWriter::new`] was given them.
    pub interface: u32,
    /// Nanoseconds since 1970.
    pub time_ns: u64,
    /// Ethernet header first.
    pub bytes: &'a [u8],
    /// Length on the wire; 0 stands for that of `bytes`.
    pub wire_len: u32,
    /// Which way it went.
    pub direction: Option<Direction>,
    /// A sentence about it.
    pub comment: Option<&'a str>,
    /// A number that other records name it by.
    pub packet_id: Option<u64>,
    /// What became of it.
    pub verdict: Option<Verdict<'a>>,
}

/// What an interface counted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct InterfaceStatistics {
    /// When it was asked, nanoseconds since 1970.
    pub time_ns: u64,
    /// Frames received.
    pub received: u64,
    /// Frames lost by the interface or the kernel.
    pub dropped: u64,
    /// Frames that the writer was given.
    pub accepted: u64,
}

/// Writes a capture, block by block. Each block is one call to the sink: a file without buffer is whole up to the last
/// block at any time.
#[derive(Debug)]
pub struct PcapngWriter<W> {
    sink: W,
    block: Vec<u8>,
    interfaces: u32,
    written: u64,
}

impl<W: Write> PcapngWriter<W> {
    /// Begins a capture: who writes it, and on which interfaces (Ethernet, all of them).
    ///
    /// # Errors
    /// The sink's.
    pub fn new(sink: W, application: &str, interfaces: &[InterfaceDescription<'_>]) -> io::Result<Self> {
        let mut writer = Self { sink, block: Vec::with_capacity(2048), interfaces: 0, written: 0 };
        writer.begin(0x0a0d_0d0a);
        writer.word(0x1a2b_3c4d);
        // Version 1.0, section length not known.
        writer.word(1);
        writer.block.extend_from_slice(&u64::MAX.to_le_bytes());
        writer.option(4, application.as_bytes());
        writer.end(true)?;
        for interface in interfaces {
            writer.interface(interface)?;
        }
        Ok(writer)
    }

    /// Adds an interface and gives its number.
    ///
    /// # Errors
    /// The sink's.
    pub fn interface(&mut self, interface: &InterfaceDescription<'_>) -> io::Result<u32> {
        self.begin(1);
        // Link type Ethernet, no limit on lengths.
        self.word(1);
        self.word(0);
        self.option(2, interface.name.as_bytes());
        if !interface.description.is_empty() {
            self.option(3, interface.description.as_bytes());
        }
        if let Some(mac) = interface.mac {
            self.option(6, &mac);
        }
        // Stamps in nanoseconds.
        self.option(9, &[9]);
        self.end(true)?;
        let number = self.interfaces;
        self.interfaces = number.saturating_add(1);
        Ok(number)
    }

    /// Writes a packet.
    ///
    /// # Errors
    /// The sink's; InvalidInput where the interface was not described.
    pub fn packet(&mut self, packet: &PacketRecord<'_>) -> io::Result<()> {
        if packet.interface >= self.interfaces {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "packet of an interface that was not described"));
        }
        self.begin(6);
        self.word(packet.interface);
        self.stamp(packet.time_ns);
        let len = u32::try_from(packet.bytes.len()).map_err(io::Error::other)?;
        self.word(len);
        self.word(packet.wire_len.max(len));
        self.block.extend_from_slice(packet.bytes);
        self.pad();
        let before = self.block.len();
        if let Some(comment) = packet.comment {
            self.option(1, comment.as_bytes());
        }
        if let Some(direction) = packet.direction {
            let bits: u32 = if direction == Direction::Received { 1 } else { 2 };
            self.option(2, &bits.to_le_bytes());
        }
        if let Some(id) = packet.packet_id {
            self.option(5, &id.to_le_bytes());
        }
        match packet.verdict {
            Some(Verdict::Platform(bytes)) => self.option_of(7, 0, bytes),
            Some(Verdict::TrafficControl(number)) => self.option_of(7, 1, &number.to_le_bytes()),
            Some(Verdict::Xdp(number)) => self.option_of(7, 2, &number.to_le_bytes()),
            None => {}
        }
        let any = self.block.len() > before;
        self.end(any)
    }

    /// Writes names for addresses, so that readers show them.
    ///
    /// # Errors
    /// The sink's.
    pub fn names(&mut self, names: &[(IpAddr, &str)]) -> io::Result<()> {
        self.begin(4);
        for (address, name) in names {
            // A zero ends the name.
            let name = name.split('\0').next().unwrap_or_default().as_bytes();
            match address {
                IpAddr::V4(address) => self.option_parts(1, &[&address.octets(), name, &[0]]),
                IpAddr::V6(address) => self.option_parts(2, &[&address.octets(), name, &[0]]),
            }
        }
        // Records end as options do.
        self.end(true)
    }

    /// Writes what an interface counted; usually last.
    ///
    /// # Errors
    /// The sink's.
    pub fn statistics(&mut self, interface: u32, counted: &InterfaceStatistics) -> io::Result<()> {
        self.begin(5);
        self.word(interface);
        self.stamp(counted.time_ns);
        self.option(4, &counted.received.to_le_bytes());
        self.option(5, &counted.dropped.to_le_bytes());
        self.option(6, &counted.accepted.to_le_bytes());
        self.end(true)
    }

    /// Bytes written so far.
    #[must_use]
    pub fn written(&self) -> u64 {
        self.written
    }

    /// Hands what was written through the sink's own buffer.
    ///
    /// # Errors
    /// The sink's.
    pub fn flush(&mut self) -> io::Result<()> {
        self.sink.flush()
    }

    /// The sink.
    pub fn into_inner(self) -> W {
        self.sink
    }

    fn begin(&mut self, kind: u32) {
        self.block.clear();
        self.word(kind);
        // The length is filled in at the end.
        self.word(0);
    }

    fn end(&mut self, with_options: bool) -> io::Result<()> {
        if with_options {
            self.word(0);
        }
        let length = u32::try_from(self.block.len().saturating_add(4)).map_err(io::Error::other)?;
        self.word(length);
        if let Some(place) = self.block.get_mut(4..8) {
            place.copy_from_slice(&length.to_le_bytes());
        }
        self.sink.write_all(&self.block)?;
        self.written = self.written.saturating_add(length.into());
        Ok(())
    }

    fn word(&mut self, word: u32) {
        self.block.extend_from_slice(&word.to_le_bytes());
    }

    fn stamp(&mut self, time_ns: u64) {
        let bytes = time_ns.to_le_bytes();
        let (low, high) = bytes.split_at(4);
        self.block.extend_from_slice(high);
        self.block.extend_from_slice(low);
    }

    fn pad(&mut self) {
        let len = self.block.len().next_multiple_of(4);
        self.block.resize(len, 0);
    }

    fn option(&mut self, code: u16, value: &[u8]) {
        self.option_parts(code, &[value]);
    }

    fn option_of(&mut self, code: u16, kind: u8, value: &[u8]) {
        self.option_parts(code, &[&[kind], value]);
    }

    /// An option (or name record) whose value comes in parts; cut at the 65535 bytes that its length can tell.
    fn option_parts(&mut self, code: u16, parts: &[&[u8]]) {
        let all = parts.iter().map(|part| part.len()).sum::<usize>();
        let length = u16::try_from(all).unwrap_or(u16::MAX);
        self.block.extend_from_slice(&code.to_le_bytes());
        self.block.extend_from_slice(&length.to_le_bytes());
        let value = parts.iter().flat_map(|part| part.iter().copied());
        self.block.extend(value.take(length.into()));
        self.pad();
    }
}
