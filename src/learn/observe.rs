use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use dissect::Toward;

use crate::command::{Command, Service};

/// Different behaviours that one client and service may show; further ones are counted, not kept. A cell's cycle has
/// some dozens; thousands are a scan.
const BEHAVIOURS: usize = 4096;

/// Clients and services; further ones are counted, not kept.
const GROUPS: usize = 1024;

/// Different values of one address or variable that are listed one by one; more become a range.
pub(super) const VALUES: usize = 8;

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

/// How often and when.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Count {
    pub(super) count: u64,
    pub(super) first_ns: u64,
    pub(super) last_ns: u64,
}

impl Count {
    fn see(&mut self, wall_ns: u64) {
        if self.count == 0 {
            self.first_ns = wall_ns;
        }
        self.count = self.count.saturating_add(1);
        self.first_ns = self.first_ns.min(wall_ns);
        self.last_ns = self.last_ns.max(wall_ns);
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
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Behaviour {
    Modbus {
        function: u8,
        unit: u8,
        sub_function: Option<u16>,
        read: Option<(u16, u16)>,
        write: Option<(u16, u16)>,
    },
    Dashboard {
        verb: &'static str,
        argument: Vec<u8>,
    },
    /// A line outside the table or grammar, as it was.
    DashboardOdd(Vec<u8>),
    RtdeOutput(Vec<u8>),
    RtdeInput(Vec<u8>),
    /// A data package of a recipe that was not seen.
    RtdeUnknownData,
    RtdeMessage,
    /// A program or secondary by its hash, with its name.
    Script {
        kind: &'static str,
        hash: [u8; 32],
        name: Vec<u8>,
    },
    Function {
        kind: &'static str,
        name: Vec<u8>,
    },
    Assign {
        kind: &'static str,
        target: Vec<u8>,
    },
    Bare(&'static str),
    /// A text with two readings, or a bare command in no table.
    ScriptOdd(Vec<u8>),
    Connection,
}

/// Numbers seen: a few one by one, else their range.
#[derive(Clone, Debug, Default)]
pub(super) struct Values {
    pub(super) listed: Vec<f64>,
    pub(super) range: Option<(f64, f64)>,
    pub(super) many: bool,
}

impl Values {
    pub(super) fn see(&mut self, value: f64) {
        let (low, high) = self.range.unwrap_or((value, value));
        self.range = Some((low.min(value), high.max(value)));
        if !self.many && !self.listed.iter().any(|known| known.total_cmp(&value).is_eq()) {
            if self.listed.len() < VALUES {
                self.listed.push(value);
                self.listed.sort_by(f64::total_cmp);
            } else {
                self.many = true;
            }
        }
    }

    pub(super) fn join(&mut self, other: &Self) {
        for value in &other.listed {
            self.see(*value);
        }
        if let Some((low, high)) = other.range {
            self.see(low);
            self.see(high);
        }
        self.many |= other.many;
    }
}

/// One behaviour with its count and values.
#[derive(Clone, Debug, Default)]
pub(super) struct Row {
    pub(super) count: Count,
    pub(super) values: Values,
    pub(super) dangerous: bool,
}

/// What one client did with one service.
#[derive(Clone, Debug, Default)]
pub(super) struct Group {
    pub(super) rows: BTreeMap<Behaviour, Row>,
    pub(super) commands: Count,
    pub(super) frequency: Values,
    pub(super) dropped: u64,
}

/// Everything seen since learning began. Bounded: at most 1,024 pairs of client and service with 4,096 behaviours each.
#[derive(Clone, Debug, Default)]
pub struct Observations {
    pub(super) groups: BTreeMap<(IpAddr, bool, Service), Group>,
    pub(super) dropped: u64,
}

impl Observations {
    fn group(&mut self, seen: &Seen) -> Option<&mut Group> {
        let key = (seen.peer, seen.opened == Toward::Plant, seen.service);
        if !self.groups.contains_key(&key) && self.groups.len() >= GROUPS {
            self.dropped = self.dropped.saturating_add(1);
            return None;
        }
        Some(self.groups.entry(key).or_default())
    }

    /// A connection, or the first datagram of an exchange.
    pub fn connection(&mut self, seen: &Seen) {
        let wall_ns = seen.wall_ns;
        if (!seen.service.is_dissected() || seen.opened == Toward::Plant)
            && let Some(group) = self.group(seen)
        {
            group.see(Behaviour::Connection, wall_ns, false, &[]);
        }
    }

    /// A command.
    pub fn command(&mut self, seen: &Seen, command: &Command<'_>) {
        let wall_ns = seen.wall_ns;
        let Some(group) = self.group(seen) else { return };
        group.commands.see(wall_ns);
        let dangerous = command.classes().iter().any(crate::command::Class::is_dangerous);
        match command {
            Command::Modbus(request) => group.modbus(request, wall_ns, dangerous),
            Command::Rtde(request) => group.rtde(request, wall_ns, dangerous),
            Command::Dashboard(line) => {
                let behaviour = match line.verb {
                    Ok(verb) => Behaviour::Dashboard { verb: verb.name, argument: line.argument.to_vec() },
                    Err(_) => Behaviour::DashboardOdd(line.text.to_vec()),
                };
                group.see(behaviour, wall_ns, dangerous, &[]);
            }
            Command::UrScript(unit) => group.script(unit, wall_ns, dangerous),
            Command::Transport(_) => group.see(Behaviour::Connection, wall_ns, dangerous, &[]),
        }
    }

    /// Commands seen.
    #[must_use]
    pub fn commands(&self) -> u64 {
        self.groups.values().fold(0, |sum, group| sum.saturating_add(group.commands.count))
    }

    /// Different behaviours seen: rows of rules.
    #[must_use]
    pub fn behaviours(&self) -> u64 {
        let rows = self.groups.values().map(|group| group.rows.len());
        rows.fold(0, |sum, rows| sum.saturating_add(u64::try_from(rows).unwrap_or(u64::MAX)))
    }
}

impl Group {
    fn see(&mut self, behaviour: Behaviour, wall_ns: u64, dangerous: bool, values: &[f64]) {
        if !self.rows.contains_key(&behaviour) && self.rows.len() >= BEHAVIOURS {
            self.dropped = self.dropped.saturating_add(1);
            return;
        }
        let row = self.rows.entry(behaviour).or_default();
        row.count.see(wall_ns);
        row.dangerous |= dangerous;
        values.iter().for_each(|value| row.values.see(*value));
    }

    fn modbus(&mut self, request: &modbus::Request<'_>, wall_ns: u64, dangerous: bool) {
        let values: Vec<f64> = match &request.write {
            Some(write) => match write.values {
                modbus::Values::Registers(_) => write.registers().map(f64::from).collect(),
                modbus::Values::Bits(_) => write.bits().map(|bit| f64::from(u8::from(bit))).collect(),
                modbus::Values::Mask { .. } => {
                    let (low, high) = write.value_bounds();
                    vec![f64::from(low), f64::from(high)]
                }
            },
            None => Vec::new(),
        };
        let behaviour = Behaviour::Modbus {
            function: request.function.0,
            unit: request.unit.0,
            sub_function: request.sub_function,
            read: request.read.map(|span| (span.address, span.last())),
            write: request.write.map(|write| (write.span.address, write.span.last())),
        };
        // A function of no known effect is for a person to decide.
        self.see(behaviour, wall_ns, dangerous || !request.known(), &values);
    }

    fn rtde(&mut self, request: &rtde::Request<'_>, wall_ns: u64, dangerous: bool) {
        match request {
            rtde::Request::SetupOutputs { frequency_hz, names } => {
                frequency_hz.iter().for_each(|frequency| self.frequency.see(*frequency));
                names.iter().for_each(|name| self.see(Behaviour::RtdeOutput(name.to_vec()), wall_ns, false, &[]));
            }
            rtde::Request::SetupInputs { names } => {
                names.iter().for_each(|name| self.see(Behaviour::RtdeInput(name.to_vec()), wall_ns, dangerous, &[]));
            }
            rtde::Request::Data(data) if data.recipe.is_none() => {
                self.see(Behaviour::RtdeUnknownData, wall_ns, true, &[]);
            }
            rtde::Request::Data(data) => {
                for field in data.fields() {
                    let name = field.variable.name().as_bytes().to_vec();
                    self.see(Behaviour::RtdeInput(name), wall_ns, dangerous, &numbers(&field.value));
                }
            }
            rtde::Request::Message(_) => self.see(Behaviour::RtdeMessage, wall_ns, dangerous, &[]),
            _ => {}
        }
    }

    fn script(&mut self, unit: &urscript::Unit<'_>, wall_ns: u64, dangerous: bool) {
        use urscript::{Fact, Kind};
        let odd = || Behaviour::ScriptOdd(unit.text.get(..unit.text.len().min(60)).unwrap_or_default().to_vec());
        if unit.ambiguous {
            self.see(odd(), wall_ns, true, &[]);
            return;
        }
        let kind = match unit.kind {
            Kind::Bare => {
                let behaviour = unit.bare().map_or_else(odd, Behaviour::Bare);
                self.see(behaviour, wall_ns, dangerous || unit.bare().is_none(), &[]);
                return;
            }
            Kind::Program | Kind::Secondary => {
                let kind = if unit.kind == Kind::Program { "program" } else { "secondary" };
                let name = unit.name.unwrap_or_default().to_vec();
                self.see(Behaviour::Script { kind, hash: unit.token_hash(), name }, wall_ns, dangerous, &[]);
                return;
            }
            Kind::Statement => "statement",
            Kind::Interpreter => "interpreter",
            // Every rule for scripts lets it go.
            Kind::Blank => return,
        };
        let mut functions = BTreeSet::new();
        for fact in unit.facts() {
            let behaviour = match fact {
                Fact::Call { category: urscript::Category::Local, .. } | Fact::Connect { .. } => continue,
                Fact::Call { name, .. } => Behaviour::Function { kind, name: name.to_vec() },
                Fact::IndexAssign { target, .. } => Behaviour::Assign { kind, target: target.to_vec() },
                Fact::Method { object, name, .. } => Behaviour::Function { kind, name: [object, b".", name].concat() },
            };
            functions.insert(behaviour);
        }
        if functions.is_empty() {
            functions.insert(Behaviour::Script { kind, hash: unit.token_hash(), name: unit.text.to_vec() });
        }
        functions.into_iter().for_each(|behaviour| self.see(behaviour, wall_ns, dangerous, &[]));
    }
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
