use ::external_control::Channel;

use super::super::observe::{Behaviour, Group, Row};
use super::super::program::Opened;
use super::super::spread::number;
use super::text::{Item, Rule, counted, quoted};

/// How much farther than seen a joint may be sent: a millionth, so that no rounding of decimals refuses what was seen.
const MILLIONTH: f64 = 1e-6;

/// A number with the decimals that the wire has, not those that floating point adds.
fn rounded(value: f64) -> String {
    number((value * external_control::UNITS).round() / external_control::UNITS)
}

/// One rule: what set-points were, where they led, what was called and which texts were handed over; `opened` is what
/// programs said of their sockets.
pub(super) fn rules(group: &Group, opened: &[(Channel, Opened)]) -> Vec<Rule> {
    let mut rule = Rule::default();
    let (mut modes, mut functions, mut programs) = (Vec::new(), Vec::new(), Vec::new());
    let mut timeouts = super::super::spread::Spread::default();
    for (behaviour, row) in &group.rows {
        let count = row.count.count;
        match behaviour {
            Behaviour::Mode(mode) => {
                modes.push(Item::new(quoted(mode), count));
                timeouts.join(&row.values);
            }
            Behaviour::Order(function) => functions.push(Item::new(quoted(function), count)),
            Behaviour::Handed(digest) => {
                programs.push(Item::new(quoted(&crate::policy::hash_text(digest)), count));
            }
            _ => continue,
        }
        rule.count = rule.count.with(row.count);
    }
    if modes.is_empty() && functions.is_empty() && programs.is_empty() {
        return Vec::new();
    }
    let unlike = |key: &str, of: &dyn Fn(Channel, &Opened) -> Option<usize>| {
        let entries = opened.iter().filter_map(|(channel, opened)| Some((channel.name(), of(*channel, opened)?)));
        let entries: Vec<_> = entries.map(|(name, value)| format!("{name} = {value}")).collect();
        (!entries.is_empty()).then(|| format!("{key} = {{ {} }}", entries.join(", ")))
    };
    let ports = |channel: Channel, opened: &Opened| opened.port.filter(|port| *port != channel.port()).map(usize::from);
    let records = |channel: Channel, opened: &Opened| opened.fields.filter(|fields| Some(*fields) != channel.fields());
    let told: Vec<_> = [unlike("ports", &ports), unlike("record", &records)].into_iter().flatten().collect();
    if !told.is_empty() {
        rule.notes.push("ports, record: as the robot's program has them.".into());
        rule.keys.extend(told);
    }
    rule.keys.push(counted("mode", &modes));
    let timeouts = super::spread("timeout_ms", &timeouts, &mut rule.notes);
    if !timeouts.is_empty() {
        rule.keys.push(counted("timeout_ms", &timeouts));
    }
    rule.keys.push(counted("function", &functions));
    rule.keys.push(counted("program", &programs));
    if !functions.is_empty() {
        rule.notes.push("function: covers any arguments, more than was seen.".into());
    }
    let joints = |wanted: fn(u8) -> Behaviour| -> Option<Vec<(f64, f64)>> {
        (0..6).map(|joint| group.rows.get(&wanted(joint)).and_then(ends)).collect()
    };
    let saw = |mode| group.rows.contains_key(&Behaviour::Mode(mode));
    // Bounds on joints alone would refuse the poses that were seen.
    let has_poses = group.rows.contains_key(&Behaviour::PosePoint) && !saw("servoj");
    if let Some(positions) = joints(Behaviour::Position).filter(|_| !has_poses) {
        let positions: Vec<_> = positions
            .iter()
            .map(|(low, high)| format!("\"{}..={}\"", rounded(low - MILLIONTH), rounded(high + MILLIONTH)))
            .collect();
        let mut envelope = format!("position_rad = [{}]", positions.join(", "));
        if let Some(steps) = joints(Behaviour::Step) {
            let steps: Vec<_> = steps.iter().map(|(_, most)| rounded(most + MILLIONTH)).collect();
            envelope += &format!(", step_rad = [{}]", steps.join(", "));
            rule.notes
                .push("step_rad: the first set-point is measured from where RTDE says that the joints are.".into());
        }
        rule.keys.push(format!("envelope = {{ {envelope} }}"));
        rule.notes.push("position_rad: covers everything between the ends that were seen, in any combination.".into());
        if saw("forward") || saw("pose") {
            rule.notes.push("envelope: poses are outside until it has a `pose` box.".into());
        }
        if saw("forward") {
            rule.notes.push(
                "forward: how fast points are reached is not bounded until the envelope has `speed_rad_s`.".into(),
            );
        }
    } else if ["forward", "pose", "speedj", "speedl", "torque"].into_iter().any(saw) {
        rule.notes.push("mode: where the arm is sent is not bounded until the rule has an `envelope`.".into());
    }
    vec![rule]
}

fn ends(row: &Row) -> Option<(f64, f64)> {
    let said = row.values.say();
    Some((said.parts.first()?.low, said.parts.last()?.high))
}
