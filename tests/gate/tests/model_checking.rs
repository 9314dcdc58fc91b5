//! The gate's own code between a client and a robot, in every order of events: two segments, each frame lost, doubled,
//! delayed, one of them sent with two contents, and the packet process started anew. What is found here holds for all
//! interleavings of a tiny case, where the random cases of the gate's tests hold for some of large ones.
//!
//! The protocol: a unit toward the robot is a verdict (`a` allowed, `r` refused with an answer, `x` ends the connection)
//! and one byte of content; a unit toward the plant is one byte, `R` a reply or `A` the box's answer.

use std::collections::BTreeSet;

use dissect::Toward;
use stateright::{Checker, Model, Property};
use vambrace_gate::event::{Action, Reason};
use vambrace_gate::gate::{
    ANSWER, Answer, Gate, Judge, Judgement, Outcome, Peers, Releases, Reply, Segment, SpliceOut, SpliceSegment,
    Spliced, Stores, TimedOut, Wire,
};
use zerocopy::{FromBytes, IntoBytes};

/// Bytes of either store that can be used here; numbers wrap within each stream.
const ROOM: usize = 24;
const COMMANDS: u32 = u32::MAX - 2;
const ANSWERS: u32 = u32::MAX - 1;
const WINDOW: u32 = 16;

/// So many rounds of repetition must be enough after the last fault.
const ROUNDS: u8 = 12;

#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
struct Toy {
    asked: u8,
    replied: u8,
}

impl Judge for Toy {
    fn judge(&mut self, bytes: &[u8]) -> Judgement {
        if bytes.len() < 2 {
            return Judgement::Partial { patience_ns: 60_000_000_000 };
        }
        match bytes[0] {
            b'a' => {
                self.asked += 1;
                Judgement::Allow { len: 2 }
            }
            b'r' => Judgement::Refuse { len: 2, action: Action::Refuse, reason: Reason::NoRule },
            _ => Judgement::Refuse { len: 2, action: Action::Reset, reason: Reason::NoRule },
        }
    }

    fn clamp(&mut self, _: &mut [u8]) {}

    fn reply(&mut self, _: &[u8]) -> Reply {
        self.replied += 1;
        Reply::Whole { len: 1 }
    }

    fn frames_replies(&self) -> bool {
        true
    }

    fn reads_replies(&self) -> bool {
        true
    }

    fn outstanding(&self) -> u32 {
        u32::from(self.asked.saturating_sub(self.replied))
    }

    fn answer(&mut self, _: &[u8], _: Reason, out: &mut [u8]) -> Answer {
        out[0] = b'A';
        Answer::Bytes { len: 1 }
    }
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
struct Frame {
    to_box: bool,
    to_robot: bool,
    seq: u32,
    ack: u32,
    data: Vec<u8>,
}

/// A receiver: bytes by place.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
struct Got(Vec<Option<u8>>);

impl Got {
    fn take(&mut self, start: u32, frame: &Frame, last_wins: bool) {
        for (at, byte) in frame.data.iter().enumerate() {
            let place = frame.seq.wrapping_sub(start) as usize + at;
            assert!(place < 64, "a byte far outside the stream");
            if self.0.len() <= place {
                self.0.resize(place + 1, None);
            }
            if self.0[place].is_none() || last_wins {
                self.0[place] = Some(*byte);
            }
        }
    }

