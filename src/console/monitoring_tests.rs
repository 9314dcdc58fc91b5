//! The alerts and the dashboard under `appliance-image/monitoring/` name nothing that the metrics page does not have.

#![allow(clippy::arithmetic_side_effects)]

use std::collections::BTreeSet;
use std::path::Path;

use yaml_rust2::{Yaml, YamlLoader};

use super::metrics::tests::{Linted, lint, page};

fn file(name: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("appliance-image/monitoring").join(name);
    std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// Labels that Prometheus adds itself, or Grafana in the place of a variable.
const ADDED: [&str; 2] = ["instance", "job"];

/// Every metric of ours in a PromQL expression with its label matchers; other words must be PromQL's own.
fn check(expression: &str, linted: &Linted) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    for (at, _) in expression.match_indices("vambrace_") {
        let rest = &expression[at..];
        let end = rest.find(|c: char| !(c.is_ascii_alphanumeric() || c == '_')).unwrap_or(rest.len());
        let name = &rest[..end];
        assert!(linted.kinds.contains_key(name), "{name} is no metric, in {expression}");
        found.insert(name.to_owned());
        let before = &expression[..at];
        let counted = ["rate(", "increase("].iter().any(|function| before.ends_with(function));
        assert_eq!(counted, linted.kinds[name] == "counter", "{name} in {expression}: rates are of counters");
        let Some(matchers) = rest[end..].strip_prefix('{').and_then(|it| it.split_once('}')) else { continue };
        for matcher in matchers.0.split("\",") {
            let (label, value) = matcher.split_once('=').unwrap();
            let known = linted.labels.get(name).is_some_and(|known| known.contains(label.trim_end_matches('!')));
            assert!(known || ADDED.contains(&label), "{name} has no label {label}, in {expression}");
            if ADDED.contains(&label) {
                continue;
            }
            for one in value.trim_start_matches('~').trim_matches('"').split('|') {
                let series = format!("{label}=\"{one}\"");
                let some = linted.samples.keys().any(|it| it.starts_with(name) && it.contains(&series));
                assert!(some, "{name} never has {series}, in {expression}");
            }
        }
    }
    found
}

#[test]
fn alerts_are_made_of_our_metrics() {
    let linted = lint(&page("alerts", true));
    let parsed = YamlLoader::load_from_str(&file("prometheus-alerts.yml")).unwrap();
    let groups = parsed[0]["groups"].as_vec().unwrap();
    let mut names = BTreeSet::new();
    let mut used = BTreeSet::new();
    for rule in groups.iter().flat_map(|group| group["rules"].as_vec().unwrap()) {
        let name = rule["alert"].as_str().unwrap();
        assert!(names.insert(name.to_owned()), "{name} twice");
        used.extend(check(rule["expr"].as_str().unwrap(), &linted));
        assert!(matches!(rule["labels"]["severity"].as_str(), Some("warning" | "critical")), "{name}");
        for text in ["summary", "description"] {
            assert!(rule["annotations"][text].as_str().is_some_and(|text| text.len() > 10), "{name} has no {text}");
        }
        assert!(rule["for"].is_badvalue() || matches!(&rule["for"], Yaml::String(_)), "{name}");
    }
    assert!(names.len() > 10 && used.len() > 10);
}

#[test]
fn the_dashboard_is_made_of_our_metrics() {
    let linted = lint(&page("dashboard", true));
    let board: serde_json::Value = serde_json::from_str(&file("grafana-dashboard.json")).unwrap();
    let (mut ids, mut used) = (BTreeSet::new(), BTreeSet::new());
    for panel in board["panels"].as_array().unwrap() {
        assert!(ids.insert(panel["id"].as_u64().unwrap()), "ids are unique");
        let place = &panel["gridPos"];
        assert!(place["x"].as_u64().unwrap() + place["w"].as_u64().unwrap() <= 24, "{}", panel["title"]);
        for target in panel["targets"].as_array().unwrap() {
            let found = check(target["expr"].as_str().unwrap(), &linted);
            assert!(!found.is_empty(), "{target}");
            used.extend(found);
        }
    }
    let query = board["templating"]["list"][1]["query"].as_str().unwrap();
    check(query, &linted);
    assert!(used.len() > 15, "{used:?}");
}

#[test]
#[should_panic(expected = "is no metric")]
fn a_metric_that_does_not_exist_is_found() {
    check("vambrace_nonsense > 0", &lint(&page("nonsense", true)));
}

#[test]
#[should_panic(expected = "never has reason=\"bad_luck\"")]
fn a_reason_that_does_not_exist_is_found() {
    check("rate(vambrace_frames_dropped_total{reason=\"bad_luck\"}[5m])", &lint(&page("luck", true)));
}
