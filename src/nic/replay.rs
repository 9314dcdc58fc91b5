//! Captures as a source of frames: pcap and pcapng, read piece by piece.
//!
//! Source: draft-ietf-opsawg-pcap and draft-ietf-opsawg-pcapng. Both byte orders, micro- and nanoseconds, several
//! sections and interfaces, enhanced, simple and obsolete packet blocks. Memory is bounded by [`MOST_BYTES`].

use std::fs::File;
use std::io::{self, BufReader, Read};
use std::os::fd::BorrowedFd;
use std::path::Path;

use super::{BATCH, Frame, FrameMeta, FramePort, PortError};

/// Longest packet that is read, in bytes: the limit that capturing programs use.
pub const MOST_BYTES: usize = 256 << 10;
/// Most interfaces of a section.
const MOST_INTERFACES: usize = 4096;
/// Bytes read ahead from the file.
const READ_AHEAD: usize = 64 << 10;

const SECTION_HEADER: u32 = 0x0a0d_0d0a;
const INTERFACE: u32 = 1;
const OBSOLETE_PACKET: u32 = 2;
const SIMPLE_PACKET: u32 = 3;
const ENHANCED_PACKET: u32 = 6;
const SECTION_MAGIC: u32 = 0x1a2b_3c4d;
const PCAP_MICRO: u32 = 0xa1b2_c3d4;
const PCAP_NANO: u32 = 0xa1b2_3c4d;

/// Why a capture could not be read on. The numbers are byte offsets in the file, from 0.
#[derive(Debug, thiserror::Error)]
pub enum CaptureError {
    /// Neither pcap nor pcapng.
    #[error("no pcap or pcapng file; give a capture that tcpdump or Wireshark wrote")]
    NotACapture,
    /// The file ends within something.
    #[error("capture is cut at byte {offset}, within {what}; `editcap` writes the whole packets to a new file")]
    Truncated {
        /// Where the thing that is not whole begins.
        offset: u64,
        /// What it is.
        what: &'static str,
    },
    /// Contents that no writer makes.
    #[error("capture is damaged at byte {offset}: {what}; have the program that captured it write it again")]
    Malformed {
        /// Where.
        offset: u64,
        /// What is wrong.
        what: &'static str,
    },
    /// Packets of a kind that has no Ethernet frames in it.
    #[error(
        "capture has link type {link_type} at byte {offset}, only Ethernet (1) and Linux cooked (113, 276) are read; \
         capture on a network interface"
    )]
    LinkType {
        /// Where it is declared.
        offset: u64,
        /// Number of the LINKTYPE registry.
        link_type: u32,
    },
    /// The file can't be opened or read.
    #[error("capture can't be read: {0}; give the path of a readable file")]
    Io(#[from] io::Error),
}

/// What packets of an interface start with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LinkType {
    /// LINKTYPE_ETHERNET, 1.
    Ethernet,
    /// LINKTYPE_LINUX_SLL, 113: 16 bytes in place of the Ethernet header.
    Cooked,
    /// LINKTYPE_LINUX_SLL2, 276: 20 bytes in place of the Ethernet header.
    Cooked2,
}

impl LinkType {
    fn from_number(number: u32, offset: u64) -> Result<Self, CaptureError> {
        match number {
            1 => Ok(Self::Ethernet),
            113 => Ok(Self::Cooked),
            276 => Ok(Self::Cooked2),
            link_type => Err(CaptureError::LinkType { offset, link_type }),
        }
    }
}

/// One packet of a capture as an Ethernet frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Captured<'a> {
    /// Ethernet header first. For cooked captures the header is made up: source as captured, destination all zeroes.
    pub bytes: &'a [u8],
    /// Nanoseconds since 1970; simple packet blocks have no time and repeat that of the packet before.
    pub time_ns: u64,
    /// Length on the wire in bytes.
    pub wire_len: u32,
    /// Number of its interface within the section, 0 for pcap.
    pub interface: u32,
    /// Byte offset in the file of the block or record it came in.
    pub offset: u64,
}

