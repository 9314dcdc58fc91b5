//! A gate driven as the engine drives it, with everything checked that leaves it.

use super::toy::*;
use super::*;

/// A segment of either end.
#[derive(Clone, Copy, Debug)]
pub(super) struct Sent<'a> {
    pub(super) toward: Toward,
    pub(super) seq: u32,
    pub(super) ack: u32,
    pub(super) window: u32,
    pub(super) fin: bool,
    pub(super) payload: &'a [u8],
}

impl Sent<'_> {
    fn end(&self) -> u32 {
        self.seq.wrapping_add(self.payload.len() as u32).wrapping_add(u32::from(self.fin))
    }
}

/// How a connection ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ended {
    Refused(Action, Reason),
    Reset,
    Drained,
    Closed,
}

/// What the engine knows of the sender of one direction.
#[derive(Clone, Copy, Debug)]
struct Known {
    next: u32,
    acked: u32,
    window: u32,
    fin: bool,
}

/// What was seen of one direction, worked out from what went into the box and what left it.
#[derive(Debug)]
pub(super) struct Seen {
    start: u32,
    /// Every byte that left, as a receiver keeps it that believes the first or the last copy.
    pub(super) copies: [Copies; 2],
    /// Places of the FINs that its sender sent.
    sent_fins: Vec<usize>,
    /// Place of the one that left the box.
    pub(super) fin: Option<usize>,
    /// The receiver has acknowledged the FIN that left the box.
    fin_acked: bool,
    /// Right edge of the largest window that the receiver ever offered.
    offered: u32,
    /// What the box told the sender last: acknowledgement and right edge.
    told: Option<(u32, u32)>,
}

impl Seen {
    fn new(start: u32, offered: u32) -> Self {
        Self {
            start,
            copies: [Copies::new(false), Copies::new(true)],
            sent_fins: Vec::new(),
            fin: None,
            fin_acked: false,
            offered,
            told: None,
        }
    }

    fn place(&self, seq: u32) -> isize {
        seq::distance(self.start, seq) as isize
    }
}

/// Bytes of a stream as a receiver keeps them.
#[derive(Debug)]
pub(super) struct Copies {
    last_wins: bool,
    bytes: Vec<u8>,
    have: Vec<bool>,
    in_order: usize,
    /// Up to where units were read.
    read: usize,
}

impl Copies {
    pub(super) fn new(last_wins: bool) -> Self {
        Self { last_wins, bytes: Vec::new(), have: Vec::new(), in_order: 0, read: 0 }
    }

    pub(super) fn take(&mut self, at: usize, payload: &[u8]) {
        assert!(at + payload.len() < 1 << 20, "a byte far outside the stream left the box");
        if self.bytes.len() < at + payload.len() {
            self.bytes.resize(at + payload.len(), 0);
            self.have.resize(at + payload.len(), false);
        }
        for (place, byte) in (at..).zip(payload) {
            if !self.have[place] || (self.last_wins && self.bytes[place] != *byte) {
                if place < self.in_order {
                    // A byte that was read already is another now: everything is read anew.
                    self.read = 0;
                }
                self.bytes[place] = *byte;
                self.have[place] = true;
            }
        }
        while self.have.get(self.in_order).is_some_and(|have| *have) {
            self.in_order += 1;
        }
    }

    pub(super) fn in_order(&self) -> &[u8] {
        &self.bytes[..self.in_order]
    }

    fn differs(&self, at: usize, payload: &[u8]) -> bool {
        (at..).zip(payload).any(|(place, byte)| self.have.get(place) == Some(&true) && self.bytes[place] != *byte)
    }

    fn end(&self) -> usize {
        self.bytes.len()
    }

    /// Reads the next unit if it is whole.
    pub(super) fn read_unit(&mut self) -> Option<&[u8]> {
        let rest = &self.bytes[self.read..self.in_order];
        let len = unit_len(rest.get(..1)?)?;
        let from = self.read;
        (rest.len() >= len).then(|| {
            self.read += len;
            &self.bytes[from..from + len]
        })
    }

