//! From the file to a policy in force.

use std::collections::BTreeMap;
use std::net::IpAddr;

use ipnet::IpNet;
use sha2::{Digest, Sha256};

use super::external_control::{self, all_sockets};
use super::index::ModbusIndex;
use super::rtde::InputSet;
use super::rule::{Asset, Body, Reading, Rule, refusal_of};
use super::{Client, ClientRules, Commands, Escalation, Moment, Policy, exempt, number, test};
use crate::command::Service;
use crate::document::{Problems, Source, Table};
use crate::event::Action;

/// Most rules of one policy: places are 16-bit numbers.
const RULES: usize = 60_000;

/// What is done with refused commands where the policy does not say. Source: the contract; only the one command is
/// lost, and the client reads in its own protocol that it was.
const REFUSAL: Action = Action::Refuse;

/// The same by service: Modbus, RTDE, Dashboard, URScript, external control.
const DEFAULT_REFUSAL: [Action; 5] = [REFUSAL, REFUSAL, REFUSAL, REFUSAL, Action::Hold];

/// How old the robot's state may be for a `when`. Source: the contract; five periods of the slowest stream (10 Hz).
const MAX_AGE_NS: u64 = 500_000_000;

impl Policy {
    /// Compiles the text of a policy file; `name` is what problems call it. Assets give names their addresses.
    ///
    /// # Errors
    /// Everything that is wrong, each with its place and how to mend it.
    pub fn compile(
        name: &str,
        text: &str,
        assets: &[Asset],
        generation: u32,
        moment: Moment,
    ) -> Result<Self, Problems> {
        let source = Source::parse(name, text);
        if source.has_problems() {
            return source.finish(None);
        }
        let root = source.root();
        if let Some(version) = root.require("version", "write version = 1") {
            version.integer(1..=1);
        }
        let robot = robot(&root, assets);
        let (refusal, escalation) = refusal(&root);
        let max_age_ns = max_age(&root);
        let mut reading = Reading { assets, robot, moment, buckets: 0 };
        let mut rules = Vec::new();
        for (key, deny) in [("deny", true), ("allow", false)] {
            for (place, table) in (1_usize..).zip(root.tables(key)) {
                let unnamed = format!("{key}-{place}");
                rules.extend(reading.rule(&table, deny, unnamed).map(|rule| (table.offset(), rule)));
            }
        }
        let mut ids = std::collections::HashSet::with_capacity(rules.len());
        for (offset, rule) in &rules {
            if !ids.insert(rule.id.as_str()) {
                source.problem(
                    *offset,
                    format!("a second rule has the id \"{}\"", rule.id),
                    "give every rule its own id",
                );
            }
        }
        if rules.len() > RULES {
            source.problem(0, format!("{} rules are more than {RULES}", rules.len()), "merge rules");
        }
        let tests = test::read(&root, &reading);
        let exemptions = exempt::read(&root);
        root.finish();
        // In the order of the file, so that places match what people read; deny rules of a client come first in its lists.
        rules.sort_by_key(|(offset, _)| *offset);
        let external = rules.iter().filter_map(|(offset, rule)| match &rule.body {
            Body::External(body) if !rule.deny => Some((*offset, &**body)),
            _ => None,
        });
        let sockets = all_sockets(&source, external);
        let rules: Vec<Rule> = rules.into_iter().map(|(_, rule)| rule).collect();
        let (ranges, clients) = clients(&rules, refusal);
        let digest = Sha256::digest(text.as_bytes()).into();
        let exclusive = rules.iter().fold(InputSet::default(), |set, rule| match &rule.body {
            Body::Rtde(body) => set.with(body.exclusive()),
            _ => set,
        });
        let policy = Self {
            generation,
            digest,
            robot,
            own: rules.len(),
            rules,
            ranges,
            clients,
            refusal,
            max_age_ns,
            sockets,
            exclusive,
            escalation,
            tests,
            exemptions,
        };
        source.finish(Some(policy))
    }

    /// A policy of this one rule, whoever asks: its only client is 0.
    pub(super) fn alone(&self, rule: &Rule) -> Self {
        let rules = vec![rule.clone()];
        let clients = vec![client_rules(&rules, &[0], [REFUSAL; 5])];
        let ranges = vec![(0, Client(0))];
        Self { robot: self.robot, max_age_ns: self.max_age_ns, rules, ranges, clients, ..Self::empty(self.generation) }
    }

