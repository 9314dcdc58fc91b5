//! One exchange through the engine while it enforces, with both ends of it played by hand: what would come through.
//!
//! Frames are made of the bytes of the exchange, at a clock of their own, and go through a [`Pipeline`] of their own;
//! what counts is what leaves on the other side, not what is said about it.

use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;

use dissect::Toward;
use link::craft::{self, Segment, Template};
use link::{Arp, Mac, Tags, TcpFlags};

use super::actions::{Actions, Out};
use super::arena::Arena;
use super::pipeline::Pipeline;
use super::rules::Rules;
use crate::event::{Reason, Record, Verdict};
use crate::nic::{Frame, FrameMeta};

/// What carries an exchange.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Medium {
    /// TCP, to this port of whoever did not open the connection.
    Tcp(u16),
    /// UDP, likewise.
    Udp(u16),
    /// An ARP reply toward the robot that claims this address, from a MAC that has another.
    Arp(Ipv4Addr),
}

/// One exchange.
#[derive(Clone, Copy, Debug)]
pub struct Attempt<'a> {
    /// The plant's end.
    pub client: (Ipv4Addr, Mac),
    /// The robot's end.
    pub robot: (Ipv4Addr, Mac),
    /// Who opens: [`Toward::Robot`] = the plant side does.
    pub opened: Toward,
    /// What carries it.
    pub medium: Medium,
    /// When it begins, monotonic nanoseconds: rules end by this clock.
    pub begin_ns: u64,
    /// Bytes, each with the side that they travel to; the last are those that count. None = the connection counts.
    pub steps: &'a [(Toward, Vec<u8>)],
}

/// What came of an exchange.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Outcome {
    /// Bytes of the last step that came out on the other side (frames, where a connection or a datagram itself counts).
    pub arrived: usize,
    /// Whether all of it did, and nothing else.
    pub whole: bool,
    /// The last verdict that was recorded, where one was.
    pub verdict: Option<Verdict>,
}

/// The MAC of whoever claims what is not theirs. Locally administered.
const CLAIMANT: Mac = Mac([0x02, 0x66, 0x6f, 0x65, 0, 1]);

/// Port that a side opens from: ephemeral (RFC 6335).
const EPHEMERAL: u16 = 50_777;

/// Longest wait after each step: a held part of a unit is given up by then neither way, a whole one has left.
const WAIT_NS: u64 = 8_000_000;
const TICK_NS: u64 = 500_000;

/// Longest frame made here.
const FRAME: usize = 66 * 1024;

/// Tries one exchange in an engine that knows nothing yet but its rules, which should enforce.
#[must_use]
pub fn attempt(rules: &Arc<Rules>, attempt: &Attempt<'_>) -> Outcome {
    let mut arena = Arena::boxed(1);
    let pipeline = Pipeline::new(&mut arena, Arc::clone(rules), ());
    let now_ns = attempt.begin_ns.max(1);
    let mut bench = Bench { pipeline, actions: Actions::new(), now_ns, verdict: None, ends: Ends::new(attempt) };
    let arrived = match attempt.medium {
        Medium::Tcp(_) => bench.tcp(attempt),
        Medium::Udp(_) => bench.udp(attempt),
        Medium::Arp(address) => bench.arp(attempt, address),
    };
    let (arrived, whole) = arrived.unwrap_or((0, false));
    Outcome { arrived, whole, verdict: bench.verdict }
}

/// One end of a TCP connection.
#[derive(Clone, Debug)]
struct End {
    template: Template,
    /// Its next sequence number.
    next: u32,
    /// The next that it expects.
    expected: u32,
    /// What it took in.
    taken: Vec<u8>,
}

/// Both ends: the robot's and the plant's, by the side that they are on.
struct Ends {
    robot: End,
    plant: End,
}

