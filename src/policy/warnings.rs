//! Rules that say nothing, or something else than it seems: never matching, denied, covered by another, in conflict.
//!
//! Nothing is claimed that is not so for every command: where examples don't stand for all of them, no rule is said to be
//! without effect.

use std::cell::OnceCell;
use std::fmt;

use ipnet::IpNet;

use super::parts::Part;
use super::rule::{Body, Rule};
use super::space::{Cuts, DISSECTED, Moment, Sample, Space};
use super::{Policy, index};
use crate::command::{Command, Service};

/// Most questions that are asked about one policy: about a second. Rules that were not looked at are told.
const QUESTIONS: usize = 4_000_000;

/// Something about a rule that its author may not have meant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Warning {
    /// Its deadline is over.
    Expired {
        /// Id of the rule.
        rule: String,
    },
    /// No command matches it; of an allow rule, none beyond the words that every rule of its service admits.
    Never {
        /// Id of the rule.
        rule: String,
    },
    /// Deny rules take away all that it allows.
    Denied {
        /// Id of the rule.
        rule: String,
        /// Ids of the deny rules.
        by: Vec<String>,
    },
    /// Another rule says all that it says.
    Covered {
        /// Id of the rule.
        rule: String,
        /// Id of the other.
        by: String,
    },
    /// A deny rule takes away a part of what it allows.
    Conflict {
        /// Id of the allow rule.
        allow: String,
        /// Id of the deny rule.
        deny: String,
        /// A command that both mean.
        example: String,
    },
    /// There are more rules than could be compared.
    NotAll {
        /// How many rules were looked at.
        looked_at: usize,
        /// How many there are.
        rules: usize,
    },
}

impl fmt::Display for Warning {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Expired { rule } => write!(f, "rule {rule} has expired; take it out or give it a later `until`"),
            Self::Never { rule } => write!(f, "rule {rule} matches no command; look at its bounds or take it out"),
            Self::Denied { rule, by } => {
                write!(f, "rule {rule} lets nothing pass: {} denies all of it; take one of them out", by.join(" with "))
            }
            Self::Covered { rule, by } => {
                write!(f, "rule {rule} adds nothing: rule {by} means all that it means; take it out")
            }
            Self::Conflict { allow, deny, example } => {
                write!(f, "rule {deny} denies a part of what rule {allow} allows, such as {example}")
            }
            Self::NotAll { looked_at, rules } => {
                write!(f, "only {looked_at} of {rules} rules were compared with the others; merge rules")
            }
        }
    }
}

impl Warning {
    /// A word for the kind of warning, for programs.
    #[must_use]
    pub const fn kind(&self) -> &'static str {
        match self {
            Self::Expired { .. } => "expired",
            Self::Never { .. } => "never",
            Self::Denied { .. } => "denied",
            Self::Covered { .. } => "covered",
            Self::Conflict { .. } => "conflict",
            Self::NotAll { .. } => "not_all",
        }
    }
}

/// What is looked through.
struct Search<'p> {
    policy: &'p Policy,
    parts: Vec<OnceCell<Part<'p>>>,
    now_ns: u64,
    questions: usize,
}

/// A command that a rule takes at some moment.
struct Probe {
    sample: Sample,
    opened: dissect::Toward,
    now: Moment,
}

impl Policy {
    /// What is odd about its rules from `now_ns` (monotonic) on, in the order of the file.
    ///
    /// Cost: some hundred questions a rule, and as many for each pair of rules that have a command in common; stops after
    /// four million.
    #[must_use]
    pub fn warnings(&self, now_ns: u64) -> Vec<Warning> {
        let parts = self.rules.iter().map(|_| OnceCell::new()).collect();
        let mut search = Search { policy: self, parts, now_ns, questions: QUESTIONS };
        let mut warnings = Vec::new();
        for place in 0..self.rules.len() {
            if search.questions == 0 {
                warnings.push(Warning::NotAll { looked_at: place, rules: self.rules.len() });
                break;
            }
            search.look_at(place, &mut warnings);
        }
        warnings
    }
}