    /// A policy without rules: refuses everything.
    #[must_use]
    pub fn empty(generation: u32) -> Self {
        Self {
            generation,
            digest: [0; 32],
            robot: None,
            own: 0,
            rules: Vec::new(),
            ranges: Vec::new(),
            clients: Vec::new(),
            refusal: DEFAULT_REFUSAL,
            max_age_ns: MAX_AGE_NS,
            sockets: Vec::new(),
            exclusive: InputSet::default(),
            escalation: None,
            tests: Vec::new(),
            exemptions: Vec::new(),
        }
    }
}

fn robot(root: &Table<'_>, assets: &[Asset]) -> Option<IpAddr> {
    let Some(value) = root.take("robot") else {
        let mut robots = assets.iter().filter(|asset| asset.is_robot);
        if let (Some(only), None) = (robots.next(), robots.next()) {
            return Some(only.address);
        }
        let _ = root.require("robot", "write robot = \"asset name or address\"");
        return None;
    };
    let text = value.string()?;
    let found = assets.iter().find(|asset| asset.name == text).map(|asset| (asset.address, asset.is_robot));
    match found.or_else(|| text.parse().ok().map(|address| (address, true))) {
        Some((address, true)) => Some(address),
        Some((_, false)) => {
            value.problem(format!("\"{text}\" is no robot"), "name the asset with side = \"robot\"");
            None
        }
        None => {
            value.unknown_name(text, assets.iter().filter(|asset| asset.is_robot).map(|asset| asset.name.as_str()));
            None
        }
    }
}

fn refusal(root: &Table<'_>) -> ([Action; 5], Option<Escalation>) {
    let Some(table) = root.table("refusal") else { return (DEFAULT_REFUSAL, None) };
    let read = |key| table.take(key).and_then(|value| refusal_of(&value)).unwrap_or(REFUSAL);
    let external = table.take("external_control").and_then(|value| external_control::refusal(&value));
    let external = external.unwrap_or(Action::Hold);
    let refusal = [read("modbus"), read("rtde"), read("dashboard"), read("urscript"), external];
    let escalation = table.table("escalate").and_then(|table| escalation(&table));
    table.finish();
    (refusal, escalation)
}

/// Longest time of a quarantine or of counting for one, in seconds: a day. Whoever wants more denies.
const DAY_S: u64 = 86_400;

/// Reads `escalate`; none where no number of refusals leads to a quarantine.
fn escalation(table: &Table<'_>) -> Option<Escalation> {
    let time = |key: &'static str| {
        let value = table.take(key)?;
        let text = value.string()?;
        let (number, factor) = [("ms", 1), ("s", 1_000), ("m", 60_000), ("h", 3_600_000)]
            .into_iter()
            .find_map(|(unit, factor)| Some((text.strip_suffix(unit)?.parse::<u64>().ok()?, factor)))
            .unwrap_or((0, 1));
        let ms = number.checked_mul(factor).filter(|ms| (1..=DAY_S.saturating_mul(1000)).contains(ms));
        if ms.is_none() {
            value.problem(format!("\"{text}\" is no time"), "write a time such as \"10s\" or \"5m\", at most \"24h\"");
        }
        ms.map(|ms| ms.saturating_mul(1_000_000))
    };
    let (within_ns, quarantine_ns) = (time("within"), time("quarantine"));
    let refusals = table.take("refusals").and_then(|value| value.integer(0..=1_000_000));
    table.finish();
    let refusals = u64::try_from(refusals?).ok().filter(|refusals| *refusals > 0)?;
    if within_ns.is_none() || quarantine_ns.is_none() {
        table.problem_at(
            table.offset(),
            "`escalate` has no `within` or no `quarantine`",
            "write escalate = { refusals = 20, within = \"10s\", quarantine = \"5m\" }",
        );
    }
    Some(Escalation { refusals, within_ns: within_ns?, quarantine_ns: quarantine_ns? })
}

fn max_age(root: &Table<'_>) -> u64 {
    let Some(table) = root.table("state") else { return MAX_AGE_NS };
    let age = table.take("max_age").and_then(|value| {
        let text = value.string()?;
        let age = text.strip_suffix("ms").and_then(|number| number.parse::<u64>().ok());
        if age.is_none_or(|age| age == 0 || age > 60_000) {
            value.problem(format!("\"{text}\" is no age"), "write milliseconds from \"1ms\" to \"60000ms\"");
        }
        age
    });
    table.finish();
    age.map_or(MAX_AGE_NS, |age| age.saturating_mul(1_000_000))
}