#[derive(Clone, Copy, Debug)]
struct Interface {
    link_type: LinkType,
    snap_len: u32,
    clock: Clock,
}

/// How stamps of an interface become nanoseconds.
#[derive(Clone, Copy, Debug)]
struct Clock {
    per_second: u64,
    offset_s: i64,
}

impl Clock {
    fn nanoseconds(self, stamp: u64) -> u64 {
        let whole = i128::from(stamp.checked_div(self.per_second).unwrap_or(0)).saturating_add(self.offset_s.into());
        let part = u128::from(stamp.checked_rem(self.per_second).unwrap_or(0));
        let part = part.saturating_mul(1_000_000_000).checked_div(self.per_second.into()).unwrap_or(0);
        let all = whole.saturating_mul(1_000_000_000).saturating_add(i128::try_from(part).unwrap_or(0));
        u64::try_from(all.max(0)).unwrap_or(u64::MAX)
    }
}

#[derive(Clone, Copy, Debug)]
enum Format {
    Pcap { interface: Interface },
    Pcapng,
}

/// A capture being read from front to back.
#[derive(Debug)]
pub struct CaptureReader<R> {
    source: BufReader<R>,
    /// Bytes consumed.
    offset: u64,
    big_endian: bool,
    format: Format,
    interfaces: Vec<Interface>,
    last_ns: u64,
    block: Vec<u8>,
}

impl CaptureReader<File> {
    /// Opens a capture file.
    ///
    /// # Errors
    /// It can't be opened, or its beginning is not that of a capture.
    pub fn open(path: &Path) -> Result<Self, CaptureError> {
        Self::new(File::open(path)?)
    }
}

impl<R: Read> CaptureReader<R> {
    /// Reads a capture from any source, which needs no buffer of its own.
    ///
    /// # Errors
    /// Its beginning is not that of a capture.
    pub fn new(source: R) -> Result<Self, CaptureError> {
        let clock = Clock { per_second: 1_000_000, offset_s: 0 };
        let mut reader = Self {
            source: BufReader::with_capacity(READ_AHEAD, source),
            offset: 0,
            big_endian: false,
            format: Format::Pcapng,
            interfaces: Vec::new(),
            last_ns: 0,
            block: Vec::new(),
        };
        let mut magic = [0; 4];
        if reader.fill(&mut magic)? < 4 {
            return Err(CaptureError::NotACapture);
        }
        match (u32::from_le_bytes(magic), u32::from_be_bytes(magic)) {
            (SECTION_HEADER, _) => reader.section_header(0)?,
            (PCAP_MICRO, _) => reader.pcap_header(false, clock)?,
            (PCAP_NANO, _) => reader.pcap_header(false, Clock { per_second: 1_000_000_000, ..clock })?,
            (_, PCAP_MICRO) => reader.pcap_header(true, clock)?,
            (_, PCAP_NANO) => reader.pcap_header(true, Clock { per_second: 1_000_000_000, ..clock })?,
            _ => return Err(CaptureError::NotACapture),
        }
        Ok(reader)
    }

