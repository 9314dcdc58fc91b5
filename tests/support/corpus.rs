//! Frames that a wire carries and that boxes between tend to change or lose.
//!
//! Written by hand from the standards: IEEE 802.3, 802.1Q, 802.1AB, 1588, IEC 61158 (PROFINET, EtherCAT), 61850-8-1,
//! 62439-2, RFC 791, 826, 8200. None has a frame check sequence, which network cards add and take away.

use std::net::Ipv4Addr;

const ROBOT: [u8; 6] = [0x02, 0x50, 0x52, 0, 0, 0x01];
const PLANT: [u8; 6] = [0x02, 0x50, 0x4c, 0, 0, 0x02];
const BROADCAST: [u8; 6] = [0xff; 6];

/// A frame and what it is.
#[derive(Clone, Debug)]
pub struct Named {
    /// What it is.
    pub name: &'static str,
    /// Ethernet header first.
    pub bytes: Vec<u8>,
}

/// All frames that fit a port with an MTU of 1500 (1508 with tags), 60 bytes and more, as a real wire carries them,
/// and runts.
pub fn frames() -> Vec<Named> {
    let mut all = sizes(&[60, 61, 64, 128, 512, 1024, 1280, 1513, 1514]);
    all.extend(tags());
    all.extend(industrial());
    all.extend(management());
    all.extend(internet());
    all.extend(runts());
    all
}

/// Frames that need an MTU of 9000: up to 9014 bytes, and 9018 and 9022 with tags.
pub fn jumbo() -> Vec<Named> {
    let mut all = sizes(&[1515, 1518, 2048, 4096, 9000, 9014]);
    all.push(named("jumbo with tag, 9018", tagged(&[(0x8100, 100)], &plain(9014))));
    all.push(named("jumbo with S-tag, 9018", tagged(&[(0x88a8, 100)], &plain(9014))));
    all.push(named("jumbo QinQ, 9022", tagged(&[(0x88a8, 100), (0x8100, 200)], &plain(9014))));
    all
}

fn named(name: &'static str, bytes: Vec<u8>) -> Named {
    Named { name, bytes }
}

/// An Ethernet II frame, padded to the 60 bytes that a wire carries at least.
fn ethernet(to: [u8; 6], ethertype: u16, payload: &[u8]) -> Vec<u8> {
    let mut frame = [&to[..], &PLANT, &ethertype.to_be_bytes(), payload].concat();
    frame.resize(frame.len().max(60), 0);
    frame
}

/// A frame of `len` bytes with a counting pattern, of an experimental type.
fn plain(len: usize) -> Vec<u8> {
    let pattern: Vec<u8> = (0..len - 14).map(|at| (at * 7 + 3) as u8).collect();
    ethernet(ROBOT, 0x88b5, &pattern)
}

fn sizes(lengths: &[usize]) -> Vec<Named> {
    lengths.iter().map(|&len| named(Box::leak(format!("{len} bytes").into_boxed_str()), plain(len))).collect()
}

/// Puts tags (type, priority and id) after the addresses, outermost first.
fn tagged(tags: &[(u16, u16)], frame: &[u8]) -> Vec<u8> {
    let tags: Vec<u8> = tags.iter().flat_map(|(tpid, tci)| [tpid.to_be_bytes(), tci.to_be_bytes()].concat()).collect();
    [&frame[..12], &tags, &frame[12..]].concat()
}

fn tags() -> Vec<Named> {
    let (inner, full) = (udp(b"tagged"), plain(1514));
    vec![
        named("VLAN 42", tagged(&[(0x8100, 42)], &inner)),
        named("VLAN 4095, priority 7, drop eligible", tagged(&[(0x8100, 0xffff)], &inner)),
        named("priority tag: id 0, priority 6", tagged(&[(0x8100, 0xc000)], &inner)),
        named("tag of all zeroes", tagged(&[(0x8100, 0)], &inner)),
        named("S-tag 88a8", tagged(&[(0x88a8, 300)], &inner)),
        named("S-tag of all zeroes", tagged(&[(0x88a8, 0)], &inner)),
        named("QinQ: S-tag and C-tag", tagged(&[(0x88a8, 300), (0x8100, 42)], &inner)),
        named("double 0x8100", tagged(&[(0x8100, 300), (0x8100, 42)], &inner)),
        named("three tags", tagged(&[(0x88a8, 1), (0x8100, 2), (0x8100, 3)], &inner)),
        named("C-tag outside S-tag", tagged(&[(0x8100, 42), (0x88a8, 300)], &inner)),
        named("old QinQ type 9100", tagged(&[(0x9100, 300), (0x8100, 42)], &inner)),
        named("VLAN, 64 bytes", tagged(&[(0x8100, 42)], &plain(60))),
        named("VLAN, full size 1518", tagged(&[(0x8100, 42)], &full)),
        named("S-tag, full size 1518", tagged(&[(0x88a8, 42)], &full)),
        named("QinQ, full size 1522", tagged(&[(0x88a8, 300), (0x8100, 42)], &full)),
        named("double 0x8100, full size 1522", tagged(&[(0x8100, 300), (0x8100, 42)], &full)),
        named("VLAN with ARP", tagged(&[(0x8100, 42)], &arp(1))),
        named("PROFINET RT in priority tag", tagged(&[(0x8100, 0xc000)], &profinet_rt())),
    ]
}

