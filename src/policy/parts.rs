//! The rules of one peer, each as a policy of its own: which of them let a command pass, which take it away.
//!
//! A policy allows what some allow rule covers and no deny rule touches, so what single rules say is all there is to know.

use std::cell::OnceCell;

use dissect::Toward;

use super::rule::Rule;
use super::space::{Block, Built, Moment};
use super::{Body, Client, ClientRules, Policy};
use crate::command::{Command, Service};
use crate::event::Reason;

/// Most questions that an answer or a comparison asks for one peer: some seconds.
pub(super) const QUESTIONS: usize = 4_000_000;

/// Said where there would be more.
pub(super) const TOO_MANY: &str =
    "there are more rules for one peer than could be asked; merge rules, or ask a narrower question";

/// The one client of a policy of one rule.
const WHOEVER: Client = Client(0);

/// One rule.
#[derive(Debug)]
pub(super) struct Part<'p> {
    policy: &'p Policy,
    /// Its place in the policy.
    pub(super) place: usize,
    pub(super) deny: bool,
    service: Option<Service>,
    /// Made when it is first asked: of thousands of rules most never are.
    alone: OnceCell<Policy>,
}

/// Rules of one client that can meet.
#[derive(Debug)]
pub(super) struct Parts<'p> {
    own: Option<&'p ClientRules>,
    /// By place.
    all: Vec<Part<'p>>,
}

impl Policy {
    /// Places of the rules that are for this client, in the order of the file.
    pub(super) fn places(&self, client: Client) -> Vec<usize> {
        let Some(own) = self.rules_of(client) else { return Vec::new() };
        let commands = [&own.robot, &own.device].into_iter();
        let commands = commands.flat_map(|own| {
            let lists = [&own.rtde, &own.dashboard, &own.urscript, &own.external];
            own.modbus.all().chain(lists.into_iter().flatten().copied())
        });
        let connections = own.transport.iter().chain(&*own.egress).copied();
        let mut places: Vec<usize> = commands.chain(connections).map(usize::from).collect();
        places.sort_unstable();
        places.dedup();
        places
    }

    /// The rules of this policy at these places.
    pub(super) fn at<'p>(&'p self, places: &[usize]) -> impl Iterator<Item = &'p Rule> + use<'p> {
        let rules: Vec<&Rule> = places.iter().filter_map(|place| self.rules.get(*place)).collect();
        rules.into_iter()
    }
}

impl<'p> Parts<'p> {
    /// The rules of a client at these places, which ascend.
    pub(super) fn of(policy: &'p Policy, client: Client, places: &[usize]) -> Self {
        let all = places.iter().filter_map(|place| Part::of(policy, *place)).collect();
        Self { own: policy.rules_of(client), all }
    }

    /// Those that can say anything about the commands of a block.
    pub(super) fn about(&self, block: &Block) -> Vec<&Part<'p>> {
        self.all.iter().filter(|part| part.speaks_of(block)).collect()
    }

    /// Those of `about` that can say anything about this command of the block: found as a decision finds them.
    pub(super) fn near<'a>(&'a self, about: &[&'a Part<'p>], built: &Built<'_>, opened: Toward) -> Vec<&'a Part<'p>> {
        let (Some(own), Command::Modbus(request)) = (self.own, &built.command) else { return about.to_vec() };
        let candidates = own.commands(Service::Modbus, opened).modbus.candidates(request);
        let mut places: Vec<usize> = candidates.iter().map(usize::from).collect();
        places.sort_unstable();
        places.dedup();
        let part = |place: usize| self.all.binary_search_by_key(&place, |part| part.place).ok();
        let parts = places.into_iter().filter_map(|place| self.all.get(part(place)?));
        parts.filter(|part| part.service.is_none_or(|service| service == Service::Modbus)).collect()
    }
}

impl<'p> Part<'p> {
    /// The rule of a policy at this place.
    pub(super) fn of(policy: &'p Policy, place: usize) -> Option<Self> {
        let rule = policy.rules.get(place)?;
        let service = match rule.body {
            Body::Transport(_) => None,
            _ => rule.service,
        };
        Some(Self { policy, place, deny: rule.deny, service, alone: OnceCell::new() })
    }

    /// Whether it can say anything about the commands of a block.
    pub(super) fn speaks_of(&self, block: &Block) -> bool {
        self.service.is_none_or(|service| service == block.service)
    }

    /// Whether an allow rule covers the command now, or a deny rule touches it.
    pub(super) fn takes(&self, built: &Built<'_>, opened: Toward, now: &Moment) -> bool {
        let Some(rule) = self.policy.rules.get(self.place) else { return false };
        let alone = self.alone.get_or_init(|| self.policy.alone(rule));
        let verdict = built.ask(alone, WHOEVER, opened, now);
        if self.deny { verdict.reason == Reason::DeniedByRule } else { verdict.is_allowed() }
    }
}
