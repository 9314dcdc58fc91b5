//! Rules become an immutable [`Policy`], and a policy decides. Pure: no frames, no sockets, no clock.
//!
//! What no rule allows is refused; a deny rule wins over every allow; all keys of a rule hold together, and one rule
//! must cover a whole unit. A policy is compiled once: the address space is cut into the ranges that rules tell apart,
//! each range is a [`Client`] with its rules by service (and by function code for Modbus), so that a decision looks at
//! the few rules that can match.

mod ask;
mod behaviour;
mod bounds;
mod compile;
mod dashboard;
mod decide;
mod diff;
mod envelope;
mod exempt;
mod explain;
mod external_control;
mod index;
mod lockdown;
mod modbus;
mod names;
mod orders;
mod parts;
mod ranges;
mod rotation;
mod rtde;
mod rule;
mod space;
mod template;
mod test;
mod tighten;
mod unlike;
mod urscript;
mod warnings;

use std::net::IpAddr;

use dissect::Toward;

pub use ask::{Answer, Grant, PeerAnswer, Question, Taken, Unread, Wanted};
pub use behaviour::{Comparison, Difference, Effect, compare};
pub use diff::{Change, diff};
pub(crate) use envelope::turned;
pub use exempt::Exemption;
pub use explain::Nearest;
pub(crate) use orders::only as order_bounds;
pub use rule::Asset;
pub use template::{Controller, template};
pub use test::TestOutcome;
pub use tighten::{Denials, Peer, Tightening};
pub(crate) use urscript::hash_text;
pub use warnings::Warning;

use crate::command::{Command, Service, Socket};
use crate::event::{Action, InUse, Reason, RobotContext, RuleId, Verdict};
use crate::robot;
use index::ModbusIndex;
use rule::{Body, Rule};

/// A peer of the robot as the policy knows it; found once a connection, then used for every command.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(transparent)]
pub struct Client(pub u16);

impl Client {
    /// An address that no rule names.
    pub const UNKNOWN: Self = Self(u16::MAX);
}

/// The two clocks at one moment: turns a date into a deadline that no change of the wall clock moves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Moment {
    /// Nanoseconds since 1970.
    pub wall_ns: u64,
    /// Monotonic nanoseconds, as [`Ask::now_ns`].
    pub monotonic_ns: u64,
}

impl Moment {
    fn deadline(self, until: jiff::Timestamp) -> u64 {
        let until_ns = u64::try_from(until.as_nanosecond()).unwrap_or(0);
        self.monotonic_ns.saturating_add(until_ns.saturating_sub(self.wall_ns))
    }
}

/// When a client is kept out for a while.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Escalation {
    /// After so many refused commands,
    pub refusals: u64,
    /// within this time, in nanoseconds,
    pub within_ns: u64,
    /// for this time, in nanoseconds.
    pub quarantine_ns: u64,
}

/// A policy in force: compiled, immutable, with its generation.
#[derive(Debug)]
pub struct Policy {
    generation: u32,
    digest: [u8; 32],
    robot: Option<IpAddr>,
    /// How many of `rules` are the file's own; deny rules from outside it stand behind them.
    own: usize,
    rules: Vec<Rule>,
    /// First addresses of the ranges that rules tell apart, ascending, with the client of each.
    ranges: Vec<(u128, Client)>,
    clients: Vec<ClientRules>,
    /// What is done with refused commands where no rule says otherwise; see [`ClientRules::refusal`].
    refusal: [Action; 5],
    max_age_ns: u64,
    /// Sockets of external control that rules name, by port.
    sockets: Vec<(u16, Socket)>,
    /// Inputs that one connection may have at a time, whichever rule lets it.
    exclusive: rtde::InputSet,
    escalation: Option<Escalation>,
    tests: Vec<test::Test>,
    exemptions: Vec<Exemption>,
}

/// Places of rules in [`Policy::rules`] that can match a client, deny rules first.
#[derive(Debug)]
struct ClientRules {
    /// Whether an allow rule names it; otherwise it is a stranger, whatever is denied to it.
    named: bool,
    /// What the client commands the robot.
    robot: Commands,
    /// What the robot commands the client, a device then.
    device: Commands,
    transport: Box<[u16]>,
    /// Connections that the robot opens and no dissector reads.
    egress: Box<[u16]>,
}

