//! One choice after the other: what happens next.

use std::net::IpAddr;

use dissect::Toward;
use link::craft::{self, Segment, Template};
use link::{EtherType, Mac, Tag, Tags, TcpFlags};

use super::{Choices, PLC, PLC_MAC, ROBOT, ROBOT_MAC, Talk, World, script, sender};

/// How far a sender is off its place.
const SHIFTS: [i32; 8] = [0, 0, -1, 1, -7, 12, -300, 70_000];

/// Longest payload: a frame as large as a port takes.
const LONGEST: usize = 1460;

impl Talk {
    fn template(&self, toward: Toward) -> Template {
        let (plc, robot) = ((IpAddr::from(PLC), self.client), (IpAddr::from(ROBOT), self.port));
        let template = Template::new((PLC_MAC, ROBOT_MAC), self.tags, plc, robot).unwrap();
        if toward == Toward::Robot { template } else { template.reversed() }
    }

    fn emit(&self, toward: Toward, segment: &Segment<'_>, now_ns: u64) -> Vec<u8> {
        let now_ms = (now_ns / 1_000_000) as u32;
        let timestamps = self.timestamps.then_some((now_ms, now_ms));
        let mut out = vec![0; 1600.max(segment.payload.len() + 200)];
        let len = craft::emit_tcp(&self.template(toward), &Segment { timestamps, ..*segment }, &mut out).unwrap();
        out.truncate(len);
        out
    }

    /// The segment `from..to` of an end's stream, as far as there is any.
    fn segment(&mut self, toward: Toward, from: i64, len: usize, flags: TcpFlags, now_ns: u64) -> Vec<u8> {
        let end = &mut self.ends[sender(toward)];
        let from = from.clamp(0, end.stream.len() as i64) as usize;
        let to = (from + len.min(LONGEST)).min(end.stream.len());
        end.sent = end.sent.max(to);
        let payload = end.stream[from..to].to_vec();
        let end = &self.ends[sender(toward)];
        let flags = TcpFlags(flags.0 | TcpFlags::ACK.0);
        let segment = Segment {
            seq: end.seq(from),
            ack: end.expects,
            flags,
            window: end.window,
            payload: &payload,
            ..Segment::default()
        };
        self.emit(toward, &segment, now_ns)
    }
}