fn profinet_rt() -> Vec<u8> {
    // Frame id 0x8001 (RT class 1), 40 bytes of data, cycle counter, data status, transfer status.
    ethernet(ROBOT, 0x8892, &[&[0x80, 0x01][..], &[0x11; 40], &[0x12, 0x40, 0x35, 0x00]].concat())
}

fn industrial() -> Vec<Named> {
    let dcp_identify = [&[0xfe, 0xfe, 0x05, 0x00, 0, 0, 0, 1, 0, 1, 0, 4][..], &[0xff, 0xff, 0, 0]].concat();
    let ptp_sync = [&[0x10, 0x02, 0x00, 0x2c, 0, 0, 0x02, 0][..], &[0; 26], &[0, 7, 0, 0], &[0; 6]].concat();
    let mrp_test = [
        &[0x00, 0x01, 0x02, 0x12, 0x80, 0x00][..],
        &PLANT,
        &[0x00, 0x01, 0x00, 0x00, 0x00, 0x00, 0, 0, 0, 1],
        &[0x01, 0x12, 0x00, 0x09],
        &[0xff; 16],
        &[0, 0],
    ]
    .concat();
    let ethercat_lrw =
        [&[0x14, 0x10][..], &[0x0c, 0x00, 0, 0, 0, 0, 0x06, 0, 0, 0], &[1, 2, 3, 4, 5, 6, 0, 0]].concat();
    let goose = [
        &[0x00, 0x01, 0x00, 0x1c, 0, 0, 0, 0, 0x61, 0x12][..],
        &[0x80, 0x03, b'g', b'c', b'b', 0x81, 0x02, 0x07, 0xd0, 0x85, 0x01, 0x05, 0x86, 0x01, 0x00, 0x87, 0x01, 0x00],
    ]
    .concat();
    vec![
        named("PROFINET RT", profinet_rt()),
        named("PROFINET DCP identify", ethernet([0x01, 0x0e, 0xcf, 0, 0, 0], 0x8892, &dcp_identify)),
        named("PTP sync", ethernet([0x01, 0x1b, 0x19, 0, 0, 0], 0x88f7, &ptp_sync)),
        named("PTP peer delay", ethernet([0x01, 0x80, 0xc2, 0, 0, 0x0e], 0x88f7, &ptp_sync)),
        named("MRP test", ethernet([0x01, 0x15, 0x4e, 0, 0, 0x01], 0x88e3, &mrp_test)),
        named("EtherCAT", ethernet(BROADCAST, 0x88a4, &ethercat_lrw)),
        named("GOOSE", ethernet([0x01, 0x0c, 0xcd, 0x01, 0, 0x01], 0x88b8, &goose)),
        named(
            "GOOSE in priority tag",
            tagged(&[(0x8100, 0x8000)], &ethernet([0x01, 0x0c, 0xcd, 0x01, 0, 1], 0x88b8, &goose)),
        ),
        named("Powerlink", ethernet([0x01, 0x11, 0x1e, 0, 0, 0x01], 0x88ab, &[0x01, 0xff, 0xf0])),
        named("SERCOS III", ethernet(BROADCAST, 0x88cd, &[0x00, 0x01, 0x02, 0x03])),
    ]
}

/// An 802.3 frame: a length in place of a type, then LLC.
fn llc(to: [u8; 6], llc: &[u8]) -> Vec<u8> {
    ethernet(to, llc.len() as u16, llc)
}