    fn in_order(&self) -> Vec<u8> {
        self.0.iter().map_while(|byte| *byte).collect()
    }
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct State {
    gate: Vec<u8>,
    stores: [Vec<u8>; 2],
    toy: Toy,
    now_ns: u64,
    ended: Option<Reason>,
    flying: BTreeSet<Frame>,
    robots: [Got; 2],
    client: Got,
    client_una: u32,
    robot_said: Vec<u8>,
    robot_una: u32,
    /// What the engine keeps of the ends while frames pass: acknowledged by the robot, by the client.
    acked: [u32; 2],
    losses: u8,
    doubles: u8,
    lies: u8,
    restarts: u8,
    rounds: u8,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Event {
    Arrives(Frame),
    Lost(Frame),
    Doubled(Frame),
    Lie,
    Restart,
    /// Nothing is under way: all that wait for something repeat it.
    Round,
}

#[derive(Clone, Debug)]
struct Cell {
    stream: &'static [u8],
    spliced: bool,
    losses: u8,
    doubles: u8,
    lies: u8,
    restarts: u8,
}

/// The judge and the wire of one event.
struct Outside<'a> {
    toy: &'a mut Toy,
    sent: Vec<Frame>,
}

impl Judge for Outside<'_> {
    fn judge(&mut self, bytes: &[u8]) -> Judgement {
        self.toy.judge(bytes)
    }

    fn clamp(&mut self, unit: &mut [u8]) {
        self.toy.clamp(unit);
    }

    fn reply(&mut self, bytes: &[u8]) -> Reply {
        self.toy.reply(bytes)
    }

    fn frames_replies(&self) -> bool {
        self.toy.frames_replies()
    }

    fn reads_replies(&self) -> bool {
        self.toy.reads_replies()
    }

    fn outstanding(&self) -> u32 {
        self.toy.outstanding()
    }

    fn answer(&mut self, unit: &[u8], reason: Reason, out: &mut [u8]) -> Answer {
        self.toy.answer(unit, reason, out)
    }
}

impl Wire for Outside<'_> {
    fn send(&mut self, out: &SpliceOut<'_>) {
        let to_robot = out.toward == Toward::Robot;
        self.sent.push(Frame { to_box: false, to_robot, seq: out.seq, ack: out.ack, data: out.payload.to_vec() });
    }
}

impl Cell {
    fn segment(&self, from: usize, to: usize, client: &Got) -> Frame {
        let ack = ANSWERS.wrapping_add(client.in_order().len() as u32);
        let data = self.stream[from..to].to_vec();
        Frame { to_box: true, to_robot: true, seq: COMMANDS.wrapping_add(from as u32), ack, data }
    }

    /// The two segments are cut inside a unit.
    fn cut(&self) -> usize {
        self.stream.len() / 4 * 2 + 1
    }

    /// What must come of the stream: the robot's bytes, the client's, and whether it ends there.
    fn expected(&self) -> (Vec<u8>, Vec<u8>, bool) {
        let (mut robot, mut client) = (Vec::new(), Vec::new());
        for unit in self.stream.chunks(2) {
            match unit[0] {
                b'a' => {
                    robot.extend(unit);
                    client.push(b'R');
                }
                b'r' => client.push(b'A'),
                _ => return (robot, client, true),
            }
        }
        (robot, client, false)
    }

    /// Runs `act` on the gate of `state`; what left goes on its way.
    fn with(
        &self,
        state: &mut State,
        act: impl FnOnce(&mut Gate, &mut Stores<'_>, &mut Outside<'_>, &mut [u32; 2]) -> Option<Reason>,
    ) {
        let mut gate = Gate::read_from_bytes(&state.gate).unwrap();
        let mut commands = state.stores[0].clone();
        let mut answers = state.stores[1].clone();
        answers.resize(ANSWER + ROOM, 0);
        let mut outside = Outside { toy: &mut state.toy, sent: Vec::new() };
        let mut stores = Stores { commands: &mut commands, answers: &mut answers };
        let ended = act(&mut gate, &mut stores, &mut outside, &mut state.acked);
        let sent = outside.sent;
        assert!(answers[ROOM..].iter().all(|byte| *byte == 0));
        answers.truncate(ROOM);
        state.stores = [commands, answers];
        state.gate = gate.as_bytes().to_vec();
        state.ended = state.ended.or(ended);
        state.flying.extend(sent);
    }

