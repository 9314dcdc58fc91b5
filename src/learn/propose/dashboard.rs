use std::collections::BTreeMap;

use super::super::observe::{Behaviour, Group};
use super::text::{Item, Rule, counted, quoted, quoted_bytes};
use crate::command::Class;

/// A rule with what it lists: arguments of one verb, or verbs.
type Listed<'g> = BTreeMap<(bool, Option<&'g str>), (Rule, Vec<Item>)>;

/// One rule of the commands without argument, one a command with its arguments, and one of what stops the robot, seen or not.
///
/// A person presses Stop when something goes wrong, so hardly while the box learns: a proposal of what was seen alone would
/// refuse it the first time that it matters.
pub(super) fn rules(group: &Group, egress: bool) -> Vec<Rule> {
    let mut rules = Listed::new();
    let mut stops = Rule { keys: vec![format!("class = [{}]", quoted(Class::Stop.name()))], ..Rule::default() };
    stops
        .notes
        .push("Stop, pause and power off, seen or not: who works with the robot may stop it. Take it out".into());
    stops.notes.push("where this client must not.".into());
    for (behaviour, row) in &group.rows {
        let Behaviour::Dashboard { verb, argument } = behaviour else { continue };
        if !egress && dashboard::Verb::named(verb).is_some_and(|verb| verb.class == dashboard::Class::Stop) {
            stops.count = stops.count.with(row.count);
            continue;
        }
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
    if !egress && (stops.count.count > 0 || all.iter().any(|rule| !rule.off)) {
        all.push(stops);
    }
    all
}
