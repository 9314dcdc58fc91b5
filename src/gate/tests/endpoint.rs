//! An end of a connection that does as TCP asks: it keeps what it sent until it is acknowledged, repeats it after a
//! time, probes shut windows and acknowledges what it gets.

use super::bench::{Copies, Sent};
use super::toy::*;
use super::*;

/// Retransmission time-out: the least and the greatest. Source: RFC 6298 section 2, with Linux's 200 ms.
const RTO_NS: u64 = 200_000_000;
const LONGEST_RTO_NS: u64 = 3_000_000_000;

/// Bytes in flight at most, apart from the window.
const IN_FLIGHT: usize = 600;

/// Where it is in its stream and in the other's. All numbers are places: bytes since the first one.
#[derive(Debug)]
pub(super) struct Endpoint {
    toward: Toward,
    start: u32,
    peer_start: u32,
    pub(super) stream: Vec<u8>,
    /// It ends its stream behind the last byte.
    pub(super) closes: bool,
    pub(super) una: usize,
    pub(super) nxt: usize,
    high: usize,
    edge: usize,
    pub(super) got: Copies,
    peer_fin: Option<usize>,
    pub(super) window: usize,
    told_edge: usize,
    mss: usize,
    pub(super) timer_ns: u64,
    rto_ns: u64,
    duplicates: u32,
    resend: bool,
    pub(super) ack_owed: bool,
    replies: u8,
    /// How long it waits between two segments with new bytes.
    pub(super) pause_ns: u64,
    pub(super) not_before_ns: u64,
}

impl Endpoint {
    pub(super) fn new(toward: Toward, starts: [u32; 2], mss: usize, window: usize) -> Self {
        let [commands, answers] = starts;
        let (start, peer_start) = if toward == Toward::Robot { (commands, answers) } else { (answers, commands) };
        Self {
            toward,
            start,
            peer_start,
            stream: Vec::new(),
            closes: false,
            una: 0,
            nxt: 0,
            high: 0,
            edge: 65_535,
            got: Copies::new(false),
            peer_fin: None,
            window,
            told_edge: window,
            mss,
            timer_ns: 0,
            rto_ns: RTO_NS,
            duplicates: 0,
            resend: false,
            ack_owed: false,
            replies: 0,
            pause_ns: 0,
            not_before_ns: 0,
        }
    }

    /// Place of the next byte of the other end that it expects; a FIN counts.
    pub(super) fn expects(&self) -> usize {
        let in_order = self.got.in_order().len();
        in_order + usize::from(self.peer_fin == Some(in_order))
    }

    pub(super) fn seq(&self, place: usize) -> u32 {
        self.start.wrapping_add(place as u32)
    }

    pub(super) fn peer_seq(&self, place: usize) -> u32 {
        self.peer_start.wrapping_add(place as u32)
    }

    /// Everything that it sends, its FIN included.
    pub(super) fn all(&self) -> usize {
        self.stream.len() + usize::from(self.closes)
    }

    pub(super) fn is_done(&self) -> bool {
        self.una == self.all()
    }

    /// The other end offers this many bytes from the start.
    pub(super) fn offered(&mut self, window: usize) {
        self.edge = window;
    }

    /// It has sent everything before `place`, in whatever order.
    pub(super) fn sent_up_to(&mut self, place: usize) {
        self.nxt = self.nxt.max(place);
        self.high = self.high.max(place);
    }

    /// It repeats everything that is not acknowledged.
    pub(super) fn go_back(&mut self) {
        self.nxt = self.una;
        self.timer_ns = 0;
    }

