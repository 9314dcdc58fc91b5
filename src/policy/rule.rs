//! One rule: who, what, when; and how near a command came to it.

use std::net::IpAddr;

use ipnet::IpNet;

use super::Moment;
use super::dashboard::DashboardRule;
use super::envelope::read_six;
use super::external_control::ExternalRule;
use super::modbus::ModbusRule;
use super::names::classes;
use super::rtde::RtdeRule;
use super::space::MomentCuts;
use super::urscript::UrScriptRule;
use crate::command::{Classes, Service};
use crate::document::{Table, Value};
use crate::event::{Action, Reason};
pub(super) use crate::event::{ROBOT_MODES, SAFETY_MODES};
use crate::robot::{Control, Program, State};

/// How far a command came in a rule before a key refused it; the rule that it came farthest in is named.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Rank {
    /// The command itself is not named.
    Command,
    /// The unit or sub-function.
    Unit,
    /// An address, variable or target.
    Address,
    /// A quantity or frequency.
    Quantity,
    /// A value or argument.
    Value,
    /// All keys cover it, but not now.
    Moment,
}

/// Why a rule does not cover a command.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Miss {
    pub(crate) rank: Rank,
    pub(crate) reason: Reason,
}

/// What a rule says about the commands of its service.
#[derive(Clone, Debug)]
pub(crate) enum Body {
    Modbus(ModbusRule),
    Rtde(RtdeRule),
    Dashboard(DashboardRule),
    UrScript(UrScriptRule),
    External(Box<ExternalRule>),
    /// Ports that no dissector reads: the connection is the command.
    Transport(Vec<Service>),
    /// Every service, within these classes where any are named.
    Any(Option<Classes>),
}

impl Body {
    /// Whether it means every command of its service.
    pub(crate) fn is_unbounded(&self) -> bool {
        match self {
            Self::Modbus(body) => body.is_unbounded(),
            Self::Rtde(body) => body.is_unbounded(),
            Self::Dashboard(body) => body.is_unbounded(),
            Self::UrScript(body) => body.is_unbounded(),
            Self::External(body) => body.is_unbounded(),
            Self::Transport(_) => true,
            Self::Any(classes) => classes.is_none(),
        }
    }
}

/// The robot's state that a rule asks for.
#[derive(Clone, Debug, Default)]
pub(crate) struct When {
    programs: Option<Vec<Program>>,
    robot_modes: Option<Vec<i8>>,
    safety_modes: Option<Vec<u8>>,
    controls: Option<Vec<Control>>,
}

/// Tokens a second and at most, in thousandths of a command, and the bucket they are kept in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Rate {
    pub(crate) per_second: u64,
    pub(crate) burst: u64,
    pub(crate) bucket: usize,
}

/// One rule of the file.
#[derive(Clone, Debug)]
pub(crate) struct Rule {
    pub(crate) id: String,
    pub(crate) deny: bool,
    /// Whether the robot opens the connection.
    pub(crate) egress: bool,
    /// The peer, whoever opens.
    pub(crate) peers: Vec<IpNet>,
    pub(crate) service: Option<Service>,
    pub(crate) body: Body,
    pub(crate) when: Option<When>,
    pub(crate) rate: Option<Rate>,
    /// Monotonic nanoseconds after which it does not match.
    pub(crate) until_ns: Option<u64>,
    /// Monotonic nanoseconds up to which it rests; only of deny rules from outside the file.
    pub(crate) since_ns: Option<u64>,
    pub(crate) refusal: Option<Action>,
}

impl Rule {
    /// Whether there may be a command that both rules take; true where that is not told at a glance.
    pub(super) fn may_meet(&self, other: &Self) -> bool {
        let services = self.service.is_none() || other.service.is_none() || self.service == other.service;
        services
            && match (&self.body, &other.body) {
                (Body::Modbus(own), Body::Modbus(other)) => own.may_meet(other),
                (Body::Dashboard(own), Body::Dashboard(other)) => own.may_meet(other),
                _ => true,
            }
    }

    /// Whether an exemption keeps it from matching yet.
    #[inline]
    pub(crate) fn rests(&self, now_ns: u64) -> bool {
        self.since_ns.is_some_and(|since| now_ns <= since)
    }
}

/// Names of devices that `from` and `to` may use.
#[derive(Clone, Debug)]
pub struct Asset {
    /// Its name.
    pub name: String,
    /// Its address.
    pub address: IpAddr,
    /// Whether it lives behind the robot port.
    pub is_robot: bool,
}

/// What rules are read with.
pub(crate) struct Reading<'r> {
    pub(crate) assets: &'r [Asset],
    pub(crate) robot: Option<IpAddr>,
    pub(crate) moment: Moment,
    pub(crate) buckets: usize,
}

