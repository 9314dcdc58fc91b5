use std::collections::{HashMap, VecDeque};
use std::net::IpAddr;
use std::sync::{PoisonError, RwLock};

use crate::event::{RuleId, Verdict};

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
}

impl Names {
    /// Names of the appliance `host` and of assets by address.
    #[must_use]
    pub fn new(host: impl Into<String>, assets: impl IntoIterator<Item = (IpAddr, String)>) -> Self {
        Self { host: host.into(), assets: assets.into_iter().collect(), rules: RwLock::default() }
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
