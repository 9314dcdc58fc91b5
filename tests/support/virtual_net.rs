//! Two TCP stacks, two bad cables and the packet path between them, in virtual time.
//!
//! ```text
//!   plant (smoltcp) ══ cable ══ Pipeline ══ cable ══ robot (smoltcp)
//! ```
//! Nothing sleeps and nothing reads a clock: [`Cell::step`] jumps to the next moment at which something is due and does
//! it. The same rules, rates and seed give the same run, frame for frame.
//!
//! Both sides are a [`Host`] with any number of [`Line`]s (one end of a TCP connection); either may listen or connect.

use std::cell::Cell as Shared;
use std::collections::{BTreeMap, VecDeque};
use std::net::Ipv4Addr;
use std::sync::Arc;

use dissect::Toward;
use link::Mac;
use smoltcp::iface::{Config, Interface, SocketHandle, SocketSet};
use smoltcp::phy::{self, DeviceCapabilities, Medium};
use smoltcp::socket::tcp;
use smoltcp::time::Instant;
use smoltcp::wire::{EthernetAddress, HardwareAddress, IpCidr};
use vambrace::engine::{Actions, Arena, Checksums, Device, Mode, Out, Pipeline, Rules};
use vambrace::event::{Reason, Record};
use vambrace::nic::impairment::{Impairment, Rates, Share};
use vambrace::nic::{BATCH, Frame, FrameMeta};
use vambrace::policy::{Asset, Moment, Policy};

/// The client's address, called `plc` in policies.
pub const PLANT: Ipv4Addr = Ipv4Addr::new(10, 20, 0, 21);
/// The robot's address, called `robot` in policies.
pub const ROBOT: Ipv4Addr = Ipv4Addr::new(10, 20, 0, 40);
const PLANT_MAC: Mac = Mac([2, 0, 0, 0, 0, 21]);
const ROBOT_MAC: Mac = Mac([2, 0, 0, 0, 0, 40]);

/// One second in nanoseconds.
pub const SECOND_NS: u64 = 1_000_000_000;

/// A good cable: 20 microseconds.
pub const GOOD: Rates = Rates {
    loss: Share::NONE,
    duplicate: Share::NONE,
    reorder: Share::NONE,
    corrupt: Share::NONE,
    split: Share::NONE,
    merge: Share::NONE,
    fragment: Share::NONE,
    delay_ns: 20_000,
    jitter_ns: 0,
};

/// 5 % loss, reordering and duplication.
pub const ROUGH: Rates = Rates {
    loss: Share::percent(5),
    duplicate: Share::percent(5),
    reorder: Share::percent(5),
    jitter_ns: 20_000,
    ..GOOD
};

/// Nothing is lost, but segments are doubled, reordered, cut and joined.
pub const CUTTING: Rates = Rates { loss: Share::NONE, split: Share::percent(10), merge: Share::percent(10), ..ROUGH };

/// All of it, and 2 % damaged.
pub const WILD: Rates = Rates { loss: Share::percent(5), corrupt: Share::percent(2), ..CUTTING };

/// Rules of `mode` by a policy in which the client is called `plc` and the robot `robot`.
pub fn rules(mode: Mode, policy: &str) -> Arc<Rules> {
    let asset =
        |name: &str, address: Ipv4Addr, is_robot| Asset { name: name.into(), address: address.into(), is_robot };
    let assets = vec![asset("robot", ROBOT, true), asset("plc", PLANT, false)];
    let moment = Moment { wall_ns: 0, monotonic_ns: 1 };
    let policy = Policy::compile("policy.toml", policy, &assets, 1, moment).unwrap_or_else(|error| panic!("{error}"));
    let device =
        |asset: Asset| Device { name: asset.name, address: asset.address, mac: None, is_robot: asset.is_robot };
    Arc::new(Rules {
        mode,
        policy: Arc::new(policy),
        devices: assets.into_iter().map(device).collect(),
        pass: Vec::new(),
        pass_stp: true,
        dcp_set: false,
        checksums: Checksums::Verify,
        bind: true,
    })
}