/// Rules and inputs with a rate that one policy can have: one bucket each in the shared state.
pub(crate) const BUCKETS: usize = 64;

impl Reading<'_> {
    /// Reads one `[[allow]]` or `[[deny]]`, called `unnamed` where it has no id; what is wrong becomes a problem.
    pub(crate) fn rule(&mut self, table: &Table<'_>, deny: bool, unnamed: String) -> Option<Rule> {
        let id = table.take("id").map_or(Some(unnamed), |value| value.string().map(str::to_owned));
        let from = table.take("from");
        let by_address =
            from.as_ref().is_some_and(|value| value.as_string().is_some_and(|text| text.parse::<IpAddr>().is_ok()));
        let from = from.map(|value| (value.offset(), self.peers(&value)));
        let to = table.take("to").map(|value| self.peers(&value));
        let is_robot = |nets: &[IpNet]| {
            self.robot.is_some_and(|robot| nets.len() == 1 && nets.iter().all(|net| *net == IpNet::from(robot)))
        };
        // On loopback, as captures show it, robot and client have one address: by address alone, `from` means the client.
        let egress = from.as_ref().is_some_and(|(_, nets)| is_robot(nets)) && (to.is_some() || !by_address);
        let peers = match (&from, to) {
            (Some(_), Some(to)) if egress => to,
            (Some((offset, _)), None) if egress => {
                table.problem_at(
                    *offset,
                    "the robot opens this connection, but `to` is missing",
                    "write to = \"asset, address or network\"",
                );
                Vec::new()
            }
            (Some((offset, nets)), Some(to)) => {
                if !is_robot(&to) {
                    table.problem_at(
                        *offset,
                        "`to` names another device than the robot",
                        "take `to` out, or write from = the robot",
                    );
                }
                nets.clone()
            }
            (Some((_, nets)), None) => nets.clone(),
            (None, _) => everyone(),
        };
        let named = table.take("service");
        let ports = named.as_ref().and_then(Value::as_string).and_then(Service::ports_named);
        let service = named.map_or(Some(None), |value| service(&value));
        let body = service.and_then(|service| self.body(table, (service, ports), egress, deny));
        let when = table.table("when").map(|table| when(&table));
        let rate = table.table("rate").and_then(|table| self.rate(&table, deny));
        let until_ns = table.take("until").and_then(|value| value.moment()).map(|until| self.moment.deadline(until));
        let refusal = table.take("refusal").and_then(|value| refusal_of(&value));
        if let Some(seen) = table.table("seen") {
            seen.take("count").and_then(|value| value.integer(0..=i64::MAX));
            seen.take("first").and_then(|value| value.moment());
            seen.take("last").and_then(|value| value.moment());
            seen.finish();
        }
        table.take("comment").and_then(|value| value.string());
        table.finish();
        let (service, body, since_ns) = (service?, body?, None);
        Some(Rule { id: id?, deny, egress, peers, service, body, when, rate, until_ns, since_ns, refusal })
    }

    /// Reads asset names, addresses and networks.
    pub(crate) fn peers(&self, value: &Value<'_>) -> Vec<IpNet> {
        let read = |item: &Value<'_>| -> Option<IpNet> {
            let text = item.string()?;
            if let Some(asset) = self.assets.iter().find(|asset| asset.name == text) {
                return Some(IpNet::from(asset.address));
            }
            let parsed = text.parse::<IpNet>().ok().or_else(|| text.parse::<IpAddr>().ok().map(IpNet::from));
            if parsed.is_none() {
                item.unknown_name(text, self.assets.iter().map(|asset| asset.name.as_str()));
            }
            parsed.map(|net| net.trunc())
        };
        if value.as_string() == Some("any") {
            return everyone();
        }
        value.any_of().iter().filter_map(read).collect()
    }

    pub(crate) fn rate(&mut self, table: &Table<'_>, deny: bool) -> Option<Rate> {
        let number = |key| table.require(key, "write rate = { per_second = 10, burst = 20 }");
        let per_second = number("per_second").and_then(|value| value.number()).filter(|number| *number > 0.0);
        let burst = number("burst").and_then(|value| value.integer(1..=1_000_000));
        table.finish();
        if deny {
            table.problem_at(table.offset(), "a deny rule can't have a rate", "take it out");
        }
        if self.buckets >= BUCKETS {
            let what = format!("more than {BUCKETS} rules and inputs have a rate");
            table.problem_at(table.offset(), what, "merge rules, or take some rates out");
        }
        let bucket = self.buckets;
        self.buckets = self.buckets.saturating_add(1);
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "positive; casts saturate")]
        let per_second = (per_second? * 1000.0) as u64;
        let burst = u64::try_from(burst?).ok()?.saturating_mul(1000);
        Some(Rate { per_second: per_second.max(1), burst, bucket })
    }

    /// `ports`: all that a name stands for, where the service is given by one.
    fn body(
        &mut self,
        table: &Table<'_>,
        (service, ports): (Option<Service>, Option<&[Service]>),
        egress: bool,
        deny: bool,
    ) -> Option<Body> {
        if egress && service == Some(Service::ExternalControl) {
            table.problem_at(
                table.offset(),
                "external control is a rule of the computer that moves the robot",
                "write from = the computer, without `to`; that the robot opens these connections is known",
            );
            return None;
        }
        if egress && service.is_none() {
            table.problem_at(
                table.offset(),
                "a rule of the robot's own connections names no service",
                "write service = \"modbus\", \"tcp/21\" or the like",
            );
            return None;
        }
        Some(match service {
            // Another robot's inputs are not known: the connection is allowed, or it is not.
            Some(service @ Service::Rtde) if egress => Body::Transport(vec![service]),
            Some(Service::Modbus) => Body::Modbus(ModbusRule::read(table)),
            Some(Service::Rtde) => Body::Rtde(RtdeRule::read(table, self, deny)),
            Some(Service::Dashboard) => Body::Dashboard(DashboardRule::read(table)),
            Some(Service::UrScript) => Body::UrScript(UrScriptRule::read(table, deny)),
            Some(Service::ExternalControl) => Body::External(Box::new(ExternalRule::read(table, deny))),
            Some(other) => Body::Transport(ports.map_or_else(|| vec![other], <[_]>::to_vec)),
            None => Body::Any(classes(table)),
        })
    }
}

