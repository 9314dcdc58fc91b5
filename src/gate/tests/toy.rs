//! The toy protocol: its units, the judge that a gate asks, and what must come of a stream of units.
//!
//! Toward the robot a unit is a length byte `n` (1 to 9), a verdict byte and `n` bytes of content; toward the plant a
//! length byte `n` (1 to 9), a kind byte and `n` bytes of content. Anything else begins no unit.

use super::*;

/// What a changed unit has for content.
pub(super) const MARK: u8 = 0x2a;

/// Verdict bytes.
pub(super) const ALLOW: u8 = b'a';
pub(super) const QUIET: u8 = b'q';
pub(super) const CLAMP: u8 = b'c';
pub(super) const REFUSE: u8 = b'r';
pub(super) const SILENT: u8 = b's';
pub(super) const RESET: u8 = b'x';
pub(super) const DROP: u8 = b'd';

/// Kind bytes of the robot's units: the reply to an allowed one, news that nobody asked for, the box's own answer.
pub(super) const REPLY: u8 = b'R';
pub(super) const NEWS: u8 = b'U';
pub(super) const ANSWERED: u8 = b'A';

/// Length of the unit that begins with `bytes`; absent where nothing begins.
pub(super) fn unit_len(bytes: &[u8]) -> Option<usize> {
    let n = usize::from(bytes[0]);
    (1..=9).contains(&n).then_some(n + 2)
}

/// What the client is to read: the reply or the answer of that number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Expected {
    Reply(u8),
    Answer(u8),
}

/// The answer to the refused unit of that number.
pub(super) fn answer_to(number: u8) -> Vec<u8> {
    let n = 1 + number % 5;
    let mut answer = vec![n, ANSWERED];
    answer.resize(usize::from(n) + 2, number);
    answer
}

/// What the robot sends of that kind and number.
pub(super) fn said(kind: u8, number: u8) -> Vec<u8> {
    let n = 1 + number % 9;
    let mut unit = vec![n, kind];
    unit.resize(usize::from(n) + 2, number);
    unit
}

/// What must come of a client's stream, worked out without the gate.
#[derive(Clone, Debug, Default)]
pub(super) struct Reference {
    /// The robot's bytes.
    pub(super) released: Vec<u8>,
    /// The client's units.
    pub(super) script: Vec<Expected>,
    /// Where a unit begins that ends the connection.
    pub(super) ends_at: Option<usize>,
    /// Bytes behind the last whole unit.
    pub(super) rest: usize,
}

impl Reference {
    pub(super) fn of(stream: &[u8]) -> Self {
        let mut reference = Self::default();
        let (mut at, mut replies, mut answers) = (0, 0_u8, 0_u8);
        while at < stream.len() {
            let Some(len) = unit_len(&stream[at..]) else {
                reference.ends_at = Some(at);
                return reference;
            };
            if at + len > stream.len() {
                reference.rest = stream.len() - at;
                return reference;
            }
            let unit = &stream[at..at + len];
            match unit[1] {
                ALLOW => {
                    reference.released.extend(unit);
                    reference.script.push(Expected::Reply(replies));
                    replies = replies.wrapping_add(1);
                }
                QUIET => reference.released.extend(unit),
                CLAMP => {
                    reference.released.extend(&unit[..2]);
                    reference.released.resize(reference.released.len() + len - 2, MARK);
                }
                REFUSE => {
                    reference.script.push(Expected::Answer(answers));
                    answers = answers.wrapping_add(1);
                }
                SILENT => {}
                _ => {
                    reference.ends_at = Some(at);
                    return reference;
                }
            }
            at += len;
        }
        reference
    }
}

/// Which values were ever sent for each place of a stream.
#[derive(Debug, Default)]
pub(super) struct Sent {
    values: Vec<[u8; 4]>,
    counts: Vec<u8>,
    in_order: usize,
}