thread_local! {
    /// Where the stacks' timestamps option gets its value from: their generator takes no argument.
    static NOW_MS: Shared<u32> = const { Shared::new(0) };
}

/// The network card of a stack: frames in, frames out.
#[derive(Default)]
struct Card {
    inbox: VecDeque<Vec<u8>>,
    outbox: Vec<Vec<u8>>,
    /// Frames that were read; their memory goes back to the cable.
    done: Vec<Vec<u8>>,
    spare: Vec<Vec<u8>>,
}

struct Incoming<'c>(Vec<u8>, &'c mut Vec<Vec<u8>>);

struct Outgoing<'c>(&'c mut Vec<Vec<u8>>, &'c mut Vec<Vec<u8>>);

impl phy::RxToken for Incoming<'_> {
    fn consume<R, F: FnOnce(&[u8]) -> R>(self, read: F) -> R {
        let result = read(&self.0);
        self.1.push(self.0);
        result
    }
}

impl phy::TxToken for Outgoing<'_> {
    fn consume<R, F: FnOnce(&mut [u8]) -> R>(self, len: usize, write: F) -> R {
        let mut bytes = self.1.pop().unwrap_or_default();
        bytes.clear();
        bytes.resize(len, 0);
        let result = write(&mut bytes);
        self.0.push(bytes);
        result
    }
}

impl phy::Device for Card {
    type RxToken<'c> = Incoming<'c>;
    type TxToken<'c> = Outgoing<'c>;

    fn receive(&mut self, _: Instant) -> Option<(Incoming<'_>, Outgoing<'_>)> {
        let bytes = self.inbox.pop_front()?;
        Some((Incoming(bytes, &mut self.done), Outgoing(&mut self.outbox, &mut self.spare)))
    }

    fn transmit(&mut self, _: Instant) -> Option<Outgoing<'_>> {
        Some(Outgoing(&mut self.outbox, &mut self.spare))
    }

    fn capabilities(&self) -> DeviceCapabilities {
        let mut capabilities = DeviceCapabilities::default();
        capabilities.medium = Medium::Ethernet;
        capabilities.max_transmission_unit = 1514;
        capabilities
    }
}

/// What answers on a line: gets the bytes that it has not taken yet, appends what it answers, says how many it took.
pub type Service = Box<dyn FnMut(&[u8], &mut Vec<u8>) -> usize>;

/// One end of a TCP connection.
pub struct Line {
    handle: SocketHandle,
    state: tcp::State,
    received: Vec<u8>,
    /// Up to where the service has taken what was received.
    taken: usize,
    unsent: Vec<u8>,
    sent: usize,
    /// Lengths of the pieces in `unsent` that go in segments of their own.
    pieces: VecDeque<usize>,
    closing: bool,
    service: Option<Service>,
}

impl Line {
    fn new(handle: SocketHandle, service: Option<Service>) -> Self {
        Self {
            handle,
            state: tcp::State::Closed,
            received: Vec::new(),
            taken: 0,
            unsent: Vec::new(),
            sent: 0,
            pieces: VecDeque::new(),
            closing: false,
            service,
        }
    }

    /// Sends bytes; what one call sends begins a segment of its own.
    pub fn send(&mut self, bytes: &[u8]) {
        self.unsent.extend_from_slice(bytes);
        self.pieces.push_back(bytes.len());
    }

    /// Ends this direction after everything before it.
    pub fn close(&mut self) {
        self.closing = true;
    }

    /// Everything received since the start.
    pub fn received(&self) -> &[u8] {
        &self.received
    }

    /// State of the connection after the last step.
    pub fn state(&self) -> tcp::State {
        self.state
    }

    /// Whether it stands and nothing ended it.
    pub fn is_established(&self) -> bool {
        self.state == tcp::State::Established
    }

