use std::collections::{HashMap, VecDeque};
use std::net::IpAddr;
use std::sync::{PoisonError, RwLock};

use crate::command::Service;
use crate::event::{Reason, RuleId, Verdict};

/// Policies whose rule names are remembered: records settle seconds after their verdict, and a policy is not applied
/// several times in that.
const GENERATIONS: usize = 16;

/// What the numbers in records are called: the appliance, assets by address, rules by generation.
///
/// Shared between whoever applies policies and whoever renders records; never touched by the packet path.
#[derive(Debug)]
pub struct Names {
    host: String,
    assets: HashMap<IpAddr, String>,
    rules: RwLock<VecDeque<(u32, Vec<String>)>>,
    attacks: RwLock<VecDeque<(u32, Vec<KnownAttack>)>>,
}

/// A known attack, as records name it where it was refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KnownAttack {
    /// Id of the virtual patch; refusals by its own rules carry it as rule.
    pub id: String,
    /// CVE ids.
    pub cve: Vec<String>,
    /// Numbers in the Robot Vulnerability Database.
    pub rvd: Vec<u32>,
    /// How refusals by the reader look: service (none = whichever) and reason.
    pub signs: Vec<(Option<Service>, Reason)>,
}

impl Names {
    /// Names of the appliance `host` and of assets by address.
    #[must_use]
    pub fn new(host: impl Into<String>, assets: impl IntoIterator<Item = (IpAddr, String)>) -> Self {
        Self {
            host: host.into(),
            assets: assets.into_iter().collect(),
            rules: RwLock::default(),
            attacks: RwLock::default(),
        }
    }

    /// Tells the ids of a policy's rules, in the order of the policy file: the first is [`RuleId`] 1.
    pub fn set_rules(&self, generation: u32, ids: Vec<String>) {
        let mut rules = self.rules.write().unwrap_or_else(PoisonError::into_inner);
        rules.retain(|(known, _)| *known != generation);
        if rules.len() >= GENERATIONS {
            rules.pop_front();
        }
        rules.push_back((generation, ids));
    }

    /// Tells the known attacks that a policy is in force beside.
    pub fn set_attacks(&self, generation: u32, attacks: Vec<KnownAttack>) {
        let mut known = self.attacks.write().unwrap_or_else(PoisonError::into_inner);
        known.retain(|(other, _)| *other != generation);
        if known.len() >= GENERATIONS {
            known.pop_front();
        }
        known.push_back((generation, attacks));
    }

    /// The known attacks that a refusal looks like: by the rule that refused, or as the reader refuses them.
    #[must_use]
    pub fn attacks(&self, verdict: &Verdict, service: Option<Service>) -> Vec<KnownAttack> {
        if verdict.is_allowed() {
            return Vec::new();
        }
        let rule = self.rule(verdict).filter(|_| verdict.reason == Reason::DeniedByRule);
        let known = self.attacks.read().unwrap_or_else(PoisonError::into_inner);
        let own = known.iter().find(|(generation, _)| *generation == verdict.generation);
        let looks_so = |attack: &&KnownAttack| {
            let sign = |(of, reason): &(Option<Service>, Reason)| {
                *reason == verdict.reason && of.is_none_or(|of| Some(of) == service)
            };
            rule.as_ref() == Some(&attack.id) || attack.signs.iter().any(sign)
        };
        own.into_iter().flat_map(|(_, attacks)| attacks).filter(looks_so).cloned().collect()
    }

    /// The appliance.
    #[must_use]
    pub fn host(&self) -> &str {
        &self.host
    }

    /// The asset with this address.
    #[must_use]
    pub fn asset(&self, address: IpAddr) -> Option<&str> {
        self.assets.get(&address).map(String::as_str)
    }

    /// The asset's name and address, or the address alone.
    #[must_use]
    pub fn asset_or_address(&self, address: IpAddr) -> String {
        let text = address.to_string();
        match self.asset(address) {
            // A name that only repeats the address says nothing.
            Some(name) if name != text => format!("{name} ({address})"),
            _ => text,
        }
    }

    /// The rule that decided; its place in the file where its name is not known, `None` where none decided.
    #[must_use]
    pub fn rule(&self, verdict: &Verdict) -> Option<String> {
        if verdict.rule == RuleId::NONE {
            return None;
        }
        let rules = self.rules.read().unwrap_or_else(PoisonError::into_inner);
        let place = usize::from(verdict.rule.0).saturating_sub(1);
        let known = rules.iter().find(|(generation, _)| *generation == verdict.generation);
        let name = known.and_then(|(_, ids)| ids.get(place)).cloned();
        Some(name.unwrap_or_else(|| format!("#{}", verdict.rule.0)))
    }
}
