//! Who may do what: questions to a policy, answered over all commands.

mod answer;
mod filter;
mod question;
mod words;

pub use answer::{Answer, Grant, PeerAnswer, Taken, Unread};
pub use question::{Question, Wanted};

use std::collections::BTreeMap;

use super::parts::{Parts, QUESTIONS, TOO_MANY};
use super::rule::{Asset, Body, Rule};
use super::space::{Cuts, DISSECTED, Moment, Peers, Sample, Space};
use super::{Body as RuleBody, Client, Policy};
use crate::command::Service;
use answer::Keys;
use filter::Wants;

/// What was found of one rule.
#[derive(Default)]
struct Found {
    /// Kinds of commands with an example of each.
    certain: BTreeMap<String, Sample>,
    possible: BTreeMap<String, Sample>,
    /// Places of deny rules that touch some of what it covers.
    denies: std::collections::BTreeSet<usize>,
    covers: bool,
}

impl Found {
    fn note(&mut self, what: &str, sample: &Sample, certain: bool) {
        let map = if certain { &mut self.certain } else { &mut self.possible };
        map.entry(what.to_owned()).or_insert_with(|| sample.clone());
    }
}

impl Policy {
    /// Who may send what is asked about, by which rules and when; from `now_ns` (monotonic) on. `text` is that of the
    /// policy: conditions are shown as people wrote them.
    ///
    /// Cost: looks at every command that the rules tell apart, for every peer that they tell apart.
    #[must_use]
    pub fn answer(&self, text: &str, assets: &[Asset], question: &Question, now_ns: u64) -> Answer {
        let keys = Keys::of(text);
        let mut answer = Answer { question: question.asked.clone(), ..Answer::default() };
        for peer in Peers::of(&[self], assets, question.from.as_deref()) {
            let client = peer.clients.first().copied().unwrap_or(Client::UNKNOWN);
            let mut places = self.places(client);
            // Of thousands of rules a question is about a few.
            places.retain(|place| self.rules.get(*place).is_some_and(|rule| question.may_mean(rule)));
            let found = self.found(client, &places, question, now_ns, &mut answer.limits);
            let mut own = PeerAnswer { peers: peer.names, ..PeerAnswer::default() };
            for (place, found) in &found {
                let Some(rule) = self.rules.get(*place) else { continue };
                own.note(rule, found, |place| self.rules.get(place), &keys);
            }
            if question.may_be_unread() {
                own.unread = self.unread(client, &places, now_ns);
            }
            answer.peers.push(own);
        }
        if question.from.is_none() {
            answer.peers.retain(|peer| !peer.is_empty());
        }
        answer
    }

    /// What each allow rule at these places covers of what is asked about.
    fn found(
        &self,
        client: Client,
        places: &[usize],
        question: &Question,
        now_ns: u64,
        limits: &mut Vec<String>,
    ) -> BTreeMap<usize, Found> {
        let mut cuts = Cuts::of(self.at(places));
        question.filters.iter().for_each(|filter| filter.cut(&mut cuts));
        let parts = Parts::of(self, client, places);
        let (moments, cut) = cuts.moments.moments(now_ns);
        let space = Space::of(&cuts, &self.services(places, question));
        let said =
            cut.then(|| "rules ask for too many states of the robot; some moments were not looked at".to_owned());
        for limit in space.limits.iter().cloned().chain(said) {
            if !limits.contains(&limit) {
                limits.push(limit);
            }
        }
        let mut found: BTreeMap<usize, Found> = BTreeMap::new();
        let mut questions = QUESTIONS;
        for block in &space.blocks {
            let about = parts.about(block);
            for sample in &block.elements {
                let asked = sample.with(|built| {
                    let wants = question.wants(sample, built);
                    if wants == Wants::No {
                        return;
                    }
                    let parts = parts.near(&about, built, block.opened);
                    questions = questions.saturating_sub(parts.len().saturating_mul(moments.len()));
                    for now in moments.iter().filter(|_| questions > 0) {
                        let takes = |deny: bool| {
                            parts
                                .iter()
                                .filter(move |part| part.deny == deny)
                                .filter(|part| part.takes(built, block.opened, now))
                        };
                        let denies: Vec<usize> = takes(true).map(|part| part.place).collect();
                        for part in takes(false) {
                            let own = found.entry(part.place).or_default();
                            own.covers = true;
                            own.denies.extend(&denies);
                            if denies.is_empty() {
                                own.note(&block.what, sample, wants == Wants::Yes && !sample.is_assumed());
                            }
                        }
                    }
                });
                if asked.is_some() && questions == 0 {
                    if !limits.iter().any(|limit| limit == TOO_MANY) {
                        limits.push(TOO_MANY.to_owned());
                    }
                    return found;
                }
            }
        }
        found
    }

    /// The services that the rules at these places speak of and that the question may mean.
    fn services(&self, places: &[usize], question: &Question) -> Vec<Service> {
        let has = |service: Service| {
            self.at(places).any(|rule| !rule.deny && (rule.service.is_none() || rule.service == Some(service)))
        };
        let mut services: Vec<Service> = DISSECTED.into_iter().filter(|service| has(*service)).collect();
        if self.at(places).any(|rule| !rule.deny && matches!(rule.body, Body::Transport(_) | Body::Any(_))) {
            services.extend(question.ports());
            services.push(Service::Icmp);
        }
        services
    }

    /// Connections that this client may have and whose content nobody reads.
    fn unread(&self, client: Client, places: &[usize], now_ns: u64) -> Vec<Unread> {
        let now = Moment { state: crate::robot::State::default(), now_ns, parts: Vec::new(), over: 0 };
        let transport = |rule: &&Rule| !rule.deny && !rule.egress && matches!(rule.body, RuleBody::Transport(_));
        let mut unread = Vec::new();
        for rule in self.at(places).filter(transport) {
            let RuleBody::Transport(services) = &rule.body else { continue };
            for service in services {
                let verdict = Sample::Connect(*service).ask(self, client, dissect::Toward::Robot, &now);
                if verdict.is_some_and(|verdict| verdict.is_allowed()) {
                    unread.push(Unread { rule: rule.id.clone(), service: service.to_string() });
                }
            }
        }
        unread
    }
}