/// Rules about commands that travel one way, and what is done with refused ones.
#[derive(Debug)]
struct Commands {
    modbus: ModbusIndex,
    rtde: Box<[u16]>,
    dashboard: Box<[u16]>,
    urscript: Box<[u16]>,
    external: Box<[u16]>,
    /// Modbus, RTDE, Dashboard, URScript, external control.
    refusal: [Action; 5],
}

impl ClientRules {
    /// The rules about commands over connections that this side opened.
    fn commands(&self, service: Service, opened: Toward) -> &Commands {
        match service.commands_toward(opened) {
            Toward::Robot => &self.robot,
            Toward::Plant => &self.device,
        }
    }
}

/// What a decision is asked with.
#[derive(Clone, Copy, Debug)]
pub struct Ask<'a> {
    /// The peer on the other side, whoever opened the connection.
    pub client: Client,
    /// Who opened the connection: `Toward::Robot` = the plant side did.
    pub opened: Toward,
    /// The command.
    pub command: &'a Command<'a>,
    /// The robot's live state.
    pub state: &'a robot::State,
    /// The robot's RTDE inputs.
    pub inputs: &'a robot::Inputs,
    /// The connection that the command came on, as the inputs' owners are numbered; 0 = none that they know.
    pub connection: u32,
    /// Monotonic clock in nanoseconds.
    pub now_ns: u64,
}

/// An address as a number: IPv4 as IPv4-mapped IPv6 (RFC 4291, 2.5.5.2), so that both families are in one order.
fn number(address: IpAddr) -> u128 {
    match address {
        IpAddr::V4(address) => address.to_ipv6_mapped().to_bits(),
        IpAddr::V6(address) => address.to_bits(),
    }
}

impl Policy {
    /// Generation number: grows by one with every apply.
    #[must_use]
    pub fn generation(&self) -> u32 {
        self.generation
    }

    /// First bytes of the SHA-256 of its text.
    #[must_use]
    pub fn digest(&self) -> [u8; 8] {
        let mut first = [0; 8];
        first.iter_mut().zip(self.digest).for_each(|(to, from)| *to = from);
        first
    }

    /// The robot that it is for.
    #[must_use]
    pub fn robot(&self) -> Option<IpAddr> {
        self.robot
    }

    /// When a client is kept out for a while; never unless the policy says so.
    #[must_use]
    pub fn escalation(&self) -> Option<&Escalation> {
        self.escalation.as_ref()
    }

    /// Whether the rule of a verdict looks at the commands before: it has a rate, or bounds steps.
    #[must_use]
    pub fn looks_back(&self, verdict: &Verdict) -> bool {
        let rule = usize::from(verdict.rule.0).checked_sub(1).and_then(|place| self.rules.get(place));
        rule.is_some_and(|rule| rule.rate.is_some() || matches!(&rule.body, Body::Rtde(body) if body.looks_back()))
    }

    /// What is known of the robot at `now_ns`, as far as it is young enough for a verdict.
    #[must_use]
    pub fn known(&self, robot: &robot::State, now_ns: u64) -> RobotContext {
        robot.context(now_ns, self.max_age_ns)
    }

    /// How many rules its file has.
    #[must_use]
    pub fn rules(&self) -> usize {
        self.own
    }

    /// What its file exempts it from.
    #[must_use]
    pub fn exemptions(&self) -> &[Exemption] {
        &self.exemptions
    }

    /// Ids of all rules in force, the one of [`RuleId`] 1 first; those from outside the file come last.
    pub fn rule_ids(&self) -> impl Iterator<Item = &str> {
        self.rules.iter().map(|rule| rule.id.as_str())
    }

    /// The peer with this address.
    #[must_use]
    pub fn client(&self, peer: IpAddr) -> Client {
        let number = number(peer);
        let after = self.ranges.partition_point(|(first, _)| *first <= number);
        after.checked_sub(1).and_then(|at| self.ranges.get(at)).map_or(Client::UNKNOWN, |(_, client)| *client)
    }

    /// The first input of a package that only one connection may have, and that another one has; with its owner.
    #[must_use]
    pub fn in_use(&self, request: &::rtde::Request<'_>, inputs: &robot::Inputs, connection: u32) -> Option<InUse> {
        if self.exclusive.is_empty() {
            return None;
        }
        let held =
            |variable| self.exclusive.contains(variable).then(|| inputs.other_owner(variable, connection)).flatten();
        match request {
            ::rtde::Request::SetupInputs { names } => {
                let mut variables = names.iter().map(::rtde::Variable::named);
                variables.find(|variable| held(*variable).is_some())
            }
            // While the robot's answer to the other's set-up is under way, it may still be this one's to write.
            ::rtde::Request::Data(data) => {
                let mut variables = data.fields().map(|field| field.variable);
                variables.find(|variable| held(*variable).is_some_and(robot::Owner::is_accepted))
            }
            _ => None,
        }
        .and_then(|variable| inputs.in_use(variable, connection))
    }

