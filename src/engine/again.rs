//! Recorded commands judged again, by the same policy or another one: what would it have refused?
//!
//! A record holds the bytes of its unit and what was known of the robot, so the unit goes through the same dissectors
//! and the same [`Policy::decide`](crate::policy::Policy::decide) as on the wire. What a record does not hold is not
//! guessed: [`Again::judge`] says why it can't tell.

use std::collections::HashMap;
use std::net::SocketAddr;

use dissect::{Step, Toward};
use external_control::Action as Doing;
use link::Endpoint;
use rtde::{DataType, Reply, ReplyType, Request};

use super::judge::decide;
use super::rules::Rules;
use crate::command::{Command, External, Service};
use crate::event::{Action, Reason, RobotContext, RuleId, Verdict};
use crate::inspect::{self, Session, Told};
use crate::policy::Ask;
use crate::robot::{Connection, Inputs, Rates, State};

/// Connections whose sessions are kept. A record store tells when connections end; beyond this the oldest is forgotten.
const SESSIONS: usize = 4096;

/// Both ends of a conversation, by the side of the box that they are on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Ends {
    /// The plant's end.
    pub plant: SocketAddr,
    /// The robot's end.
    pub robot: SocketAddr,
    /// 6 for TCP, 17 for UDP, else the IP protocol.
    pub protocol: u8,
}

impl Ends {
    /// The end on a side.
    fn on(&self, side: Toward) -> SocketAddr {
        if side == Toward::Robot { self.robot } else { self.plant }
    }
}

/// A command as it was recorded.
#[derive(Clone, Copy, Debug)]
pub struct Recorded<'r> {
    /// The conversation.
    pub ends: Ends,
    /// Who opened the connection.
    pub opened: Toward,
    /// The service.
    pub service: Service,
    /// The unit's bytes, where the record holds all of them.
    pub unit: Option<&'r [u8]>,
    /// Hash and length of a text of external control.
    pub text: Option<([u8; 32], u32)>,
    /// What was known of the robot.
    pub robot: RobotContext,
    /// Whether it went on.
    pub went_on: bool,
    /// Why it was allowed or refused.
    pub reason: Option<Reason>,
    /// Of an RTDE set-up of inputs: the recipe that the robot made of it, and the types of its inputs.
    pub recipe: Option<(u8, &'r [u8])>,
    /// When, nanoseconds since 1970.
    pub wall_ns: u64,
}

/// Why a command can't be judged again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Untold {
    /// The record holds only the beginning of the unit.
    Cut,
    /// A set-point depends on those before it, which were told of together.
    SetPoints,
    /// How far or how often depends on the commands between, which were told of together.
    Between,
    /// The unit depends on words of its connection that are not in the records.
    Session,
    /// The policy judges single units of a connection that was not read when it was recorded.
    Unread,
}

impl Untold {
    /// In a few words.
    #[must_use]
    pub const fn why(self) -> &'static str {
        match self {
            Self::Cut => "the record does not hold the whole unit",
            Self::SetPoints => "a set-point is judged by those before it, which were told of together",
            Self::Between => "steps and rates depend on the commands between, which were told of together",
            Self::Session => "the connection's earlier words are not in the records",
            Self::Unread => "this policy reads a connection that was not read when it was recorded",
        }
    }
}

struct Known {
    session: Session,
    number: u32,
}

/// Judges recorded commands in the order in which they came.
pub struct Again {
    sessions: HashMap<Ends, Box<Known>>,
    last_number: u32,
    robot: Box<State>,
    inputs: Box<Inputs>,
    rates: Box<Rates>,
}

impl Default for Again {
    fn default() -> Self {
        Self {
            sessions: HashMap::new(),
            last_number: 0,
            robot: Box::default(),
            inputs: Box::new(Inputs::new()),
            rates: Box::default(),
        }
    }
}

impl std::fmt::Debug for Again {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Again").field("sessions", &self.sessions.len()).finish_non_exhaustive()
    }
}

impl Again {
    /// The verdict of `rules` on a recorded command, at the monotonic time `now_ns`.
    ///
    /// # Errors
    /// The records don't hold what the verdict depends on.
    pub fn judge(&mut self, rules: &Rules, recorded: &Recorded<'_>, now_ns: u64) -> Result<Verdict, Untold> {
        self.robot.see_context(&recorded.robot, now_ns);
        if matches!(recorded.service, Service::Tcp(_))
            && rules.socket(recorded.opened, recorded.ends.plant.port()).is_some()
        {
            return Err(Untold::Unread);
        }
        if !recorded.service.is_judged(recorded.opened) {
            let client = rules.policy.client(recorded.ends.plant.ip());
            return Ok(rules.policy.admit(client, recorded.service, recorded.opened, now_ns));
        }
        let verdict = match recorded.service {
            Service::ExternalControl => self.external(rules, recorded, now_ns)?,
            _ => self.unit(rules, recorded, now_ns)?,
        };
        let depends = matches!(verdict.reason, Reason::StepNotAllowed | Reason::RateExceeded);
        if depends && recorded.reason != Some(verdict.reason) { Err(Untold::Between) } else { Ok(verdict) }
    }

    /// The connection is over.
    pub fn ended(&mut self, ends: &Ends) {
        if let Some(known) = self.sessions.remove(ends) {
            self.inputs.ended(known.number);
        }
    }