    /// The next packet, none at the end.
    ///
    /// # Errors
    /// The file is cut or damaged there. Reading on is of no use.
    pub fn next_packet(&mut self) -> Result<Option<Captured<'_>>, CaptureError> {
        let found = match self.format {
            Format::Pcap { interface } => self.pcap_record(interface)?,
            Format::Pcapng => self.pcapng_packet()?,
        };
        Ok(found.map(|found| self.as_ethernet(found)))
    }

    /// Bytes consumed so far, for a progress bar.
    #[must_use]
    pub fn position(&self) -> u64 {
        self.offset
    }

    fn pcap_header(&mut self, big_endian: bool, clock: Clock) -> Result<(), CaptureError> {
        self.big_endian = big_endian;
        let mut header = [0; 20];
        self.whole(&mut header, 0, "the file header")?;
        let [_, _, _, snap_len, network] = self.words(&header);
        // The upper bits tell of a frame check sequence; 0x0400_0000 says that it is there.
        let link_type = LinkType::from_number(network & 0xffff, 20)?;
        if network & 0x0400_0000 != 0 && network >> 28 != 0 {
            return Err(CaptureError::Malformed {
                offset: 20,
                what: "frames with a frame check sequence are not read",
            });
        }
        self.format = Format::Pcap { interface: Interface { link_type, snap_len, clock } };
        Ok(())
    }

    fn pcap_record(&mut self, interface: Interface) -> Result<Option<Found>, CaptureError> {
        let start = self.offset;
        let mut header = [0; 16];
        match self.fill(&mut header)? {
            0 => return Ok(None),
            16 => {}
            _ => return Err(CaptureError::Truncated { offset: start, what: "a record header" }),
        }
        let [seconds, part, len, wire_len] = self.words(&header);
        let len = bounded(len, start, "a record longer than 262144 bytes")?;
        self.block.resize(len, 0);
        self.whole_block(start, "a packet")?;
        let clock = interface.clock;
        let stamp = u64::from(seconds).saturating_mul(clock.per_second).saturating_add(part.into());
        self.last_ns = clock.nanoseconds(stamp);
        Ok(Some(Found { at: 0, len, wire_len, interface: 0, link_type: interface.link_type, start }))
    }

    /// Reads a section header whose type was read already; `start` is where that lies.
    fn section_header(&mut self, start: u64) -> Result<(), CaptureError> {
        let mut header = [0; 8];
        self.whole(&mut header, start, "a section header")?;
        let [length, magic] = self.words(&header);
        let length = match (magic == SECTION_MAGIC, magic.swap_bytes() == SECTION_MAGIC) {
            (true, _) => length,
            (_, true) => {
                self.big_endian = !self.big_endian;
                length.swap_bytes()
            }
            _ => return Err(CaptureError::Malformed { offset: start, what: "section header without byte order mark" }),
        };
        if length < 28 || length % 4 != 0 {
            return Err(CaptureError::Malformed { offset: start, what: "section header of impossible length" });
        }
        self.read_block(length.saturating_sub(16), start, "a section header")?;
        self.end_of_block(length, start)?;
        let major = self.half(self.block.get(..2));
        if major != 1 {
            return Err(CaptureError::Malformed { offset: start, what: "section of a pcapng version other than 1" });
        }
        self.interfaces.clear();
        Ok(())
    }

    fn pcapng_packet(&mut self) -> Result<Option<Found>, CaptureError> {
        loop {
            let start = self.offset;
            let mut kind = [0; 4];
            match self.fill(&mut kind)? {
                0 => return Ok(None),
                4 => {}
                _ => return Err(CaptureError::Truncated { offset: start, what: "a block header" }),
            }
            let [kind] = self.words(&kind);
            if kind == SECTION_HEADER {
                self.section_header(start)?;
                continue;
            }
            let mut length = [0; 4];
            self.whole(&mut length, start, "a block header")?;
            let [length] = self.words(&length);
            if length < 12 || length % 4 != 0 {
                return Err(CaptureError::Malformed { offset: start, what: "block of impossible length" });
            }
            let body = length.saturating_sub(12);
            match kind {
                INTERFACE => {
                    self.read_block(body, start, "an interface description")?;
                    self.end_of_block(length, start)?;
                    self.interface(start)?;
                }
                ENHANCED_PACKET | SIMPLE_PACKET | OBSOLETE_PACKET => {
                    self.read_block(body, start, "a packet block")?;
                    self.end_of_block(length, start)?;
                    return self.packet(kind, start).map(Some);
                }
                _ => {
                    self.skip(body.into(), start)?;
                    self.end_of_block(length, start)?;
                }
            }
        }
    }

    fn interface(&mut self, start: u64) -> Result<(), CaptureError> {
        let link_type = LinkType::from_number(self.half(self.block.get(..2)).into(), start)?;
        let Some(snap_len) = self.word(4) else {
            return Err(CaptureError::Malformed { offset: start, what: "interface description too short" });
        };
        if self.interfaces.len() >= MOST_INTERFACES {
            return Err(CaptureError::Malformed { offset: start, what: "more than 4096 interfaces" });
        }
        let mut clock = Clock { per_second: 1_000_000, offset_s: 0 };
        let mut at = 8_usize;
        while let Some([a, b, c, d]) = self.block.get(at..).and_then(<[u8]>::first_chunk).copied() {
            let (code, len) = (self.half(Some(&[a, b])), usize::from(self.half(Some(&[c, d]))));
            let value = self.block.get(at.saturating_add(4)..).and_then(|rest| rest.get(..len));
            let (Some(value), true) = (value, code != 0) else { break };
            match (code, value) {
                // if_tsresol: a power of ten, or of two where the top bit is set.
                (9, &[resolution]) => {
                    let (base, power) =
                        if resolution & 0x80 == 0 { (10_u64, resolution) } else { (2, resolution & 0x7f) };
                    clock.per_second = base.checked_pow(power.into()).ok_or(CaptureError::Malformed {
                        offset: start,
                        what: "interface clock too fine for 64 bits",
                    })?;
                }
                // if_fcslen: the frames end in a frame check sequence.
                (13, &[bits]) if bits != 0 => {
                    let what = "frames with a frame check sequence are not read";
                    return Err(CaptureError::Malformed { offset: start, what });
                }
                // if_tsoffset, in seconds.
                (14, value) => {
                    let bytes: [u8; 8] = value.try_into().unwrap_or_default();
                    clock.offset_s =
                        if self.big_endian { i64::from_be_bytes(bytes) } else { i64::from_le_bytes(bytes) };
                }
                _ => {}
            }
            at = at.saturating_add(4).saturating_add(len.next_multiple_of(4));
        }
        self.interfaces.push(Interface { link_type, snap_len, clock });
        Ok(())
    }

    /// Reads the packet block that lies in `block`.
    fn packet(&mut self, kind: u32, start: u64) -> Result<Found, CaptureError> {
        let malformed = |what| CaptureError::Malformed { offset: start, what };
        let short = || malformed("packet block too short for its header");
        // Number of its interface, where the stamp lies, where the two lengths lie, where the bytes begin.
        let (interface, stamp_at, lengths_at, data_at) = match kind {
            SIMPLE_PACKET => (0, None, 0, 4),
            OBSOLETE_PACKET => (self.half(self.block.get(..2)).into(), Some(4), 12, 20_usize),
            _ => (self.word(0).ok_or_else(short)?, Some(4), 12, 20),
        };
        let first = self.word(lengths_at).ok_or_else(short)?;
        let Some(&Interface { link_type, snap_len, clock }) = self.interfaces.get(interface as usize) else {
            return Err(malformed("packet of an interface that was not described"));
        };
        let (len, wire_len) = match kind {
            // The bytes are cut at the interface's limit; a limit of 0 is none.
            SIMPLE_PACKET if snap_len == 0 => (first, first),
            SIMPLE_PACKET => (first.min(snap_len), first),
            _ => (first, self.word(lengths_at.saturating_add(4)).ok_or_else(short)?),
        };
        let len = bounded(len, start, "a packet longer than 262144 bytes")?;
        if self.block.get(data_at..).is_none_or(|rest| rest.len() < len) {
            return Err(malformed("packet longer than its block"));
        }
        if let Some(at) = stamp_at {
            let high = self.word(at).ok_or_else(short)?;
            let low = self.word(at.saturating_add(4)).ok_or_else(short)?;
            self.last_ns = clock.nanoseconds(u64::from(high) << 32 | u64::from(low));
        }
        Ok(Found { at: data_at, len, wire_len, interface, link_type, start })
    }

    /// The packet in `block` with an Ethernet header in place of a cooked one.
    fn as_ethernet(&mut self, found: Found) -> Captured<'_> {
        let Found { mut at, mut len, mut wire_len, interface, link_type, start } = found;
        let cooked = match link_type {
            LinkType::Ethernet => None,
            // Where protocol, address length and address lie, and the length of it all.
            LinkType::Cooked => Some((14_usize, 5_usize, 6_usize, 16_usize)),
            LinkType::Cooked2 => Some((0, 11, 12, 20)),
        };
        if let Some((protocol_at, address_len_at, address_at, header_len)) = cooked {
            let mut header = [0_u8; 14];
            let body = self.block.get(at..).and_then(|rest| rest.get(..len)).unwrap_or(&[]);
            let payload_len = len.saturating_sub(header_len);
            if let Some(address) = body.get(address_at..).and_then(<[u8]>::first_chunk::<6>) {
                // Loopback and tunnels have no address of this length.
                if body.get(address_len_at) == Some(&6) {
                    header[6..12].copy_from_slice(address);
                }
            }
            if let Some(&protocol) = body.get(protocol_at..).and_then(<[u8]>::first_chunk::<2>) {
                // Types below 0x600 say how an 802.3 frame goes on; the frame itself has its length there.
                let number = u16::from_be_bytes(protocol);
                let length = u16::try_from(payload_len).unwrap_or(0x5ff).min(0x5ff);
                header[12..].copy_from_slice(&if number < 0x600 { length.to_be_bytes() } else { protocol });
            }
            if len < header_len {
                len = 0;
            } else {
                at = at.saturating_add(header_len.saturating_sub(14));
                len = len.saturating_sub(header_len.saturating_sub(14));
                if let Some(place) = self.block.get_mut(at..).and_then(<[u8]>::first_chunk_mut::<14>) {
                    *place = header;
                }
            }
            wire_len = wire_len.saturating_sub(u32::try_from(header_len).unwrap_or(0).saturating_sub(14));
        }
        let bytes = self.block.get(at..).and_then(|rest| rest.get(..len)).unwrap_or(&[]);
        Captured { bytes, time_ns: self.last_ns, wire_len, interface, offset: start }
    }

    fn read_block(&mut self, length: u32, start: u64, what: &'static str) -> Result<(), CaptureError> {
        let length = usize::try_from(length).unwrap_or(usize::MAX);
        if length > MOST_BYTES.saturating_add(READ_AHEAD) {
            return Err(CaptureError::Malformed { offset: start, what: "block longer than a packet can be" });
        }
        self.block.resize(length, 0);
        self.whole_block(start, what)
    }

    fn whole_block(&mut self, start: u64, what: &'static str) -> Result<(), CaptureError> {
        let mut block = std::mem::take(&mut self.block);
        let read = self.whole(&mut block, start, what);
        self.block = block;
        read
    }

    /// Reads the length that ends a block.
    fn end_of_block(&mut self, length: u32, start: u64) -> Result<(), CaptureError> {
        let mut trailer = [0; 4];
        self.whole(&mut trailer, start, "the end of a block")?;
        if self.words(&trailer) == [length] {
            Ok(())
        } else {
            Err(CaptureError::Malformed { offset: start, what: "block whose two lengths differ" })
        }
    }

    fn skip(&mut self, length: u64, start: u64) -> Result<(), CaptureError> {
        let skipped = io::copy(&mut (&mut self.source).take(length), &mut io::sink())?;
        self.offset = self.offset.saturating_add(skipped);
        if skipped == length { Ok(()) } else { Err(CaptureError::Truncated { offset: start, what: "a block" }) }
    }

    fn whole(&mut self, place: &mut [u8], start: u64, what: &'static str) -> Result<(), CaptureError> {
        if self.fill(place)? == place.len() { Ok(()) } else { Err(CaptureError::Truncated { offset: start, what }) }
    }

    /// Reads as much of `place` as there is.
    fn fill(&mut self, place: &mut [u8]) -> Result<usize, CaptureError> {
        let mut filled = 0_usize;
        while let Some(rest) = place.get_mut(filled..).filter(|rest| !rest.is_empty()) {
            match self.source.read(rest) {
                Ok(0) => break,
                Ok(count) => filled = filled.saturating_add(count),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error.into()),
            }
        }
        self.offset = self.offset.saturating_add(filled as u64);
        Ok(filled)
    }

    fn words<const N: usize>(&self, bytes: &[u8]) -> [u32; N] {
        let mut words = [0; N];
        for (word, bytes) in words.iter_mut().zip(bytes.as_chunks::<4>().0) {
            *word = if self.big_endian { u32::from_be_bytes(*bytes) } else { u32::from_le_bytes(*bytes) };
        }
        words
    }

    fn word(&self, at: usize) -> Option<u32> {
        let bytes = self.block.get(at..)?.first_chunk::<4>()?;
        let [word] = self.words(bytes);
        Some(word)
    }

    fn half(&self, bytes: Option<&[u8]>) -> u16 {
        let bytes = bytes.and_then(<[u8]>::first_chunk::<2>).copied().unwrap_or_default();
        if self.big_endian { u16::from_be_bytes(bytes) } else { u16::from_le_bytes(bytes) }
    }
}

