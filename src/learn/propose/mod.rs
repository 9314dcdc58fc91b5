//! The text of a proposal.

mod dashboard;
mod external_control;
mod modbus;
mod review;
mod rtde;
mod text;
mod urscript;

use std::collections::BTreeSet;
use std::fmt::Write;
use std::net::IpAddr;

use ::external_control::Channel;
use text::{Rule, comment, problem, quoted};

use super::observe::{Behaviour, Count, Group, Observations};
use super::program::Opened;
use crate::command::Service;

/// What a proposal is written with.
#[derive(Clone, Debug, Default)]
pub struct ProposalOptions {
    /// The robot as the policy names it.
    pub robot: String,
    /// Names of addresses.
    pub assets: Vec<(String, IpAddr)>,
    /// Whether dangerous commands are proposed enabled.
    pub trust: bool,
    /// Copies of frames that the learner did not get.
    pub lost_frames: u64,
    /// Who made it from what, for the first line.
    pub made: String,
    /// Deny rules of the policy before, as TOML: what was denied once stays denied. See [`super::denials`].
    pub denials: Vec<String>,
}

impl Observations {
    /// The policy that allows what was seen, as TOML for people to review.
    #[must_use]
    pub fn propose(&self, options: &ProposalOptions) -> String {
        let mut out = self.header(options);
        let _ = writeln!(out, "\nversion = 1\nrobot = {}", quoted(&options.robot));
        // Denials first: a rule learned now must not take the id of one.
        options.denials.iter().for_each(|rule| out += &format!("\n# Denied before.\n[[deny]]\n{rule}"));
        let mut ids: BTreeSet<String> = options.denials.iter().filter_map(|rule| super::denials::id(rule)).collect();
        let (mut off, mut never) = (String::new(), String::new());
        for ((peer, egress, service), group) in &self.groups {
            let who = options.described(*peer, *egress);
            let mut lines = Vec::new();
            for rule in rules(*service, *egress, group, options.trust, &self.opened_to(*peer), &mut lines) {
                if let Some(problem) = problem(&rule, &service.to_string(), *egress) {
                    lines.push(format!("{} times what no rule can say: {problem}", rule.count.count));
                    continue;
                }
                let (from, id) = options.ends(*peer, *egress, *service, &mut ids);
                let text = rule.text(&id, &from, &service.to_string());
                if rule.off && !options.trust {
                    text.lines().for_each(|line| off += &format!("# {line}\n"));
                    off.push('\n');
                } else {
                    out += &format!("\n{text}");
                }
            }
            for (behaviour, row) in &group.rows {
                if let Behaviour::Odd(why, text) = behaviour {
                    let text = String::from_utf8_lossy(text);
                    let text = if text.is_empty() { String::new() } else { format!(": {text}") };
                    lines.push(format!("{} times {why}{text}", row.count.count));
                }
            }
            lines.iter().for_each(|line| never += &format!("# {service} from {who}: {}\n", comment(line)));
        }
        if !off.is_empty() {
            out +=
                "\n# Seen, but switched off: commands that release safety, grant rights, stop the plant or are of no\n";
            out += "# known effect. Take the # away only where the robot's work needs it.\n#\n";
            out += &off;
        }
        if !self.denied.is_empty() {
            out += "\n# Seen again, though denied; nothing was learned from it:\n";
            for ((peer, egress, service), count) in &self.denied {
                let who = comment(&options.described(*peer, *egress));
                let (first, last) = (text::time(count.first_ns), text::time(count.last_ns));
                let _ = writeln!(out, "# {service} from {who}: {} times, from {first} to {last}", count.count);
            }
        }
        if !never.is_empty() {
            out += "\n# Seen, and refused whatever the rules say:\n";
            out += &never;
        }
        out
    }

    /// What programs say of the sockets that they open to this computer.
    fn opened_to(&self, peer: IpAddr) -> Vec<(Channel, Opened)> {
        let own = self.sockets.iter().filter(|((own, _), _)| *own == peer);
        own.map(|((_, channel), opened)| (*channel, *opened)).collect()
    }

