//! Captures as they are read and written, against a model, against `pcap-parser` and against tshark.
#![allow(
    clippy::arithmetic_side_effects,
    clippy::cast_possible_truncation,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a test may stop at the first surprise"
)]

mod support;

use pcap_parser::traits::{PcapNGPacketBlock, PcapReaderIterator};
use pcap_parser::{Block, LegacyPcapReader, PcapBlockOwned, PcapError, PcapNGReader};
use proptest::prelude::*;
use vambrace::nic::replay::{CaptureError, CaptureReader, ReplayPort};
use vambrace::nic::{BATCH, FramePort, PortError};
use vambrace::record::pcapng::{self, PacketNotes};

/// What a reader must make of a packet.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Expected {
    bytes: Vec<u8>,
    time_ns: u64,
    wire_len: u32,
    interface: u32,
    start: usize,
    end: usize,
}

#[derive(Clone, Debug)]
enum Item {
    Enhanced { interface: u8, stamp: u64, len: usize, cut: u16, with_options: bool },
    Simple { len: usize },
    Obsolete { interface: u8, stamp: u64, len: usize },
    Other { kind: u32, len: usize },
}

#[derive(Clone, Debug)]
struct Section {
    big: bool,
    /// Resolution option, offset in seconds, limit of lengths.
    interfaces: Vec<(Option<u8>, i64, u32)>,
    items: Vec<Item>,
}

/// Builds a capture and what it holds.
#[derive(Debug, Default)]
struct Builder {
    file: Vec<u8>,
    expected: Vec<Expected>,
    big: bool,
}

impl Builder {
    fn u16(&self, number: u16) -> [u8; 2] {
        if self.big { number.to_be_bytes() } else { number.to_le_bytes() }
    }

    fn u32(&self, number: u32) -> [u8; 4] {
        if self.big { number.to_be_bytes() } else { number.to_le_bytes() }
    }

    fn block(&mut self, kind: u32, body: &[u8]) {
        let padding = vec![0; body.len().next_multiple_of(4) - body.len()];
        let length = self.u32((12 + body.len() + padding.len()) as u32);
        let block = [&self.u32(kind)[..], &length, body, &padding, &length].concat();
        self.file.extend(block);
    }

    fn option(&self, code: u16, value: &[u8]) -> Vec<u8> {
        let padding = vec![0; value.len().next_multiple_of(4) - value.len()];
        [&self.u16(code)[..], &self.u16(value.len() as u16), value, &padding].concat()
    }

    fn section(&mut self, section: &Section) {
        self.big = section.big;
        let body = [&self.u32(0x1a2b_3c4d)[..], &self.u16(1), &self.u16(0), &[0xff; 8]].concat();
        self.block(0x0a0d_0d0a, &body);
        for &(resolution, offset, limit) in &section.interfaces {
            let mut body = [&self.u16(1)[..], &[0; 2], &self.u32(limit)].concat();
            body.extend(self.option(2, b"some"));
            if let Some(resolution) = resolution {
                body.extend(self.option(9, &[resolution]));
            }
            if offset != 0 {
                body.extend(self.option(14, &if self.big { offset.to_be_bytes() } else { offset.to_le_bytes() }));
            }
            body.extend([0; 4]);
            self.block(1, &body);
        }
        section.items.iter().for_each(|item| self.item(item, &section.interfaces));
    }

