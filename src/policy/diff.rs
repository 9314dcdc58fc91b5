//! What two policy files say differently, rule by rule.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

/// Keys that say nothing about what is allowed.
const NOTES: [&str; 2] = ["seen", "comment"];

/// One difference between two policies.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// A rule that only the second has, with its keys.
    Added(String, String),
    /// A rule that only the first has, with its keys.
    Removed(String, String),
    /// One key of a rule that both have: rule, key, before, after.
    Key(String, String, Option<String>, Option<String>),
}

impl fmt::Display for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let shown = |value: &Option<String>| value.clone().unwrap_or_else(|| "absent".to_owned());
        match self {
            Self::Added(rule, keys) => write!(f, "+ {rule}: {keys}"),
            Self::Removed(rule, keys) => write!(f, "- {rule}: {keys}"),
            Self::Key(rule, key, before, after) => write!(f, "~ {rule}: {key}: {} -> {}", shown(before), shown(after)),
        }
    }
}

impl Change {
    /// The change as one JSON object.
    #[must_use]
    pub fn to_json(&self) -> serde_json::Value {
        match self {
            Self::Added(rule, keys) => serde_json::json!({"change": "added", "rule": rule, "keys": keys}),
            Self::Removed(rule, keys) => serde_json::json!({"change": "removed", "rule": rule, "keys": keys}),
            Self::Key(rule, key, before, after) => {
                serde_json::json!({"change": "key", "rule": rule, "key": key, "before": before, "after": after})
            }
        }
    }
}

/// The differences between the texts of two policies that compile. Order of rules and of lists, comments and what
/// learning noted make none.
#[must_use]
pub fn diff(before: &str, after: &str) -> Vec<Change> {
    let (before, after) = (entries(before), entries(after));
    let names: BTreeSet<&String> = before.keys().chain(after.keys()).collect();
    let mut changes = Vec::new();
    for name in names {
        match (before.get(name), after.get(name)) {
            (Some(old), None) => changes.push(Change::Removed(name.clone(), all(old))),
            (None, Some(new)) => changes.push(Change::Added(name.clone(), all(new))),
            (Some(old), Some(new)) => {
                let keys: BTreeSet<&String> = old.keys().chain(new.keys()).collect();
                let differs = keys.into_iter().filter(|key| old.get(*key) != new.get(*key));
                changes.extend(
                    differs.map(|key| {
                        Change::Key(name.clone(), key.clone(), old.get(key).cloned(), new.get(key).cloned())
                    }),
                );
            }
            (None, None) => {}
        }
    }
    changes
}

/// Every rule and table by what people call it, its keys with their values in one form.
fn entries(text: &str) -> BTreeMap<String, BTreeMap<String, String>> {
    let mut entries = BTreeMap::new();
    for (key, value) in text.parse::<toml::Table>().unwrap_or_default() {
        match value {
            toml::Value::Array(rules) if matches!(key.as_str(), "allow" | "deny" | "test") => {
                for (place, rule) in (1_usize..).zip(rules) {
                    let toml::Value::Table(rule) = rule else { continue };
                    let name = rule.get("id").or_else(|| rule.get("name")).and_then(toml::Value::as_str);
                    let name = name.map_or_else(|| format!("{key} {place}"), |name| format!("{key} \"{name}\""));
                    let keys = rule.into_iter().filter(|(key, _)| !NOTES.contains(&key.as_str()) && key != "id");
                    entries.insert(name, keys.flat_map(each_bound).map(keyed).collect());
                }
            }
            toml::Value::Table(table) => {
                entries.insert(key, table.into_iter().map(keyed).collect());
            }
            // The form of the file, not what it allows.
            _ if key == "version" => {}
            value => {
                entries.insert(key.clone(), BTreeMap::from([(key, canonical(value))]));
            }
        }
    }
    entries
}

/// The keys of every rule as they stand in the file, by the id that the compiler gives it.
pub(super) fn rule_keys(text: &str) -> BTreeMap<String, Vec<(String, String)>> {
    let mut keys = BTreeMap::new();
    let table = text.parse::<toml::Table>().unwrap_or_default();
    for kind in ["allow", "deny"] {
        let rules = table.get(kind).and_then(toml::Value::as_array).map(Vec::as_slice).unwrap_or_default();
        for (place, rule) in (1_usize..).zip(rules) {
            let toml::Value::Table(rule) = rule else { continue };
            let id =
                rule.get("id").and_then(toml::Value::as_str).map_or_else(|| format!("{kind}-{place}"), str::to_owned);
            let own = rule.clone().into_iter().filter(|(key, _)| !NOTES.contains(&key.as_str()));
            keys.insert(id, own.flat_map(each_bound).map(keyed).collect());
        }
    }
    keys
}