    /// Whether a deny rule of its file names a command, whatever the robot does: what is not known counts against the
    /// command. Rules from outside the file are nobody's decision about this cell.
    #[must_use]
    pub fn denies(&self, client: Client, opened: Toward, command: &Command<'_>) -> bool {
        if !self.rules.iter().take(self.own).any(|rule| rule.deny) {
            return false;
        }
        let (state, inputs) = (robot::State::default(), robot::Inputs::new());
        let ask = Ask { client, opened, command, state: &state, inputs: &inputs, connection: 0, now_ns: 1 };
        // Strangers too.
        let own = self.clients.get(usize::from(client.0));
        let verdict = own.map(|own| self.decide_by(own, &ask, &mut robot::Rates::new()));
        // Of several the first is named, and those from outside the file come last.
        verdict.is_some_and(|it| it.reason == Reason::DeniedByRule && usize::from(it.rule.0) <= self.own)
    }

    fn rules_of(&self, client: Client) -> Option<&ClientRules> {
        self.clients.get(usize::from(client.0)).filter(|own| own.named)
    }

    fn verdict(&self, action: Action, reason: Reason, place: Option<u16>) -> Verdict {
        let rule = RuleId(place.map_or(0, |place| place.saturating_add(1)));
        Verdict { action, reason, rule, generation: self.generation }
    }

    /// Whether a connection (or datagram exchange) may exist at all, before any command of it is seen.
    #[must_use]
    pub fn admit(&self, client: Client, service: Service, opened: Toward, now_ns: u64) -> Verdict {
        let egress = opened == Toward::Plant;
        let refused = if egress { Reason::EgressNotAllowed } else { Reason::NoServiceRule };
        let Some(own) = self.rules_of(client) else {
            let reason = if egress { refused } else { Reason::NoRuleForClient };
            return self.verdict(Action::Drop, reason, None);
        };
        let commands = own.commands(service, opened);
        let list = match service {
            Service::ExternalControl => &commands.external,
            Service::Modbus => return self.admit_dissected(commands.modbus.all(), refused, now_ns),
            Service::Dashboard => &commands.dashboard,
            Service::UrScript => &commands.urscript,
            Service::Rtde if !egress => &commands.rtde,
            _ => return self.admit_unread(if egress { &own.egress } else { &own.transport }, service, refused, now_ns),
        };
        self.admit_dissected(list.iter().copied(), refused, now_ns)
    }

    /// A connection that no dissector reads.
    fn admit_unread(&self, places: &[u16], service: Service, refused: Reason, now_ns: u64) -> Verdict {
        let mut allowed = None;
        for place in places {
            let Some(rule) = self.rules.get(usize::from(*place)) else { continue };
            let matches = match &rule.body {
                Body::Transport(own) => own.contains(&service),
                Body::Any(classes) => classes.is_none(),
                _ => false,
            };
            if !matches || rule.until_ns.is_some_and(|until| now_ns > until) || rule.rests(now_ns) {
                continue;
            }
            if rule.deny {
                return self.verdict(Action::Drop, Reason::DeniedByRule, Some(*place));
            }
            allowed = allowed.or(Some(*place));
        }
        match allowed {
            Some(place) => self.verdict(Action::Forward, Reason::Allowed, Some(place)),
            None => self.verdict(Action::Drop, refused, None),
        }
    }

    fn admit_dissected(&self, places: impl Iterator<Item = u16>, refused: Reason, now_ns: u64) -> Verdict {
        let mut expired = None;
        for place in places {
            let Some(rule) = self.rules.get(usize::from(place)) else { continue };
            let lives = rule.until_ns.is_none_or(|until| now_ns <= until);
            if rule.deny {
                if lives && !rule.rests(now_ns) && rule.when.is_none() && rule.body.is_unbounded() {
                    return self.verdict(Action::Drop, Reason::DeniedByRule, Some(place));
                }
                continue;
            }
            if lives {
                return self.verdict(Action::Forward, Reason::Allowed, Some(place));
            }
            expired = Some(place);
        }
        let reason = if expired.is_some() { Reason::Expired } else { refused };
        self.verdict(Action::Drop, reason, expired)
    }
}