    /// Reads and writes; says whether the stack has something to do because of it.
    fn pump(&mut self, socket: &mut tcp::Socket<'_>) -> bool {
        self.state = socket.state();
        let mut busy = false;
        while socket.can_recv() {
            let _ = socket.recv(|bytes| {
                self.received.extend_from_slice(bytes);
                (bytes.len(), ())
            });
            busy = true;
        }
        if let Some(service) = &mut self.service {
            while self.taken < self.received.len() {
                let before = self.unsent.len();
                let taken = service(&self.received[self.taken..], &mut self.unsent);
                self.taken += taken;
                if self.unsent.len() > before {
                    self.pieces.push_back(self.unsent.len() - before);
                }
                if taken == 0 {
                    break;
                }
            }
        }
        if let Some(piece) = self.pieces.front_mut()
            && socket.can_send()
        {
            let sent = socket.send_slice(&self.unsent[self.sent..self.sent + *piece]).unwrap_or(0);
            self.sent += sent;
            *piece -= sent;
            if *piece == 0 {
                self.pieces.pop_front();
            }
            if self.pieces.is_empty() {
                self.unsent.clear();
                self.sent = 0;
            }
            busy |= sent > 0;
        }
        if self.closing && self.pieces.is_empty() && socket.may_send() {
            socket.close();
            busy = true;
        }
        busy
    }
}

/// A stack with its card and its lines.
pub struct Host {
    interface: Interface,
    sockets: SocketSet<'static>,
    card: Card,
    lines: Vec<Line>,
    /// When it wants to be looked at; `None` = only when a frame comes.
    due_ns: Option<u64>,
    next_port: u16,
}

impl Host {
    fn new(address: Ipv4Addr, mac: Mac, seed: u64) -> Self {
        let mut card = Card::default();
        let mut config = Config::new(HardwareAddress::Ethernet(EthernetAddress(mac.0)));
        config.random_seed = seed;
        let mut interface = Interface::new(config, &mut card, Instant::ZERO);
        interface.update_ip_addrs(|addresses| addresses.push(IpCidr::new(address.into(), 24)).unwrap());
        let sockets = SocketSet::new(Vec::new());
        Self { interface, sockets, card, lines: Vec::new(), due_ns: Some(0), next_port: 40_000 }
    }

    fn socket() -> tcp::Socket<'static> {
        // As a kernel's: the largest windows without scaling, timestamps on, every write its own segment.
        let buffer = || tcp::SocketBuffer::new(vec![0; 65_535]);
        let mut socket = tcp::Socket::new(buffer(), buffer());
        socket.set_nagle_enabled(false);
        socket.set_tsval_generator(Some(|| NOW_MS.get()));
        socket
    }

    /// Waits for one connection to `port`; the service answers on it. Says which line it is.
    pub fn listen(&mut self, port: u16, service: Option<Service>) -> usize {
        let mut socket = Self::socket();
        socket.listen(port).unwrap();
        self.add(socket, service)
    }

    /// Opens a connection. Says which line it is.
    pub fn connect(&mut self, address: Ipv4Addr, port: u16) -> usize {
        let mut socket = Self::socket();
        self.next_port += 1;
        socket.connect(self.interface.context(), (address, port), self.next_port).unwrap();
        self.add(socket, None)
    }

    fn add(&mut self, socket: tcp::Socket<'static>, service: Option<Service>) -> usize {
        let handle = self.sockets.add(socket);
        self.lines.push(Line::new(handle, service));
        self.due_ns = Some(0);
        self.lines.len() - 1
    }

    /// A line.
    pub fn line(&self, at: usize) -> &Line {
        &self.lines[at]
    }

    /// A line to send on.
    pub fn line_mut(&mut self, at: usize) -> &mut Line {
        self.due_ns = Some(0);
        &mut self.lines[at]
    }

    /// Lets the stack work until it has nothing more to do now.
    fn poll(&mut self, now_ns: u64) {
        let now = Instant::from_micros(i64::try_from(now_ns / 1000).unwrap());
        loop {
            self.interface.poll(now, &mut self.card, &mut self.sockets);
            let mut busy = false;
            for line in &mut self.lines {
                busy |= line.pump(self.sockets.get_mut(line.handle));
            }
            if !busy {
                break;
            }
        }
        let at = self.interface.poll_at(now, &self.sockets);
        // A stack that asks for "now" after it was looked at gets its turn a microsecond later.
        self.due_ns = at.map(|at| (u64::try_from(at.total_micros()).unwrap_or(0) * 1000).max(now_ns + 1000));
    }
}

