//! What peers may do under one policy and not under another, over all commands.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use super::parts::{Part, Parts, QUESTIONS, TOO_MANY};
use super::rule::{Asset, Body, Rate};
use super::space::{Block, Cuts, DISSECTED, Moment, Peer, Peers, Sample, Space};
use super::unlike::Said;
use super::{Client, Policy};
use crate::command::Service;

/// Most tries for a command of several things that only one of two policies allows, a kind of command.
const TRIES: usize = 20_000;

/// Most examples that are kept of one kind of command.
const EXAMPLES: usize = 6;

/// How behaviour differs.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Effect {
    /// The second policy lets it pass, the first does not.
    Gained,
    /// The first policy lets it pass, the second does not.
    Lost,
    /// Both let it pass, but not as often or not in the same steps: before, after.
    Limited(String, String),
    /// What is done with refused commands: before, after.
    Answered(String, String),
}

/// One difference in behaviour.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Difference {
    /// Devices by name, addresses, networks; empty where it is the same for all.
    pub peers: Vec<String>,
    /// How.
    pub effect: Effect,
    /// The service; empty for the policy as a whole.
    pub service: String,
    /// The kind of command.
    pub what: String,
    /// Commands that show it.
    pub examples: Vec<String>,
    /// When, where it is not so always.
    pub when: String,
    /// Whether it is so; else it may be, depending on texts of which only the hash is known.
    pub certain: bool,
}

/// All differences in behaviour between two policies.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Comparison {
    /// The differences.
    pub differences: Vec<Difference>,
    /// What could not be looked at, in words.
    pub limits: Vec<String>,
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let peers = some(&self.peers);
        let may = match (&self.effect, self.certain) {
            (Effect::Gained, true) => format!("+ {peers} may now send"),
            (Effect::Gained, false) => format!("+ {peers} may now send, if the text does it,"),
            (Effect::Lost, true) => format!("- {peers} may no longer send"),
            (Effect::Lost, false) => format!("- {peers} may no longer send, if the text does it,"),
            (Effect::Limited(before, after), _) => {
                return write!(f, "~ {peers}: {} {}: {before} -> {after}", self.service, self.what);
            }
            (Effect::Answered(before, after), _) => {
                let whose = if peers.is_empty() { String::new() } else { format!("{peers}: ") };
                return write!(f, "~ {whose}{}: {before} -> {after}", self.what);
            }
        };
        write!(f, "{may} {}", self.service)?;
        // Most commands begin with the name of their kind.
        if !self.examples.iter().all(|example| example.starts_with(&self.what)) {
            write!(f, " {}", self.what)?;
        }
        write!(f, ": {}", self.examples.join("; "))?;
        if self.when.is_empty() { Ok(()) } else { write!(f, " ({})", self.when) }
    }
}

/// Most peers that people are shown of one difference.
const SHOWN: usize = 12;

fn some(peers: &[String]) -> String {
    let shown = peers.iter().take(SHOWN).map(String::as_str).collect::<Vec<_>>().join(", ");
    match peers.len().checked_sub(SHOWN).filter(|more| *more > 0) {
        Some(more) => format!("{shown} and {more} more"),
        None => shown,
    }
}

impl Difference {
    /// The difference as one JSON object.
    #[must_use]
    pub fn to_json(&self) -> serde_json::Value {
        let (effect, before, after) = match &self.effect {
            Effect::Gained => ("gained", None, None),
            Effect::Lost => ("lost", None, None),
            Effect::Limited(before, after) => ("limited", Some(before), Some(after)),
            Effect::Answered(before, after) => ("answered", Some(before), Some(after)),
        };
        serde_json::json!({
            "change": effect, "peers": self.peers, "service": self.service, "what": self.what,
            "examples": self.examples, "when": self.when, "certain": self.certain, "before": before, "after": after,
        })
    }
}

