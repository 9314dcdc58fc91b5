//! A TCP client in user space that sends whatever segment it is told to.
//!
//! It has an address of its own that no kernel owns, so that nothing answers or resets behind its back, and answers ARP
//! for it. What it hears it acknowledges like an honest client, unless told otherwise.

use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU16, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use link::craft::{self, Segment, Template};
use link::{Arp, Mac, Network, Tags, Tcp, TcpFlags, seq};

use super::netns::Netns;
use super::raw::RawSocket;
use super::wire::PLANT_SIDE;

/// Address of the adversary.
pub const ODD: Ipv4Addr = Ipv4Addr::new(10, 20, 0, 22);
/// Its MAC.
pub const ODD_MAC: Mac = Mac([2, 0, 10, 20, 0, 22]);
/// Address of the robot, whose kernel owns it.
pub const ROBOT: Ipv4Addr = Ipv4Addr::new(10, 20, 0, 40);
/// Its MAC.
pub const ROBOT_MAC: Mac = Mac([2, 0, 10, 20, 0, 40]);

/// How long an answer may take that has to come.
pub const PATIENCE: Duration = Duration::from_secs(3);
/// How long nothing must come where nothing may come.
pub const SILENCE: Duration = Duration::from_millis(150);

/// A frame that was seen, and when.
#[derive(Clone, Debug)]
pub struct Seen {
    /// When it was taken from the socket.
    pub at: Instant,
    /// Ethernet header first.
    pub bytes: Vec<u8>,
}

impl Seen {
    /// Its TCP segment.
    pub fn tcp(&self) -> Option<Tcp<'_>> {
        link::parse(&self.bytes).ok()?.tcp().copied()
    }
}

/// Flags of a segment with data.
pub const DATA: TcpFlags = TcpFlags(TcpFlags::PSH.0 | TcpFlags::ACK.0);
/// Flags of the last segment.
pub const FIN: TcpFlags = TcpFlags(TcpFlags::FIN.0 | TcpFlags::ACK.0);

/// The frame of a segment.
pub fn tcp_frame(template: &Template, segment: &Segment<'_>) -> Vec<u8> {
    let mut out = vec![0; 4096];
    let len = craft::emit_tcp(template, segment, &mut out).unwrap();
    out.truncate(len);
    out
}

/// Puts the transport checksum of an IPv4 frame without tags right again.
pub fn mend(frame: &mut [u8]) {
    let ihl = usize::from(frame[14] & 15) * 4;
    let end = 14 + usize::from(u16::from_be_bytes([frame[16], frame[17]]));
    let ones = |bytes: &[u8]| -> u32 {
        bytes.chunks(2).map(|pair| u32::from(u16::from_be_bytes([pair[0], *pair.get(1).unwrap_or(&0)]))).sum()
    };
    let fold = |mut sum: u32| {
        while sum > 0xffff {
            sum = (sum & 0xffff) + (sum >> 16);
        }
        !(sum as u16)
    };
    frame[24..26].fill(0);
    let header = fold(ones(&frame[14..14 + ihl]));
    frame[24..26].copy_from_slice(&header.to_be_bytes());
    let at = match frame[23] {
        6 => 14 + ihl + 16,
        17 => 14 + ihl + 6,
        _ => return,
    };
    // A fragment may end before its checksum.
    if at + 2 > end {
        return;
    }
    frame[at..at + 2].fill(0);
    let length = (end - 14 - ihl) as u32;
    let sum = ones(&frame[26..34]) + u32::from(frame[23]) + length + ones(&frame[14 + ihl..end]);
    frame[at..at + 2].copy_from_slice(&fold(sum).to_be_bytes());
}

/// One TCP connection of the adversary.
#[derive(Debug)]
pub struct RawTcp {
    socket: RawSocket,
    /// Both ends.
    pub template: Template,
    /// The next number to send.
    pub seq: u32,
    /// The next number expected.
    pub ack: u32,
    /// The window that it offers.
    pub window: u16,
    /// Added to the clock of its timestamps; no timestamps where absent.
    pub clock: Option<u32>,
    /// The robot's last timestamp.
    pub echo: u32,
    /// Whether it acknowledges by itself.
    pub acknowledges: bool,
    /// Bytes received in order.
    pub received: Vec<u8>,
    /// Every frame of the connection toward the plant.
    pub heard: Vec<Seen>,
    /// Whether the robot's SYN-ACK was taken.
    pub is_open: bool,
    /// Whether a reset came that a TCP would take.
    pub is_reset: bool,
    /// Whether the robot has closed.
    pub is_closed: bool,
    started: Instant,
}

