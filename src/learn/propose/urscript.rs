use std::collections::BTreeMap;

use super::super::observe::{Behaviour, Group};
use super::text::{Item, Rule, counted, quoted, quoted_bytes};

/// What one rule lists.
#[derive(Default)]
struct Lists {
    rule: Rule,
    hashes: Vec<Item>,
    functions: Vec<Item>,
    assigns: Vec<Item>,
    targets: Vec<Item>,
    bare: Vec<Item>,
}

/// Programs by hash, statements by what they call, bare commands by name.
pub(super) fn rules(group: &Group, trust: bool) -> Vec<Rule> {
    let mut rules: BTreeMap<(&str, bool, bool), Lists> = BTreeMap::new();
    for (behaviour, row) in &group.rows {
        let (kind, hashed) = match behaviour {
            Behaviour::Script { kind, .. } => (*kind, true),
            Behaviour::Function { kind, .. } | Behaviour::Assign { kind, .. } | Behaviour::Connect { kind, .. } => {
                (*kind, false)
            }
            Behaviour::Bare(_) => ("bare", false),
            _ => continue,
        };
        // One rule must cover a whole unit, so that what is trusted alike stands together.
        let lists = rules.entry((kind, hashed, row.off && !trust)).or_default();
        lists.rule.count = lists.rule.count.with(row.count);
        lists.rule.off = row.off && !trust;
        let count = row.count.count;
        let add = |items: &mut Vec<Item>, text: String| match items.iter_mut().find(|item| item.text == text) {
            Some(item) => item.count = item.count.saturating_add(count),
            None => items.push(Item::new(text, count)),
        };
        match behaviour {
            Behaviour::Script { hash, name, unknown, .. } => {
                let name = String::from_utf8_lossy(name);
                let calls = if *unknown { "; calls functions of no known effect" } else { "" };
                let remark = format!("{name}, {count} times{calls}");
                lists.hashes.push(Item { remark, ..Item::new(quoted(&crate::policy::hash_text(hash)), count) });
            }
            Behaviour::Function { name, .. } => add(&mut lists.functions, quoted_bytes(name)),
            Behaviour::Assign { target, .. } => add(&mut lists.assigns, quoted_bytes(target)),
            Behaviour::Connect { target, .. } => add(&mut lists.targets, quoted_bytes(target)),
            Behaviour::Bare(name) => lists.bare.push(Item::new(quoted(name), count)),
            _ => {}
        }
    }
    rules.into_iter().map(|((kind, hashed, _), lists)| finish(kind, hashed, lists)).collect()
}

fn finish(kind: &str, hashed: bool, lists: Lists) -> Rule {
    let Lists { mut rule, hashes, functions, assigns, targets, bare } = lists;
    rule.keys.push(format!("kind = [{}]", quoted(kind)));
    if hashed {
        rule.keys.push(counted("program", &hashes));
    } else if kind == "bare" {
        if bare.iter().any(|item| item.text == "\"set speed\"") {
            rule.notes.push("set speed: covers any speed, more than was seen.".into());
        }
        rule.keys.push(counted("bare", &bare));
    } else {
        rule.notes.push("Covers these functions in any order with any arguments: more than was seen.".into());
        rule.notes.push("Counted by function: one statement may call several.".into());
        if !targets.is_empty() {
            rule.notes.push("connect_to: a host without a port covers every port of it.".into());
        }
        rule.keys.push(counted("function", &functions));
        rule.keys.push(counted("assign", &assigns));
        rule.keys.push(counted("connect_to", &targets));
    }
    rule
}