fn management() -> Vec<Named> {
    let lldp =
        [&[0x02, 0x07, 0x04][..], &PLANT, &[0x04, 0x03, 0x05, b'p', b'1', 0x06, 0x02, 0x00, 0x78, 0x00, 0x00]].concat();
    let stp = [&[0x42, 0x42, 0x03, 0, 0, 0, 0, 0][..], &[0x80, 0], &PLANT, &[0; 4], &[0x80, 0], &PLANT].concat();
    let stp = [&stp[..], &[0x80, 0x01, 0, 0, 20, 0, 2, 0, 15, 0]].concat();
    vec![
        named("LLDP", ethernet([0x01, 0x80, 0xc2, 0, 0, 0x0e], 0x88cc, &lldp)),
        named("STP", llc([0x01, 0x80, 0xc2, 0, 0, 0], &stp)),
        named(
            "LLC with SNAP",
            llc([0x01, 0x00, 0x0c, 0xcc, 0xcc, 0xcc], &[0xaa, 0xaa, 3, 0, 0, 0x0c, 0x20, 0, 2, 0xb4]),
        ),
        named("LLC XID", llc(ROBOT, &[0x00, 0x01, 0xaf, 0x81, 0x01, 0x00])),
        named("Novell raw 802.3", llc(ROBOT, &[0xff, 0xff, 0x00, 0x22, 0, 4, 0, 0, 0, 1])),
        named("pause", ethernet([0x01, 0x80, 0xc2, 0, 0, 0x01], 0x8808, &[0x00, 0x01, 0xff, 0xff])),
        named("LACP", ethernet([0x01, 0x80, 0xc2, 0, 0, 0x02], 0x8809, &[0x01, 0x01, 0x01, 0x14])),
        named("EAPOL start", ethernet([0x01, 0x80, 0xc2, 0, 0, 0x03], 0x888e, &[0x01, 0x01, 0, 0])),
        named("ARP request", arp(1)),
        named("ARP reply", arp(2)),
        named("source address of all zeroes", [&ROBOT[..], &[0; 6], &plain(60)[12..]].concat()),
        named("source address is a group", [&ROBOT[..], &BROADCAST, &plain(60)[12..]].concat()),
        named("unknown type", ethernet(ROBOT, 0xfffe, &[0xa5; 100])),
        named("loopback test 9000", ethernet(ROBOT, 0x9000, &[0, 0, 1, 0])),
    ]
}

fn arp(operation: u16) -> Vec<u8> {
    let payload =
        [&[0, 1, 8, 0, 6, 4][..], &operation.to_be_bytes(), &PLANT, &[192, 168, 56, 10], &[0; 6], &[192, 168, 56, 101]]
            .concat();
    ethernet(if operation == 1 { BROADCAST } else { ROBOT }, 0x0806, &payload)
}

/// What an IPv4 header says beside addresses and length.
struct Ipv4 {
    options: Vec<u8>,
    fragment: u16,
    ttl: u8,
    protocol: u8,
}

impl Default for Ipv4 {
    fn default() -> Self {
        Self { options: Vec::new(), fragment: 0x4000, ttl: 64, protocol: 17 }
    }
}

fn checksum(bytes: &[u8]) -> u16 {
    let words = bytes.chunks(2).map(|pair| u32::from(u16::from_be_bytes([pair[0], *pair.get(1).unwrap_or(&0)])));
    let sum: u32 = words.sum();
    let sum = (sum & 0xffff) + (sum >> 16);
    !((sum & 0xffff) + (sum >> 16)) as u16
}

impl Ipv4 {
    fn packet(&self, payload: &[u8]) -> Vec<u8> {
        let header_len = 20 + self.options.len();
        let mut header = [
            &[0x40 | (header_len / 4) as u8, 0][..],
            &((header_len + payload.len()) as u16).to_be_bytes(),
            &[0x12, 0x34],
            &self.fragment.to_be_bytes(),
            &[self.ttl, self.protocol, 0, 0],
            &Ipv4Addr::new(192, 168, 56, 10).octets(),
            &Ipv4Addr::new(192, 168, 56, 101).octets(),
            &self.options,
        ]
        .concat();
        let sum = checksum(&header);
        header[10..12].copy_from_slice(&sum.to_be_bytes());
        [&header[..], payload].concat()
    }

    fn frame(&self, payload: &[u8]) -> Vec<u8> {
        ethernet(ROBOT, 0x0800, &self.packet(payload))
    }
}

/// A UDP datagram without checksum.
fn datagram(payload: &[u8]) -> Vec<u8> {
    [&[0x30, 0x39, 0x30, 0x3a][..], &((8 + payload.len()) as u16).to_be_bytes(), &[0, 0], payload].concat()
}

fn udp(payload: &[u8]) -> Vec<u8> {
    Ipv4::default().frame(&datagram(payload))
}

/// A TCP segment whose checksum is as given, not as it should be.
fn segment(checksum: u16) -> Vec<u8> {
    let fixed = [0xc3, 0x50, 0x01, 0xf7, 0, 0, 0, 1, 0, 0, 0, 1, 0x50, 0x18, 0x20, 0];
    [&fixed[..], &checksum.to_be_bytes(), &[0, 0], b"abcdef"].concat()
}