static NEXT_PORT: AtomicU16 = AtomicU16::new(41_000);

impl RawTcp {
    /// A connection to a port of the robot that is not opened yet; its first numbers lie just before the wrap.
    pub fn new(plant: &Netns, port: u16) -> Self {
        Self::between(plant, NEXT_PORT.fetch_add(1, Ordering::Relaxed), port)
    }

    /// The same from a given port.
    pub fn between(plant: &Netns, from: u16, port: u16) -> Self {
        let socket = plant.enter(|| RawSocket::open(PLANT_SIDE).unwrap());
        let ends = ((IpAddr::from(ODD), from), (IpAddr::from(ROBOT), port));
        let template = Template::new((ODD_MAC, ROBOT_MAC), Tags::default(), ends.0, ends.1).unwrap();
        Self {
            socket,
            template,
            seq: u32::MAX - 20,
            ack: 0,
            window: 60_000,
            clock: Some(u32::from(from) * 1000),
            echo: 0,
            acknowledges: true,
            received: Vec::new(),
            heard: Vec::new(),
            is_open: false,
            is_reset: false,
            is_closed: false,
            started: Instant::now(),
        }
    }

    /// Opened with a whole handshake.
    pub fn open(plant: &Netns, port: u16) -> Self {
        let mut tcp = Self::new(plant, port);
        tcp.handshake();
        tcp
    }

    /// Its own port.
    pub fn port(&self) -> u16 {
        self.template.source.port
    }

    fn stamps(&self) -> Option<(u32, u32)> {
        self.clock.map(|clock| (clock.wrapping_add(self.started.elapsed().as_millis() as u32), self.echo))
    }