    fn item(&mut self, item: &Item, interfaces: &[(Option<u8>, i64, u32)]) {
        let pattern = |len: usize| (0..len).map(|at| (at * 31 + len) as u8).collect::<Vec<_>>();
        let last_ns = self.expected.last().map_or(0, |packet| packet.time_ns);
        let start = self.file.len();
        let time = |interface: usize, stamp: u64| {
            let (resolution, offset, _) = interfaces[interface];
            let per_second = match resolution {
                None => 1_000_000,
                Some(power) if power < 0x80 => 10_u64.pow(power.into()),
                Some(power) => 1 << (power & 0x7f),
            };
            let part = u128::from(stamp % per_second) * 1_000_000_000 / u128::from(per_second);
            ((i128::from(stamp / per_second) + i128::from(offset)) * 1_000_000_000 + part as i128)
                .clamp(0, u64::MAX.into()) as u64
        };
        let halves =
            |builder: &Self, stamp: u64| [builder.u32((stamp >> 32) as u32), builder.u32(stamp as u32)].concat();
        let (bytes, wire_len, interface, time_ns) = match *item {
            Item::Enhanced { interface, stamp, len, cut, with_options } => {
                let (interface, bytes) = (usize::from(interface) % interfaces.len(), pattern(len));
                let wire_len = len as u32 + u32::from(cut);
                let lengths = [self.u32(len as u32), self.u32(wire_len)].concat();
                let mut body = [&self.u32(interface as u32)[..], &halves(self, stamp), &lengths, &bytes].concat();
                body.resize(body.len().next_multiple_of(4), 0);
                if with_options {
                    body.extend(self.option(1, b"a comment"));
                    body.extend([0; 4]);
                }
                self.block(6, &body);
                (bytes, wire_len, interface as u32, time(interface, stamp))
            }
            Item::Simple { len } => {
                let limit = interfaces[0].2 as usize;
                let bytes = pattern(if limit == 0 { len } else { len.min(limit) });
                let body = [&self.u32(len as u32)[..], &bytes].concat();
                self.block(3, &body);
                (bytes, len as u32, 0, last_ns)
            }
            Item::Obsolete { interface, stamp, len } => {
                let (interface, bytes) = (usize::from(interface) % interfaces.len(), pattern(len));
                let ids = [self.u16(interface as u16), self.u16(9)].concat();
                let body =
                    [&ids[..], &halves(self, stamp), &self.u32(len as u32), &self.u32(len as u32), &bytes].concat();
                self.block(2, &body);
                (bytes, len as u32, interface as u32, time(interface, stamp))
            }
            Item::Other { kind, len } => return self.block(kind, &pattern(len)),
        };
        self.expected.push(Expected { bytes, time_ns, wire_len, interface, start, end: self.file.len() });
    }

    fn pcap(big: bool, nano: bool, records: &[(u32, u32, usize, u16)]) -> Self {
        let mut builder = Self { big, ..Self::default() };
        let magic = builder.u32(if nano { 0xa1b2_3c4d } else { 0xa1b2_c3d4 });
        let words = [0, 0, 262_144, 1].map(|word| builder.u32(word)).concat();
        builder.file = [&magic[..], &builder.u16(2), &builder.u16(4), &words].concat();
        for &(seconds, part, len, cut) in records {
            let part = part % if nano { 1_000_000_000 } else { 1_000_000 };
            let (bytes, wire_len, start) = (vec![len as u8; len], len as u32 + u32::from(cut), builder.file.len());
            let header = [seconds, part, len as u32, wire_len].map(|word| builder.u32(word)).concat();
            builder.file.extend([&header[..], &bytes].concat());
            let time_ns = u64::from(seconds) * 1_000_000_000 + u64::from(part) * if nano { 1 } else { 1000 };
            let end = builder.file.len();
            builder.expected.push(Expected { bytes, time_ns, wire_len, interface: 0, start, end });
        }
        builder
    }
}

fn read(file: &[u8]) -> (Vec<Expected>, Option<CaptureError>) {
    let mut all = Vec::new();
    let mut reader = match CaptureReader::new(file) {
        Ok(reader) => reader,
        Err(error) => return (all, Some(error)),
    };
    loop {
        match reader.next_packet() {
            Ok(Some(packet)) => all.push(Expected {
                bytes: packet.bytes.to_vec(),
                time_ns: packet.time_ns,
                wire_len: packet.wire_len,
                interface: packet.interface,
                start: packet.offset as usize,
                end: 0,
            }),
            Ok(None) => return (all, None),
            Err(error) => return (all, Some(error)),
        }
        all.last_mut().unwrap().end = reader.position() as usize;
    }
}