/// The packet path between the cables, carried out as the worker does.
struct Vambrace {
    pipeline: Pipeline<'static>,
    actions: Actions,
    batch: Vec<Vec<u8>>,
    next_poll_ns: u64,
    frames: u64,
    refusals: BTreeMap<Reason, u64>,
    crafted: u64,
    /// The last frames, where they are kept.
    trace: VecDeque<String>,
    trace_len: usize,
}

impl Vambrace {
    fn note(&mut self, what: &str, toward: Toward, bytes: &[u8], now_ns: u64) {
        if self.trace_len == 0 {
            return;
        }
        let text = match link::parse(bytes) {
            Ok(packet) => packet.tcp().map_or_else(
                || format!("{:?}", packet.ether_type),
                |tcp| {
                    let (seq, ack, len) = (tcp.seq, tcp.ack, tcp.payload.len());
                    format!("seq {seq} len {len} ack {ack} window {} flags {:02x}", tcp.window, tcp.flags.0)
                },
            ),
            Err(error) => format!("{error:?}"),
        };
        if self.trace.len() == self.trace_len {
            self.trace.pop_front();
        }
        let (seconds, nanos) = (now_ns / SECOND_NS, now_ns % SECOND_NS);
        self.trace.push_back(format!("{seconds}.{nanos:09} {what:8} toward {toward:?}: {text}"));
    }

    /// A batch of frames toward a side; what leaves is offered to the cables `[plant, robot]`.
    fn handle(&mut self, toward: Toward, now_ns: u64, cables: &mut [Impairment; 2]) {
        let enforces = self.pipeline.rules().mode.enforces();
        for index in 0..self.batch.len() {
            if !self.actions.has_room() {
                self.carry_out(toward, now_ns, cables);
            }
            let bytes = &self.batch[index];
            let meta = FrameMeta { received_ns: now_ns, wire_len: bytes.len() as u32, checksum_partial: false };
            self.actions.begin(index, toward);
            let before = self.actions.outs().len();
            let fate = self.pipeline.handle(toward, &Frame { bytes, meta }, now_ns, &mut self.actions);
            self.frames += 1;
            if self.trace_len != 0 {
                let bytes = self.batch[index].clone();
                self.note(&format!("{fate:?}"), toward, &bytes, now_ns);
            }
            if !enforces {
                let left = &self.actions.outs()[before..];
                assert_eq!(left, [Out::Received { index, toward }], "transparent outside enforcement");
            }
        }
        self.carry_out(toward, now_ns, cables);
        for bytes in self.batch.drain(..) {
            cables[usize::from(toward == Toward::Plant)].recycle(bytes);
        }
    }

    fn poll(&mut self, now_ns: u64, cables: &mut [Impairment; 2]) {
        if now_ns < self.next_poll_ns {
            return;
        }
        self.next_poll_ns = self.pipeline.poll(now_ns, &mut self.actions);
        let enforces = self.pipeline.rules().mode.enforces();
        assert!(enforces || self.actions.outs().is_empty(), "silent outside enforcement");
        self.carry_out(Toward::Robot, now_ns, cables);
    }