impl Ends {
    fn new(attempt: &Attempt<'_>) -> Option<Self> {
        let port = match attempt.medium {
            Medium::Tcp(port) | Medium::Udp(port) => port,
            Medium::Arp(_) => EPHEMERAL,
        };
        let (plant_port, robot_port) =
            if attempt.opened == Toward::Robot { (EPHEMERAL, port) } else { (port, EPHEMERAL) };
        let ((client, client_mac), (robot, robot_mac)) = (attempt.client, attempt.robot);
        let ends = ((IpAddr::V4(client), plant_port), (IpAddr::V4(robot), robot_port));
        let template = Template::new((client_mac, robot_mac), Tags::default(), ends.0, ends.1)?;
        let end = |template: Template, next| End { template, next, expected: 0, taken: Vec::new() };
        Some(Self { robot: end(template.reversed(), 5_000_000), plant: end(template, 1_000_000) })
    }

    /// The end that lives on a side.
    fn on(&mut self, side: Toward) -> &mut End {
        if side == Toward::Robot { &mut self.robot } else { &mut self.plant }
    }
}

struct Bench<'m> {
    pipeline: Pipeline<'m>,
    actions: Actions,
    now_ns: u64,
    verdict: Option<Verdict>,
    ends: Option<Ends>,
}

