//! Deny rules from outside the policy file, in force beside its own; and what of a policy can be exempt from them.
//!
//! A policy is never changed: [`Policy::tightened`] makes another one, whose rules are those of the file in their order
//! with the deny rules behind them. A deny rule wins over every allow, so that the other one allows nothing that the
//! first refuses.

use std::net::{IpAddr, Ipv4Addr};

use super::compile::clients;
use super::rule::{Reading, Rule};
use super::{Client, Moment, Policy, number};
use crate::document::Table;

/// Deny rules, compiled apart from any policy. They mean every peer.
#[derive(Clone, Debug, Default)]
pub struct Denials(Vec<Rule>);

/// Keys of a rule that a deny rule from outside a policy can't have: it means everybody and always, and is named after
/// what it belongs to.
const FOREIGN: [&str; 7] = ["id", "from", "to", "until", "rate", "refusal", "seen"];

impl Denials {
    /// Reads the tables at `key`; what is wrong becomes a problem.
    pub(crate) fn read(table: &Table<'_>, key: &'static str) -> Self {
        let moment = Moment { wall_ns: 0, monotonic_ns: 0 };
        let mut reading = Reading { assets: &[], robot: None, moment, buckets: 0 };
        let tables = table.tables(key);
        let read = |table: &Table<'_>| {
            for name in FOREIGN.into_iter().filter(|name| table.has(name)) {
                let mend = "take it out: these rules mean every peer, at all times, and have the id of their entry";
                table.problem_at(table.offset(), format!("a deny rule of an entry can't have `{name}`"), mend);
            }
            reading.rule(table, true, String::new())
        };
        Self(tables.iter().filter_map(read).collect())
    }

    /// How many rules they are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

/// One address of a group of peers that a policy's rules treat alike.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Peer {
    /// An address of the group.
    pub address: IpAddr,
    /// The group.
    pub client: Client,
    /// Whether the rules name each of the group by an address of its own, and not by a network that strangers are in.
    pub single: bool,
    /// Whether no allow rule names it.
    pub stranger: bool,
}

/// Deny rules that tighten a policy, under one id.
#[derive(Clone, Copy, Debug)]
pub struct Tightening<'d> {
    /// What records call each of the rules.
    pub id: &'d str,
    /// The rules.
    pub denials: &'d Denials,
    /// Until when they rest, where the policy exempts itself.
    pub rests_until: Option<jiff::Timestamp>,
}

impl Policy {
    /// The same policy with deny rules beside its own, under another generation. To be asked of the policy as it was
    /// compiled: what tightened it before is not taken along.
    #[must_use]
    pub fn tightened(&self, by: &[Tightening<'_>], generation: u32, moment: Moment) -> Self {
        let mut rules: Vec<Rule> = self.rules.iter().take(self.own).cloned().collect();
        for tightening in by {
            rules.extend(tightening.denials.0.iter().map(|rule| Rule {
                id: tightening.id.to_owned(),
                since_ns: tightening.rests_until.map(|until| moment.deadline(until)),
                ..rule.clone()
            }));
        }
        self.with_rules(rules, generation)
    }

    /// The most that this policy can ever allow: as if each condition of an allow rule on the robot's state held, and
    /// none of a deny rule.
    #[must_use]
    pub fn at_its_widest(&self) -> Self {
        let widest = |rule: &Rule| match (&rule.when, rule.deny) {
            (None, _) => rule.clone(),
            (Some(_), false) => Rule { when: None, ..rule.clone() },
            // Its place stays, since records name rules by it.
            (Some(_), true) => Rule { until_ns: Some(0), ..rule.clone() },
        };
        self.with_rules(self.rules.iter().map(widest).collect(), self.generation)
    }

    fn with_rules(&self, rules: Vec<Rule>, generation: u32) -> Self {
        let (ranges, clients) = clients(&rules, self.refusal);
        Self {
            generation,
            digest: self.digest,
            robot: self.robot,
            own: self.own,
            rules,
            ranges,
            clients,
            refusal: self.refusal,
            max_age_ns: self.max_age_ns,
            sockets: self.sockets.clone(),
            exclusive: self.exclusive,
            escalation: self.escalation,
            tests: self.tests.clone(),
            exemptions: self.exemptions.clone(),
        }
    }

    /// The id of a rule, as records name it; absent for no rule.
    #[must_use]
    pub fn rule_id(&self, rule: crate::event::RuleId) -> Option<&str> {
        self.rules.get(usize::from(rule.0).checked_sub(1)?).map(|rule| rule.id.as_str())
    }

    /// One IPv4 address of each group of peers that the rules treat alike, and one that no rule names, if there is any.
    /// Where an address of `known` is in a group, it stands for it.
    #[must_use]
    pub fn peers(&self, known: &[IpAddr]) -> Vec<Peer> {
        let end = |at: usize| self.ranges.get(at.saturating_add(1)).map_or(u128::MAX, |(next, _)| *next);
        let single = |client: Client| {
            let own = self.ranges.iter().enumerate().filter(|(_, (_, other))| *other == client);
            self.rules_of(client).is_some()
                && own.into_iter().all(|(at, (first, _))| end(at) == first.saturating_add(1))
        };
        let mut peers: Vec<Peer> = Vec::new();
        let mut add = |address: IpAddr, client: Client| {
            if !peers.iter().any(|other| other.client == client) {
                let stranger = self.rules_of(client).is_none();
                peers.push(Peer { address, client, single: single(client), stranger });
            }
        };
        let everyone = known.iter().copied().chain(STRANGERS.map(IpAddr::V4));
        for address in everyone.filter(|address| address.is_ipv4() && Some(*address) != self.robot) {
            add(address, self.client(address));
        }
        for (at, (first, client)) in self.ranges.iter().enumerate() {
            let behind = end(at);
            // The first address of a network is no host's.
            let lowest = (*first).max(number(Ipv4Addr::UNSPECIFIED.into()));
            let hosts = [lowest.saturating_add(1), lowest].into_iter().filter(|host| *host < behind);
            let mut hosts = hosts.filter_map(ipv4).filter(|host| Some(*host) != self.robot);
            if let Some(host) = hosts.next() {
                add(host, *client);
            }
        }
        peers
    }
}

/// Addresses that no plant has: for documentation (RFC 5737), one of which stands for whoever no rule names.
const STRANGERS: [Ipv4Addr; 3] =
    [Ipv4Addr::new(203, 0, 113, 77), Ipv4Addr::new(198, 51, 100, 77), Ipv4Addr::new(192, 0, 2, 77)];

/// The IPv4 address that a number stands for, if it is one.
fn ipv4(number: u128) -> Option<IpAddr> {
    match std::net::Ipv6Addr::from_bits(number).to_canonical() {
        address @ IpAddr::V4(_) => Some(address),
        IpAddr::V6(_) => None,
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::indexing_slicing)]
    use super::*;
    use crate::document::Source;
    use crate::policy::Asset;