    /// Toward the batch's own direction first, then back: the worker's order.
    fn carry_out(&mut self, toward: Toward, now_ns: u64, cables: &mut [Impairment; 2]) {
        if self.trace_len != 0 {
            for out in self.actions.outs().to_vec() {
                if let Out::Crafted { range, toward } = out {
                    let bytes = self.actions.crafted(range).to_vec();
                    self.note("  made", toward, &bytes, now_ns);
                }
            }
        }
        for leaving in [toward, toward.reverse()] {
            let cable = &mut cables[usize::from(leaving == Toward::Robot)];
            for out in self.actions.outs() {
                match *out {
                    Out::Received { index, toward } if toward == leaving => {
                        cable.offer(leaving, &self.batch[index], now_ns);
                    }
                    Out::Crafted { range, toward } if toward == leaving => {
                        self.crafted += 1;
                        cable.offer(leaving, self.actions.crafted(range), now_ns);
                    }
                    _ => {}
                }
            }
        }
        for event in self.actions.events() {
            let reason = match &event.record {
                Record::Command(command) if !command.verdict.is_allowed() => command.verdict.reason,
                Record::Frame(frame) => frame.verdict.reason,
                _ => continue,
            };
            *self.refusals.entry(reason).or_default() += 1;
        }
        self.actions.clear();
    }
}

/// Nothing that was waited for came in time.
#[derive(Debug)]
pub struct Stalled {
    /// Virtual nanoseconds since the cell began.
    pub now_ns: u64,
    /// States of the lines, plant's and robot's.
    pub states: [Vec<tcp::State>; 2],
    /// What was refused.
    pub refusals: BTreeMap<Reason, u64>,
}

/// The whole: two hosts, two cables, the box.
pub struct Cell {
    /// The client's side.
    pub plant: Host,
    /// The robot's side.
    pub robot: Host,
    /// From the plant to the box, and from the box to the robot.
    cables: [Impairment; 2],
    vambrace: Vambrace,
    now_ns: u64,
}

impl Cell {
    /// A cell with these rules whose both cables have these rates.
    pub fn new(rules: Arc<Rules>, rates: Rates, seed: u64) -> Self {
        // Never given back: the kernel gives pages only to what is touched.
        let arena = Box::leak(Arena::boxed(seed));
        let vambrace = Vambrace {
            pipeline: Pipeline::new(arena, rules, ()),
            actions: Actions::new(),
            batch: Vec::new(),
            next_poll_ns: 0,
            frames: 0,
            refusals: BTreeMap::new(),
            crafted: 0,
            trace: VecDeque::new(),
            trace_len: 0,
        };
        let mix = |n: u64| seed.wrapping_mul(4).wrapping_add(n);
        Self {
            plant: Host::new(PLANT, PLANT_MAC, mix(0)),
            robot: Host::new(ROBOT, ROBOT_MAC, mix(1)),
            cables: [Impairment::new(rates, mix(2)), Impairment::new(rates, mix(3))],
            vambrace,
            now_ns: SECOND_NS,
        }
    }

    /// A cell with one connection from the plant to `port` of the robot, established over good cables, which get their
    /// rates afterwards.
    pub fn connected(rules: Arc<Rules>, rates: Rates, seed: u64, port: u16, service: Option<Service>) -> Self {
        let mut cell = Self::new(rules, GOOD, seed);
        cell.robot.listen(port, service);
        cell.plant.connect(ROBOT, port);
        cell.run_until(SECOND_NS, |cell| cell.client().is_established() && cell.server().is_established())
            .unwrap_or_else(|stalled| panic!("no connection: {stalled:?}"));
        cell.set_rates(rates);
        cell
    }

    /// Sets the rates of both cables from now on.
    pub fn set_rates(&mut self, rates: Rates) {
        self.cables.iter_mut().for_each(|cable| cable.set_rates(rates));
    }

    /// The first line of the plant.
    pub fn client(&self) -> &Line {
        self.plant.line(0)
    }

    /// The first line of the plant, to send on.
    pub fn client_mut(&mut self) -> &mut Line {
        self.plant.line_mut(0)
    }

    /// The first line of the robot.
    pub fn server(&self) -> &Line {
        self.robot.line(0)
    }

    /// The first line of the robot, to send on.
    pub fn server_mut(&mut self) -> &mut Line {
        self.robot.line_mut(0)
    }

    /// Virtual nanoseconds since the cell began, at 1 s.
    pub fn now_ns(&self) -> u64 {
        self.now_ns
    }

    /// Frames that the box took from both sides.
    pub fn frames(&self) -> u64 {
        self.vambrace.frames
    }

    /// Frames that the box made itself.
    pub fn crafted(&self) -> u64 {
        self.vambrace.crafted
    }