    fn header(&self, options: &ProposalOptions) -> String {
        let mut out = format!("# Proposed by {}. Review every rule before it is applied.\n", comment(&options.made));
        if options.lost_frames > 0 {
            let _ = writeln!(out, "# {} frames were not seen: the proposal may be incomplete.", options.lost_frames);
        }
        if self.dropped > 0 {
            let _ = writeln!(
                out,
                "# {} observations of further clients and ports found no room: was this a scan?",
                self.dropped
            );
        }
        out += "#\n# Coverage (Good-Turing): how likely the next command is one of those seen, RTDE outputs aside; behind it\n";
        out += "# what is sure, with 95 % confidence. Saturated: at least 0.95 is sure, and nothing new came in the second\n";
        out += "# half of the time. Who is not has not shown all that it does: learn longer.\n";
        for known in self.coverage() {
            let group = self.groups.get(&(known.peer, known.egress, known.service));
            let commands = group.map_or(0, |group| group.commands.count);
            let commands = if commands == 0 {
                format!("{} connections", known.observations)
            } else {
                format!("{commands} commands")
            };
            let _ = writeln!(
                out,
                "#   {} from {}: {commands}, {} behaviours ({} seen once), coverage {:.3}, at least {:.3}{}{}",
                known.service,
                comment(&options.described(known.peer, known.egress)),
                known.behaviours,
                known.once,
                known.estimate(),
                known.at_least(),
                if known.is_saturated() { ", saturated" } else { ", not saturated" },
                if known.dropped > 0 {
                    format!(", {} observations found no room", known.dropped)
                } else {
                    String::new()
                }
            );
        }
        let review = self.review(options);
        if !review.is_empty() {
            out += "#\n# Look at these first: rare, all in one short while, or from somebody who was hardly there. An attack\n";
            out += "# while learning is among them, unless it went on for as long as the work did.\n";
            review.iter().for_each(|line| out += &format!("#   {line}\n"));
        }
        out
    }
}

impl ProposalOptions {
    /// The asset or address as rules name it.
    fn name(&self, address: IpAddr, egress: bool) -> String {
        let names = self.assets.iter().filter(|(_, known)| *known == address).map(|(name, _)| name);
        // "any" is every address to a policy, and the robot as a client of itself (loopback) is told by address alone.
        let name = names.into_iter().find(|name| *name != "any" && (egress || **name != self.robot));
        name.cloned().unwrap_or_else(|| address.to_string())
    }

    /// For people.
    fn described(&self, peer: IpAddr, egress: bool) -> String {
        let name = self.name(peer, egress);
        if egress { format!("the robot to {name}") } else { name }
    }

    /// The keys that say who talks to whom, and an id of its own.
    fn ends(&self, peer: IpAddr, egress: bool, service: Service, ids: &mut BTreeSet<String>) -> (String, String) {
        let who = self.name(peer, egress);
        let base =
            format!("{}{who}-{service}", if egress { "robot-to-" } else { "" }).replace(['/', ' ', '.', ':'], "-");
        let mut id = base.clone();
        for number in 2_u32.. {
            if ids.insert(id.clone()) {
                break;
            }
            id = format!("{base}-{number}");
        }
        let from = if egress {
            format!("from = {}\nto = {}\n", quoted(&self.robot), quoted(&who))
        } else {
            format!("from = {}\n", quoted(&who))
        };
        (from, id)
    }
}

/// The rules of one client and service; `never` gets what was seen and can't be in them.
fn rules(
    service: Service,
    egress: bool,
    group: &Group,
    trust: bool,
    opened: &[(Channel, Opened)],
    never: &mut Vec<String>,
) -> Vec<Rule> {
    match service {
        Service::Modbus => modbus::rules(group),
        Service::Rtde if !egress => rtde::rules(group, never),
        Service::Dashboard => dashboard::rules(group, egress),
        Service::UrScript => urscript::rules(group, trust),
        Service::ExternalControl => external_control::rules(group, opened),
        _ => {
            let notes = match (service.is_dissected(), service.known_as()) {
                (true, _) => vec!["The connection alone: what the robot sends on it is not judged.".to_owned()],
                (false, Some(known)) => vec![format!("{service}: {known}.")],
                (false, None) => Vec::new(),
            };
            let count = group.rows.values().fold(Count::default(), |all, row| all.with(row.count));
            vec![Rule { count, notes, ..Rule::default() }]
        }
    }
}

/// What a key says of numbers, and what is to be noted about it.
fn spread(key: &str, spread: &super::spread::Spread, notes: &mut Vec<String>) -> Vec<text::Item> {
    let said = spread.say();
    if said.wider {
        notes.push(format!("{key}: covers more than was seen, everything between the ends of a range."));
    }
    if !said.ends.is_empty() {
        let ends: Vec<_> = said.ends.iter().map(|end| super::spread::number(*end)).collect();
        notes.push(format!("{key}: seen once: {}.", ends.join(", ")));
    }
    said.parts.iter().map(|part| text::Item::new(part.text(), part.seen.count)).collect()
}