/// Each bound of a rule as a key of its own: there may be many, of which one changes.
fn each_bound((key, value): (String, toml::Value)) -> Vec<(String, toml::Value)> {
    match value {
        toml::Value::Table(bounds) if key == "bounds" => {
            bounds.into_iter().map(|(argument, value)| (format!("{key}.{argument}"), value)).collect()
        }
        value => vec![(key, value)],
    }
}

/// Keys whose lists have a place for each joint or number.
const ORDERED: [&str; 3] = ["joint_rad", "joint_rad_s", "list"];

fn keyed((key, value): (String, toml::Value)) -> (String, String) {
    let value = match value {
        toml::Value::Array(items) if ORDERED.contains(&key.as_str()) => {
            format!("[{}]", items.into_iter().map(canonical).collect::<Vec<_>>().join(", "))
        }
        value => canonical(value),
    };
    (key, value)
}

/// A value as text: lists in one order, and a list of one like its element.
fn canonical(value: toml::Value) -> String {
    match value {
        toml::Value::Array(items) => {
            let mut items: Vec<String> = items.into_iter().map(canonical).collect();
            items.sort();
            items.dedup();
            match <[String; 1]>::try_from(items) {
                Ok([only]) => only,
                Err(items) => format!("[{}]", items.join(", ")),
            }
        }
        toml::Value::Table(table) => {
            let keys = table.into_iter().map(keyed).map(|(key, value)| format!("{key} = {value}"));
            format!("{{ {} }}", keys.collect::<Vec<_>>().join(", "))
        }
        other => other.to_string(),
    }
}

fn all(keys: &BTreeMap<String, String>) -> String {
    keys.iter().map(|(key, value)| format!("{key} = {value}")).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn order_notes_and_lists_of_one_are_no_difference() {
        let before = "[[allow]]\nid = \"a\"\nunit = [1, 255]\nseen = { count = 1 }\n[[deny]]\nid = \"b\"\nunit = 1\n";
        let after = "version = 1\n[[deny]]\nid = \"b\"\nunit = [1]\n[[allow]]\nid = \"a\"\nunit = [255, 1]\n";
        assert_eq!(diff(before, after), []);
    }

    #[test]
    fn the_order_of_joints_is_a_difference() {
        let rule = |joints: &str| {
            format!(
                "[[allow]]\nid = \"a\"\n[allow.bounds]\n\"set_gravity.d\" = {{ list = [{joints}] }}\n\"sleep.t\" = [1, 2]\n"
            )
        };
        assert_eq!(diff(&rule("1, 2, 2"), &rule("1, 2, 2").replace("[1, 2]", "[2, 1]")), []);
        for other in ["2, 1, 2", "1, 2"] {
            let lines: Vec<_> = diff(&rule("1, 2, 2"), &rule(other)).iter().map(ToString::to_string).collect();
            assert_eq!(
                lines,
                [format!("~ allow \"a\": bounds.set_gravity.d: {{ list = [1, 2, 2] }} -> {{ list = [{other}] }}")]
            );
        }
    }

    #[test]
    fn rules_and_keys_that_differ_are_told() {
        let before = "[[allow]]\nid = \"a\"\nunit = 1\n[[allow]]\nid = \"gone\"\nfrom = \"plc\"\n";
        let after =
            "[refusal]\nmodbus = \"drop\"\n[[allow]]\nid = \"a\"\nunit = 2\nvalue = 7\n[[deny]]\nid = \"gone\"\n";
        let lines: Vec<_> = diff(before, after).iter().map(ToString::to_string).collect();
        assert_eq!(
            lines,
            [
                "~ allow \"a\": unit: 1 -> 2",
                "~ allow \"a\": value: absent -> 7",
                "- allow \"gone\": from = \"plc\"",
                "+ deny \"gone\": ",
                "+ refusal: modbus = \"drop\"",
            ]
        );
    }
}