/// Bytes, wire length and interface as `pcap-parser` reads them.
fn oracle(file: &[u8]) -> Vec<(Vec<u8>, u32, u32)> {
    let mut reader: Box<dyn PcapReaderIterator> = if file[0] == 0x0a {
        Box::new(PcapNGReader::new(1 << 20, file).unwrap())
    } else {
        Box::new(LegacyPcapReader::new(1 << 20, file).unwrap())
    };
    let mut all = Vec::new();
    let mut limits = Vec::new();
    loop {
        let consumed = match reader.next() {
            Ok((consumed, block)) => {
                match block {
                    PcapBlockOwned::Legacy(it) => all.push((it.data[..it.caplen as usize].to_vec(), it.origlen, 0)),
                    PcapBlockOwned::NG(Block::SectionHeader(_)) => limits.clear(),
                    PcapBlockOwned::NG(Block::InterfaceDescription(it)) => limits.push(it.snaplen),
                    PcapBlockOwned::NG(Block::EnhancedPacket(it)) => {
                        all.push((it.packet_data().to_vec(), it.origlen, it.if_id));
                    }
                    PcapBlockOwned::NG(Block::SimplePacket(it)) => {
                        let len = if limits[0] == 0 { it.origlen } else { it.origlen.min(limits[0]) };
                        all.push((it.data[..len as usize].to_vec(), it.origlen, 0));
                    }
                    _ => {}
                }
                consumed
            }
            Err(PcapError::Eof) => return all,
            Err(PcapError::Incomplete(_)) => {
                reader.refill().unwrap();
                continue;
            }
            Err(error) => panic!("{error:?}"),
        };
        reader.consume(consumed);
    }
}

fn item() -> impl Strategy<Value = Item> {
    let len = 0..300_usize;
    // Up to the year 2100 in nanoseconds.
    let stamp = 0..4_102_444_800_000_000_000_u64;
    prop_oneof![
        4 => (any::<u8>(), stamp.clone(), len.clone(), any::<u16>(), any::<bool>()).prop_map(
            |(interface, stamp, len, cut, with_options)| Item::Enhanced { interface, stamp, len, cut, with_options }
        ),
        1 => len.clone().prop_map(|len| Item::Simple { len }),
        1 => (any::<u8>(), stamp, len.clone()).prop_map(|(interface, stamp, len)| Item::Obsolete { interface, stamp, len }),
        1 => (0x0bad_0000..0x0bad_ffff_u32, len).prop_map(|(kind, len)| Item::Other { kind, len }),
    ]
}

fn section() -> impl Strategy<Value = Section> {
    let resolution = prop_oneof![Just(None), (0..10_u8).prop_map(Some), (0x80..0xa0_u8).prop_map(Some)];
    let limit = prop_oneof![Just(0), Just(100), Just(262_144)];
    let interfaces = prop::collection::vec((resolution, -3600..3600_i64, limit), 1..4);
    (any::<bool>(), interfaces, prop::collection::vec(item(), 0..6)).prop_map(|(big, interfaces, items)| Section {
        big,
        interfaces,
        items,
    })
}

fn capture() -> impl Strategy<Value = (Vec<u8>, Vec<Expected>)> {
    let record = (any::<u32>(), any::<u32>(), 0..300_usize, any::<u16>());
    let pcap = (any::<bool>(), any::<bool>(), prop::collection::vec(record, 0..8))
        .prop_map(|(big, nano, records)| Builder::pcap(big, nano, &records));
    let pcapng = prop::collection::vec(section(), 1..4).prop_map(|sections| {
        let mut builder = Builder::default();
        sections.iter().for_each(|section| builder.section(section));
        builder
    });
    prop_oneof![1 => pcap, 3 => pcapng].prop_map(|builder| (builder.file, builder.expected))
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn what_was_written_is_read((file, expected) in capture()) {
        let (packets, error) = read(&file);
        prop_assert!(error.is_none(), "{:?}", error);
        prop_assert_eq!(&packets, &expected);
    }

    #[test]
    fn pcap_parser_reads_the_same((file, expected) in capture()) {
        // It has no reader for obsolete packet blocks.
        let obsolete = |packet: &Expected| file[0] == 0x0a && [&file[packet.start..][..4]].iter().any(|kind| kind.contains(&2));
        let (packets, _) = read(&file);
        let ours: Vec<_> = packets
            .into_iter()
            .filter(|packet| !obsolete(packet))
            .map(|packet| (packet.bytes, packet.wire_len, packet.interface))
            .collect();
        prop_assert_eq!(ours.len() + expected.iter().filter(|packet| obsolete(packet)).count(), expected.len());
        prop_assert_eq!(ours, oracle(&file));
    }

    #[test]
    fn a_cut_file_gives_what_is_whole_and_then_says_where((file, expected) in capture(), at in any::<prop::sample::Index>()) {
        let cut = at.index(file.len());
        let (packets, error) = read(&file[..cut]);
        let whole: Vec<_> = expected.into_iter().filter(|packet| packet.end <= cut).collect();
        prop_assert_eq!(&packets, &whole);
        match error {
            // Nothing is missing where the cut lies between two blocks.
            None => prop_assert!(cut > 0),
            Some(CaptureError::Truncated { offset, .. }) => {
                prop_assert!(offset as usize <= cut && whole.last().is_none_or(|packet| packet.end <= offset as usize));
            }
            Some(CaptureError::NotACapture) => prop_assert!(cut < 4),
            Some(other) => prop_assert!(false, "{}", other),
        }
    }

    #[test]
    fn any_bytes_end_in_packets_or_an_error((mut file, _) in capture(), changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..8)) {
        for (at, byte) in changes {
            let at = at.index(file.len());
            file[at] = byte;
        }
        let (packets, error) = read(&file);
        prop_assert!(packets.len() <= file.len());
        if let Some(error) = error {
            prop_assert!(!error.to_string().contains('\n'));
        }
    }
}