    fn known(&mut self, recorded: &Recorded<'_>) -> &mut Known {
        if self.sessions.len() >= SESSIONS
            && !self.sessions.contains_key(&recorded.ends)
            && let Some(oldest) = self.sessions.iter().min_by_key(|(_, known)| known.number).map(|(ends, _)| *ends)
        {
            self.ended(&oldest);
        }
        let last = &mut self.last_number;
        self.sessions.entry(recorded.ends).or_insert_with(|| {
            *last = last.saturating_add(1);
            let port = recorded.ends.on(recorded.service.commands_toward(recorded.opened)).port();
            Box::new(Known { session: Session::of_port(port), number: *last })
        })
    }

    fn unit(&mut self, rules: &Rules, recorded: &Recorded<'_>, now_ns: u64) -> Result<Verdict, Untold> {
        let bytes = recorded.unit.ok_or(Untold::Cut)?;
        let number = self.known(recorded).number;
        let Self { sessions, robot, inputs, rates, .. } = self;
        let Some(known) = sessions.get_mut(&recorded.ends) else { return Err(Untold::Session) };
        let plant = recorded.ends.plant;
        let connection = Connection {
            number,
            address: Endpoint::new(plant.ip(), 0).address,
            port: plant.port(),
            wall_ns: recorded.wall_ns,
        };
        let port = recorded.ends.on(recorded.service.commands_toward(recorded.opened)).port();
        let client = rules.policy.client(plant.ip());
        let (mut verdict, mut reply) = (None, None);
        let step = known.session.command(recorded.service, port, bytes, |command, _| {
            let ask =
                Ask { client, opened: recorded.opened, command, state: robot, inputs, connection: number, now_ns };
            let nameless = matches!(command, Command::Rtde(Request::Data(data)) if data.recipe.is_none());
            verdict =
                Some(if nameless && recorded.went_on { Err(Untold::Session) } else { Ok(decide(rules, &ask, rates)) });
            if let Command::Rtde(request) = command
                && recorded.went_on
            {
                inputs.went(request, &connection);
                reply = answer_to(request, recorded);
            }
            recorded.went_on.then_some(1)
        });
        match step {
            Ok(Step::Whole { .. }) => {}
            // The record of a unit that never became whole, or that nobody could read: it is refused whatever the rules.
            Ok(Step::Partial { .. }) | Err(_) => {
                let reason = Reason::Malformed;
                return Ok(Verdict {
                    action: Action::Reset,
                    reason,
                    rule: RuleId::NONE,
                    generation: rules.policy.generation(),
                });
            }
        }
        if let Some(reply) = reply {
            let told = Told { state: robot, inputs, connection: &connection };
            let _ = inspect::read_answer(&mut known.session, recorded.service, &reply, told, now_ns);
        }
        verdict.unwrap_or(Err(Untold::Session))
    }

    fn external(&mut self, rules: &Rules, recorded: &Recorded<'_>, now_ns: u64) -> Result<Verdict, Untold> {
        let plant = recorded.ends.plant;
        let client = rules.policy.client(plant.ip());
        let Some(socket) = rules.socket(recorded.opened, plant.port()) else {
            // A policy that speaks of no such socket: a connection of the robot's like any other.
            return Ok(rules.policy.admit(client, Service::Tcp(plant.port()), recorded.opened, now_ns));
        };
        let mut session = Session::new();
        session.begin(socket);
        let unit = match (recorded.text, recorded.unit) {
            (Some((digest, len)), _) => External::Text { digest, len },
            (None, None) => return Err(Untold::Cut),
            (None, Some(bytes)) => match session.external(bytes, true, |_| false) {
                Ok(Step::Whole { unit: Some(unit), .. }) => unit,
                _ => return Err(Untold::Cut),
            },
        };
        if matches!(&unit, External::Motion(motion) if matches!(motion.action, Doing::Move(..))) {
            return Err(Untold::SetPoints);
        }
        let Self { robot, inputs, rates, .. } = self;
        let command = Command::External(unit);
        let ask =
            Ask { client, opened: recorded.opened, command: &command, state: robot, inputs, connection: 0, now_ns };
        let verdict = decide(rules, &ask, rates);
        // How fast a point is reached, and whether a trajectory may begin, depends on what went before.
        let depends = matches!(unit, External::Point(_) | External::Motion(_))
            && matches!(verdict.reason, Reason::StateUnknown | Reason::Unproven);
        if depends && recorded.reason != Some(verdict.reason) { Err(Untold::SetPoints) } else { Ok(verdict) }
    }
}

/// What the robot answered, as far as the session depends on it.
fn answer_to(request: &Request<'_>, recorded: &Recorded<'_>) -> Option<Vec<u8>> {
    let mut buffer = [0; rtde::emit::MAX_REFUSAL];
    let len = match request {
        // Clients go on in the version that they asked for only if they got it.
        Request::ProtocolVersion(_) => {
            Reply::ProtocolVersion { accepted: true }.emit(rtde::Version::V2, &mut buffer)?
        }
        Request::SetupInputs { .. } => {
            let (recipe, types) = recorded.recipe?;
            let types = types
                .split(|byte| *byte == b',')
                .map(|name| ReplyType::named(name).or_else(|| DataType::named(name).map(ReplyType::Data)));
            rtde::emit::inputs_reply(recipe, types.collect::<Option<Vec<_>>>()?, &mut buffer)?
        }
        // Nothing that is judged depends on the outputs' types: one that says no keeps the session as small as it was.
        Request::SetupOutputs { frequency_hz, .. } => {
            let version = if frequency_hz.is_some() { rtde::Version::V2 } else { rtde::Version::V1 };
            request.refusal(version, &mut buffer)?
        }
        _ => return None,
    };
    buffer.get(..len).map(<[u8]>::to_vec)
}