impl Bench<'_> {
    /// Lets the engine take a frame; answers with the frames that leave, each with its side.
    fn frame(&mut self, toward: Toward, bytes: &[u8]) -> Vec<(Toward, Vec<u8>)> {
        self.now_ns = self.now_ns.saturating_add(1000);
        let wire_len = u32::try_from(bytes.len()).unwrap_or(u32::MAX);
        let meta = FrameMeta { received_ns: self.now_ns, wire_len, checksum_partial: false };
        self.actions.begin(0, toward);
        self.pipeline.handle(toward, &Frame { bytes, meta }, self.now_ns, &mut self.actions);
        self.left(bytes)
    }

    fn tick(&mut self) -> Vec<(Toward, Vec<u8>)> {
        self.now_ns = self.now_ns.saturating_add(TICK_NS);
        self.pipeline.poll(self.now_ns, &mut self.actions);
        self.left(&[])
    }

    fn left(&mut self, received: &[u8]) -> Vec<(Toward, Vec<u8>)> {
        let frames = self.actions.outs().iter().map(|out| match *out {
            Out::Received { toward, .. } => (toward, received.to_vec()),
            Out::Crafted { range, toward } => (toward, self.actions.crafted(range).to_vec()),
        });
        let frames = frames.collect();
        for event in self.actions.events() {
            match &event.record {
                Record::Command(command) => self.verdict = Some(command.verdict),
                Record::Frame(frame) => self.verdict = Some(frame.verdict),
                _ => {}
            }
        }
        self.actions.clear();
        frames
    }

    /// A segment of the end on `side`.
    fn segment(&mut self, side: Toward, flags: TcpFlags, payload: &[u8]) -> Option<Vec<u8>> {
        let end = self.ends.as_mut()?.on(side);
        let syn = flags.syn();
        let segment = Segment {
            seq: end.next,
            ack: if flags.ack() { end.expected } else { 0 },
            flags,
            window: 64_000,
            maximum_segment_size: syn.then_some(1460),
            payload,
            ..Segment::default()
        };
        let mut frame = vec![0; FRAME];
        let len = craft::emit_tcp(&end.template, &segment, &mut frame).ok()?;
        frame.truncate(len);
        let used = u32::try_from(payload.len()).ok()?.wrapping_add(u32::from(syn));
        end.next = end.next.wrapping_add(used);
        Some(frame)
    }

    /// What left is taken in at its end, in order, and acknowledged, until nothing more leaves.
    fn settle(&mut self, mut frames: Vec<(Toward, Vec<u8>)>) {
        let until = self.now_ns.saturating_add(WAIT_NS);
        loop {
            for (side, bytes) in std::mem::take(&mut frames) {
                if self.take(side, &bytes)
                    && let Some(ack) = self.segment(side, TcpFlags::ACK, &[])
                {
                    let more = self.frame(side.reverse(), &ack);
                    frames.extend(more);
                }
            }
            if frames.is_empty() {
                if self.now_ns > until {
                    return;
                }
                frames = self.tick();
            }
        }
    }

    /// Takes a frame in at the end on `side`; says whether there was anything new in it.
    fn take(&mut self, side: Toward, bytes: &[u8]) -> bool {
        let Ok(packet) = link::parse(bytes) else { return false };
        let (Some(tcp), Some(ends)) = (packet.tcp(), self.ends.as_mut()) else { return false };
        let end = ends.on(side);
        if tcp.flags.rst() {
            return false;
        }
        let skip = end.expected.wrapping_sub(tcp.seq) as usize;
        let Some(fresh) = tcp.payload.get(skip..).filter(|fresh| !fresh.is_empty()) else { return false };
        end.taken.extend_from_slice(fresh);
        end.expected = end.expected.wrapping_add(u32::try_from(fresh.len()).unwrap_or(0));
        true
    }

    /// The handshake, then each step; how many bytes of the last came out, and whether just those.
    fn tcp(&mut self, attempt: &Attempt<'_>) -> Option<(usize, bool)> {
        let (opener, other) = (attempt.opened.reverse(), attempt.opened);
        let syn = self.segment(opener, TcpFlags::SYN, &[])?;
        let passes = self.frame(attempt.opened, &syn).iter().any(|(side, _)| *side == other);
        if !passes {
            return Some((0, false));
        }
        let ends = self.ends.as_mut()?;
        let first = ends.on(opener).next;
        ends.on(other).expected = first;
        let syn_ack = self.segment(other, TcpFlags(TcpFlags::SYN.0 | TcpFlags::ACK.0), &[])?;
        self.frame(opener, &syn_ack);
        let ends = self.ends.as_mut()?;
        let first = ends.on(other).next;
        ends.on(opener).expected = first;
        let ack = self.segment(opener, TcpFlags::ACK, &[])?;
        let left = self.frame(attempt.opened, &ack);
        self.settle(left);
        let mut came = (1, true);
        for (at, (toward, bytes)) in (1_usize..).zip(attempt.steps) {
            let before = self.ends.as_mut()?.on(*toward).taken.len();
            for piece in bytes.chunks(1460) {
                let data = self.segment(toward.reverse(), TcpFlags(TcpFlags::PSH.0 | TcpFlags::ACK.0), piece)?;
                let left = self.frame(*toward, &data);
                self.settle(left);
            }
            let fresh = self.ends.as_mut()?.on(*toward).taken.get(before..)?.to_vec();
            came = (fresh.len(), fresh == *bytes);
            if !came.1 && at < attempt.steps.len() {
                // What goes before did not pass, so what counts can't mean to the robot what it would have meant.
                return Some((0, false));
            }
        }
        Some(came)
    }

    fn udp(&mut self, attempt: &Attempt<'_>) -> Option<(usize, bool)> {
        let (toward, bytes) = attempt.steps.first()?;
        let template = self.ends.as_mut()?.on(toward.reverse()).template;
        let mut frame = vec![0; FRAME];
        let len = craft::emit_udp(&template, bytes, &mut frame).ok()?;
        let left = self.frame(*toward, frame.get(..len)?);
        let came = left.iter().any(|(side, _)| side == toward);
        Some((usize::from(came), came))
    }

    /// Whoever has the address says so first, so that it is bound.
    fn arp(&mut self, attempt: &Attempt<'_>, address: Ipv4Addr) -> Option<(usize, bool)> {
        let robot_says = address == attempt.robot.0;
        let (owner, towards) =
            if robot_says { (attempt.robot, Toward::Plant) } else { (attempt.client, Toward::Robot) };
        let (target, target_mac) = if robot_says { attempt.client } else { attempt.robot };
        let mut say = |mac: Mac, toward: Toward| {
            let arp = Arp { operation: Arp::REPLY, sender_mac: mac, sender_ip: owner.0, target_mac, target_ip: target };
            let mut frame = vec![0; 64];
            let len = craft::emit_arp(target_mac, mac, &Tags::default(), &arp, &mut frame).ok()?;
            let left = self.frame(toward, frame.get(..len)?);
            Some(left.iter().any(|(side, _)| *side == toward))
        };
        say(owner.1, towards)?;
        let came = say(CLAIMANT, Toward::Robot)?;
        Some((usize::from(came), came))
    }
}

impl Outcome {
    /// Why it did not come through, as far as a record says.
    #[must_use]
    pub fn reason(&self) -> Option<Reason> {
        self.verdict.filter(|verdict| !verdict.is_allowed()).map(|verdict| verdict.reason)
    }
}