    fn splice(gate: &mut Gate, sent: Option<u32>, acked: [u32; 2], now_ns: u64) {
        let peers = Peers {
            robot_edge: acked[0].wrapping_add(WINDOW),
            plant_edge: acked[1].wrapping_add(WINDOW),
            plant_acknowledged: acked[1],
            robot_mss: 4,
            plant_mss: 4,
        };
        let sent = sent.unwrap_or(gate.commands().released());
        gate.splice(sent, &peers, now_ns);
    }

    fn take(&self, state: &mut State, frame: &Frame) {
        let now_ns = state.now_ns;
        self.with(state, |gate, stores, outside, acked| {
            let toward = if frame.to_robot { Toward::Robot } else { Toward::Plant };
            if gate.is_spliced() {
                let segment = SpliceSegment {
                    toward,
                    seq: frame.seq,
                    ack: Some(frame.ack),
                    window: WINDOW,
                    fin: false,
                    payload: &frame.data,
                    now_ns,
                };
                return reason(gate.take(stores, &segment, outside));
            }
            let pass = |outside: &mut Outside<'_>, frame: &Frame| {
                outside.sent.push(Frame { to_box: false, ..frame.clone() });
            };
            if toward == Toward::Plant {
                if gate.acknowledge(frame.ack).is_err() {
                    return None;
                }
                acked[0] = link::seq::max(acked[0], frame.ack);
                if !frame.data.is_empty() {
                    gate.pass_reply(stores.answers, frame.seq, &frame.data, outside);
                }
                pass(outside, frame);
                return None;
            }
            if gate.acknowledge_reply(frame.ack, true).is_err() {
                return None;
            }
            let mut releases = Releases::default();
            let mut outcome = Outcome::Forward;
            if !frame.data.is_empty() {
                let edge = acked[0].wrapping_add(WINDOW);
                let segment = Segment { seq: frame.seq, payload: &frame.data, edge, now_ns };
                outcome = gate.accept(stores.commands, &segment, true, 4, outside, &mut releases);
            }
            if !matches!(outcome, Outcome::Drop(_)) {
                acked[1] = link::seq::max(acked[1], frame.ack);
            }
            let pieces: Vec<_> = releases.iter().collect();
            let send_pieces = |gate: &Gate, stores: &Stores<'_>| {
                for (seq, len) in pieces {
                    let data = gate.commands().bytes(stores.commands, seq, seq.wrapping_add(len)).to_vec();
                    pass(outside, &Frame { seq, data, ..frame.clone() });
                }
            };
            match outcome {
                Outcome::Forward => pass(outside, frame),
                Outcome::Replace => send_pieces(gate, stores),
                Outcome::Splice { sent } => {
                    Self::splice(gate, Some(sent), *acked, now_ns);
                    return reason(gate.advance(stores, now_ns, outside));
                }
                Outcome::Probe => pass(outside, &Frame { data: Vec::new(), ..frame.clone() }),
                Outcome::Repeated => {
                    let seq = gate.answers().released();
                    pass(outside, &Frame { to_robot: false, seq, ack: acked[0], data: Vec::new(), to_box: false });
                }
                Outcome::Drop(_) => {}
                Outcome::Refuse { reason, .. } => {
                    send_pieces(gate, stores);
                    return Some(reason);
                }
            }
            None
        });
    }

    fn arrive(&self, state: &mut State, frame: &Frame) {
        if frame.to_box {
            self.take(state, frame);
        } else if frame.to_robot {
            let acked = frame.ack.wrapping_sub(ANSWERS);
            let sent = state.robot_said.len() as u32;
            if acked <= sent {
                state.robot_una = state.robot_una.max(acked);
            }
            if frame.data.is_empty() {
                if (frame.seq.wrapping_sub(COMMANDS) as i32) < state.robots[0].in_order().len() as i32 {
                    // A probe.
                    state.flying.insert(self.reply(state, state.robot_said.len()));
                }
                return;
            }
            state.robots[0].take(COMMANDS, frame, false);
            state.robots[1].take(COMMANDS, frame, true);
            let units = state.robots[0].in_order().len() / 2;
            let from = state.robot_said.len();
            state.robot_said.resize(units, b'R');
            state.flying.insert(self.reply(state, from));
        } else {
            let acked = frame.ack.wrapping_sub(COMMANDS);
            if acked <= self.stream.len() as u32 {
                state.client_una = state.client_una.max(acked);
            }
            let probe = (frame.seq.wrapping_sub(ANSWERS) as i32) < state.client.in_order().len() as i32;
            if !frame.data.is_empty() || probe {
                state.client.take(ANSWERS, frame, false);
                state.flying.insert(self.segment(self.stream.len(), self.stream.len(), &state.client));
            }
        }
    }

    /// The robot's segment with everything from `from` on.
    fn reply(&self, state: &State, from: usize) -> Frame {
        let ack = COMMANDS.wrapping_add(state.robots[0].in_order().len() as u32);
        let seq = ANSWERS.wrapping_add(from as u32);
        Frame { to_box: true, to_robot: false, seq, ack, data: state.robot_said[from..].to_vec() }
    }

    fn round(&self, state: &mut State) {
        state.rounds += 1;
        // The ends repeat with the gate's timer, but within 200 ms.
        let due = Gate::read_from_bytes(&state.gate).unwrap().due_ns();
        state.now_ns = due.unwrap_or(u64::MAX).clamp(state.now_ns + 1_000_000, state.now_ns + 200_000_000);
        let now_ns = state.now_ns;
        self.with(state, |gate, stores, outside, acked| {
            if gate.due_ns().is_none_or(|due| due > now_ns) {
                return None;
            }
            match gate.due(stores, now_ns, outside) {
                TimedOut::Nothing => None,
                TimedOut::Splice => {
                    Self::splice(gate, None, *acked, now_ns);
                    reason(gate.advance(stores, now_ns, outside))
                }
                TimedOut::Spliced(outcome) => reason(outcome),
            }
        });
        let una = state.client_una as usize;
        if una < self.stream.len() {
            state.flying.insert(self.segment(una, self.stream.len(), &state.client));
        }
        let una = state.robot_una as usize;
        if una < state.robot_said.len() {
            let frame = self.reply(state, una);
            state.flying.insert(frame);
        }
    }

    fn is_done(&self, state: &State) -> bool {
        let (robot, client, ends) = self.expected();
        if let Some(reason) = state.ended {
            return (ends && reason == Reason::NoRule) || state.lies > 0 && reason != Reason::PeerSilent;
        }
        let acknowledged = state.client_una as usize == self.stream.len();
        let answered = state.robot_una as usize == state.robot_said.len();
        let complete = state.robots[0].in_order() == robot && state.client.in_order() == client;
        acknowledged && answered && (complete || state.lies > 0)
    }
}