fn pcap_of(link_type: u32, packet: &[u8]) -> Vec<u8> {
    let mut builder = Builder::pcap(false, false, &[(1, 2, packet.len(), 0)]);
    builder.file[20..24].copy_from_slice(&link_type.to_le_bytes());
    builder.file[40..].copy_from_slice(packet);
    builder.file
}

#[test]
fn cooked_captures_become_ethernet() {
    let payload = [0x45, 0, 0, 20];
    let cooked = [&[0, 0, 0, 1, 0, 6, 2, 0, 0, 0, 0, 9, 0xaa, 0xbb, 0x08, 0x00][..], &payload].concat();
    let cooked2 = [&[0x08, 0, 0, 0, 0, 0, 0, 3, 0, 1, 0, 6, 2, 0, 0, 0, 0, 9, 0xaa, 0xbb][..], &payload].concat();
    let expected = [&[0; 6][..], &[2, 0, 0, 0, 0, 9, 0x08, 0x00], &payload].concat();
    for (link_type, packet) in [(113, &cooked), (276, &cooked2)] {
        let (packets, error) = read(&pcap_of(link_type, packet));
        assert!(error.is_none());
        assert_eq!((&packets[0].bytes, packets[0].wire_len), (&expected, 18));
        for len in 0..packet.len() {
            assert!(read(&pcap_of(link_type, &packet[..len])).1.is_none(), "cut to {len}");
        }
    }
    // An LLC frame has its length where others have their type.
    let llc = [&[0, 0, 0, 1, 0, 6, 2, 0, 0, 0, 0, 9, 0, 0, 0x00, 0x04][..], &[0x42, 0x42, 3]].concat();
    assert_eq!(read(&pcap_of(113, &llc)).0[0].bytes[12..], [0, 3, 0x42, 0x42, 3]);
}

#[test]
fn other_kinds_are_refused_in_one_line() {
    let wifi = read(&pcap_of(127, b"radiotap")).1.unwrap().to_string();
    let expected = "capture has link type 127 at byte 20, only Ethernet (1) and Linux cooked (113, 276) are read; \
                    capture on a network interface";
    assert_eq!(wifi, expected);
    let text = read(b"hello, this is no capture").1.unwrap().to_string();
    assert_eq!(text, "no pcap or pcapng file; give a capture that tcpdump or Wireshark wrote");
    assert!(matches!(read(b"").1, Some(CaptureError::NotACapture)));
    let mut huge = Builder::pcap(true, false, &[(1, 2, 60, 0)]);
    huge.file[32..36].copy_from_slice(&u32::MAX.to_be_bytes());
    let huge = read(&huge.file).1.unwrap().to_string();
    let expected = "capture is damaged at byte 24: a record longer than 262144 bytes; \
                    have the program that captured it write it again";
    assert_eq!(huge, expected);
}

#[test]
fn a_port_hands_out_batches_and_the_error_last() {
    let records: Vec<_> = (0..150).map(|number| (number, 0, 60 + number as usize, 0)).collect();
    let built = Builder::pcap(false, true, &records);
    let cut = &built.file[..built.file.len() - 1];
    let mut port = ReplayPort::new("cell.pcap", CaptureReader::new(cut).unwrap());
    let mut seen = 0;
    let error = loop {
        match port.receive() {
            Ok(count) => {
                assert!((1..=BATCH).contains(&count), "{count} frames after {seen}");
                for index in 0..count {
                    let (frame, expected) = (port.frame(index), &built.expected[seen]);
                    let meta = (frame.meta.received_ns, frame.meta.wire_len);
                    assert_eq!((frame.bytes, meta), (&expected.bytes[..], (expected.time_ns, expected.wire_len)));
                    seen += 1;
                }
                assert_eq!(port.frame(count).bytes, b"");
            }
            Err(error) => break error,
        }
    };
    assert_eq!(seen, 149);
    let start = built.expected[149].start;
    let text = format!(
        "cell.pcap: capture is cut at byte {start}, within a packet; `editcap` writes the whole packets to a new file"
    );
    assert!(matches!(error, PortError::Capture { .. }));
    assert_eq!(error.to_string(), text);
    assert!(port.finished());
    assert_eq!(port.receive().unwrap(), 0);
}

