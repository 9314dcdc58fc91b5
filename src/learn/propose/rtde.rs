use rtde::Variable;

use super::super::observe::{Behaviour, Group, Row};
use super::super::spread::Spread;
use super::spread;
use super::text::{Rule, list, numbers, problem, quoted, quoted_bytes, wrapped};

/// One rule: what is read, how often, what is written.
pub(super) fn rules(group: &Group, never: &mut Vec<String>) -> Vec<Rule> {
    let mut rule = Rule { count: group.commands, ..Rule::default() };
    let mut outputs = Vec::new();
    let mut inputs = Vec::new();
    for (behaviour, row) in &group.rows {
        match behaviour {
            Behaviour::RtdeOutput(name) => match not_an_output(name) {
                // Asked for once a connection, so that counts say little.
                None => outputs.push(quoted_bytes(name)),
                Some(problem) => {
                    never.push(format!("{} times an output that no rule can name: {problem}", row.count.count))
                }
            },
            Behaviour::RtdeInput(name) => inputs.extend(input(name, row)),
            Behaviour::RtdeMessage => {
                rule.keys.push(format!("class = [{}]", quoted("interface")));
                rule.notes.push(format!("class interface: {} text messages; covers any text.", row.count.count));
            }
            _ => {}
        }
    }
    rule.keys.push(wrapped("outputs", &outputs));
    if group.frequency != Spread::default() {
        let items = spread("frequency", &group.frequency, &mut rule.notes);
        rule.keys.push(numbers("frequency", &items));
    }
    let steers = |name: &[u8]| name.starts_with(b"input_") || name.starts_with(b"external_force");
    if group.rows.keys().any(|row| matches!(row, Behaviour::RtdeInput(name) if steers(name))) {
        rule.notes
            .push("Registers written here may drive motion: what they do is the running program's business.".into());
    }
    rule.tables.push("[allow.inputs]".into());
    rule.tables.extend(inputs);
    vec![rule]
}

/// Why the policy does not take the name of an output, if it does not.
fn not_an_output(name: &[u8]) -> Option<String> {
    if Variable::named(name).is_output() {
        return None;
    }
    // A newer controller may have it, but a slip of a known name is refused; the policy knows which is which.
    let outputs = format!("outputs = [{}]", quoted_bytes(name));
    problem(&Rule { keys: vec![outputs], ..Rule::default() }, "rtde", false)
}

/// The lines of one input.
fn input(name: &[u8], row: &Row) -> Vec<String> {
    let name = String::from_utf8_lossy(name);
    let mut notes = Vec::new();
    let items = spread(&name, &row.values, &mut notes);
    let often = items.iter().any(|item| item.count > 1);
    let once: Vec<_> = items.iter().filter(|item| often && item.count == 1).map(|item| item.text.clone()).collect();
    if !once.is_empty() {
        notes.push(format!("{name}: seen once: {}.", once.join(", ")));
    }
    let mut lines: Vec<_> = notes.into_iter().map(|note| format!("# {note}")).collect();
    let value = match items.as_slice() {
        [only] if only.text.starts_with('"') => only.text.clone(),
        _ => list(items.iter().map(|item| item.text.clone())),
    };
    let never = if items.is_empty() { "  # set up, never written" } else { "" };
    lines.push(format!("{name} = {{ value = {value} }}{never}"));
    lines
}
