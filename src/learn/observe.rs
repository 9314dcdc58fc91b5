mod external_control;

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use ::external_control::Channel;
use dissect::Toward;

use super::program::{self, Opened};
use super::spread::Spread;
use crate::command::{Class, Command, External, Service, Socket, of_fact};

/// Different behaviours that one client and service may show; further ones are counted, not kept. A cell's cycle has
/// some dozens; thousands are a scan.
const BEHAVIOURS: usize = 4096;

/// Behaviours of all clients and services together.
const ALL_BEHAVIOURS: usize = 32_768;

/// Clients and services; further ones are counted, not kept.
const GROUPS: usize = 1024;

/// Ports that no dissector reads, of one client: a scan of all ports must leave room for others.
const PORTS: usize = 64;

/// Longest name or argument that is kept, in bytes; a longer one can't become part of a rule.
const LONGEST: usize = 512;

/// Bytes of a text that are kept for people to see.
const SHOWN: usize = 60;

/// At what rate data is taken to flow where the client can't ask for one (RTDE version 1), in hertz; as policies do.
/// Source: Universal Robots' client library, 500 Hz for e-Series.
const FASTEST_HZ: f64 = 500.0;

/// Computers whose texts are kept while they come, and the longest such text.
const TEXTS: (usize, usize) = (8, 1 << 20);

const EXTERNAL: Service = Service::ExternalControl;

/// Who was seen, when.
#[derive(Clone, Copy, Debug)]
pub struct Seen {
    /// The address on the plant's side, whoever opened the connection.
    pub peer: IpAddr,
    /// Who opened the connection: [`Toward::Robot`] = the plant side did.
    pub opened: Toward,
    /// The service.
    pub service: Service,
    /// Wall clock, nanoseconds since 1970.
    pub wall_ns: u64,
}

impl Seen {
    /// Whether the robot commands.
    fn is_egress(&self) -> bool {
        self.service.commands_toward(self.opened) == Toward::Plant
    }
}

/// How often and when.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Count {
    pub(super) count: u64,
    pub(super) first_ns: u64,
    pub(super) last_ns: u64,
}

impl Count {
    fn see(&mut self, wall_ns: u64) {
        *self = self.with(Self { count: 1, first_ns: wall_ns, last_ns: wall_ns });
    }

    /// Both together.
    pub(super) fn with(self, other: Self) -> Self {
        if self.count == 0 {
            return other;
        }
        Self {
            count: self.count.saturating_add(other.count),
            first_ns: self.first_ns.min(other.first_ns),
            last_ns: self.last_ns.max(other.last_ns),
        }
    }
}

