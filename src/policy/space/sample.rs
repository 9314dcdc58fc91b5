//! One command as plain data, and how it is asked about.

use std::sync::LazyLock;

use dissect::{Step, Toward};
use external_control::{Channel, MAX_FIELDS, Motion, Order, Point, Record};
use modbus::{FunctionCode, Request, Span, UnitId, Values, Write};
use rtde::{Names, Variable};
use urscript::{Dialect, Kind};

use super::Moment;
use crate::command::{Command, External, Service};
use crate::event::Verdict;
use crate::policy::{Ask, Client, Policy};
use crate::robot;

/// One command.
#[derive(Clone, Debug, PartialEq)]
pub(in crate::policy) enum Sample {
    Modbus(Modbus),
    /// A line of the Dashboard.
    Line(String),
    /// What only opens or shapes an RTDE session.
    Session,
    /// A text for the controller's log, by RTDE.
    Message,
    Outputs {
        frequency_hz: f64,
        names: Vec<String>,
    },
    Inputs(Vec<String>),
    Data(Vec<(Variable, rtde::Value)>),
    /// Data of a recipe that nobody saw.
    UnknownData,
    Script(Script),
    Motion {
        motion: Motion,
        joints: [i32; 6],
    },
    Point {
        point: Point,
        joints: [i32; 6],
    },
    /// A function of external control, by its number, with its arguments.
    Order {
        number: i32,
        arguments: Vec<i32>,
    },
    /// A text that external control hands to the robot.
    Handed([u8; 32]),
    /// A connection, or a datagram.
    Connect(Service),
}

/// A Modbus request.
#[derive(Clone, Debug, PartialEq)]
pub(in crate::policy) struct Modbus {
    pub(in crate::policy) function: u8,
    pub(in crate::policy) unit: u8,
    pub(in crate::policy) sub_function: Option<u16>,
    pub(in crate::policy) read: Option<Span>,
    pub(in crate::policy) write: Option<(Span, Written)>,
}

/// What a request writes.
#[derive(Clone, Debug, PartialEq)]
pub(in crate::policy) enum Written {
    /// Registers, or coils as 0 and 1; as many as the span has, the last one again where there are fewer.
    Values(Vec<u16>),
    Mask {
        and: u16,
        or: u16,
    },
}

/// A unit of URScript.
#[derive(Clone, Debug, PartialEq)]
pub(in crate::policy) struct Script {
    pub(in crate::policy) kind: Kind,
    pub(in crate::policy) statements: Vec<String>,
    /// Functions that it defines itself.
    pub(in crate::policy) locals: Vec<String>,
    /// Taken for its token hash: then the text is one that nobody here knows, and may not do this at all.
    pub(in crate::policy) hash: Option<[u8; 32]>,
}

/// A sample as the judge reads it.
pub(in crate::policy) struct Built<'a> {
    pub(in crate::policy) command: Command<'a>,
    hash: Option<[u8; 32]>,
    joints: Option<[i32; 6]>,
}

/// Nothing went to the robot before.
static INPUTS: LazyLock<Box<robot::Inputs>> = LazyLock::new(|| Box::new(robot::Inputs::new()));

impl Built<'_> {
    /// The verdict, as if nothing had been sent before.
    pub(in crate::policy) fn ask(&self, policy: &Policy, client: Client, opened: Toward, now: &Moment) -> Verdict {
        let mut state = now.state;
        if let Some(joints) = self.joints {
            state.joints = joints;
            state.joints_at_ns = now.now_ns.max(1);
            // Points are judged as those of a trajectory that began.
            state.track.expected = i32::MAX;
        }
        let ask = Ask {
            client,
            opened,
            command: &self.command,
            state: &state,
            inputs: &INPUTS,
            connection: 0,
            now_ns: now.now_ns,
        };
        let mut rates = robot::Rates::new();
        match (&self.command, self.hash) {
            (Command::UrScript(unit), Some(hash)) => policy.decide_hashed(&ask, unit, hash, &mut rates),
            _ => policy.decide(&ask, &mut rates),
        }
    }
}

impl Sample {
    /// The verdict, as if nothing had been sent before; nothing where the command can't be built.
    pub(in crate::policy) fn ask(
        &self,
        policy: &Policy,
        client: Client,
        opened: Toward,
        now: &Moment,
    ) -> Option<Verdict> {
        self.with(|built| built.ask(policy, client, opened, now))
    }

