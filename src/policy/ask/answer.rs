//! The answer to a question, for people and for programs.

use std::collections::BTreeMap;
use std::fmt;

use super::Found;
use crate::policy::diff;
use crate::policy::rule::Rule;

/// Who may do what was asked about.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Answer {
    /// What was asked.
    pub question: String,
    /// Peers with the same rules together; empty where nobody may, or could but for a deny rule.
    pub peers: Vec<PeerAnswer>,
    /// What could not be looked at, in words; empty where the answer is about all commands.
    pub limits: Vec<String>,
}

/// What some peers may do.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PeerAnswer {
    /// Devices by name, addresses, networks.
    pub peers: Vec<String>,
    /// Rules that let it pass.
    pub grants: Vec<Grant>,
    /// Rules that would, but for deny rules.
    pub taken: Vec<Taken>,
    /// Connections that may carry it, whose content nobody reads.
    pub unread: Vec<Unread>,
}

/// A rule that lets pass what was asked about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Grant {
    /// Id of the rule.
    pub rule: String,
    /// Whether it does; else it may, if a text that only its hash is known of does it.
    pub certain: bool,
    /// Kinds of commands, each with an example.
    pub commands: Vec<(String, String)>,
    /// The rule's keys beside who and which service: what else has to hold, as it stands in the file.
    pub conditions: Vec<(String, String)>,
    /// Deny rules that take a part of it away, with their keys.
    pub except: Vec<(String, Vec<(String, String)>)>,
}

/// A rule that lets nothing pass of what was asked about since deny rules take all of it away.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Taken {
    /// Id of the rule.
    pub rule: String,
    /// Ids of the deny rules.
    pub by: Vec<String>,
}

/// A connection whose content nobody reads.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unread {
    /// Id of the rule.
    pub rule: String,
    /// Its service.
    pub service: String,
}

/// The keys of each rule as people wrote them, by its id.
pub(super) struct Keys(BTreeMap<String, Vec<(String, String)>>);

impl Keys {
    pub(super) fn of(text: &str) -> Self {
        Self(diff::rule_keys(text))
    }

    fn conditions(&self, rule: &Rule) -> Vec<(String, String)> {
        let keys = self.0.get(&rule.id).cloned().unwrap_or_default();
        let told = |key: &str| matches!(key, "from" | "to" | "service" | "id" | "refusal");
        keys.into_iter().filter(|(key, _)| !told(key)).collect()
    }
}

impl PeerAnswer {
    pub(super) fn is_empty(&self) -> bool {
        self.grants.is_empty() && self.taken.is_empty() && self.unread.is_empty()
    }

    pub(super) fn note<'p>(&mut self, rule: &Rule, found: &Found, at: impl Fn(usize) -> Option<&'p Rule>, keys: &Keys) {
        let denies = || found.denies.iter().filter_map(|place| at(*place));
        let shown = |samples: &BTreeMap<String, super::Sample>| {
            samples.iter().map(|(what, sample)| (what.clone(), sample.to_string())).collect::<Vec<_>>()
        };
        let certain = !found.certain.is_empty();
        let commands = shown(if certain { &found.certain } else { &found.possible });
        if commands.is_empty() {
            if found.covers {
                self.taken.push(Taken { rule: rule.id.clone(), by: denies().map(|deny| deny.id.clone()).collect() });
            }
            return;
        }
        self.grants.push(Grant {
            rule: rule.id.clone(),
            certain,
            commands,
            conditions: keys.conditions(rule),
            except: denies().map(|deny| (deny.id.clone(), keys.conditions(deny))).collect(),
        });
    }
}

impl Answer {
    /// Whether somebody may, or it can't be told that nobody may.
    #[must_use]
    pub fn somebody(&self) -> bool {
        self.peers.iter().any(|peer| !peer.grants.is_empty())
    }

