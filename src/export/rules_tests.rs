//! The Sigma and Wazuh rules under `appliance-image/monitoring/` match lines that the box writes, and name no field or
//! value that it does not.

#![allow(clippy::arithmetic_side_effects)]

use std::path::{Path, PathBuf};

use serde_json::Value;
use yaml_rust2::{Yaml, YamlLoader};

use super::tests::{command, drop_frame, line, notice, write_register};
use crate::command::{Class, Service};
use crate::event::{Detail, Notice, Reason, Shed, Text, Whose};

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("appliance-image/monitoring")
}

/// One line of each kind that rules are about.
fn lines() -> Vec<Value> {
    let address = std::net::IpAddr::from([10, 20, 0, 66]);
    let mac = link::Mac([2, 0, 0, 0, 0, 1]);
    let asked = |answer| Notice::Asked {
        user: Text::new(b"eva"),
        role: Text::new(b"viewer"),
        address,
        request: Text::new(b"mode observe"),
        answer,
        why: Text::new(b"your role is viewer"),
    };
    let register = command(Service::Modbus, Class::Register, Reason::NoRule, true, write_register(6, &[5]));
    let line_of_text = Detail::Dashboard { verb: "unlock protective stop", text: Text::new(b"unlock protective stop") };
    let grave = |class| command(Service::Dashboard, class, Reason::NoRule, true, line_of_text);
    let grave = [Class::Safety, Class::Privilege, Class::Shutdown, Class::Motion, Class::Program].map(grave);
    let notices = [
        Notice::Started,
        Notice::Mode { from: "enforce", to: "observe", uid: 0 },
        Notice::Mode { from: "enforce", to: "learn", uid: 0 },
        Notice::Mode { from: "enforce", to: "shadow", uid: 0 },
        Notice::Quarantine { address, mac, for_ns: 1_000_000_000 },
        Notice::QuarantineFull { address, mac, for_ns: 1_000_000_000 },
        Notice::Scan { address, mac, ports: 9 },
        Notice::RecordsLost { count: 4 },
        asked("denied"),
        asked("done"),
        Notice::Opened { for_ms: 90 },
        Notice::Bypass { state: "on", uid: 0, for_seconds: 600 },
        Notice::Bypass { state: "failed", uid: 0, for_seconds: 0 },
        Notice::Bypass { state: "off", uid: 0, for_seconds: 0 },
        Notice::Replaced { how: "hang", restarts: 1 },
        Notice::Overload { shed: Shed::Nothing, counts: [1, 2, 3, 4, 5] },
        Notice::Loop { mac },
        Notice::Late {
            key: super::tests::key(30004),
            service: Service::Rtde,
            toward: dissect::Toward::Plant,
            whose: Whose::Robot,
            interval_ns: 15_000_000,
            period_ns: 2_000_000,
            residence_ns: 0,
            unreported: 0,
        },
        Notice::Silent {
            key: super::tests::key(30004),
            service: Service::Rtde,
            toward: dissect::Toward::Plant,
            silent_ns: 10_000_000,
            period_ns: 2_000_000,
            over: false,
        },
    ];
    let overloads = Shed::ALL.map(|shed| Notice::Overload { shed, counts: [0; 5] });
    let anomaly = Notice::Anomaly { key: super::tests::key(502), service: Service::Modbus, what: "odd" };
    let allowed = command(Service::Modbus, Class::Register, Reason::Allowed, true, write_register(6, &[5]));
    let mut events = vec![register, allowed, drop_frame(), notice(anomaly)];
    events.extend(grave);
    events.extend(notices.into_iter().chain(overloads).map(notice));
    events.iter().map(|event| line(event, None, None, false)).collect()
}

fn field<'v>(line: &'v Value, path: &str) -> Option<&'v Value> {
    path.split('.').try_fold(line, |value, key| value.get(key))
}

/// Values of a Sigma field, as text.
fn values(yaml: &Yaml) -> Vec<String> {
    match yaml {
        Yaml::Array(items) => items.iter().flat_map(values).collect(),
        Yaml::String(text) => vec![text.clone()],
        Yaml::Integer(number) => vec![number.to_string()],
        other => panic!("{other:?} is no value"),
    }
}

#[test]
fn sigma_rules_match_our_lines() {
    let lines = lines();
    let mut rules = 0;
    let mut ids = std::collections::BTreeSet::new();
    for entry in std::fs::read_dir(folder().join("sigma")).unwrap() {
        let path = entry.unwrap().path();
        let name = path.display();
        let rule = &YamlLoader::load_from_str(&std::fs::read_to_string(&path).unwrap()).unwrap()[0];
        assert!(ids.insert(rule["id"].as_str().unwrap().to_owned()), "{name}: the id is another's");
        for key in ["title", "description", "author", "date", "status", "level"] {
            assert!(rule[key].as_str().is_some(), "{name} has no {key}");
        }
        assert!(matches!(rule["level"].as_str(), Some("medium" | "high" | "critical")), "{name}");
        let condition = rule["detection"]["condition"].as_str().unwrap();
        let selection = rule["detection"][condition].as_hash().unwrap_or_else(|| panic!("{name}: {condition}"));
        let pairs: Vec<_> = selection.iter().map(|(key, wanted)| (key.as_str().unwrap(), values(wanted))).collect();
        let fits = |line: &Value, keys: &[(&str, Vec<String>)]| {
            keys.iter().all(|(key, wanted)| {
                field(line, key).and_then(Value::as_str).is_some_and(|found| wanted.iter().any(|it| it == found))
            })
        };
        let matched: Vec<_> = lines.iter().filter(|line| fits(line, &pairs)).collect();
        assert!(!matched.is_empty() && matched.len() < lines.len(), "{name} matches {} lines", matched.len());
        // Each value that it lists occurs.
        for (key, wanted) in &pairs {
            for value in wanted {
                assert!(
                    matched.iter().any(|line| field(line, key).and_then(Value::as_str) == Some(value)),
                    "{name}: {key} is never {value}"
                );
            }
        }
        for key in rule["fields"].as_vec().into_iter().flatten() {
            let key = key.as_str().unwrap();
            assert!(matched.iter().any(|line| field(line, key).is_some()), "{name}: no field {key}");
        }
        rules += 1;
    }
    assert!(rules >= 11);
}