/// Where in `block` a packet lies.
#[derive(Clone, Copy, Debug)]
struct Found {
    at: usize,
    len: usize,
    wire_len: u32,
    interface: u32,
    link_type: LinkType,
    start: u64,
}

fn bounded(len: u32, offset: u64, what: &'static str) -> Result<usize, CaptureError> {
    match usize::try_from(len) {
        Ok(len) if len <= MOST_BYTES => Ok(len),
        _ => Err(CaptureError::Malformed { offset, what }),
    }
}

/// A capture as a port: frames come out of it, what is sent to it is counted and forgotten.
#[derive(Debug)]
pub struct ReplayPort<R> {
    name: String,
    reader: CaptureReader<R>,
    bytes: Vec<u8>,
    batch: Vec<(usize, FrameMeta)>,
    failure: Option<CaptureError>,
    finished: bool,
    sent: u64,
}

impl<R: Read> ReplayPort<R> {
    /// A port that hands out the packets of a capture; `name` is what errors call it.
    pub fn new(name: &str, reader: CaptureReader<R>) -> Self {
        Self {
            name: name.to_owned(),
            reader,
            bytes: Vec::new(),
            batch: Vec::with_capacity(BATCH),
            failure: None,
            finished: false,
            sent: 0,
        }
    }

    /// Whether all frames were handed out.
    #[must_use]
    pub fn finished(&self) -> bool {
        self.finished && self.batch.is_empty()
    }