impl<'p> Search<'p> {
    fn part(&self, place: usize) -> Option<&Part<'p>> {
        let cell = self.parts.get(place)?;
        if cell.get().is_none() {
            let part = Part::of(self.policy, place)?;
            let _ = cell.set(part);
        }
        cell.get()
    }

    fn look_at(&mut self, place: usize, warnings: &mut Vec<Warning>) {
        let policy = self.policy;
        let Some(rule) = policy.rules.get(place) else { return };
        let id = || rule.id.clone();
        if rule.until_ns.is_some_and(|until| until < self.now_ns) {
            warnings.push(Warning::Expired { rule: id() });
            return;
        }
        let (probe, complete) = self.probe(place);
        let Some(probe) = probe else {
            if complete {
                warnings.push(Warning::Never { rule: id() });
            }
            return;
        };
        let others = self.candidates(place, &probe);
        if !rule.deny {
            let denies: Vec<usize> =
                policy.rules.iter().enumerate().filter(|(_, deny)| meet(rule, deny)).map(|(at, _)| at).collect();
            if self.denied(place, &denies, warnings) {
                return;
            }
        }
        for other in others {
            let covered = self.covers(other, place) && (other < place || !self.covers(place, other));
            if let (true, Some(by)) = (covered, policy.rules.get(other)) {
                warnings.push(Warning::Covered { rule: id(), by: by.id.clone() });
                return;
            }
        }
    }

    /// Commands and moments that these rules tell apart; whether they stand for all.
    fn space(&self, places: &[usize], of: usize) -> (Space, Vec<Moment>, bool) {
        let cuts = Cuts::of(self.policy.at(places));
        let services = self.policy.rules.get(of).map(services).unwrap_or_default();
        let space = Space::of(&cuts, &services);
        let (moments, cut) = cuts.moments.moments(self.now_ns);
        let complete = space.limits.is_empty() && !cut;
        (space, moments, complete)
    }

    /// Looks at every command of `space` that the rule at `place` takes, until `then` is content.
    fn each(
        &mut self,
        place: usize,
        (space, moments): (&Space, &[Moment]),
        mut then: impl FnMut(&Self, &Probe) -> bool,
    ) {
        for block in &space.blocks {
            for sample in &block.elements {
                let Some(part) = self.part(place).filter(|part| part.speaks_of(block)) else { continue };
                let asked = sample
                    .with(|built| moments.iter().map(|now| part.takes(built, block.opened, now)).collect::<Vec<_>>());
                let Some(takes) = asked else { continue };
                self.questions = self.questions.saturating_sub(takes.len());
                for (now, _) in moments.iter().zip(takes).filter(|(_, takes)| *takes) {
                    let probe = Probe { sample: sample.clone(), opened: block.opened, now: now.clone() };
                    if then(self, &probe) {
                        return;
                    }
                }
            }
        }
    }

    fn takes(&self, place: usize, probe: &Probe) -> bool {
        let takes = |part: &Part<'_>| probe.sample.with(|built| part.takes(built, probe.opened, &probe.now));
        self.part(place).and_then(takes).unwrap_or(false)
    }

    /// A command that the rule takes, beyond what every rule of its service does; whether all were looked at.
    fn probe(&mut self, place: usize) -> (Option<Probe>, bool) {
        let (space, moments, complete) = self.space(&[place], place);
        let mut found = None;
        self.each(place, (&space, &moments), |_, probe| {
            if probe.sample.is_idle() {
                return false;
            }
            found = Some(Probe { sample: probe.sample.clone(), opened: probe.opened, now: probe.now.clone() });
            true
        });
        (found, complete)
    }

    /// Other rules of the same kind that take the command too, and are for all the same peers.
    fn candidates(&self, place: usize, probe: &Probe) -> Vec<usize> {
        let Some(rule) = self.policy.rules.get(place) else { return Vec::new() };
        let Some(first) = rule.peers.first() else { return Vec::new() };
        let near = self.policy.near(first, (&probe.sample, probe.opened), rule.deny);
        let places = near.into_iter().filter(|other| *other != place).filter(|other| {
            self.policy.rules.get(*other).is_some_and(|other| {
                other.deny == rule.deny && other.egress == rule.egress && within(&rule.peers, &other.peers)
            })
        });
        places.filter(|other| self.takes(*other, probe)).collect()
    }

    /// Whether the rule at `by` means all that the rule at `place` means.
    fn covers(&mut self, by: usize, place: usize) -> bool {
        let (Some(own), Some(other)) = (self.policy.rules.get(place), self.policy.rules.get(by)) else { return false };
        let serves = other.service.is_none() || (other.service == own.service);
        let peers = within(&own.peers, &other.peers);
        if !serves || !peers || own.refusal.is_some() || other.rate.is_some() || !no_stricter(&other.body, &own.body) {
            return false;
        }
        let (space, moments, complete) = self.space(&[place, by], place);
        if !complete && !same_envelope(&other.body, &own.body) {
            return false;
        }
        let mut covers = true;
        self.each(place, (&space, &moments), |search, probe| {
            covers = search.takes(by, probe);
            !covers
        });
        self.questions > 0 && covers
    }

    /// Tells what deny rules do to an allow rule; whether they leave nothing of it.
    fn denied(&mut self, place: usize, denies: &[usize], warnings: &mut Vec<Warning>) -> bool {
        if denies.is_empty() {
            return false;
        }
        let policy = self.policy;
        let Some(rule) = policy.rules.get(place) else { return false };
        let places: Vec<usize> = denies.iter().copied().chain([place]).collect();
        let (space, moments, complete) = self.space(&places, place);
        let for_all = |deny: &usize| policy.rules.get(*deny).is_some_and(|deny| within(&rule.peers, &deny.peers));
        let mut examples: Vec<Option<String>> = vec![None; denies.len()];
        let mut left = false;
        let mut needed: Vec<bool> = vec![false; denies.len()];
        self.each(place, (&space, &moments), |search, probe| {
            if probe.sample.is_idle() {
                return false;
            }
            let mut taken = false;
            for ((deny, example), needed) in denies.iter().zip(&mut examples).zip(&mut needed) {
                if search.takes(*deny, probe) {
                    example.get_or_insert_with(|| probe.sample.to_string());
                    *needed |= !taken && for_all(deny);
                    taken |= for_all(deny);
                }
            }
            left |= !taken;
            false
        });
        let id = |place: &usize| policy.rules.get(*place).map(|rule| rule.id.clone()).unwrap_or_default();
        if !left {
            if complete {
                let by = denies.iter().zip(&needed).filter(|(_, needed)| **needed).map(|(deny, _)| id(deny)).collect();
                warnings.push(Warning::Denied { rule: rule.id.clone(), by });
            }
            return complete;
        }
        for (deny, example) in denies.iter().zip(examples) {
            if let Some(example) = example {
                warnings.push(Warning::Conflict { allow: rule.id.clone(), deny: id(deny), example });
            }
        }
        false
    }
}