impl Sent {
    pub(super) fn note(&mut self, at: usize, payload: &[u8]) {
        if self.values.len() < at + payload.len() {
            self.values.resize(at + payload.len(), [0; 4]);
            self.counts.resize(at + payload.len(), 0);
        }
        for (place, &byte) in (at..).zip(payload) {
            let count = usize::from(self.counts[place]);
            if !self.values[place][..count.min(4)].contains(&byte) {
                if count < 4 {
                    self.values[place][count] = byte;
                }
                self.counts[place] = (count + 1).min(5) as u8;
            }
        }
        while self.counts.get(self.in_order).is_some_and(|count| *count != 0) {
            self.in_order += 1;
        }
    }

    /// Bytes from the first on that were sent without a gap.
    pub(super) fn in_order(&self) -> usize {
        self.in_order
    }

    /// Whether `bytes` may be what was sent from `at` on. More than four values of a byte are not told apart.
    pub(super) fn may_be(&self, at: usize, bytes: &[u8]) -> bool {
        (at..).zip(bytes).all(|(place, byte)| match self.counts.get(place) {
            Some(&count) => count > 4 || self.values[place][..usize::from(count)].contains(byte),
            None => false,
        })
    }
}

/// The judge of one connection. It holds the gate to its contract: each unit is judged once, in the order and with the
/// bytes that were sent.
#[derive(Debug)]
pub(super) struct Toy {
    pub(super) patience_ns: u64,
    /// Whether an answer can be put between the robot's units.
    pub(super) frames: bool,
    /// What the client and the robot have sent.
    pub(super) sent: [Sent; 2],
    /// Place of the next unit in either stream.
    at: [usize; 2],
    /// Bytes that may have left toward the robot.
    pub(super) allowed: Vec<u8>,
    /// Where among them the last unit begins.
    pub(super) last_allowed: usize,
    /// What the client is to read, in order.
    pub(super) script: Vec<Expected>,
    asked: u32,
    replied: u32,
    refused: u8,
    /// The unit to answer.
    refused_unit: Vec<u8>,
    unreadable: bool,
    /// Calls, to bound the work an event can cause.
    pub(super) calls: u32,
    pub(super) wire: Frames,
}

impl Toy {
    pub(super) fn new(patience_ns: u64, frames: bool) -> Self {
        Self {
            patience_ns,
            frames,
            sent: <[Sent; 2]>::default(),
            at: [0; 2],
            allowed: Vec::new(),
            last_allowed: 0,
            script: Vec::new(),
            asked: 0,
            replied: 0,
            refused: 0,
            refused_unit: Vec::new(),
            unreadable: false,
            calls: 0,
            wire: Frames::default(),
        }
    }

    /// Whether every unit that came was judged, up to that place of the client's stream.
    pub(super) fn judged(&self) -> usize {
        self.at[0]
    }

    fn settle(&mut self, unit: &[u8], content: Option<u8>) {
        self.at[0] += unit.len();
        self.last_allowed = self.allowed.len();
        self.allowed.extend(&unit[..2]);
        self.allowed.extend(unit[2..].iter().map(|byte| content.unwrap_or(*byte)));
    }
}

impl Judge for Toy {
    fn judge(&mut self, bytes: &[u8]) -> Judgement {
        self.calls += 1;
        assert!(!bytes.is_empty(), "judged nothing");
        let whole = unit_len(bytes);
        let seen = &bytes[..bytes.len().min(whole.unwrap_or(1))];
        assert!(self.sent[0].may_be(self.at[0], seen), "I3: judged bytes are not the client's from {}", self.at[0]);
        let Some(len) = whole else { return Judgement::Broken { reason: Reason::Malformed } };
        if bytes.len() < len {
            return Judgement::Partial { patience_ns: self.patience_ns };
        }
        let unit = &bytes[..len];
        match unit[1] {
            ALLOW | QUIET => {
                self.settle(unit, None);
                if unit[1] == ALLOW {
                    self.script.push(Expected::Reply(self.asked as u8));
                    self.asked += 1;
                }
                Judgement::Allow { len }
            }
            CLAMP => {
                self.settle(unit, Some(MARK));
                Judgement::Clamp { len }
            }
            REFUSE | SILENT => {
                self.at[0] += len;
                self.refused_unit = unit.to_vec();
                if unit[1] == REFUSE {
                    self.script.push(Expected::Answer(self.refused));
                    self.refused = self.refused.wrapping_add(1);
                }
                Judgement::Refuse { len, action: Action::Refuse, reason: Reason::ValueNotAllowed }
            }
            DROP => Judgement::Refuse { len, action: Action::Drop, reason: Reason::DeniedByRule },
            _ => Judgement::Refuse { len, action: Action::Reset, reason: Reason::NoRule },
        }
    }