    /// The segment with the bytes `from..to`, and its FIN if it ends there.
    pub(super) fn segment(&mut self, from: usize, to: usize) -> Sent<'_> {
        let to_byte = to.min(self.stream.len());
        self.high = self.high.max(to);
        self.told_edge = self.told_edge.max(self.expects() + self.window);
        self.ack_owed = false;
        Sent {
            toward: self.toward,
            seq: self.seq(from),
            ack: self.peer_seq(self.expects()),
            window: (self.told_edge - self.expects()) as u32,
            fin: to > self.stream.len(),
            payload: &self.stream[from.min(to_byte)..to_byte],
        }
    }

    /// What it has to send now.
    pub(super) fn next_segment(&mut self, now_ns: u64) -> Option<Sent<'_>> {
        if self.resend && self.una < self.high {
            self.resend = false;
            let (from, to) = (self.una, self.all().min(self.una + self.mss));
            self.nxt = self.nxt.max(to);
            self.timer_ns = now_ns + self.rto_ns;
            return Some(self.segment(from, to));
        }
        let limit = self.edge.min(self.una + IN_FLIGHT);
        let mut to = self.all().min(self.nxt + self.mss).min(limit);
        if self.closes && self.nxt == self.stream.len() {
            // A FIN needs no window.
            to = self.all();
        }
        if to > self.nxt && now_ns >= self.not_before_ns {
            self.not_before_ns = now_ns + self.pause_ns;
            let from = self.nxt;
            self.nxt = to;
            if self.timer_ns == 0 {
                self.timer_ns = now_ns + self.rto_ns;
            }
            return Some(self.segment(from, to));
        }
        if self.timer_ns == 0 && self.una < self.all() {
            self.timer_ns = now_ns + self.rto_ns;
        }
        if self.ack_owed {
            let at = self.high.max(self.una);
            return Some(self.segment(at, at.min(self.stream.len())));
        }
        None
    }

    /// Its timer ran off: it repeats, or asks with an empty segment whether the window is open.
    pub(super) fn timed_out(&mut self, now_ns: u64) -> Option<Sent<'_>> {
        self.rto_ns = (self.rto_ns * 2).min(LONGEST_RTO_NS);
        self.timer_ns = 0;
        if self.una == self.all() {
            return None;
        }
        self.timer_ns = now_ns + self.rto_ns;
        self.nxt = self.una;
        self.duplicates = 0;
        if self.edge <= self.una && self.una < self.stream.len() {
            let mut sent = self.segment(self.una, self.una);
            sent.seq = sent.seq.wrapping_sub(1);
            return Some(sent);
        }
        None
    }

    /// A frame comes.
    pub(super) fn hear(&mut self, frame: &Frame, payload: &[u8], now_ns: u64) {
        let ack = seq::distance(self.start, frame.ack);
        if ack >= self.una as i32 && ack <= self.high as i32 {
            let ack = ack as usize;
            let edge = ack + frame.window as usize;
            if ack > self.una {
                self.una = ack;
                self.nxt = self.nxt.max(ack);
                self.duplicates = 0;
                self.rto_ns = RTO_NS;
                self.timer_ns = if self.una < self.nxt { now_ns + self.rto_ns } else { 0 };
            } else if payload.is_empty() && !frame.fin && edge == self.edge && self.una < self.nxt {
                self.duplicates += 1;
                self.resend |= self.duplicates == 3;
            }
            self.edge = edge;
        }
        let place = seq::distance(self.peer_start, frame.seq);
        let expects = self.expects();
        if payload.is_empty() && !frame.fin {
            // A keepalive or a window probe.
            self.ack_owed |= place < expects as i32;
            return;
        }
        self.ack_owed = true;
        if place < 0 {
            return;
        }
        self.got.take(place as usize, payload);
        if frame.fin {
            self.peer_fin = Some(place as usize + payload.len());
        }
    }

    /// The robot's program: replies to what asks for it. After its FIN it says nothing more.
    pub(super) fn run_robot(&mut self) {
        while let Some(unit) = self.got.read_unit() {
            if unit[1] == ALLOW {
                let number = self.replies;
                self.replies = number.wrapping_add(1);
                if !self.closes {
                    self.stream.extend(said(REPLY, number));
                }
            }
        }
    }

    /// Whether the other end closed.
    pub(super) fn heard_fin(&self) -> bool {
        self.peer_fin == Some(self.got.in_order().len())
    }
}