impl Policy {
    /// Places of rules that may take this command of a peer: found as a decision finds them.
    fn near(&self, peer: &IpNet, (sample, opened): (&Sample, dissect::Toward), deny: bool) -> Vec<usize> {
        let client = self.client(peer.addr());
        let Some(own) = self.rules_of(client) else {
            // A deny rule for peers that no rule allows anything.
            return if deny { (0..self.rules.len()).collect() } else { Vec::new() };
        };
        let found = sample.with(|built| {
            let own_commands = own.commands(built.command.service(), opened);
            match &built.command {
                Command::Modbus(request) => own_commands.modbus.candidates(request),
                Command::Rtde(_) => index::Candidates::of(&own_commands.rtde),
                Command::Dashboard(_) => index::Candidates::of(&own_commands.dashboard),
                Command::UrScript(_) => index::Candidates::of(&own_commands.urscript),
                Command::External(_) => index::Candidates::of(&own_commands.external),
                Command::Transport(_) => index::Candidates::default(),
            }
        });
        match (found, sample) {
            (_, Sample::Connect(_)) => own.transport.iter().chain(&*own.egress).copied().map(usize::from).collect(),
            (Some(found), _) => found.iter().map(usize::from).collect(),
            (None, _) => Vec::new(),
        }
    }
}

/// Services that a rule speaks of.
fn services(rule: &Rule) -> Vec<Service> {
    match (&rule.body, rule.service) {
        (Body::Transport(services), _) => {
            let unread = |service: &Service| if service.is_dissected() { Service::Icmp } else { *service };
            services.iter().map(unread).collect()
        }
        (_, Some(service)) => vec![service],
        (_, None) => DISSECTED.into_iter().chain([Service::Icmp]).collect(),
    }
}

/// Whether a deny rule may touch what an allow rule covers.
fn meet(allow: &Rule, deny: &Rule) -> bool {
    let services = allow.service.is_none() || deny.service.is_none() || allow.service == deny.service;
    let overlap = |a: &IpNet, b: &IpNet| a.contains(b) || b.contains(a);
    deny.deny && services && allow.peers.iter().any(|own| deny.peers.iter().any(|other| overlap(own, other)))
}

/// Whether each of these networks lies in one of the others.
fn within(own: &[IpNet], others: &[IpNet]) -> bool {
    own.iter().all(|own| others.iter().any(|other| other.contains(own)))
}

/// Whether what went before limits the second no less than the first.
fn no_stricter(by: &Body, own: &Body) -> bool {
    match (by, own) {
        (Body::Rtde(by), Body::Rtde(own)) => by.no_stricter(own),
        (Body::Rtde(by), _) => !by.has_history(),
        (Body::External(by), Body::External(own)) => {
            by.sockets == own.sockets && same_envelope_of(by.envelope(), own.envelope())
        }
        (Body::External(by), _) => by.envelope().is_none(),
        _ => true,
    }
}

/// Whether two rules of external control compare set-points with the same envelope, or the first with none.
fn same_envelope(by: &Body, own: &Body) -> bool {
    match (by, own) {
        (Body::External(by), Body::External(own)) => same_envelope_of(by.envelope(), own.envelope()),
        _ => false,
    }
}

fn same_envelope_of<T: PartialEq>(by: Option<T>, own: Option<T>) -> bool {
    by.is_none() || by == own
}