/// Whether one of the alternatives `^a$|^b$` or the pattern `\.+` fits.
fn wazuh_fits(pattern: &str, found: &str) -> bool {
    if pattern == r"\.+" {
        return !found.is_empty();
    }
    pattern.split('|').any(|one| {
        let word = one.strip_prefix('^').and_then(|one| one.strip_suffix('$'));
        word.unwrap_or_else(|| panic!("{one} is more than a word")) == found
    })
}

#[test]
fn wazuh_rules_match_our_lines() {
    let lines = lines();
    let text = std::fs::read_to_string(folder().join("wazuh-rules.xml")).unwrap();
    let document = roxmltree::Document::parse(&text).unwrap();
    let rules: Vec<_> = document.descendants().filter(|node| node.has_tag_name("rule")).collect();
    let child = |rule: &roxmltree::Node<'_, '_>, name: &str| {
        rule.children().find(|node| node.has_tag_name(name)).and_then(|node| node.text().map(str::to_owned))
    };
    for rule in &rules {
        let id = rule.attribute("id").unwrap();
        assert!((100_000..=120_000).contains(&id.parse::<u32>().unwrap()), "{id}: not in the users' own numbers");
        assert!(rule.attribute("level").unwrap().parse::<u8>().unwrap() <= 15, "{id}");
        // The rule and those that it builds on.
        let mut chain = vec![*rule];
        while let Some(parent) = chain.last().and_then(|rule| child(rule, "if_sid").or(child(rule, "if_matched_sid"))) {
            let parent = rules.iter().find(|rule| rule.attribute("id") == Some(&parent));
            chain.push(*parent.unwrap_or_else(|| panic!("{id} builds on nothing")));
        }
        let fields: Vec<_> = chain
            .iter()
            .flat_map(|rule| rule.children().filter(|node| node.has_tag_name("field")))
            .map(|node| (node.attribute("name").unwrap(), node.text().unwrap()))
            .collect();
        let fits = |line: &&Value| {
            fields.iter().all(|(name, pattern)| {
                field(line, name).and_then(Value::as_str).is_some_and(|found| wazuh_fits(pattern, found))
            })
        };
        let matched: Vec<_> = lines.iter().filter(fits).collect();
        assert!(!matched.is_empty() && matched.len() < lines.len(), "{id} matches {} lines", matched.len());
        for (name, pattern) in fields.iter().filter(|(_, pattern)| *pattern != r"\.+") {
            for one in pattern.split('|') {
                let occurs = lines
                    .iter()
                    .any(|line| field(line, name).and_then(Value::as_str).is_some_and(|found| wazuh_fits(one, found)));
                assert!(occurs, "{id}: {name} is never {one}");
            }
        }
        let description = child(rule, "description").unwrap();
        for named in description.split("$(").skip(1).map(|rest| rest.split(')').next().unwrap()) {
            assert!(matched.iter().all(|line| field(line, named).is_some()), "{id}: a line without {named}");
        }
        if let Some(same) = child(rule, "same_field") {
            assert!(matched.iter().all(|line| field(line, &same).is_some()), "{id}: {same}");
        }
    }
    assert!(rules.len() >= 14);
}

/// What happened to the box, by kind, and the rules of each system that tell of it.
#[test]
fn what_takes_the_guard_away_is_told_by_every_system() {
    let lines = lines();
    let kinds = ["opened", "bypass", "replaced", "overload", "loop"];
    for kind in kinds {
        let sigma = std::fs::read_to_string(folder().join(format!("sigma/vambrace_{kind}.yml"))).unwrap();
        assert!(sigma.contains(&format!("    notice.kind: {kind}\n")), "{sigma}");
        let wazuh = std::fs::read_to_string(folder().join("wazuh-rules.xml")).unwrap();
        assert!(wazuh.contains(&format!("<field name=\"notice.kind\">^{kind}$</field>")), "{kind}");
        let grave = lines.iter().filter(|line| field(line, "notice.kind").is_some_and(|it| it == kind));
        for line in grave {
            let over = ["/notice/shed", "/notice/state"].map(|path| line.pointer(path).and_then(Value::as_str));
            let expected = if over == [Some("nothing"), None] || over == [None, Some("off")] { 3 } else { 5 };
            assert!(super::cef::severity(line) >= expected, "{line}");
        }
    }
}