    /// What the box refused, by reason.
    pub fn refusals(&self) -> &BTreeMap<Reason, u64> {
        &self.vambrace.refusals
    }

    /// The plant's cable and the robot's.
    pub fn cables(&self) -> &[Impairment; 2] {
        &self.cables
    }

    /// Keeps the last `len` frames as text, for [`Cell::trace`].
    pub fn keep_trace(&mut self, len: usize) {
        self.vambrace.trace_len = len;
    }

    /// The frames that went into the box and that it made or dropped, the last ones, one a line.
    pub fn trace(&self) -> String {
        self.vambrace.trace.iter().map(|line| format!("{line}\n")).collect()
    }

    /// Judges by other rules from now on.
    pub fn set_rules(&mut self, rules: Arc<Rules>) {
        self.vambrace.pipeline.set_rules(rules);
    }

    /// When something is due next; never before now.
    fn next_ns(&self) -> u64 {
        let inbox = |host: &Host| (!host.card.inbox.is_empty()).then_some(self.now_ns);
        let next = [
            Some(self.vambrace.next_poll_ns),
            self.cables[0].next_deadline(),
            self.cables[1].next_deadline(),
            self.plant.due_ns,
            self.robot.due_ns,
            inbox(&self.plant),
            inbox(&self.robot),
        ];
        next.into_iter().flatten().min().unwrap_or(0).max(self.now_ns)
    }

    /// Goes to the next moment at which something is due, which may be now, and does it.
    pub fn step(&mut self) {
        self.now_ns = self.next_ns();
        NOW_MS.set((self.now_ns / 1_000_000) as u32);
        let Self { plant, robot, cables, vambrace, now_ns } = self;
        let now = *now_ns;
        for (host, at, toward) in [(&mut *plant, 0, Toward::Robot), (&mut *robot, 1, Toward::Plant)] {
            if !host.card.inbox.is_empty() || host.due_ns.is_some_and(|due| due <= now) {
                host.poll(now);
                for bytes in host.card.outbox.drain(..) {
                    cables[at].offer(toward, &bytes, now);
                    host.card.spare.push(bytes);
                }
                for bytes in host.card.done.drain(..) {
                    cables[at].recycle(bytes);
                }
            }
        }
        for (host, at, toward) in [(&mut *plant, 0, Toward::Robot), (&mut *robot, 1, Toward::Plant)] {
            while let Some(arrival) = cables[at].due(now) {
                if arrival.toward == toward {
                    vambrace.batch.push(arrival.bytes);
                    if vambrace.batch.len() == BATCH {
                        vambrace.handle(toward, now, cables);
                    }
                } else {
                    host.card.inbox.push_back(arrival.bytes);
                }
            }
            if !vambrace.batch.is_empty() {
                vambrace.handle(toward, now, cables);
            }
        }
        vambrace.poll(now, cables);
    }

    /// Steps until something holds, for `patience_ns` of virtual time at most.
    ///
    /// # Errors
    /// It did not come to hold.
    pub fn run_until(&mut self, patience_ns: u64, mut holds: impl FnMut(&Self) -> bool) -> Result<(), Stalled> {
        let end_ns = self.now_ns + patience_ns;
        while !holds(self) {
            if self.now_ns > end_ns {
                let states = |host: &Host| host.lines.iter().map(Line::state).collect();
                let states = [states(&self.plant), states(&self.robot)];
                return Err(Stalled { now_ns: self.now_ns, states, refusals: self.vambrace.refusals.clone() });
            }
            self.step();
        }
        Ok(())
    }

    /// Lets virtual time pass.
    pub fn run_for(&mut self, time_ns: u64) {
        let _ = self.run_until(time_ns, |_| false);
    }

    /// Checks that the box's books balance and that it lost no action.
    pub fn assert_balanced(&self) {
        assert!(self.vambrace.pipeline.counters().balance(), "every frame is accounted for");
        assert_eq!(self.vambrace.actions.lost(), 0, "actions that found no room");
    }
}