    /// The answer as one JSON object.
    #[must_use]
    pub fn to_json(&self) -> serde_json::Value {
        let pairs = |pairs: &[(String, String)]| -> serde_json::Value {
            pairs
                .iter()
                .map(|(key, value)| (key.clone(), serde_json::Value::from(value.as_str())))
                .collect::<serde_json::Map<_, _>>()
                .into()
        };
        let grant = |grant: &Grant| {
            let except: Vec<_> = grant
                .except
                .iter()
                .map(|(rule, keys)| serde_json::json!({"rule": rule, "keys": pairs(keys)}))
                .collect();
            let commands: Vec<_> = grant
                .commands
                .iter()
                .map(|(what, example)| serde_json::json!({"what": what, "example": example}))
                .collect();
            serde_json::json!({
                "rule": grant.rule, "certain": grant.certain, "commands": commands,
                "conditions": pairs(&grant.conditions), "except": except,
            })
        };
        let peer = |peer: &PeerAnswer| {
            let taken: Vec<_> =
                peer.taken.iter().map(|taken| serde_json::json!({"rule": taken.rule, "denied_by": taken.by})).collect();
            let unread: Vec<_> =
                peer.unread.iter().map(|own| serde_json::json!({"rule": own.rule, "service": own.service})).collect();
            serde_json::json!({
                "peers": peer.peers, "grants": peer.grants.iter().map(grant).collect::<Vec<_>>(),
                "taken": taken, "unread": unread,
            })
        };
        serde_json::json!({
            "question": self.question, "somebody": self.somebody(),
            "peers": self.peers.iter().map(peer).collect::<Vec<_>>(), "limits": self.limits,
        })
    }
}

/// Most kinds of commands that are shown of one rule.
const SHOWN: usize = 6;

/// Longest value of a key that is shown.
const WIDE: usize = 100;

impl fmt::Display for Answer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}:", self.question)?;
        if !self.somebody() {
            writeln!(f, "  nobody{}", if self.limits.is_empty() { "" } else { " that was found" })?;
        }
        for peer in &self.peers {
            let names = peer.peers.join(", ");
            if peer.is_empty() {
                if self.somebody() {
                    writeln!(f, "  {names}: no")?;
                }
                continue;
            }
            for grant in &peer.grants {
                let may = if grant.certain { "by" } else { "may, if the text does it: by" };
                writeln!(f, "  {names}: {may} rule {}", grant.rule)?;
                for (what, example) in grant.commands.iter().take(SHOWN) {
                    let named = if example.starts_with(what.as_str()) { String::new() } else { format!("{what}: ") };
                    writeln!(f, "      {named}{example}")?;
                }
                if let Some(more) = grant.commands.len().checked_sub(SHOWN).filter(|more| *more > 0) {
                    writeln!(f, "      and {more} more")?;
                }
                keys(f, "    where ", &grant.conditions)?;
                for (rule, conditions) in &grant.except {
                    writeln!(f, "    but not what rule {rule} denies")?;
                    keys(f, "      ", conditions)?;
                }
            }
            for taken in &peer.taken {
                writeln!(f, "  {names}: not by rule {}, since {} denies it", taken.rule, taken.by.join(", "))?;
            }
            for unread in &peer.unread {
                let (rule, service) = (&unread.rule, &unread.service);
                writeln!(f, "  {names}: rule {rule} lets {service} pass, and what that carries is not read")?;
            }
        }
        for limit in &self.limits {
            writeln!(f, "  not all was looked at: {limit}")?;
        }
        Ok(())
    }
}

fn keys(f: &mut fmt::Formatter<'_>, before: &str, keys: &[(String, String)]) -> fmt::Result {
    for (key, value) in keys {
        let mut shown: String = value.chars().take(WIDE).collect();
        if shown.len() < value.len() {
            shown.push_str("...");
        }
        writeln!(f, "{before}{key} = {shown}")?;
    }
    Ok(())
}