    const POLICY: &str = "version = 1\nrobot = \"10.0.0.1\"\n\
        [[allow]]\nid = \"panel\"\nfrom = \"10.0.0.2\"\nservice = \"dashboard\"\n\
        [[allow]]\nid = \"net\"\nfrom = \"10.1.0.0/16\"\nservice = \"tcp/22\"\n";

    fn policy(text: &str) -> Policy {
        let assets = [Asset { name: "robot".into(), address: "10.0.0.1".parse().unwrap(), is_robot: true }];
        Policy::compile("p", text, &assets, 1, Moment { wall_ns: 0, monotonic_ns: 0 }).unwrap()
    }

    fn denials(text: &str) -> Result<Denials, crate::document::Problems> {
        let source = Source::parse("d", text);
        let denials = Denials::read(&source.root(), "deny");
        source.finish(Some(denials))
    }

    #[test]
    fn each_group_of_peers_has_one_address_and_a_stranger_is_among_them() {
        let peers = policy(POLICY).peers(&["10.0.0.2".parse().unwrap(), "10.1.2.3".parse().unwrap()]);
        let addresses: Vec<String> = peers.iter().map(|peer| peer.address.to_string()).collect();
        assert_eq!(addresses, ["10.0.0.2", "10.1.2.3", "203.0.113.77"]);
        assert_eq!(peers.iter().map(|peer| peer.single).collect::<Vec<_>>(), [true, false, false]);
        assert_eq!(peers.iter().map(|peer| peer.stranger).collect::<Vec<_>>(), [false, false, true]);
        let peers = policy(POLICY).peers(&[]);
        let addresses: Vec<String> = peers.iter().map(|peer| peer.address.to_string()).collect();
        assert_eq!(addresses, ["203.0.113.77", "10.0.0.2", "10.1.0.1"]);
    }

    #[test]
    fn tightening_again_begins_with_the_rules_of_the_file() {
        let denials = denials("[[deny]]\nservice = \"tcp/22\"\n").unwrap();
        let own = policy(POLICY);
        let by = [Tightening { id: "no-ssh", denials: &denials, rests_until: None }];
        let now = Moment { wall_ns: 0, monotonic_ns: 0 };
        let twice = own.tightened(&by, 2, now).tightened(&by, 3, now);
        assert_eq!(twice.rule_ids().collect::<Vec<_>>(), ["panel", "net", "no-ssh"]);
        assert_eq!((twice.rules(), twice.generation()), (2, 3));
        assert_eq!(twice.tightened(&[], 4, now).rule_ids().count(), 2);
    }

    #[test]
    fn only_the_files_own_denials_are_remembered_while_learning() {
        let own = policy(&format!("{POLICY}[[deny]]\nservice = \"dashboard\"\ncommand = [\"load\"]\n"));
        let denials = denials("[[deny]]\nservice = \"dashboard\"\ncommand = [\"shutdown\"]\n").unwrap();
        let by = [Tightening { id: "no-shutdown", denials: &denials, rests_until: None }];
        let tightened = own.tightened(&by, 2, Moment { wall_ns: 0, monotonic_ns: 0 });
        let denies = |line: &'static [u8]| {
            let command = crate::command::Command::Dashboard(dashboard::Line::read(line));
            tightened.denies(tightened.client("10.0.0.2".parse().unwrap()), dissect::Toward::Robot, &command)
        };
        assert!(denies(b"load a.urp") && !denies(b"shutdown") && !denies(b"play"));
    }

    #[test]
    fn keys_that_would_loosen_or_rename_are_problems() {
        let problems =
            denials("[[deny]]\nid = \"a\"\nfrom = \"10.0.0.2\"\nservice = \"tcp/22\"\nfoo = 1\n").unwrap_err();
        assert_eq!(problems.list.len(), 3, "{problems}");
    }
}