fn reason(outcome: Spliced) -> Option<Reason> {
    match outcome {
        Spliced::Refuse { reason, .. } => Some(reason),
        _ => None,
    }
}

impl Model for Cell {
    type State = State;
    type Action = Event;

    fn init_states(&self) -> Vec<State> {
        let mut state = State {
            gate: Gate::new(COMMANDS, ANSWERS).as_bytes().to_vec(),
            stores: [vec![0; ROOM], vec![0; ROOM]],
            toy: Toy::default(),
            now_ns: 1,
            ended: None,
            flying: BTreeSet::new(),
            robots: <[Got; 2]>::default(),
            client: Got::default(),
            client_una: 0,
            robot_said: Vec::new(),
            robot_una: 0,
            acked: [COMMANDS, ANSWERS],
            losses: 0,
            doubles: 0,
            lies: 0,
            restarts: 0,
            rounds: 0,
        };
        if self.spliced {
            self.with(&mut state, |gate, stores, outside, acked| {
                Self::splice(gate, None, *acked, 1);
                reason(gate.advance(stores, 1, outside))
            });
            state.flying.clear();
        }
        state.flying.insert(self.segment(0, self.cut(), &state.client));
        state.flying.insert(self.segment(self.cut(), self.stream.len(), &state.client));
        vec![state]
    }