/// What one command would need a rule to say; what goes into one rule together has the same key but for its values.
///
/// `off` tells units of a dangerous class, or with functions of no known effect, from the others.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Behaviour {
    Modbus {
        function: u8,
        sub_function: Option<u16>,
        unit: u8,
        /// First and last address.
        read: Option<(u16, u16)>,
        /// First and last address.
        write: Option<(u16, u16)>,
    },
    Dashboard {
        verb: &'static str,
        /// `None` for verbs that take none.
        argument: Option<Vec<u8>>,
    },
    RtdeOutput(Vec<u8>),
    RtdeInput(Vec<u8>),
    RtdeMessage,
    /// A unit by its hash, with what people may know it by.
    Script {
        kind: &'static str,
        hash: [u8; 32],
        name: Vec<u8>,
        unknown: bool,
    },
    Function {
        kind: &'static str,
        off: bool,
        name: Vec<u8>,
    },
    Assign {
        kind: &'static str,
        off: bool,
        target: Vec<u8>,
    },
    Connect {
        kind: &'static str,
        off: bool,
        target: Vec<u8>,
    },
    Bare(&'static str),
    /// A mode of external control; its values are time-outs.
    Mode(&'static str),
    /// A joint that external control sends to positions, by set-points or points: its values.
    Position(u8),
    /// A point of a trajectory that is a pose to one edition of the program that reads it, and joints to another.
    AmbiguousPoint,
    /// How far the joint went from one set-point to the next.
    Step(u8),
    /// How fast the joint went from one point of a trajectory to the next, in rad/s, its duration taken for microseconds.
    PointSpeed(u8),
    /// A point that says its velocity instead of a duration: that velocity.
    PointVelocity,
    /// A point that says neither, or a pose: how fast joints turn on the way to it can't be told.
    PointUntimed,
    /// An axis of the poses that external control sends the tool to: its values.
    Axis(u8),
    /// How far the tool went from one pose to the next, in m.
    PoseStep,
    /// By which angle it turned meanwhile, in rad.
    PoseTurn,
    /// A function of external control.
    Order(&'static str),
    /// A number that such a function is called with, by its place among all of them: its values.
    OrderArgument(&'static str, u8),
    /// A text handed to the robot, by its hash.
    Handed([u8; 32]),
    Connection,
    /// What no rule can allow: why, and its beginning.
    Odd(&'static str, Vec<u8>),
}

/// One behaviour with its count and values.
#[derive(Clone, Debug, Default)]
pub(super) struct Row {
    pub(super) count: Count,
    pub(super) values: Spread,
    /// Whether a proposal switches it off: of a dangerous class, or of no known effect.
    pub(super) off: bool,
}

impl Row {
    /// Adds a number, or a stretch that one command may reach, to what was seen right now.
    fn number(&mut self, low: f64, high: f64, step: f64) {
        self.values.see(low, high, step, self.count.last_ns);
    }
}

/// What one client did with one service.
#[derive(Clone, Debug, Default)]
pub(super) struct Group {
    pub(super) rows: BTreeMap<Behaviour, Row>,
    pub(super) commands: Count,
    /// In hertz, of RTDE outputs.
    pub(super) frequency: Spread,
    /// The last joint positions that external control sent.
    target: Option<[i32; 6]>,
    /// The last pose that it sent.
    pose: Option<[i32; 6]>,
    /// The last joint positions of the trajectory that it is sending.
    point: Option<[i32; 6]>,
    /// Observations that found no room.
    pub(super) dropped: u64,
}

/// Everything seen since learning began.
///
/// Bounded: at most 1,024 pairs of client and service, of which 64 a client are ports that no dissector reads; 4,096
/// behaviours each and 32,768 together, of at most 512 bytes and 16 ranges of values. What finds no room is counted
/// and told of in the proposal.
#[derive(Clone, Debug, Default)]
pub struct Observations {
    pub(super) groups: BTreeMap<(IpAddr, bool, Service), Group>,
    /// What programs say of the sockets that they open to a computer.
    pub(super) sockets: BTreeMap<(IpAddr, Channel), Opened>,
    /// Texts that computers are handing over, or have handed over last.
    texts: BTreeMap<IpAddr, Vec<u8>>,
    /// Behaviours in all groups.
    kept: usize,
    /// Observations of clients and services that found no room.
    pub(super) dropped: u64,
    /// What the policy before denies and was seen again.
    pub(super) denied: BTreeMap<(IpAddr, bool, Service), Count>,
}

/// A group, with the room that is left for behaviours.
struct Keeper<'o> {
    group: &'o mut Group,
    kept: &'o mut usize,
    wall_ns: u64,
    off: bool,
}

/// Whether single commands are seen; otherwise the connection counts as one.
fn is_judged(service: Service, egress: bool) -> bool {
    service == EXTERNAL || service.is_judged(if egress { Toward::Plant } else { Toward::Robot })
}

impl Observations {
    fn keeper(&mut self, seen: &Seen, off: bool) -> Option<Keeper<'_>> {
        let egress = seen.is_egress();
        let key = (seen.peer, egress, seen.service);
        if !self.groups.contains_key(&key) {
            let own = self.groups.range((seen.peer, egress, Service::Modbus)..);
            let own = own.take_while(|((peer, ..), _)| *peer == seen.peer);
            let ports = own.filter(|((_, egress, service), _)| !is_judged(*service, *egress)).count();
            let is_port = !is_judged(seen.service, egress);
            if self.groups.len() >= GROUPS || (is_port && ports >= PORTS) {
                self.dropped = self.dropped.saturating_add(1);
                return None;
            }
        }
        let group = self.groups.entry(key).or_default();
        Some(Keeper { group, kept: &mut self.kept, wall_ns: seen.wall_ns, off })
    }

    /// A connection, or the first datagram of an exchange.
    pub fn connection(&mut self, seen: &Seen) {
        let egress = seen.is_egress();
        if !is_judged(seen.service, egress)
            && let Some(mut keeper) = self.keeper(seen, false)
        {
            keeper.see(Behaviour::Connection);
        }
    }

    /// The socket of external control that a computer's port is, as a program said that came before.
    pub fn socket(&mut self, peer: IpAddr, port: u16) -> Option<Socket> {
        // It may still be coming: what follows belongs to the same text.
        if let Some(text) = self.texts.get(&peer).cloned() {
            self.program(peer, &text);
        }
        let own = self.sockets.iter().filter(|((own, _), _)| *own == peer);
        own.filter(|((_, channel), opened)| opened.port.unwrap_or(channel.port()) == port)
            .map(|((_, channel), opened)| Socket {
                channel: *channel,
                fields: opened.fields.or(channel.fields()).unwrap_or(0),
            })
            .next()
    }

    /// A part of a text that a computer hands to the robot.
    pub fn part(&mut self, peer: IpAddr, bytes: &[u8]) {
        let (most, longest) = TEXTS;
        if self.texts.len() >= most && !self.texts.contains_key(&peer) {
            return;
        }
        let text = self.texts.entry(peer).or_default();
        text.extend_from_slice(bytes.get(..longest.saturating_sub(text.len()).min(bytes.len())).unwrap_or_default());
    }

    /// Reads what a program says of its sockets. The last one counts: it is the one that runs.
    fn program(&mut self, peer: IpAddr, text: &[u8]) {
        for (channel, opened) in program::sockets(text) {
            if self.sockets.len() < GROUPS || self.sockets.contains_key(&(peer, channel)) {
                let known = self.sockets.entry((peer, channel)).or_default();
                *known = Opened { port: opened.port.or(known.port), fields: opened.fields.or(known.fields) };
            }
        }
    }

    /// A command.
    pub fn command(&mut self, seen: &Seen, command: &Command<'_>) {
        match command {
            // A driver without a program on the pendant uploads it itself.
            Command::UrScript(unit) => self.program(seen.peer, unit.text),
            Command::External(External::Text { .. }) => {
                if let Some(text) = self.texts.remove(&seen.peer) {
                    self.program(seen.peer, &text);
                }
            }
            _ => {}
        }
        let off = command.classes().iter().any(Class::is_dangerous);
        let Some(mut keeper) = self.keeper(seen, off) else { return };
        keeper.group.commands.see(seen.wall_ns);
        match command {
            Command::Modbus(request) => keeper.modbus(request),
            Command::Rtde(request) => keeper.rtde(request),
            Command::Dashboard(line) => keeper.dashboard(line),
            Command::UrScript(unit) => keeper.script(unit),
            Command::External(unit) => keeper.external(unit),
            Command::Transport(_) => keeper.see(Behaviour::Connection),
        }
    }

    /// A command that a deny rule of the policy before names: it is counted, and nothing is learned from it.
    pub fn denied(&mut self, seen: &Seen) {
        let key = (seen.peer, seen.is_egress(), seen.service);
        if self.denied.len() < GROUPS || self.denied.contains_key(&key) {
            self.denied.entry(key).or_default().see(seen.wall_ns);
        }
    }

    /// How many commands [`Self::denied`] counted.
    #[must_use]
    pub fn denied_commands(&self) -> u64 {
        self.denied.values().fold(0, |sum, count| sum.saturating_add(count.count))
    }

    /// Commands seen.
    #[must_use]
    pub fn commands(&self) -> u64 {
        self.groups.values().fold(0, |sum, group| sum.saturating_add(group.commands.count))
    }

    /// Different behaviours seen: rows of rules.
    #[must_use]
    pub fn behaviours(&self) -> u64 {
        u64::try_from(self.kept).unwrap_or(u64::MAX)
    }
}

impl Keeper<'_> {
    fn row(&mut self, behaviour: Behaviour) -> Option<&mut Row> {
        if !self.group.rows.contains_key(&behaviour) {
            if self.group.rows.len() >= BEHAVIOURS || *self.kept >= ALL_BEHAVIOURS {
                self.group.dropped = self.group.dropped.saturating_add(1);
                return None;
            }
            *self.kept = self.kept.saturating_add(1);
        }
        let row = self.group.rows.entry(behaviour).or_default();
        row.count.see(self.wall_ns);
        row.off |= self.off;
        Some(row)
    }

    fn see(&mut self, behaviour: Behaviour) {
        self.row(behaviour);
    }

    fn odd(&mut self, why: &'static str, text: &[u8]) {
        self.see(Behaviour::Odd(why, shown(text)));
    }

    fn modbus(&mut self, request: &modbus::Request<'_>) {
        // A function of no known effect is for a person to decide.
        self.off |= !request.known();
        let span = |span: modbus::Span| (span.address, span.last());
        let Some(row) = self.row(Behaviour::Modbus {
            function: request.function.0,
            sub_function: request.sub_function,
            unit: request.unit.0,
            read: request.read.map(span),
            write: request.write.map(|write| span(write.span)),
        }) else {
            return;
        };
        let Some(write) = &request.write else { return };
        let mut see = |low: u16, high: u16| row.number(low.into(), high.into(), 1.0);
        match write.values {
            modbus::Values::Registers(_) => write.registers().for_each(|value| see(value, value)),
            modbus::Values::Bits(_) => write.bits().map(u16::from).for_each(|bit| see(bit, bit)),
            modbus::Values::Mask { .. } => {
                let (low, high) = write.value_bounds();
                see(low, high);
            }
        }
    }

    fn dashboard(&mut self, line: &dashboard::Line<'_>) {
        let verb = match line.verb {
            Ok(verb) => verb,
            Err(dashboard::GrammarError::UnknownCommand) => return self.odd("an unknown Dashboard command", line.text),
            Err(_) => return self.odd("a line outside the Dashboard's grammar", line.text),
        };
        let argument = match (verb.argument, line.choice()) {
            (dashboard::Argument::None, _) => None,
            (_, Some(choice)) => Some(choice.as_bytes().to_vec()),
            (_, None) if line.argument.len() > LONGEST || std::str::from_utf8(line.argument).is_err() => {
                return self.odd("an argument that no rule can hold", line.text);
            }
            (_, None) => Some(line.argument.to_vec()),
        };
        self.see(Behaviour::Dashboard { verb: verb.name, argument });
    }

    fn rtde(&mut self, request: &rtde::Request<'_>) {
        match request {
            rtde::Request::SetupOutputs { frequency_hz, names } => {
                let frequency = frequency_hz.unwrap_or(FASTEST_HZ);
                self.group.frequency.see(frequency, frequency, 0.0, self.wall_ns);
                for name in names.iter() {
                    if name.len() > LONGEST || std::str::from_utf8(name).is_err() {
                        self.odd("an output that no rule can name", name);
                    } else {
                        self.see(Behaviour::RtdeOutput(name.to_vec()));
                    }
                }
            }
            rtde::Request::SetupInputs { names } => names.iter().for_each(|name| {
                self.input(name);
            }),
            rtde::Request::Data(data) if data.recipe.is_none() => {
                self.odd("a data package of a recipe whose set-up was not seen", &[]);
            }
            rtde::Request::Data(data) => {
                for field in data.fields() {
                    let numbers = numbers(&field.value);
                    if numbers.iter().any(|number| !number.is_finite()) {
                        self.odd(
                            "a value that is no number, written to an RTDE input",
                            field.variable.name().as_bytes(),
                        );
                    }
                    let step = if matches!(
                        field.value,
                        rtde::Value::Double(_) | rtde::Value::Vector3d(_) | rtde::Value::Vector6d(_)
                    ) {
                        0.0
                    } else {
                        1.0
                    };
                    if let Some(row) = self.input(field.variable.name().as_bytes()) {
                        let finite = numbers.into_iter().filter(|number| number.is_finite());
                        finite.for_each(|number| row.number(number, number, step));
                    }
                }
            }
            rtde::Request::Message(_) => self.see(Behaviour::RtdeMessage),
            _ => {}
        }
    }

    fn input(&mut self, name: &[u8]) -> Option<&mut Row> {
        if rtde::Variable::named(name).is_input() {
            return self.row(Behaviour::RtdeInput(name.to_vec()));
        }
        self.odd("an RTDE input in no table", name);
        None
    }

    fn script(&mut self, unit: &urscript::Unit<'_>) {
        use urscript::{Category, Fact, Kind};
        if unit.ambiguous {
            return self.odd("a script with more than one reading", unit.text);
        }
        let kind = unit.kind.name();
        let facts = || unit.facts().filter(|fact| !matches!(fact, Fact::Call { category: Category::Local, .. }));
        let unknown = facts().any(|fact| of_fact(&fact) == Some(Class::Unknown));
        let by_hash = |name: &[u8]| Behaviour::Script { kind, hash: unit.token_hash(), name: shown(name), unknown };
        match unit.kind {
            // Every rule for scripts lets it go.
            Kind::Blank => return,
            Kind::Bare => {
                return match unit.bare() {
                    Some(name) => self.see(Behaviour::Bare(name)),
                    None => self.odd("an unknown bare command", unit.text),
                };
            }
            // The hash of a whole program says all that it does; whoever reads it decides.
            Kind::Program | Kind::Secondary => return self.see(by_hash(unit.name.unwrap_or_default())),
            Kind::Statement | Kind::Interpreter => {}
        }
        let off = self.off | unknown;
        self.off = off;
        let mut needs = BTreeSet::new();
        for fact in facts() {
            let need = match fact {
                Fact::Call { name, .. } => text(name).map(|name| Behaviour::Function { kind, off, name }),
                Fact::Method { object, name } => {
                    text(&[object, b".", name].concat()).map(|name| Behaviour::Function { kind, off, name })
                }
                Fact::IndexAssign { target } => text(target).map(|target| Behaviour::Assign { kind, off, target }),
                // A socket to any port of a host would be more than was seen.
                Fact::Connect { function: b"socket_open", port: None, .. } | Fact::Connect { target: None, .. } => None,
                Fact::Connect { target: Some(host), port, .. } => {
                    let port = port.map(|port| [b":", port].concat()).unwrap_or_default();
                    text(&[host, &port].concat()).map(|target| Behaviour::Connect { kind, off, target })
                }
            };
            match need {
                Some(need) => needs.insert(need),
                None => return self.see(by_hash(unit.text)),
            };
        }
        if needs.is_empty() {
            return self.see(by_hash(unit.text));
        }
        needs.into_iter().for_each(|need| self.see(need));
    }
}

/// The text if a rule can hold it.
fn text(bytes: &[u8]) -> Option<Vec<u8>> {
    (bytes.len() <= LONGEST && std::str::from_utf8(bytes).is_ok()).then(|| bytes.to_vec())
}

/// The beginning of a text, for people.
fn shown(text: &[u8]) -> Vec<u8> {
    text.get(..text.len().min(SHOWN)).unwrap_or_default().to_vec()
}

#[expect(clippy::cast_precision_loss, reason = "no known input is a UINT64")]
fn numbers(value: &rtde::Value) -> Vec<f64> {
    match *value {
        rtde::Value::Bool(value) => vec![f64::from(u8::from(value))],
        rtde::Value::Uint8(value) => vec![value.into()],
        rtde::Value::Uint32(value) => vec![value.into()],
        rtde::Value::Uint64(value) => vec![value as f64],
        rtde::Value::Int32(value) => vec![value.into()],
        rtde::Value::Double(value) => vec![value],
        rtde::Value::Vector3d(values) => values.to_vec(),
        rtde::Value::Vector6d(values) => values.to_vec(),
        rtde::Value::Vector6Int32(values) => values.map(f64::from).to_vec(),
        rtde::Value::Vector6Uint32(values) => values.map(f64::from).to_vec(),
    }
}