fn everyone() -> Vec<IpNet> {
    vec![IpNet::from(ipnet::Ipv4Net::default()), IpNet::from(ipnet::Ipv6Net::default())]
}

/// Services by name; `None` inside = any.
#[expect(clippy::option_option, reason = "outer: readable; inner: any service")]
fn service(value: &Value<'_>) -> Option<Option<Service>> {
    let text = value.string()?;
    let port = |text: &str| text.parse::<u16>().ok().filter(|port| *port != 0);
    let known = match text {
        "any" => return Some(None),
        "modbus" => Some(Service::Modbus),
        "rtde" => Some(Service::Rtde),
        "dashboard" => Some(Service::Dashboard),
        "urscript" => Some(Service::UrScript),
        "icmp" => Some(Service::Icmp),
        "external_control" => Some(Service::ExternalControl),
        _ if Service::ports_named(text).is_some() => Service::ports_named(text)?.first().copied(),
        _ => match text.split_once('/') {
            Some(("tcp", number)) => port(number).map(Service::of_tcp_port),
            Some(("udp", number)) => port(number).map(Service::Udp),
            _ => None,
        },
    };
    if known.is_none() {
        let names =
            ["modbus", "rtde", "dashboard", "urscript", "external_control", "icmp", "any", "tcp/22", "udp/2222"];
        let ports: Vec<_> = Service::port_names().collect();
        value.unknown_name(text, names.into_iter().chain(ports.iter().copied()));
    }
    known.map(Some)
}

/// What is done with a refused command: `refuse`, `reset` or `drop`.
pub(crate) fn refusal_of(value: &Value<'_>) -> Option<Action> {
    match value.as_string() {
        // Both speak of set-points, and only external control has those.
        Some(text @ ("hold" | "clamp")) => {
            value.problem(
                format!("\"{text}\" is for set-points of external control"),
                "write \"refuse\", \"reset\" or \"drop\"; `beyond` of an external_control rule takes \"hold\" and \"clamp\"",
            );
            None
        }
        _ => value.choice(&[Action::Refuse, Action::Reset, Action::Drop].map(|action| (action.name(), action))),
    }
}