    /// Frames that were sent to it.
    #[must_use]
    pub fn sent(&self) -> u64 {
        self.sent
    }
}

impl<R: Read> FramePort for ReplayPort<R> {
    fn receive(&mut self) -> Result<usize, PortError> {
        self.release();
        if let Some(source) = self.failure.take() {
            self.finished = true;
            return Err(PortError::Capture { port: self.name.clone(), source });
        }
        while !self.finished && self.batch.len() < BATCH && self.bytes.len() < MOST_BYTES {
            match self.reader.next_packet() {
                Ok(Some(packet)) => {
                    let meta =
                        FrameMeta { received_ns: packet.time_ns, wire_len: packet.wire_len, checksum_partial: false };
                    self.bytes.extend_from_slice(packet.bytes);
                    self.batch.push((self.bytes.len(), meta));
                }
                Ok(None) => self.finished = true,
                // First what is whole.
                Err(source) if self.batch.is_empty() => {
                    self.finished = true;
                    return Err(PortError::Capture { port: self.name.clone(), source });
                }
                Err(source) => {
                    self.failure = Some(source);
                    break;
                }
            }
        }
        Ok(self.batch.len())
    }

    fn frame(&self, index: usize) -> Frame<'_> {
        let none = FrameMeta { received_ns: 0, wire_len: 0, checksum_partial: false };
        let start = index.checked_sub(1).and_then(|before| self.batch.get(before)).map_or(0, |&(end, _)| end);
        match self.batch.get(index) {
            Some(&(end, meta)) => Frame { bytes: self.bytes.get(start..end).unwrap_or(&[]), meta },
            None => Frame { bytes: &[], meta: none },
        }
    }

    fn release(&mut self) {
        self.batch.clear();
        self.bytes.clear();
    }

    fn transmit(&mut self, frames: &[&[u8]]) -> Result<usize, PortError> {
        self.sent = self.sent.wrapping_add(frames.len() as u64);
        Ok(frames.len())
    }

    fn readiness(&self) -> Option<BorrowedFd<'_>> {
        None
    }
}