    /// Reads as a robot: no unit that must not reach it may be there, not even its head.
    fn check_robot(&mut self) {
        while self.read < self.in_order {
            let rest = &self.bytes[self.read..self.in_order];
            let len = unit_len(rest).expect("I1: what begins no unit reached a robot");
            if let Some(verdict) = rest.get(1) {
                assert!([ALLOW, QUIET, CLAMP].contains(verdict), "I1, I9: a part of a forbidden unit reached a robot");
                if *verdict == CLAMP {
                    let content = &rest[2..rest.len().min(len)];
                    assert!(content.iter().all(|byte| *byte == MARK), "I1: an unchanged unit reached a robot");
                }
            }
            if rest.len() < len {
                break;
            }
            self.read += len;
        }
    }
}

/// A client's reading of what comes from the robot.
#[derive(Clone, Copy, Debug, Default)]
struct Client {
    script: usize,
    robot: usize,
    raw: bool,
}

/// A gate with its stores, and everything that left it.
#[derive(Debug)]
pub(super) struct Bench {
    pub(super) gate: Gate,
    pub(super) stores: [Vec<u8>; 2],
    /// When the client and the robot last sent something.
    pub(super) heard_ns: [u64; 2],
    pub(super) toy: Toy,
    known: [Known; 2],
    pub(super) seen: [Seen; 2],
    clients: [Client; 2],
    pub(super) mss: [u32; 2],
    pub(super) now_ns: u64,
    pub(super) ended: Option<Ended>,
    /// The client sends two contents for one number, so that a byte before the next may be data too.
    pub(super) lies: bool,
    was_fast: bool,
    client_gone: bool,
    /// Before this place nothing may go out again.
    sealed: usize,
    releases: Releases,
    /// Everything that left, to be compared.
    pub(super) digest: u64,
    /// Payload bytes that a spliced gate sent toward either side.
    pub(super) own_bytes: [usize; 2],
}

const fn index(toward: Toward) -> usize {
    match toward {
        Toward::Robot => 0,
        Toward::Plant => 1,
    }
}

impl Bench {
    /// A connection whose ends begin at `starts`, toward the robot and toward the plant.
    pub(super) fn new(starts: [u32; 2], stores: [usize; 2], toy: Toy) -> Self {
        let known = |at: u32, other: u32| Known { next: at, acked: other, window: 65_535, fin: false };
        let seen = |start: u32| Seen::new(start, start.wrapping_add(65_535));
        Self {
            gate: Gate::new(starts[0], starts[1]),
            stores: stores.map(|len| vec![0xee; len]),
            heard_ns: [1; 2],
            toy,
            known: [known(starts[0], starts[1]), known(starts[1], starts[0])],
            seen: starts.map(seen),
            clients: <[Client; 2]>::default(),
            mss: [1460, 1460],
            now_ns: 1,
            ended: None,
            lies: false,
            was_fast: true,
            client_gone: false,
            sealed: 0,
            releases: Releases::default(),
            digest: 0,
            own_bytes: [0; 2],
        }
    }

    /// The numbers of the first bytes.
    pub(super) fn starts(&self) -> [u32; 2] {
        [self.seen[0].start, self.seen[1].start]
    }

    /// Both ends offer these windows before anything else.
    pub(super) fn offer(&mut self, windows: [u32; 2]) {
        for (at, window) in windows.into_iter().enumerate() {
            self.known[at].window = window;
            // The sender of one direction is the receiver of the other.
            let receiver = &mut self.seen[1 - at];
            receiver.offered = receiver.start.wrapping_add(window);
        }
    }

    pub(super) fn splice_from_the_start(&mut self) {
        self.was_fast = false;
        self.splice(None);
        self.advance();
        self.check();
    }

