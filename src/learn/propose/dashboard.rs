use std::collections::BTreeMap;

use super::super::observe::{Behaviour, Group};
use super::text::{Item, Rule, counted, quoted, quoted_bytes};

/// A rule with what it lists: arguments of one verb, or verbs.
type Listed<'g> = BTreeMap<(bool, Option<&'g str>), (Rule, Vec<Item>)>;

/// One rule of the commands without argument, and one a command with its arguments.
pub(super) fn rules(group: &Group) -> Vec<Rule> {
    let mut rules = Listed::new();
    for (behaviour, row) in &group.rows {
        let Behaviour::Dashboard { verb, argument } = behaviour else { continue };
        let (rule, items) = rules.entry((row.off, argument.as_ref().map(|_| *verb))).or_default();
        rule.count = rule.count.with(row.count);
        rule.off = row.off;
        let text = argument.as_ref().map_or_else(|| quoted(verb), |argument| quoted_bytes(argument));
        items.push(Item::new(text, row.count.count));
    }
    let mut all = Vec::new();
    for ((_, verb), (mut rule, items)) in rules {
        match verb {
            None => rule.keys.push(counted("command", &items)),
            Some(verb) => {
                rule.keys.push(format!("command = [{}]", quoted(verb)));
                rule.keys.push(counted("argument", &items));
            }
        }
        all.push(rule);
    }
    all
}