fn when(table: &Table<'_>) -> When {
    fn any_of<T: Copy>(table: &Table<'_>, key: &'static str, choices: &[(&'static str, T)]) -> Option<Vec<T>> {
        Some(table.take(key)?.any_of().iter().filter_map(|item| item.choice(choices)).collect())
    }
    let when = When {
        programs: any_of(table, "program", &PROGRAMS),
        robot_modes: any_of(table, "robot_mode", &ROBOT_MODES),
        safety_modes: any_of(table, "safety", &SAFETY_MODES),
        controls: any_of(table, "control", &CONTROLS),
    };
    table.finish();
    when
}

/// Reads what a `[test]` says of the robot: one value a key, as [`when`] has lists of them; seen at `now_ns`.
pub(crate) fn state(table: &Table<'_>, now_ns: u64) -> State {
    let mut state = State::default();
    if let Some(program) = table.take("program").and_then(|value| value.choice(&PROGRAMS)) {
        state.see_program(program, now_ns);
    }
    if let Some(mode) = table.take("robot_mode").and_then(|value| value.choice(&ROBOT_MODES)) {
        state.see_robot_mode(mode, now_ns);
    }
    if let Some(mode) = table.take("safety").and_then(|value| value.choice(&SAFETY_MODES)) {
        state.see_safety_mode(i8::try_from(mode).unwrap_or_default(), now_ns);
    }
    if let Some(control) = table.take("control").and_then(|value| value.choice(&CONTROLS)) {
        state.see_control(control, now_ns);
    }
    if let Some(joints) = table.take("joints_rad").and_then(|value| read_six(&value, |item| item.number())) {
        state.see_joints(joints, now_ns);
    }
    table.finish();
    state
}

/// Program states by name.
pub(super) const PROGRAMS: [(&str, Program); 3] =
    [("stopped", Program::Stopped), ("playing", Program::Playing), ("paused", Program::Paused)];

/// Who commands the robot, by name.
pub(super) const CONTROLS: [(&str, Control); 2] = [("remote", Control::Remote), ("local", Control::Local)];

impl When {
    /// Adds what it asks for.
    pub(super) fn cut(&self, cuts: &mut MomentCuts) {
        cuts.programs.extend(self.programs.iter().flatten().map(|program| *program as u8));
        cuts.robot_modes.extend(self.robot_modes.iter().flatten());
        cuts.safety_modes.extend(self.safety_modes.iter().flatten());
        cuts.controls.extend(self.controls.iter().flatten().map(|control| *control as u8));
        let own =
            [self.programs.is_some(), self.robot_modes.is_some(), self.safety_modes.is_some(), self.controls.is_some()];
        cuts.asked.iter_mut().zip(own).for_each(|(asked, own)| *asked |= own);
    }

    /// Whether the robot is in one of the states asked for; what was not seen within `max_age_ns` is unknown.
    pub(crate) fn holds(&self, state: &State, now_ns: u64, max_age_ns: u64) -> Result<(), Reason> {
        let fresh = |at_ns: u64| at_ns != 0 && now_ns.saturating_sub(at_ns) <= max_age_ns;
        let check = |asked: bool, at_ns: u64, found: bool| match (asked, fresh(at_ns), found) {
            (false, ..) | (true, true, true) => Ok(()),
            (true, false, _) => Err(Reason::StateUnknown),
            (true, true, false) => Err(Reason::StateMismatch),
        };
        let program =
            self.programs.as_ref().is_some_and(|list| list.iter().any(|program| *program as u8 == state.program));
        check(self.programs.is_some(), state.program_at_ns, program)?;
        let robot_mode = self.robot_modes.as_ref().is_some_and(|list| list.contains(&state.robot_mode));
        check(self.robot_modes.is_some(), state.robot_mode_at_ns, robot_mode)?;
        let safety = self.safety_modes.as_ref().is_some_and(|list| list.contains(&state.safety_mode));
        check(self.safety_modes.is_some(), state.safety_mode_at_ns, safety)?;
        let control = self.controls.as_ref().is_some_and(|list| list.iter().any(|it| *it as u8 == state.control));
        check(self.controls.is_some(), state.control_at_ns, control)
    }
}

impl Rate {
    /// Fills the bucket up to now and says whether it has one command's worth of tokens.
    pub(crate) fn ready(&self, buckets: &mut [[u64; 2]], now_ns: u64) -> Result<(), Reason> {
        let Some([tokens, last_ns]) = buckets.get_mut(self.bucket) else { return Err(Reason::EngineFault) };
        if *last_ns == 0 {
            *tokens = self.burst;
            *last_ns = now_ns.max(1);
        }
        let gained = u128::from(now_ns.saturating_sub(*last_ns)).saturating_mul(self.per_second.into());
        let gained = u64::try_from(gained.checked_div(1_000_000_000).unwrap_or(0)).unwrap_or(u64::MAX);
        if gained > 0 {
            *tokens = tokens.saturating_add(gained).min(self.burst);
            // Only the time that these tokens took: the rest counts for the next ones, or a busy sender would lose it.
            let took = u128::from(gained).saturating_mul(1_000_000_000).checked_div(self.per_second.into());
            *last_ns = last_ns.saturating_add(u64::try_from(took.unwrap_or(0)).unwrap_or(u64::MAX)).min(now_ns);
        }
        if *tokens < COMMAND { Err(Reason::RateExceeded) } else { Ok(()) }
    }

    /// Takes one command's worth of tokens, which [`ready`](Self::ready) found there.
    pub(crate) fn spend(&self, buckets: &mut [[u64; 2]]) {
        if let Some([tokens, _]) = buckets.get_mut(self.bucket) {
            *tokens = tokens.saturating_sub(COMMAND);
        }
    }
}

/// Tokens that a command costs.
const COMMAND: u64 = 1000;