    fn stores(stores: &mut [Vec<u8>; 2]) -> Stores<'_> {
        let [commands, answers] = stores;
        Stores { commands, answers }
    }

    /// A segment comes to the box. What leaves is in `toy.wire`.
    pub(super) fn take(&mut self, sent: &Sent<'_>) {
        self.begin();
        if self.ended.is_some() {
            return;
        }
        self.heard_ns[index(sent.toward)] = self.now_ns;
        self.note(sent);
        if self.gate.is_spliced() {
            self.spliced(sent);
        } else {
            match sent.toward {
                Toward::Robot => self.fast_toward_robot(sent),
                Toward::Plant => self.fast_toward_plant(sent),
            }
        }
        self.check();
    }

    fn spliced(&mut self, sent: &Sent<'_>) {
        let segment = SpliceSegment {
            toward: sent.toward,
            seq: sent.seq,
            ack: Some(sent.ack),
            window: sent.window,
            fin: sent.fin,
            payload: sent.payload,
            now_ns: self.now_ns,
        };
        let outcome = self.gate.take(&mut Self::stores(&mut self.stores), &segment, &mut self.toy);
        self.finish(outcome);
    }

    /// Time has come to `now_ns`.
    pub(super) fn time(&mut self, now_ns: u64) {
        self.begin();
        self.now_ns = now_ns;
        if self.ended.is_some() || self.gate.due_ns().is_none_or(|due| due > now_ns) {
            return;
        }
        match self.gate.due(&mut Self::stores(&mut self.stores), now_ns, &mut self.toy) {
            TimedOut::Nothing => {}
            TimedOut::Splice => {
                self.splice(None);
                self.advance();
            }
            TimedOut::Spliced(outcome) => self.finish(outcome),
        }
        self.check();
    }

    /// A reset comes to the box.
    pub(super) fn reset(&mut self, toward: Toward, at: u32) {
        self.begin();
        if self.ended.is_some() {
            return;
        }
        if !self.gate.is_spliced() {
            let stream = self.gate.commands();
            let within = !seq::before(at, stream.base()) && !seq::before(stream.accepted(), at);
            if toward == Toward::Plant || within {
                self.ended = Some(Ended::Reset);
            }
            return;
        }
        let exactness = self.gate.judges_reset(toward, at);
        let told = self.seen[index(toward)].told.map(|(ack, _)| ack);
        assert_eq!(exactness == Exactness::Exact, told == Some(at), "a reset is exact at what its sender was told");
        match (exactness, toward) {
            (Exactness::Exact, Toward::Robot) => {
                self.gate.client_reset(self.now_ns);
                self.client_gone = true;
                self.advance();
            }
            (Exactness::Exact, Toward::Plant) => self.ended = Some(Ended::Reset),
            (Exactness::InWindow, _) => {
                self.gate.challenge(toward, &Self::stores(&mut self.stores), &mut self.toy);
            }
            (Exactness::Outside, _) => {}
        }
        self.check();
    }

    /// Other rules are in force, under which nothing that went out may go out again.
    pub(super) fn seal(&mut self) {
        self.begin();
        if self.ended.is_some() {
            return;
        }
        let half_out = self.toy.allowed.len() != self.seen[0].copies[0].end();
        assert_eq!(self.gate.seal(), !half_out, "it ends where the robot has a part of a unit");
        self.sealed = self.toy.allowed.len();
        if half_out {
            self.ended = Some(Ended::Refused(Action::Reset, Reason::LockedDown));
        }
    }

    /// The bytes toward the robot move to a store of another size, if they fit.
    pub(super) fn move_store(&mut self, len: usize) {
        let mut other = vec![0xdd; len];
        if self.gate.is_spliced() && self.gate.move_commands_to(&self.stores[0], &mut other) {
            self.stores[0] = other;
            self.begin();
            self.advance();
            self.check();
        }
    }

    fn begin(&mut self) {
        self.toy.wire.clear();
        self.toy.calls = 0;
    }

    fn note(&mut self, sent: &Sent<'_>) {
        let (at, about) = (index(sent.toward), index(sent.toward.reverse()));
        let place = self.seen[at].place(sent.seq);
        let may_be = at == 1 || !self.lies;
        let probe =
            may_be && sent.payload.len() <= 1 && place + 1 == self.toy.sent[at].in_order() as isize && !sent.fin;
        if (0..1 << 20).contains(&place) && !probe {
            self.toy.sent[at].note(place as usize, sent.payload);
        }
        if sent.fin && place >= 0 {
            self.seen[at].sent_fins.push(place as usize + sent.payload.len());
        }
        let seen = &mut self.seen[about];
        let acked = seen.place(sent.ack);
        if let Some(fin) = seen.fin {
            seen.fin_acked |= acked == fin as isize + 1;
        }
        if acked >= 0 && acked <= seen.copies[0].end() as isize + 1 {
            seen.offered = seq::max(seen.offered, sent.ack.wrapping_add(sent.window));
        }
    }

    fn of_data(&self, ack: u32, sender: usize) -> u32 {
        let known = &self.known[sender];
        if known.fin && ack == known.next { ack.wrapping_sub(1) } else { ack }
    }

    fn fast_toward_robot(&mut self, sent: &Sent<'_>) {
        let client = self.known[0];
        let data_end = sent.seq.wrapping_add(sent.payload.len() as u32);
        if client.fin && !sent.payload.is_empty() && seq::before(client.next.wrapping_sub(1), data_end) {
            return;
        }
        if self.gate.acknowledge_reply(self.of_data(sent.ack, 1), true).is_err() {
            return;
        }
        let mut outcome = Outcome::Forward;
        self.releases.clear();
        if !sent.payload.is_empty() {
            let edge = self.known[1].acked.wrapping_add(self.known[1].window);
            let segment = Segment { seq: sent.seq, payload: sent.payload, edge, now_ns: self.now_ns };
            let Self { gate, stores, toy, releases, mss, .. } = self;
            outcome = gate.accept(&mut stores[0], &segment, true, mss[0], toy, releases);
        }
        let mut fin = sent.fin;
        if fin {
            let stream = self.gate.commands();
            let at = sent.end().wrapping_sub(1);
            let refusal = if at != stream.accepted() {
                let early = seq::before(at, stream.accepted());
                Some(Outcome::Drop(if early { Reason::DataOutsideStream } else { Reason::OutOfOrder }))
            } else if stream.is_drained() {
                None
            } else {
                Some(Outcome::Refuse { action: Action::Reset, reason: Reason::FinInUnit })
            };
            fin = refusal.is_none();
            if refusal.is_some() && outcome == Outcome::Replace && self.releases.iter().next().is_some() {
                self.send_pieces(sent, false);
            }
            if !matches!(outcome, Outcome::Refuse { .. } | Outcome::Splice { .. }) {
                outcome = refusal.unwrap_or(outcome);
            }
        }
        match outcome {
            Outcome::Forward if fin == sent.fin => self.pass(sent, sent.seq, sent.payload, fin),
            Outcome::Forward => return,
            Outcome::Replace => {
                self.send_pieces(sent, fin);
                if self.gate.commands().has_hole() {
                    self.acknowledge_for_robot();
                }
            }
            Outcome::Splice { sent: upto } => {
                let client = &mut self.known[0];
                client.window = sent.window;
                client.acked = seq::max(client.acked, sent.ack);
                self.splice(Some(upto));
                if sent.fin {
                    self.spliced(sent);
                } else {
                    self.advance();
                }
                return;
            }
            Outcome::Probe => self.pass(sent, if fin { sent.end().wrapping_sub(1) } else { sent.seq }, &[], fin),
            Outcome::Repeated => self.acknowledge_for_robot(),
            Outcome::Drop(reason) => {
                if reason == Reason::OutOfOrder {
                    self.acknowledge_for_robot();
                }
                return;
            }
            Outcome::Refuse { action, reason } => {
                if self.releases.iter().next().is_some() {
                    self.send_pieces(sent, false);
                }
                self.ended = Some(Ended::Refused(action, reason));
                return;
            }
        }
        self.passed(sent);
    }

    fn fast_toward_plant(&mut self, sent: &Sent<'_>) {
        if self.gate.acknowledge(self.of_data(sent.ack, 0)).is_err() {
            return;
        }
        if !sent.payload.is_empty() {
            self.gate.pass_reply(&mut self.stores[1], sent.seq, sent.payload, &mut self.toy);
        }
        self.pass(sent, sent.seq, sent.payload, sent.fin);
        self.passed(sent);
    }

    /// What the engine notes of a segment that passed.
    fn passed(&mut self, sent: &Sent<'_>) {
        let known = &mut self.known[index(sent.toward)];
        known.next = seq::max(known.next, sent.end());
        known.window = sent.window;
        known.acked = seq::max(known.acked, sent.ack);
        if sent.fin {
            known.fin = true;
            self.gate.pass_fin(sent.toward, sent.end().wrapping_sub(1));
        }
        let [client, robot] = self.known;
        if client.fin && robot.fin && robot.acked == client.next && client.acked == robot.next {
            self.ended = Some(Ended::Closed);
        }
    }

    fn pass(&mut self, sent: &Sent<'_>, seq: u32, payload: &[u8], fin: bool) {
        let Sent { toward, ack, window, .. } = *sent;
        self.toy.wire.push(Frame { toward, seq, ack, window, fin, own: false, from: 0, len: 0 }, payload);
    }

    fn send_pieces(&mut self, sent: &Sent<'_>, fin: bool) {
        let mut left = self.releases.iter().count();
        if left == 0 {
            self.pass(sent, self.gate.commands().released(), &[], fin);
        }
        let pieces: Vec<_> = self.releases.iter().collect();
        for (at, len) in pieces {
            left -= 1;
            let bytes = self.gate.commands().bytes(&self.stores[0], at, at.wrapping_add(len)).to_vec();
            assert_eq!(bytes.len(), len as usize, "a released piece is not in the store");
            self.pass(sent, at, &bytes, fin && left == 0);
        }
    }

    fn acknowledge_for_robot(&mut self) {
        let Known { next, acked, window, .. } = self.known[1];
        let frame =
            Frame { toward: Toward::Plant, seq: next, ack: acked, window, fin: false, own: false, from: 0, len: 0 };
        self.toy.wire.push(frame, &[]);
    }

    fn splice(&mut self, sent: Option<u32>) {
        let [client, robot] = self.known;
        let peers = Peers {
            robot_edge: robot.acked.wrapping_add(robot.window),
            plant_edge: client.acked.wrapping_add(client.window),
            plant_acknowledged: client.acked,
            robot_mss: self.mss[0],
            plant_mss: self.mss[1],
        };
        let sent = sent.unwrap_or(self.gate.commands().released());
        self.gate.splice(sent, &peers, self.now_ns);
    }

    fn advance(&mut self) {
        let outcome = self.gate.advance(&mut Self::stores(&mut self.stores), self.now_ns, &mut self.toy);
        self.finish(outcome);
    }

    fn finish(&mut self, outcome: Spliced) {
        self.ended = match outcome {
            Spliced::Goes | Spliced::Drop(_) => None,
            Spliced::Refuse { action, reason } => Some(Ended::Refused(action, reason)),
            Spliced::Drained => Some(Ended::Drained),
            Spliced::Closed => Some(Ended::Closed),
        };
    }
}

#[path = "checks.rs"]
mod checks;