    /// A segment at `seq` with all that an honest one has.
    pub fn segment<'p>(&self, seq: u32, flags: TcpFlags, payload: &'p [u8]) -> Segment<'p> {
        let (ack, window, timestamps) = (self.ack, self.window, self.stamps());
        Segment { seq, ack, flags, window, timestamps, payload, ..Segment::default() }
    }

    /// A SYN as Linux sends it.
    pub fn syn(&self) -> Segment<'static> {
        Segment {
            seq: self.seq,
            flags: TcpFlags::SYN,
            window: self.window,
            maximum_segment_size: Some(1460),
            sack_permitted: true,
            timestamps: self.stamps(),
            window_scale: Some(7),
            ..Segment::default()
        }
    }

    /// Sends a frame as it is.
    pub fn frame(&self, bytes: &[u8]) {
        self.socket.send(bytes).unwrap();
    }

    /// Sends a segment and counts nothing.
    pub fn put(&self, segment: &Segment<'_>) {
        self.frame(&tcp_frame(&self.template, segment));
    }

    /// Sends data at `seq` and counts nothing.
    pub fn put_at(&self, seq: u32, payload: &[u8]) {
        self.put(&self.segment(seq, DATA, payload));
    }

    /// Sends data in order.
    pub fn send(&mut self, payload: &[u8]) {
        self.put_at(self.seq, payload);
        self.seq = self.seq.wrapping_add(payload.len() as u32);
    }

    /// Opens the connection.
    pub fn handshake(&mut self) {
        self.open_with(&self.syn());
    }

    /// Opens the connection with a given SYN.
    pub fn open_with(&mut self, syn: &Segment<'_>) {
        self.put(syn);
        assert!(self.finish_handshake(), "no answer to the SYN of port {}: {:?}", self.port(), self.heard);
    }

    /// Waits for the SYN-ACK and acknowledges it.
    pub fn finish_handshake(&mut self) -> bool {
        let next = self.seq.wrapping_add(1);
        let answer = |tcp: &Tcp<'_>| tcp.flags.syn() && tcp.flags.ack() && tcp.ack == next;
        let found = |own: &Self| own.heard.iter().rev().find_map(|seen| seen.tcp().filter(answer).map(|tcp| tcp.seq));
        let acknowledges = std::mem::replace(&mut self.acknowledges, false);
        let answered = self.wait(PATIENCE, |own| found(own).is_some());
        self.acknowledges = acknowledges;
        if let Some(isn) = found(self) {
            self.is_open = true;
            self.seq = next;
            self.ack = isn.wrapping_add(1);
            self.put(&self.segment(self.seq, TcpFlags::ACK, &[]));
        }
        answered
    }

    /// Takes what comes until `done` says so; whether it did within `patience`.
    pub fn wait(&mut self, patience: Duration, mut done: impl FnMut(&Self) -> bool) -> bool {
        let deadline = Instant::now() + patience;
        loop {
            if done(self) {
                return true;
            }
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return false;
            }
            if let Some(frame) = self.socket.receive(left.min(Duration::from_millis(20))).unwrap() {
                self.take(frame);
            }
        }
    }

    /// Takes whatever comes in `time`.
    pub fn listen(&mut self, time: Duration) {
        self.wait(time, |_| false);
    }

    /// Waits until so many bytes have come in all.
    pub fn wait_for(&mut self, bytes: usize) -> &[u8] {
        self.wait(PATIENCE, |own| own.received.len() >= bytes || own.is_reset);
        &self.received
    }

    /// Sends data in order and returns what comes back beyond what was there, once it is `len` bytes or time is over.
    pub fn ask(&mut self, payload: &[u8], len: usize) -> Vec<u8> {
        let before = self.received.len();
        self.send(payload);
        self.wait_for(before + len);
        self.received[before..].to_vec()
    }

    /// Waits for a reset.
    pub fn waits_for_reset(&mut self) -> bool {
        self.wait(PATIENCE, |own| own.is_reset)
    }

    /// How many segments were heard so far; for [`RawTcp::heard_since`].
    pub fn mark(&self) -> usize {
        self.heard.len()
    }

    /// The segments heard since a mark.
    pub fn heard_since(&self, mark: usize) -> Vec<Tcp<'_>> {
        self.heard[mark..].iter().filter_map(Seen::tcp).collect()
    }

    /// Waits for a segment since `mark` that `fits`.
    pub fn hears(&mut self, mark: usize, fits: impl Fn(&Tcp<'_>) -> bool) -> bool {
        self.wait(Duration::from_millis(600), |own| own.heard_since(mark).iter().any(&fits))
    }

    fn take(&mut self, bytes: Vec<u8>) {
        let seen = Seen { at: Instant::now(), bytes };
        let Some(tcp) = seen.tcp() else { return };
        if (tcp.source_port, tcp.destination_port) != (self.template.destination.port, self.port()) {
            return;
        }
        if let Some((value, _)) = tcp.timestamps() {
            self.echo = value;
        }
        if tcp.flags.rst() {
            let answers_syn = tcp.flags.ack() && tcp.ack == self.seq.wrapping_add(1);
            self.is_reset |= if self.is_open { tcp.seq == self.ack } else { answers_syn };
        } else if !tcp.flags.syn() && self.acknowledges {
            let fresh = self.ack.wrapping_sub(tcp.seq) as usize;
            if !seq::before(self.ack, tcp.seq) && fresh < tcp.payload.len() {
                self.received.extend_from_slice(&tcp.payload[fresh..]);
                self.ack = self.ack.wrapping_add((tcp.payload.len() - fresh) as u32);
            }
            let end = tcp.seq.wrapping_add(tcp.payload.len() as u32);
            if tcp.flags.fin() && end == self.ack && !self.is_closed {
                self.is_closed = true;
                self.ack = self.ack.wrapping_add(1);
            }
            if tcp.sequence_len() > 0 || tcp.seq == self.ack.wrapping_sub(1) {
                self.put(&self.segment(self.seq, TcpFlags::ACK, &[]));
            }
        }
        self.heard.push(seen);
    }
}

/// Answers ARP for the adversary's address until it is dropped.
#[derive(Debug)]
pub struct Responder {
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Responder {
    /// Starts it on the plant's side.
    pub fn start(plant: &Netns) -> Self {
        let socket = plant.enter(|| RawSocket::open(PLANT_SIDE).unwrap());
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = Arc::clone(&stop);
        let thread = std::thread::spawn(move || {
            while !stopped.load(Ordering::Relaxed) {
                let Some(frame) = socket.receive(Duration::from_millis(50)).unwrap() else { continue };
                let Ok(Network::Arp(arp)) = link::parse(&frame).map(|packet| packet.network) else { continue };
                if arp.operation == 1 && arp.target_ip == ODD {
                    let reply = craft::arp_reply(&arp, ODD_MAC);
                    socket.send(&arp_frame(arp.sender_mac, ODD_MAC, &reply)).unwrap();
                }
            }
        });
        Self { stop, thread: Some(thread) }
    }
}

impl Drop for Responder {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        let _ = self.thread.take().map(JoinHandle::join);
    }
}

/// An ARP frame without tags.
pub fn arp_frame(to: Mac, from: Mac, arp: &Arp) -> Vec<u8> {
    let mut out = vec![0; 64];
    let len = craft::emit_arp(to, from, &Tags::default(), arp, &mut out).unwrap();
    out.truncate(len);
    out
}