    fn actions(&self, state: &State, actions: &mut Vec<Event>) {
        if state.ended.is_some() || self.is_done(state) {
            return;
        }
        for frame in &state.flying {
            actions.push(Event::Arrives(frame.clone()));
            if state.losses < self.losses {
                actions.push(Event::Lost(frame.clone()));
            }
            if state.doubles < self.doubles {
                actions.push(Event::Doubled(frame.clone()));
            }
        }
        if state.lies < self.lies {
            actions.push(Event::Lie);
        }
        if state.restarts < self.restarts && !state.flying.is_empty() {
            actions.push(Event::Restart);
        }
        if state.flying.is_empty() && state.rounds < ROUNDS {
            actions.push(Event::Round);
        }
    }

    fn next_state(&self, last: &State, event: Event) -> Option<State> {
        let mut state = last.clone();
        match event {
            Event::Arrives(frame) => {
                state.flying.remove(&frame);
                self.arrive(&mut state, &frame);
            }
            Event::Lost(frame) => {
                state.losses += 1;
                state.flying.remove(&frame);
            }
            Event::Doubled(frame) => {
                state.doubles += 1;
                self.arrive(&mut state, &frame);
            }
            Event::Lie => {
                state.lies += 1;
                // The same numbers with a forbidden unit, whatever became of the first copy.
                let mut frame = self.segment(0, self.cut(), &state.client);
                frame.data[0] = b'x';
                self.arrive(&mut state, &frame);
            }
            Event::Restart => {
                // The state of the gate is kept; what it had sent, and what stood in its queues, is lost.
                state.restarts += 1;
                state.flying.clear();
            }
            Event::Round => self.round(&mut state),
        }
        Some(state)
    }

    fn properties(&self) -> Vec<Property<Self>> {
        vec![
            Property::always("I1: no forbidden unit can be read by a robot", |_, state: &State| {
                state.robots.iter().all(|robot| robot.in_order().chunks(2).all(|unit| unit[0] == b'a'))
            }),
            Property::always("I2: the robot reads the allowed units in order", |cell: &Self, state: &State| {
                state.lies > 0 || cell.expected().0.starts_with(&state.robots[0].in_order())
            }),
            Property::always("I5: two copies of a byte are the same", |_, state: &State| {
                state.robots[0] == state.robots[1]
            }),
            Property::always("I8: the client reads replies and answers in order", |cell: &Self, state: &State| {
                state.lies > 0 || cell.expected().1.starts_with(&state.client.in_order())
            }),
            Property::eventually("I6: all is delivered and acknowledged, or refused", |cell: &Self, state: &State| {
                cell.is_done(state)
            }),
        ]
    }
}

fn check(cell: Cell) {
    let checker = cell.clone().checker().threads(1).spawn_dfs().join();
    println!("{cell:?}: {} states, {} of them different", checker.state_count(), checker.unique_state_count());
    checker.assert_properties();
}

fn cells(losses: u8, doubles: u8, lies: u8, restarts: u8) {
    for stream in [&b"a1r2"[..], b"a1r2a3", b"a1x2a3", b"r1a2a3"] {
        for spliced in [false, true] {
            check(Cell { stream, spliced, losses, doubles, lies, restarts });
        }
    }
}

#[test]
fn every_order_with_a_loss_and_a_double() {
    cells(1, 1, 0, 0);
}

#[test]
fn every_order_with_two_losses() {
    cells(2, 0, 0, 0);
}

#[test]
fn every_order_with_a_lie() {
    cells(0, 1, 1, 0);
    cells(1, 0, 2, 0);
}

#[test]
fn every_order_with_a_restart_of_the_packet_process() {
    cells(1, 0, 0, 1);
}