    fn clamp(&mut self, unit: &mut [u8]) {
        assert_eq!(unit.get(1), Some(&CLAMP), "changed a unit that was not to be changed");
        assert_eq!(Some(unit.len()), unit_len(unit), "changed more or less than a unit");
        unit[2..].fill(MARK);
    }

    fn reply(&mut self, bytes: &[u8]) -> Reply {
        self.calls += 1;
        assert!(!bytes.is_empty(), "read nothing");
        assert!(!self.unreadable, "read on after what can't be read");
        let whole = unit_len(bytes);
        let seen = &bytes[..bytes.len().min(whole.unwrap_or(1))];
        assert!(self.sent[1].may_be(self.at[1], seen), "read bytes are not the robot's from {}", self.at[1]);
        let Some(len) = whole else {
            self.unreadable = true;
            return Reply::Unreadable;
        };
        if bytes.len() < len {
            return Reply::Partial;
        }
        self.at[1] += len;
        if bytes[1] == REPLY {
            self.replied += 1;
        }
        Reply::Whole { len }
    }

    fn frames_replies(&self) -> bool {
        self.frames
    }

    fn reads_replies(&self) -> bool {
        // Where no answer can be put in, the robot's units are read all the same.
        true
    }

    fn outstanding(&self) -> u32 {
        self.asked.saturating_sub(self.replied)
    }

    fn answer(&mut self, unit: &[u8], reason: Reason, out: &mut [u8]) -> Answer {
        self.calls += 1;
        assert_eq!(unit, self.refused_unit, "answered another unit than the refused one");
        assert_eq!(reason, Reason::ValueNotAllowed);
        if unit[1] == SILENT {
            return Answer::Silent;
        }
        let answer = answer_to(self.refused.wrapping_sub(1));
        out[..answer.len()].copy_from_slice(&answer);
        Answer::Bytes { len: answer.len() }
    }
}

/// A frame that left the box.
#[derive(Clone, Debug)]
pub(super) struct Frame {
    pub(super) toward: Toward,
    pub(super) seq: u32,
    pub(super) ack: u32,
    pub(super) window: u32,
    pub(super) fin: bool,
    /// Made by a spliced gate, not passed or sent along with a frame of the sender's.
    pub(super) own: bool,
    pub(super) from: usize,
    pub(super) len: usize,
}

/// What left the box in one event.
#[derive(Debug, Default)]
pub(super) struct Frames {
    pub(super) frames: Vec<Frame>,
    /// What the last frame of a spliced gate said of ranges beyond a hole.
    pub(super) sack: Vec<(u32, u32)>,
    pub(super) bytes: Vec<u8>,
}

impl Frames {
    pub(super) fn clear(&mut self) {
        self.frames.clear();
        self.bytes.clear();
    }

    pub(super) fn push(&mut self, frame: Frame, payload: &[u8]) {
        let from = self.bytes.len();
        self.bytes.extend(payload);
        self.frames.push(Frame { from, len: payload.len(), ..frame });
    }

    pub(super) fn payload(&self, frame: &Frame) -> &[u8] {
        &self.bytes[frame.from..frame.from + frame.len]
    }
}

impl Wire for Toy {
    fn send(&mut self, out: &SpliceOut<'_>) {
        let SpliceOut { toward, seq, ack, window, fin, payload, sack } = *out;
        self.wire.sack = sack.as_slice().to_vec();
        assert!(window <= 65_535, "a window that no header can say");
        self.wire.push(Frame { toward, seq, ack, window, fin, own: true, from: 0, len: 0 }, payload);
    }
}
