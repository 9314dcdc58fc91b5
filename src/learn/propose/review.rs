//! What a person should look at first: what was rare, came in one short burst, or from somebody who was hardly there. An
//! attack while learning is one of these, unless it went on for as long as the work did.

use modbus::FunctionCode;

use super::super::observe::{Behaviour, Count, Group, Observations, Row};
use super::ProposalOptions;
use super::text::{comment, time};

/// A client with fewer commands over a service is hardly there.
const FEW: u64 = 20;

/// Below one in so many of a client's commands a behaviour is rare.
const RARE: u64 = 1_000;

/// A behaviour that all came within one in so many of the time that its client was there is a burst.
const BURST: u64 = 50;

/// A burst of a client that was there for less says nothing, in nanoseconds: a minute.
const SHORT_NS: u64 = 60_000_000_000;

impl Observations {
    /// One line for each, those of one client together.
    pub(super) fn review(&self, options: &ProposalOptions) -> Vec<String> {
        let mut lines = Vec::new();
        for ((peer, egress, service), group) in &self.groups {
            let who = format!("{service} from {}", comment(&options.described(*peer, *egress)));
            let all = whole(group);
            if all.count < FEW {
                let what: Vec<_> = group.rows.keys().filter_map(words).take(8).collect();
                lines.push(format!("{who}: {} in all, {}: {}", times(all.count), when(all), what.join("; ")));
                continue;
            }
            for (behaviour, row) in &group.rows {
                lines.extend(odd(behaviour, row, all).map(|line| format!("{who}: {line}")));
            }
        }
        lines
    }
}

/// Everything that a client did over a service.
fn whole(group: &Group) -> Count {
    group.rows.values().fold(Count::default(), |all, row| all.with(row.count))
}

fn times(count: u64) -> String {
    if count == 1 { "once".to_owned() } else { format!("{count} times") }
}

fn when(count: Count) -> String {
    if count.first_ns / 1_000_000_000 == count.last_ns / 1_000_000_000 {
        format!("at {}", time(count.first_ns))
    } else {
        format!("from {} to {}", time(count.first_ns), time(count.last_ns))
    }
}

fn odd(behaviour: &Behaviour, row: &Row, all: Count) -> Option<String> {
    let what = words(behaviour)?;
    if is_odd(row.count, all) {
        return Some(format!("{what}: {} of {}, {}", times(row.count.count), all.count, when(row.count)));
    }
    // The numbers of a behaviour that is none of these: strays among them.
    let said = row.values.say();
    let numbers = said.parts.iter().fold(Count::default(), |all, part| all.with(part.seen));
    let few = said.parts.iter().filter(|part| numbers.count >= FEW && is_odd(part.seen, numbers));
    let few = few.map(|part| part.text()).chain(said.ends.iter().map(|end| super::super::spread::number(*end)));
    let few: Vec<_> = few.collect();
    (!few.is_empty()).then(|| format!("{what}: {} among {} numbers", few.join(", "), numbers.count))
}

/// Whether a part of what was seen is rare, or a burst.
fn is_odd(part: Count, all: Count) -> bool {
    let length = |count: Count| count.last_ns.saturating_sub(count.first_ns);
    let rare = part.count == 1 || part.count.saturating_mul(RARE) <= all.count;
    rare || (length(all) >= SHORT_NS && length(part).saturating_mul(BURST) <= length(all))
}

/// The behaviour for people; absent for what is told of elsewhere in a proposal, or asked for once a connection.
fn words(behaviour: &Behaviour) -> Option<String> {
    let text = |bytes: &[u8]| comment(&String::from_utf8_lossy(bytes));
    let span = |what: &str, span: &Option<(u16, u16)>| match span {
        Some((first, last)) if first == last => format!(" {what} {first}"),
        Some((first, last)) => format!(" {what} {first}..={last}"),
        None => String::new(),
    };
    Some(match behaviour {
        Behaviour::Modbus { function, unit, read, write, .. } => {
            let name = FunctionCode(*function).name();
            format!("{name}{}{} of unit {unit}", span("reads", read), span("writes", write))
        }
        Behaviour::Dashboard { verb, argument: None } => (*verb).to_owned(),
        Behaviour::Dashboard { verb, argument: Some(argument) } => format!("{verb} {}", text(argument)),
        Behaviour::RtdeInput(name) => format!("input {}", text(name)),
        Behaviour::RtdeMessage => "a message".to_owned(),
        Behaviour::Script { kind, hash, name, .. } => {
            format!("{kind} {} ({})", text(name), crate::policy::hash_text(hash).chars().take(19).collect::<String>())
        }
        Behaviour::Function { kind, name, .. } => format!("{} in a {kind}", text(name)),
        Behaviour::Assign { kind, target, .. } => format!("an assignment to {} in a {kind}", text(target)),
        Behaviour::Connect { kind, target, .. } => format!("a connection to {} in a {kind}", text(target)),
        Behaviour::Bare(name) => format!("the bare command {name}"),
        Behaviour::Mode(mode) => format!("mode {mode}"),
        Behaviour::Position(joint) => format!("position of joint {joint}"),
        Behaviour::Step(joint) => format!("step of joint {joint}"),
        Behaviour::Axis(axis) => format!("axis {axis} of a pose"),
        Behaviour::PoseStep => "step of the tool".to_owned(),
        Behaviour::PoseTurn => "turn of the tool".to_owned(),
        Behaviour::AmbiguousPoint => "a point that is a pose or joints".to_owned(),
        Behaviour::PointSpeed(joint) => format!("speed of joint {joint} to a point"),
        Behaviour::PointVelocity => "velocity of a point".to_owned(),
        Behaviour::PointUntimed => "a point whose joint speeds can't be told".to_owned(),
        Behaviour::Order(function) => format!("function {function}"),
        Behaviour::OrderArgument(function, place) => format!("number {place} of function {function}"),
        Behaviour::Handed(digest) => format!("a program handed over ({})", crate::policy::hash_text(digest)),
        Behaviour::Connection => "a connection".to_owned(),
        Behaviour::RtdeOutput(_) | Behaviour::Odd(..) => return None,
    })
}