    /// Whether it stands for texts that nobody here knows, so that it may be that none of them does this.
    pub(in crate::policy) fn is_assumed(&self) -> bool {
        matches!(self, Self::Script(Script { hash: Some(_), .. }))
    }

    /// Whether it asks for nothing: what only opens, shapes or ends a session, and empty lists.
    pub(in crate::policy) fn is_idle(&self) -> bool {
        match self {
            Self::Session => true,
            Self::Line(text) => text == "quit",
            Self::Outputs { names, .. } | Self::Inputs(names) => names.is_empty(),
            Self::Script(script) => script.kind == Kind::Blank,
            Self::Motion { motion, .. } => motion.action.only_stops(),
            _ => false,
        }
    }

    /// Hands it to `then` as the judge reads it; nothing where no such command can be sent.
    pub(in crate::policy) fn with<R>(&self, then: impl FnOnce(&Built<'_>) -> R) -> Option<R> {
        let plain = |command| Built { command, hash: None, joints: None };
        Some(match self {
            Self::Modbus(request) => return request.with(|command| then(&Built { command, hash: None, joints: None })),
            Self::Line(text) => then(&plain(Command::Dashboard(dashboard::Line::read(text.as_bytes())))),
            Self::Session => then(&rtde_built(rtde::Request::Start)),
            Self::Message => {
                let message = rtde::Message { text: b"text", source: b"", level_byte: 0 };
                then(&rtde_built(rtde::Request::Message(message)))
            }
            Self::Outputs { frequency_hz, names } => {
                let names = names.join(",");
                let names = Names(names.as_bytes());
                then(&rtde_built(rtde::Request::SetupOutputs { frequency_hz: Some(*frequency_hz), names }))
            }
            Self::Inputs(names) => {
                let names = names.join(",");
                then(&rtde_built(rtde::Request::SetupInputs { names: Names(names.as_bytes()) }))
            }
            Self::Data(fields) => {
                let variables: Vec<Variable> = fields.iter().map(|(variable, _)| *variable).collect();
                let session = session(&variables)?;
                let mut buffer = vec![0; rtde::MAX_TOWARD_ROBOT];
                let len = rtde::emit::data(Some(1), fields.iter().map(|(_, value)| *value), &mut buffer)?;
                let Ok(Step::Whole { unit, .. }) = rtde::Package::step(buffer.get(..len)?, Toward::Robot) else {
                    return None;
                };
                then(&rtde_built(rtde::Request::read(&unit, &session).ok()?))
            }
            Self::UnknownData => {
                let data = rtde::InputData { recipe_id: 1, recipe: None, values: &[] };
                then(&rtde_built(rtde::Request::Data(data)))
            }
            Self::Script(script) => {
                return script.with(|command| then(&Built { command, hash: script.hash, joints: None }));
            }
            Self::Motion { motion, joints } => {
                let command = Command::External(External::Motion(*motion));
                then(&Built { command, hash: None, joints: Some(*joints) })
            }
            Self::Point { point, joints } => {
                let command = Command::External(External::Point(*point));
                then(&Built { command, hash: None, joints: Some(*joints) })
            }
            Self::Order { number, arguments } => {
                let mut bytes = vec![0; MAX_FIELDS.saturating_mul(4)];
                let integers = std::iter::once(number).chain(arguments);
                bytes.as_chunks_mut().0.iter_mut().zip(integers).for_each(|(slot, own)| *slot = own.to_be_bytes());
                let fields = Channel::ScriptCommand.fields().unwrap_or(MAX_FIELDS);
                let Ok(Step::Whole { unit, .. }) = Record::step(&bytes, fields) else { return None };
                then(&plain(Command::External(External::Order(Order::read(&unit).ok()?))))
            }
            Self::Handed(digest) => then(&plain(Command::External(External::Text { digest: *digest, len: 1 }))),
            Self::Connect(service) => then(&plain(Command::Transport(*service))),
        })
    }
}

fn rtde_built(request: rtde::Request<'_>) -> Built<'_> {
    Built { command: Command::Rtde(request), hash: None, joints: None }
}

impl Modbus {
    fn with<R>(&self, then: impl FnOnce(Command<'_>) -> R) -> Option<R> {
        let mut bytes = Vec::new();
        let write = match &self.write {
            None => None,
            Some((span, Written::Mask { and, or })) => Some((span, Values::Mask { and: *and, or: *or })),
            Some((span, Written::Values(values))) => {
                let last = *values.last()?;
                let all = values.iter().copied().chain(std::iter::repeat(last)).take(usize::from(span.quantity));
                if span.table.is_bits() {
                    bytes = vec![0_u8; usize::from(span.quantity).div_ceil(8)];
                    for (place, _) in all.enumerate().filter(|(_, value)| *value != 0) {
                        *bytes.get_mut(place >> 3)? |= 1 << (place & 7);
                    }
                    Some((span, Values::Bits(&bytes)))
                } else {
                    bytes.extend(all.flat_map(u16::to_be_bytes));
                    Some((span, Values::Registers(&bytes)))
                }
            }
        };
        let request = Request {
            function: FunctionCode(self.function),
            unit: UnitId(self.unit),
            transaction: 1,
            sub_function: self.sub_function,
            read: self.read,
            write: write.map(|(span, values)| Write { span: *span, values }),
            data: &[],
        };
        Some(then(Command::Modbus(request)))
    }
}

impl Script {
    /// The text as it is sent.
    pub(in crate::policy) fn text(&self) -> String {
        let head = match self.kind {
            Kind::Program => "def asked():\n",
            Kind::Secondary => "sec asked():\n",
            // What is one line can do several things inside an expression.
            Kind::Statement | Kind::Interpreter if self.statements.len() > 1 => {
                return format!("x = [{}]\n", self.statements.join(", "));
            }
            _ => return format!("{}\n", self.statements.join(" ")),
        };
        let locals = self.locals.iter().map(|name| format!("  def {name}():\n    x = 1\n  end\n"));
        let statements = self.statements.iter().map(|statement| format!("  {statement}\n"));
        format!("{head}{}end\n", locals.chain(statements).collect::<String>())
    }

    fn with<R>(&self, then: impl FnOnce(Command<'_>) -> R) -> Option<R> {
        let dialect = if self.kind == Kind::Interpreter { Dialect::Interpreter } else { Dialect::Client };
        let text = self.text();
        let mut scanner = urscript::Scanner::default();
        match scanner.step(text.as_bytes(), dialect) {
            Ok(Step::Whole { unit, len }) if len == text.len() && unit.kind == self.kind && !unit.ambiguous => {
                Some(then(Command::UrScript(unit)))
            }
            _ => None,
        }
    }
}

/// A session of version 2 in which recipe 1 has these inputs.
fn session(variables: &[Variable]) -> Option<Box<rtde::Session>> {
    let mut session = Box::new(rtde::Session::new());
    let mut buffer = vec![0; rtde::MAX_TOWARD_ROBOT];
    let mut exchange = |len: Option<usize>, buffer: &[u8], toward: Toward| {
        let Ok(Step::Whole { unit, .. }) = rtde::Package::step(buffer.get(..len?)?, toward) else { return None };
        match toward {
            Toward::Robot => session.request(&unit).ok(),
            Toward::Plant => session.reply(&unit).ok().map(|_| ()),
        }
    };
    // Every connection begins in version 1; what is judged here speaks version 2.
    let len = rtde::Request::ProtocolVersion(2).emit(rtde::Version::V1, &mut buffer);
    exchange(len, &buffer, Toward::Robot)?;
    let len = rtde::Reply::ProtocolVersion { accepted: true }.emit(rtde::Version::V1, &mut buffer);
    exchange(len, &buffer, Toward::Plant)?;
    if !variables.is_empty() {
        let names = variables.iter().map(|variable| variable.name().as_bytes());
        let len = rtde::emit::setup_inputs(names, &mut buffer);
        exchange(len, &buffer, Toward::Robot)?;
        let types = variables.iter().map(|variable| variable.data_type().map(rtde::ReplyType::Data));
        let len = rtde::emit::inputs_reply(1, types.collect::<Option<Vec<_>>>()?, &mut buffer);
        exchange(len, &buffer, Toward::Plant)?;
    }
    Some(session)
}