fn sample() -> Vec<u8> {
    let mut file = Vec::new();
    pcapng::start(&mut file, "Vambrace 0.1", &["plant", "robot"], 262_144);
    let frame = [&[0x02; 12][..], &[0x88, 0xb5], &[7; 47]].concat();
    let notes = PacketNotes {
        comment: "refused: register 24 is not written by this client",
        packet_id: 0x0102_0304_0506_0708,
        verdict: "refuse",
    };
    pcapng::packet(&mut file, 0, 1_760_000_000_123_456_789, 61, &frame, &notes);
    pcapng::packet(&mut file, 1, 1, 60, &frame[..14], &PacketNotes::default());
    pcapng::statistics(&mut file, 0, 1_760_000_001_000_000_000, 10, 1);
    file
}

#[test]
fn what_we_write_we_read() {
    let (packets, error) = read(&sample());
    assert!(error.is_none());
    let brief: Vec<_> = packets.iter().map(|it| (it.bytes.len(), it.time_ns, it.wire_len, it.interface)).collect();
    assert_eq!(brief, [(61, 1_760_000_000_123_456_789, 61, 0), (14, 1, 60, 1)]);
}

#[test]
fn pcap_parser_reads_what_we_write() {
    let file = sample();
    let mut reader = PcapNGReader::new(1 << 16, &file[..]).unwrap();
    let mut kinds = Vec::new();
    loop {
        let consumed = match reader.next() {
            Ok((consumed, PcapBlockOwned::NG(block))) => {
                match block {
                    Block::SectionHeader(_) => kinds.push("section"),
                    Block::InterfaceDescription(it) => {
                        kinds.push("interface");
                        assert_eq!(it.if_tsresol().unwrap().unwrap(), 9);
                        let expected = if kinds.len() == 2 { "plant" } else { "robot" };
                        assert_eq!(it.if_name().unwrap().unwrap(), expected);
                    }
                    Block::EnhancedPacket(it) => {
                        kinds.push("packet");
                        if it.if_id == 0 {
                            let codes: Vec<_> = it.options.iter().map(|option| option.code.0).collect();
                            assert_eq!(codes, [1, 5, 7, 0]);
                            assert_eq!(it.options[2].as_bytes().unwrap(), b"\0refuse");
                        } else {
                            assert!(it.options.iter().all(|option| option.code.0 == 0));
                        }
                    }
                    Block::InterfaceStatistics(_) => kinds.push("statistics"),
                    _ => kinds.push("other"),
                }
                consumed
            }
            Err(PcapError::Eof) => break,
            Err(PcapError::Incomplete(_)) => {
                reader.refill().unwrap();
                continue;
            }
            other => panic!("{:?}", other.err()),
        };
        reader.consume(consumed);
    }
    assert_eq!(kinds, ["section", "interface", "interface", "packet", "packet", "statistics"]);
}

#[test]
fn tshark_shows_comment_interfaces_and_verdict() {
    if !support::has_tool("tshark_shows_comment_interfaces_and_verdict", "tshark") {
        return;
    }
    let path = std::env::temp_dir().join(format!("vambrace-written-{}.pcapng", std::process::id()));
    std::fs::write(&path, sample()).unwrap();
    let output = std::process::Command::new("tshark").arg("-r").arg(&path).args(["-V"]).output().unwrap();
    std::fs::remove_file(&path).unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    for part in [
        "refused: register 24 is not written by this client",
        "Interface name: plant",
        "Interface name: robot",
        "123456789",
        "Frame Length: 60 bytes",
    ] {
        assert!(text.contains(part), "{part} is missing in:\n{text}\n{}", String::from_utf8_lossy(&output.stderr));
    }
    assert!(text.to_lowercase().contains("verdict"), "{text}");
}