/// Two policies as one peer meets them.
struct Two<'p> {
    policies: [&'p Policy; 2],
    clients: [Client; 2],
    parts: [Parts<'p>; 2],
    moments: Vec<Moment>,
}

/// What the rules of one policy say of each element of a block at one moment: those that take any of them.
#[derive(Clone)]
struct Says {
    /// Of each allow rule, the elements that it covers.
    covers: Vec<Vec<bool>>,
    /// Elements that some deny rule touches.
    denied: Vec<bool>,
}

impl Says {
    fn allows(&self, element: usize) -> bool {
        !is(&self.denied, element) && self.covers.iter().any(|covers| is(covers, element))
    }
}

fn is(set: &[bool], element: usize) -> bool {
    set.get(element).copied().unwrap_or(false)
}

/// How two policies behave differently from `now_ns` (monotonic) on.
///
/// Exact but for what [`Comparison::limits`] tells, and for how rules share a rate: rates are compared command by command.
#[must_use]
pub fn compare(before: &Policy, after: &Policy, assets: &[Asset], now_ns: u64) -> Comparison {
    let mut comparison = Comparison::default();
    let mut differences: Vec<Difference> = Vec::new();
    whole(before, after, &mut differences);
    let said = Said::by([before, after]);
    for peer in Peers::of(&[before, after], assets, None) {
        for mut difference in one_peer([before, after], &said, &peer, now_ns, &mut comparison.limits) {
            // The same for several peers is told once.
            let same = |other: &Difference| {
                (&other.effect, &other.service, &other.what, &other.examples, &other.when, other.certain)
                    == (
                        &difference.effect,
                        &difference.service,
                        &difference.what,
                        &difference.examples,
                        &difference.when,
                        difference.certain,
                    )
            };
            match differences.iter_mut().find(|other| same(other) && !other.peers.is_empty()) {
                Some(known) => known.peers.append(&mut difference.peers),
                None => differences.push(difference),
            }
        }
    }
    comparison.differences = differences;
    comparison
}

/// What is the same for every peer.
fn whole(before: &Policy, after: &Policy, differences: &mut Vec<Difference>) {
    let mut note = |what: &str, before: String, after: String| {
        if before != after {
            differences.push(Difference {
                peers: Vec::new(),
                effect: Effect::Answered(before, after),
                service: String::new(),
                what: what.to_owned(),
                examples: Vec::new(),
                when: String::new(),
                certain: true,
            });
        }
    };
    let robot = |policy: &Policy| policy.robot.map_or("none".to_owned(), |robot| robot.to_string());
    note("robot", robot(before), robot(after));
    let asks = |policy: &Policy| policy.rules.iter().any(|rule| rule.when.is_some());
    if asks(before) || asks(after) {
        let age = |policy: &Policy| format!("{} ms", policy.max_age_ns / 1_000_000);
        note("a state of the robot counts as known for", age(before), age(after));
    }
}

fn one_peer(
    policies: [&Policy; 2],
    said: &Said,
    peer: &Peer,
    now_ns: u64,
    limits: &mut Vec<String>,
) -> Vec<Difference> {
    let [before, after] = policies;
    let clients = [0, 1].map(|which: usize| peer.clients.get(which).copied().unwrap_or(Client::UNKNOWN));
    let [first, second] = clients;
    let places = said.that_matter(policies, [before.places(first), after.places(second)]);
    let [old, new] = &places;
    let rules = || before.at(old).chain(after.at(new));
    let cuts = Cuts::of(rules());
    let has =
        |service: Service| rules().any(|rule| !rule.deny && (rule.service.is_none() || rule.service == Some(service)));
    let mut services: Vec<Service> = DISSECTED.into_iter().filter(|service| has(*service)).collect();
    if rules().any(|rule| !rule.deny && matches!(rule.body, Body::Transport(_) | Body::Any(_))) {
        services.push(Service::Icmp);
    }
    let space = Space::of(&cuts, &services);
    let (moments, cut) = cuts.moments.moments(now_ns);
    let said = cut.then(|| "rules ask for too many states of the robot; some moments were not looked at".to_owned());
    let mut limit = |what: String| {
        if !limits.contains(&what) {
            limits.push(what);
        }
    };
    space.limits.into_iter().chain(said).for_each(&mut limit);
    let parts = [Parts::of(before, first, old), Parts::of(after, second, new)];
    let two = Two { policies, clients, parts, moments };
    let mut found: BTreeMap<(Effect, String, String, String, bool), Vec<String>> = BTreeMap::new();
    let mut questions = QUESTIONS;
    for block in &space.blocks {
        let complete = two.look_at(block, &mut questions, &mut found);
        if questions == 0 {
            limit(TOO_MANY.to_owned());
            break;
        }
        if !complete {
            limit(format!("{} {}: too many rules share commands of several things", block.service, block.what));
        }
    }
    two.answers(&mut found);
    let names = || peer.names.clone();
    let difference = |((effect, service, what, when, certain), examples)| Difference {
        peers: names(),
        effect,
        service,
        what,
        examples,
        when,
        certain,
    };
    found.into_iter().map(difference).collect()
}

type Found = BTreeMap<(Effect, String, String, String, bool), Vec<String>>;

impl Two<'_> {
    /// Finds what differs in a block; false where not all could be tried.
    fn look_at(&self, block: &Block, questions: &mut usize, found: &mut Found) -> bool {
        let [old, new] = [0, 1].map(|which| self.active(which, block, questions));
        if *questions == 0 {
            return false;
        }
        let parts = [old.0, new.0];
        let says: Vec<(Says, Says)> = old.1.into_iter().zip(new.1).collect();
        if parts.iter().all(Vec::is_empty) {
            return true;
        }
        let mut tries = TRIES;
        let mut seen: BTreeSet<(Effect, Vec<usize>)> = BTreeSet::new();
        for (before, after) in &says {
            for (effect, more, less) in [(Effect::Gained, after, before), (Effect::Lost, before, after)] {
                let single: Vec<Vec<usize>> = (0..block.elements.len())
                    .filter(|element| more.allows(*element) && !less.allows(*element))
                    .map(|element| vec![element])
                    .collect();
                let sets = if single.is_empty() {
                    several(block, more, less, &mut tries).into_iter().collect()
                } else {
                    single
                };
                for set in sets {
                    if seen.insert((effect.clone(), set.clone())) {
                        self.note(block, effect.clone(), &set, found);
                    }
                }
            }
        }
        for (element, sample) in block.elements.iter().enumerate() {
            let mut both = says.iter().filter(|(before, after)| before.allows(element) && after.allows(element));
            if let Some((before, after)) = both.next() {
                let [old, new] = [0, 1].map(|which| {
                    let says = if which == 0 { before } else { after };
                    let parts = parts.get(which).map(Vec::as_slice).unwrap_or_default();
                    self.pace(which, parts, says, element, sample)
                });
                if old != new {
                    let key =
                        (Effect::Limited(old, new), block.service.to_string(), block.what.clone(), String::new(), true);
                    add(found, key, sample.to_string());
                }
            }
        }
        tries > 0
    }

    /// The rules of one policy that take any element of a block at any moment, and what they say of each at each moment.
    fn active(&self, which: usize, block: &Block, questions: &mut usize) -> (Vec<&Part<'_>>, Vec<Says>) {
        let Some(parts) = self.parts.get(which) else { return (Vec::new(), Vec::new()) };
        let about = parts.about(block);
        // Element, moment and rule.
        let mut takes: Vec<(usize, usize, &Part<'_>)> = Vec::new();
        for (element, sample) in block.elements.iter().enumerate() {
            sample.with(|built| {
                let near = parts.near(&about, built, block.opened);
                *questions = questions.saturating_sub(near.len().saturating_mul(self.moments.len()));
                for (at, now) in self.moments.iter().enumerate().filter(|_| *questions > 0) {
                    let taking = near.iter().filter(|part| part.takes(built, block.opened, now));
                    takes.extend(taking.map(|part| (element, at, *part)));
                }
            });
        }
        let mut active: Vec<&Part<'_>> = takes.iter().map(|(.., part)| *part).collect();
        active.sort_unstable_by_key(|part| part.place);
        active.dedup_by_key(|part| part.place);
        let allows: Vec<usize> = active.iter().filter(|part| !part.deny).map(|part| part.place).collect();
        let silent = Says {
            covers: vec![vec![false; block.elements.len()]; allows.len()],
            denied: vec![false; block.elements.len()],
        };
        let mut says = vec![silent; self.moments.len()];
        for (element, at, part) in takes {
            let Some(own) = says.get_mut(at) else { continue };
            let set = match allows.binary_search(&part.place) {
                Ok(allow) => own.covers.get_mut(allow),
                Err(_) => Some(&mut own.denied),
            };
            if let Some(slot) = set.and_then(|set| set.get_mut(element)) {
                *slot = true;
            }
        }
        (active, says)
    }

    /// Notes a difference, if the policies as a whole say the same.
    fn note(&self, block: &Block, effect: Effect, set: &[usize], found: &mut Found) {
        let Some(sample) = block.joined(set) else { return };
        let differs = |now: &&Moment| {
            let verdicts = [0, 1].map(|which: usize| {
                let client = self.clients.get(which).copied().unwrap_or(Client::UNKNOWN);
                let policy = self.policies.get(which)?;
                sample.ask(policy, client, block.opened, now).map(|verdict| verdict.is_allowed())
            });
            match effect {
                Effect::Gained => verdicts == [Some(false), Some(true)],
                _ => verdicts == [Some(true), Some(false)],
            }
        };
        let when: Vec<&Moment> = self.moments.iter().filter(differs).collect();
        let Some(first) = when.first() else { return };
        let mut text = if when.len() == self.moments.len() { String::new() } else { first.to_string() };
        let over = self.moments.iter().any(|now| now.over > 0);
        if over && when.iter().all(|now| now.over > 0) {
            text = format!("{text}{}after a deadline", if text.is_empty() { "" } else { ", " });
        } else if over && when.iter().all(|now| now.over == 0) {
            text = format!("{text}{}before a deadline", if text.is_empty() { "" } else { ", " });
        }
        let key = (effect, block.service.to_string(), block.what.clone(), text, !sample.is_assumed());
        add(found, key, sample.to_string());
    }

    /// How often, and in which steps, a command may be sent that the policy allows.
    fn pace(&self, which: usize, parts: &[&Part<'_>], says: &Says, element: usize, sample: &Sample) -> String {
        let Some(policy) = self.policies.get(which) else { return String::new() };
        let variable = match sample {
            Sample::Data(fields) => fields.first().map(|(variable, _)| *variable),
            _ => None,
        };
        let mut paces = BTreeSet::new();
        let allows = parts.iter().filter(|part| !part.deny).zip(&says.covers).filter(|(_, covers)| is(covers, element));
        for rule in allows.filter_map(|(part, _)| policy.rules.get(part.place)) {
            let rate = |own: &Rate| {
                #[expect(clippy::cast_precision_loss, reason = "for people")]
                let per_second = own.per_second as f64 / 1000.0;
                format!("{per_second} a second, {} at once", own.burst / 1000)
            };
            let (step, own) = match (variable, &rule.body) {
                (Some(variable), Body::Rtde(body)) => body.history(variable),
                _ => (None, None),
            };
            let mut words: Vec<String> = rule.rate.iter().chain(&own).map(rate).collect();
            words.extend(step.map(|step| format!("steps up to {step:?}")));
            if words.is_empty() {
                return "at any pace".to_owned();
            }
            paces.insert(words.join(", "));
        }
        paces.into_iter().collect::<Vec<_>>().join(" or ")
    }

    /// What is done with refused commands.
    fn answers(&self, found: &mut Found) {
        let [before, after] = [0, 1].map(|which: usize| {
            let client = self.clients.get(which).copied().unwrap_or(Client::UNKNOWN);
            self.policies.get(which).and_then(|policy| policy.rules_of(client)).map(|own| own.robot.refusal)
        });
        let (Some(before), Some(after)) = (before, after) else { return };
        let services =
            [Service::Modbus, Service::Rtde, Service::Dashboard, Service::UrScript, Service::ExternalControl];
        for ((service, before), after) in services.into_iter().zip(before).zip(after) {
            if before != after {
                let effect = Effect::Answered(before.name().to_owned(), after.name().to_owned());
                let what = format!("refused commands of {service}");
                found.entry((effect, service.to_string(), what, String::new(), true)).or_default();
            }
        }
    }
}

fn add(found: &mut Found, key: (Effect, String, String, String, bool), example: String) {
    let examples = found.entry(key).or_default();
    if examples.len() < EXAMPLES && !examples.contains(&example) {
        examples.push(example);
    }
}

/// Elements that one policy allows in one command and the other does not, though it allows each of them alone.
///
/// One rule has to cover all of them, so such a command has, for each rule of the other policy, an element that this rule
/// does not cover.
fn several(block: &Block, more: &Says, less: &Says, tries: &mut usize) -> Option<Vec<usize>> {
    if block.most < 2 {
        return None;
    }
    more.covers.iter().find_map(|covers| {
        let mut known = BTreeSet::new();
        let free: Vec<usize> = (0..block.elements.len())
            .filter(|element| is(covers, *element) && !is(&more.denied, *element))
            // Of elements that the other policy does not tell apart, one stands for all.
            .filter(|element| {
                let group = block.groups.get(*element).copied();
                known.insert((group, less.covers.iter().map(|covers| is(covers, *element)).collect::<Vec<_>>()))
            })
            .collect();
        let missed: Vec<Vec<usize>> = less
            .covers
            .iter()
            .map(|covers| free.iter().copied().filter(|element| !is(covers, *element)).collect())
            .collect();
        if missed.is_empty() || missed.iter().any(Vec::is_empty) {
            return None;
        }
        let most = block.most.min(missed.len());
        (2..=most).find_map(|size| hit(block, &missed, size, &mut Vec::new(), tries))
    })
}

/// At most `size` elements with one of each of these sets, all of which fit into one command.
fn hit(
    block: &Block,
    sets: &[Vec<usize>],
    size: usize,
    chosen: &mut Vec<usize>,
    tries: &mut usize,
) -> Option<Vec<usize>> {
    *tries = tries.saturating_sub(1);
    if *tries == 0 {
        return None;
    }
    let Some(open) = sets.iter().find(|set| !set.iter().any(|element| chosen.contains(element))) else {
        return block.joined(chosen).is_some().then(|| chosen.clone());
    };
    if chosen.len() >= size {
        return None;
    }
    for element in open {
        if chosen.iter().any(|other| block.excludes(*element, *other)) {
            continue;
        }
        chosen.push(*element);
        let found = hit(block, sets, size, chosen, tries);
        chosen.pop();
        if found.is_some() {
            return found;
        }
    }
    None
}
