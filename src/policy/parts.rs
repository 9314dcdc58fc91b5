//! The rules of one peer, each as a policy of its own: which of them let a command pass, which take it away.
//!
//! A policy allows what some allow rule covers and no deny rule touches, so what single rules say is all there is to know.

use dissect::Toward;

use super::rule::Rule;
use super::space::{Block, Built, Moment};
use super::{Body, Client, Policy};
use crate::command::Service;
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
pub(super) struct Part {
    /// Its place in the policy.
    pub(super) place: usize,
    pub(super) deny: bool,
    service: Option<Service>,
    alone: Policy,
}

/// Rules that can meet.
#[derive(Debug)]
pub(super) struct Parts(pub(super) Vec<Part>);

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

impl Parts {
    /// The rules of a policy at these places.
    pub(super) fn of(policy: &Policy, places: &[usize]) -> Self {
        let part = |place: &usize| {
            let rule = policy.rules.get(*place)?;
            let service = match rule.body {
                Body::Transport(_) => None,
                _ => rule.service,
            };
            Some(Part { place: *place, deny: rule.deny, service, alone: policy.alone(rule) })
        };
        Self(places.iter().filter_map(part).collect())
    }

    /// Those that can say anything about the commands of a block.
    pub(super) fn about<'p>(&'p self, block: &Block) -> Vec<&'p Part> {
        self.0.iter().filter(|part| part.speaks_of(block)).collect()
    }
}

impl Part {
    /// Whether it can say anything about the commands of a block.
    pub(super) fn speaks_of(&self, block: &Block) -> bool {
        self.service.is_none_or(|service| service == block.service)
    }

    /// Whether an allow rule covers the command now, or a deny rule touches it.
    pub(super) fn takes(&self, built: &Built<'_>, opened: Toward, now: &Moment) -> bool {
        let verdict = built.ask(&self.alone, WHOEVER, opened, now);
        if self.deny { verdict.reason == Reason::DeniedByRule } else { verdict.is_allowed() }
    }
}