/// First and last address of a network as numbers.
fn bounds(net: &IpNet) -> (u128, u128) {
    match net {
        IpNet::V4(net) => (number(net.network().into()), number(net.broadcast().into())),
        IpNet::V6(net) => (number(net.network().into()), number(net.broadcast().into())),
    }
}

/// Cuts the address space where rules tell addresses apart, and gives each range its rules.
pub(crate) fn clients(rules: &[Rule], refusal: [Action; 5]) -> (Vec<(u128, Client)>, Vec<ClientRules>) {
    let mut cuts: Vec<u128> = vec![0];
    for net in rules.iter().flat_map(|rule| &rule.peers) {
        let (first, last) = bounds(net);
        cuts.push(first);
        cuts.extend(last.checked_add(1));
    }
    cuts.sort_unstable();
    cuts.dedup();
    let mut places: Vec<Vec<u16>> = vec![Vec::new(); cuts.len()];
    for (place, rule) in rules.iter().enumerate() {
        let Ok(place) = u16::try_from(place) else { break };
        for net in &rule.peers {
            let (first, last) = bounds(net);
            let from = cuts.partition_point(|cut| *cut < first);
            let to = cuts.partition_point(|cut| *cut <= last);
            for list in places.get_mut(from..to).into_iter().flatten() {
                if list.last() != Some(&place) {
                    list.push(place);
                }
            }
        }
    }
    // Ranges with the same rules are the same client.
    let mut known: BTreeMap<Vec<u16>, Client> = BTreeMap::new();
    let mut clients = Vec::new();
    let mut ranges = Vec::new();
    for (cut, list) in cuts.into_iter().zip(places) {
        let named = list.iter().any(|place| rules.get(usize::from(*place)).is_some_and(|rule| !rule.deny));
        let client = if list.is_empty() {
            Client::UNKNOWN
        } else {
            *known.entry(list).or_insert_with_key(|list| {
                let id = u16::try_from(clients.len()).unwrap_or(u16::MAX);
                clients.push(ClientRules { named, ..client_rules(rules, list, refusal) });
                Client(id)
            })
        };
        ranges.push((cut, client));
    }
    (ranges, clients)
}

fn client_rules(rules: &[Rule], places: &[u16], refusal: [Action; 5]) -> ClientRules {
    let rule = |place: u16| rules.get(usize::from(place));
    let mut ordered = places.to_vec();
    ordered.sort_by_key(|place| !rule(*place).is_some_and(|rule| rule.deny));
    let list = |fits: &dyn Fn(&Rule) -> bool| -> Box<[u16]> {
        ordered.iter().copied().filter(|place| rule(*place).is_some_and(fits)).collect()
    };
    let in_order = |fits: &dyn Fn(&Rule) -> bool| -> Vec<u16> {
        places.iter().copied().filter(|place| rule(*place).is_some_and(fits)).collect()
    };
    let unread = |rule: &Rule| matches!(rule.body, Body::Transport(_) | Body::Any(_));
    let commands = |egress: bool| {
        let of = |service: Service| {
            move |rule: &Rule| {
                // Who may do nothing at all has nothing done to it either.
                let nothing = egress && rule.deny && matches!(rule.body, Body::Any(None));
                (rule.egress == egress || nothing) && rule.service.is_none_or(|own| own == service)
            }
        };
        let strictest = |service: Service, default: Action| {
            let own = ordered.iter().filter_map(|place| rule(*place)).filter(|rule| rule.service == Some(service));
            own.filter(|rule| rule.egress == egress).filter_map(|rule| rule.refusal).max().unwrap_or(default)
        };
        let [on_modbus, on_rtde, on_dashboard, on_urscript, on_external] = refusal;
        Commands {
            modbus: ModbusIndex::new(rules, &in_order(&of(Service::Modbus))),
            rtde: list(&of(Service::Rtde)),
            dashboard: list(&of(Service::Dashboard)),
            urscript: list(&of(Service::UrScript)),
            external: list(&of(Service::ExternalControl)),
            refusal: [
                strictest(Service::Modbus, on_modbus),
                strictest(Service::Rtde, on_rtde),
                strictest(Service::Dashboard, on_dashboard),
                strictest(Service::UrScript, on_urscript),
                strictest(Service::ExternalControl, on_external),
            ],
        }
    };
    ClientRules {
        named: true,
        robot: commands(false),
        device: commands(true),
        transport: list(&|rule| !rule.egress && unread(rule)),
        egress: list(&|rule| unread(rule) && (rule.egress || rule.deny)),
    }
}