impl World<'_> {
    pub(super) fn step(&mut self, choices: &mut Choices<'_>) {
        let what = choices.byte();
        let at = usize::from(choices.byte());
        let toward = if at & 0x80 == 0 { Toward::Robot } else { Toward::Plant };
        let at = at % 5;
        let now_ns = self.now_ns;
        let twisted = what >= 0xd0;
        match what % 24 {
            0 => self.open(at, choices),
            1..=7 => {
                // Something new is said, whole.
                self.say(at, toward, choices);
                let frame = self.rest(at, toward, usize::MAX);
                self.pass(toward, frame, twisted, choices);
            }
            8 => self.say(at, toward, choices),
            9 => {
                let len = usize::from(choices.byte());
                let frame = self.rest(at, toward, len);
                self.pass(toward, frame, twisted, choices);
            }
            10 | 11 => {
                // What is not acknowledged is repeated, or more or less of it.
                let (shift, len) = (choices.of(&SHIFTS), usize::from(choices.byte()) * 8);
                let from = self.talks[at].ends[sender(toward)].acked as i64 + i64::from(shift);
                let frame = self.talks[at].segment(toward, from, len, TcpFlags::ACK, now_ns);
                self.pass(toward, frame, twisted, choices);
            }
            12..=15 => {
                let end = &mut self.talks[at].ends[sender(toward)];
                end.window = choices.of(&[64_000, 64_000, 0, 1, 20, 1460, 65_535, 300]);
                let from = end.sent as i64;
                let frame = self.talks[at].segment(toward, from, 0, TcpFlags::ACK, now_ns);
                self.pass(toward, frame, twisted, choices);
            }
            16 => {
                let flags = choices.of(&[TcpFlags::FIN, TcpFlags::RST, TcpFlags::PSH, TcpFlags(0x3f), TcpFlags::SYN]);
                let shift = choices.of(&SHIFTS);
                let from = self.talks[at].ends[sender(toward)].sent as i64 + i64::from(shift);
                let frame = self.talks[at].segment(toward, from, usize::MAX, flags, now_ns);
                self.pass(toward, frame, twisted, choices);
            }
            17 | 18 => {
                let step =
                    choices.of(&[50_000, 500_000, 2_000_000, 10_000_000, 250_000_000, 1_500_000_000, 40_000_000_000]);
                self.time(&[step; 3]);
            }
            19 => {
                // An earlier frame comes once more.
                let back = choices.below(8) + 1;
                let Some((toward, frame)) = self.history.len().checked_sub(back).map(|at| self.history[at].clone())
                else {
                    return;
                };
                self.pass(toward, frame, twisted, choices);
            }
            20 => {
                let frame = choices.some(96).to_vec();
                self.pass(toward, frame, false, choices);
            }
            21 => self.other(toward, choices),
            22 if twisted => self.succeed(),
            22 => {
                let rules = usize::from(choices.byte());
                // Mostly another policy of the same kind: enforcing goes on.
                self.set_rules(if rules < 0xc0 { rules * 4 } else { rules });
            }
            _ => {
                let talk = &mut self.talks[at];
                let pick = choices.byte();
                talk.timestamps = pick & 1 != 0;
                talk.tags = match pick >> 1 & 3 {
                    0 | 1 => Tags::NONE,
                    2 => tags(&[(0x8100, 0)]),
                    _ => tags(&[(0x88a8, 5), (0x8100, 7)]),
                };
            }
        }
    }

    /// The three segments that open a conversation, or the first one or two.
    fn open(&mut self, at: usize, choices: &mut Choices<'_>) {
        let pick = choices.byte();
        let now_ns = self.now_ns;
        let talk = &mut self.talks[at];
        talk.begun += 1;
        let start = (at as u32 * 5 + talk.begun).wrapping_mul(0x1000_0000).wrapping_sub(u32::from(pick & 0x0f) * 16);
        talk.ends[0].begin(start);
        talk.ends[1].begin(!start);
        let (opened, answers) = (talk.opened, talk.opened.reverse());
        let options = Segment {
            maximum_segment_size: Some([1460, 536, 88, 1460][usize::from(pick >> 4 & 3)]),
            sack_permitted: pick & 0x40 != 0,
            window_scale: (pick & 0x80 != 0).then_some(3),
            window: 64_000,
            ..Segment::default()
        };
        let end = &self.talks[at].ends[sender(opened)];
        let syn = self.talks[at].emit(opened, &Segment { seq: end.start, flags: TcpFlags::SYN, ..options }, now_ns);
        self.frame(opened, &syn, false);
        let end = &self.talks[at].ends[sender(answers)];
        let flags = TcpFlags(TcpFlags::SYN.0 | TcpFlags::ACK.0);
        let segment = Segment { seq: end.start, ack: end.expects, flags, ..options };
        let answer = self.talks[at].emit(answers, &segment, now_ns);
        if pick == 0x13 {
            return;
        }
        self.frame(answers, &answer, false);
        let ack = self.talks[at].segment(opened, 0, 0, TcpFlags::ACK, now_ns);
        self.frame(opened, &ack, false);
    }

    /// An end has something new to say.
    fn say(&mut self, at: usize, toward: Toward, choices: &mut Choices<'_>) {
        let talk = &mut self.talks[at];
        let unit = match toward {
            Toward::Robot => script::command(talk.port, choices),
            Toward::Plant => script::reply(talk.port, &mut talk.ends[1].inbox, choices),
        };
        let stream = &mut talk.ends[sender(toward)].stream;
        if stream.len() + unit.len() < 1 << 16 {
            stream.extend(unit);
        }
    }

    /// What an end has not sent yet, up to `len` bytes.
    fn rest(&mut self, at: usize, toward: Toward, len: usize) -> Vec<u8> {
        let from = self.talks[at].ends[sender(toward)].sent as i64;
        self.talks[at].segment(toward, from, len, TcpFlags::PSH, self.now_ns)
    }

    /// A frame arrives, changed by one thing if it is `twisted`.
    fn pass(&mut self, toward: Toward, mut frame: Vec<u8>, twisted: bool, choices: &mut Choices<'_>) {
        let mut partial = false;
        if twisted {
            let how = choices.byte();
            let (place, value) = (usize::from(choices.byte()), choices.byte());
            let len = frame.len();
            match how % 8 {
                // With the checksums made good again, and without.
                0..=3 => {
                    if let Some(byte) = frame.get_mut(place) {
                        *byte = value;
                    }
                    if how % 8 != 3 {
                        repair(&mut frame);
                    }
                }
                4 => frame.truncate(place),
                5 => frame.resize(len + place, value),
                6 => {
                    let tag = [[0x81, 0, 0, value & 1], [0x88, 0xa8, value, 0], [0x81, 0, 0, 0], [0x91, 0, 0, value]];
                    if len > 12 {
                        frame.splice(12..12, tag[place % 4]);
                    }
                }
                _ => partial = true,
            }
        }
        self.frame(toward, &frame, partial);
    }

    /// Frames of no conversation.
    fn other(&mut self, toward: Toward, choices: &mut Choices<'_>) {
        let (kind, value) = (choices.byte(), choices.byte());
        let mut out = vec![0; 1600];
        let talk = &self.talks[usize::from(value) % 5];
        let template = talk.template(toward);
        let (from, to) = (template.source_mac, template.destination_mac);
        let len = match kind % 6 {
            0 => craft::emit_udp(&template, choices.some(64), &mut out),
            1 => {
                let icmp = [&[8, 0, 0xf7, 0xff, 0, 0, 0, 0][..], choices.some(32)].concat();
                craft::emit_ip(&template, 1, &icmp, &mut out)
            }
            2 => {
                // An error that quotes a segment of the conversation.
                let quoted = talk.emit(toward.reverse(), &Segment::default(), self.now_ns);
                let mut icmp = [&[3, value % 5, 0, 0, 0, 0, 0, 0][..], &quoted[14..42]].concat();
                let sum = checksum(&icmp, 0);
                icmp[2..4].copy_from_slice(&sum.to_be_bytes());
                craft::emit_ip(&template, 1, &icmp, &mut out)
            }
            3 => {
                let arp = link::Arp {
                    operation: 1 + u16::from(value & 1),
                    sender_mac: if value & 2 == 0 { from } else { Mac([2, 0, 0, 0, 0, value]) },
                    sender_ip: if toward == Toward::Robot { PLC } else { ROBOT },
                    target_mac: to,
                    target_ip: if toward == Toward::Robot { ROBOT } else { PLC },
                };
                craft::emit_arp(to, from, &Tags::NONE, &arp, &mut out)
            }
            4 => {
                let kinds = [EtherType::PROFINET, EtherType::LLDP, EtherType(0x86dd), EtherType(0x0102)];
                let kind = kinds[usize::from(value) % 4];
                craft::emit_ethernet(to, from, &Tags::NONE, kind, choices.some(64), &mut out)
            }
            _ => craft::emit_ip(&template, value, choices.some(64), &mut out),
        };
        out.truncate(len.unwrap_or(60));
        self.frame(toward, &out, false);
    }
}