fn internet() -> Vec<Named> {
    let tcp = || Ipv4 { protocol: 6, ..Ipv4::default() };
    let mut bad_header_sum = udp(b"bad header checksum");
    bad_header_sum[24] ^= 0xff;
    let mut longer_than_frame = udp(b"total length beyond the frame");
    longer_than_frame[16..18].copy_from_slice(&1400_u16.to_be_bytes());
    let mut ihl_too_small = udp(b"header length 16");
    ihl_too_small[14] = 0x44;
    let cut = |len: usize| ethernet(ROBOT, 0x0800, &Ipv4::default().packet(b"")[..len]);
    let ipv6 = |next: u8, payload: &[u8]| {
        let fixed = [&[0x60, 0, 0, 0][..], &(payload.len() as u16).to_be_bytes(), &[next, 64]].concat();
        let host = |last: u8| [&[0xfe, 0x80][..], &[0; 13], &[last]].concat();
        ethernet(ROBOT, 0x86dd, &[&fixed[..], &host(1), &host(2), payload].concat())
    };
    let router_alert = [&[58, 0, 5, 2, 0, 0, 1, 0][..], &[143, 0, 0x12, 0x34, 0, 0, 0, 0]].concat();
    let mut padded_with_data = udp(b"x");
    padded_with_data[50..].fill(0xee);
    vec![
        named("UDP", udp(b"hello")),
        named("padding that isn't zero", padded_with_data),
        named("bytes behind the datagram", [&udp(&[1; 60])[..], &[0xdd; 33]].concat()),
        named("TCP, checksum as sent", tcp().frame(&segment(0x1c46))),
        named("TCP, bad checksum", tcp().frame(&segment(0xbeef))),
        named("UDP, bad checksum", Ipv4::default().frame(&[0x30, 0x39, 0x30, 0x3a, 0, 9, 0xba, 0xad, 1])),
        named("IPv4, bad header checksum", bad_header_sum),
        named(
            "IPv4 options",
            Ipv4 { options: vec![0x94, 4, 0, 0, 7, 7, 4, 0, 0, 0, 0, 0], ..Ipv4::default() }.frame(&datagram(b"alert")),
        ),
        named("TTL 1", Ipv4 { ttl: 1, ..Ipv4::default() }.frame(&datagram(b"last hop"))),
        named("TTL 0", Ipv4 { ttl: 0, ..Ipv4::default() }.frame(&datagram(b"none left"))),
        named("first fragment", Ipv4 { fragment: 0x2000, ..tcp() }.frame(&segment(0)[..24])),
        named("middle fragment", Ipv4 { fragment: 0x2003, ..tcp() }.frame(&[7; 64])),
        named("last fragment", Ipv4 { fragment: 0x000b, ..tcp() }.frame(b"tail")),
        named("tiny first fragment", Ipv4 { fragment: 0x2000, ..tcp() }.frame(&segment(0)[..8])),
        named("IPv4, total length beyond the frame", longer_than_frame),
        named("IPv4, header length 16", ihl_too_small),
        named("IPv4 cut in its header", cut(11)),
        named("IPv4 type without payload", ethernet(ROBOT, 0x0800, &[])),
        named("IPv4 type, version 5", ethernet(ROBOT, 0x0800, &[0x55; 46])),
        named("ICMP echo", Ipv4 { protocol: 1, ..Ipv4::default() }.frame(&[8, 0, 0xf7, 0xfd, 0, 1, 0, 1])),
        named("IGMP report", Ipv4 { protocol: 2, ttl: 1, ..Ipv4::default() }.frame(&[0x16, 0, 9, 4, 224, 0, 0, 251])),
        named("IPv6 UDP", ipv6(17, &datagram(b"six"))),
        named("IPv6 with router alert", ipv6(0, &router_alert)),
        named("IPv6 fragment", ipv6(44, &[&[17, 0, 0, 1, 0, 0, 0, 9][..], &datagram(b"part")].concat())),
        named("IPv6 cut", ethernet(ROBOT, 0x86dd, &[0x60, 0, 0, 0, 0, 100, 6, 64, 0xfe, 0x80])),
        named(
            "MPLS",
            ethernet(ROBOT, 0x8847, &[&[0, 1, 0x01, 64][..], &Ipv4::default().packet(&datagram(b"mpls"))].concat()),
        ),
        named("PPPoE session", ethernet(ROBOT, 0x8864, &[0x11, 0, 0, 1, 0, 6, 0, 0x21, 1, 2, 3, 4])),
    ]
}

/// Shorter than a wire allows; virtual wires carry them all the same. A tag cut short is not among them: the kernel
/// drops such a frame before anyone sees it.
fn runts() -> Vec<Named> {
    let cut = |name, len: usize| named(name, udp(b"runt")[..len].to_vec());
    vec![
        cut("runt, 59 bytes", 59),
        cut("runt, 42 bytes", 42),
        cut("runt, 34 bytes", 34),
        cut("runt, 15 bytes", 15),
        cut("bare header, 14 bytes", 14),
        named("runt in VLAN", tagged(&[(0x8100, 42)], &udp(b"runt")[..42])),
    ]
}