fn tags(stack: &[(u16, u16)]) -> Tags {
    let stack: Vec<Tag> = stack.iter().map(|(tpid, tci)| Tag { tpid: *tpid, tci: *tci }).collect();
    Tags::new(&stack).unwrap()
}

fn checksum(bytes: &[u8], start: u32) -> u16 {
    let words = bytes.chunks(2).map(|two| u32::from(two[0]) << 8 | two.get(1).map_or(0, |low| u32::from(*low)));
    let mut sum: u32 = start + words.sum::<u32>();
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    !(sum as u16)
}

/// Makes the checksums of an IPv4 packet fit again, as far as there is one.
fn repair(frame: &mut [u8]) {
    let mut at = 12;
    while frame.get(at..at + 2).is_some_and(|kind| [[0x81, 0], [0x88, 0xa8]].iter().any(|tag| kind == tag)) {
        at += 4;
    }
    at += 2;
    let Some(ip) = frame.get_mut(at..).filter(|ip| ip.len() >= 40 && ip[0] >> 4 == 4) else { return };
    let header = usize::from(ip[0] & 0x0f) * 4;
    let total = usize::from(u16::from_be_bytes([ip[2], ip[3]]));
    if header < 20 || total < header + 20 || total > ip.len() {
        return;
    }
    ip[10..12].fill(0);
    let sum = checksum(&ip[..header], 0);
    ip[10..12].copy_from_slice(&sum.to_be_bytes());
    if ip[9] == 6 {
        ip[header + 16..header + 18].fill(0);
        let pseudo = [&ip[12..20], &[0, 6], &((total - header) as u16).to_be_bytes()].concat();
        let start = u32::from(!checksum(&pseudo, 0));
        let sum = checksum(&ip[header..total], start);
        ip[header + 16..header + 18].copy_from_slice(&sum.to_be_bytes());
    }
}
