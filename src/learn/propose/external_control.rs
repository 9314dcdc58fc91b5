use ::external_control::{Channel, Function};

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
    if let Some(bounds) = bounds(group) {
        rule.keys.push(format!("bounds = {{ {bounds} }}"));
        rule.notes
            .push("bounds: each number of a call lies between the ends that were seen, in any combination.".into());
    }
    if let Some(envelope) = envelope(group, &mut rule.notes) {
        rule.keys.push(format!("envelope = {{ {envelope} }}"));
    }
    vec![rule]
}

/// What each function was called with: the ends of what was seen.
fn bounds(group: &Group) -> Option<String> {
    let mut bounds = Vec::new();
    for function in Function::ALL {
        let mut place = 0_u8;
        for argument in function.parameters() {
            let seen = (0..argument.len).map(|_| {
                let row = group.rows.get(&Behaviour::OrderArgument(function.name(), place));
                place = place.saturating_add(1);
                let (low, high) = row.and_then(ends)?;
                let (low, high) = (rounded(low), rounded(high));
                Some(if low == high { low } else { format!("\"{low}..={high}\"") })
            });
            let Some(seen) = seen.collect::<Option<Vec<_>>>() else { continue };
            let name = format!("\"{}.{}\"", function.name(), argument.name);
            bounds.push(match seen.as_slice() {
                [one] => format!("{name} = {one}"),
                _ => format!("{name} = {{ list = [{}] }}", seen.join(", ")),
            });
        }
    }
    (!bounds.is_empty()).then(|| bounds.join(", "))
}

/// The limits that hold what was seen, as far as it has any; what is not bounded is noted.
fn envelope(group: &Group, notes: &mut Vec<String>) -> Option<String> {
    let saw = |mode| group.rows.contains_key(&Behaviour::Mode(mode));
    let six = |wanted: fn(u8) -> Behaviour| -> Option<Vec<(f64, f64)>> {
        (0..6).map(|place| group.rows.get(&wanted(place)).and_then(ends)).collect()
    };
    let most = |behaviour: Behaviour| group.rows.get(&behaviour).and_then(ends).map(|(_, most)| most);
    let between =
        |(low, high): &(f64, f64)| format!("\"{}..={}\"", rounded(low - MILLIONTH), rounded(high + MILLIONTH));
    let mut keys = Vec::new();
    // Bounds of either kind would refuse the points that are both.
    let ambiguous = group.rows.contains_key(&Behaviour::AmbiguousPoint) && !saw("servoj") && !saw("pose");
    if let Some(positions) = six(Behaviour::Position).filter(|_| !ambiguous) {
        let positions: Vec<_> = positions.iter().map(between).collect();
        keys.push(format!("position_rad = [{}]", positions.join(", ")));
        notes.push("position_rad: covers everything between the ends that were seen, in any combination.".into());
    }
    if let Some(steps) = six(Behaviour::Step).filter(|_| !keys.is_empty()) {
        let steps: Vec<_> = steps.iter().map(|(_, most)| rounded(most + MILLIONTH)).collect();
        keys.push(format!("step_rad = [{}]", steps.join(", ")));
        notes.push("step_rad: the first set-point is measured from where RTDE says that the joints are.".into());
    }
    if let Some(axes) = six(Behaviour::Axis).filter(|_| !ambiguous) {
        let named = ["x", "y", "z", "rx", "ry", "rz"].into_iter().zip(axes.iter().map(between));
        let axes: Vec<_> = named.map(|(name, range)| format!("{name} = {range}")).collect();
        keys.push(format!("pose = {{ {} }}", axes.join(", ")));
        notes.push("pose: covers everything between the ends that were seen, in any combination.".into());
        for (key, behaviour) in [("pose_step_m", Behaviour::PoseStep), ("pose_turn_rad", Behaviour::PoseTurn)] {
            if let Some(most) = most(behaviour) {
                keys.push(format!("{key} = {}", rounded(most + MILLIONTH)));
                notes.push(format!("{key}: the first pose is measured from where RTDE says that the tool is."));
            }
        }
    }
    if saw("forward") && !keys.is_empty() {
        // A limit to speed is one for set-points too, and there it would be one of the network's making.
        let alone = !saw("servoj") && !saw("speedj") && !group.rows.contains_key(&Behaviour::PointUntimed);
        let velocity = most(Behaviour::PointVelocity);
        let joint = |joint| most(Behaviour::PointSpeed(joint)).into_iter().chain(velocity).reduce(f64::max);
        match (0..6).map(joint).collect::<Option<Vec<_>>>().filter(|_| alone) {
            Some(speeds) => {
                let speeds: Vec<_> = speeds.iter().map(|most| rounded(most + MILLIONTH)).collect();
                keys.push(format!("speed_rad_s = [{}]", speeds.join(", ")));
                notes.push(
                    "speed_rad_s: the first point is measured from where RTDE says that the joints are; durations were taken for microseconds.".into(),
                );
            }
            None => notes.push(
                "forward: how fast points are reached is not bounded until the envelope has `speed_rad_s`.".into(),
            ),
        }
    }
    let unbounded: Vec<_> = ["speedj", "speedl", "torque"].into_iter().filter(|mode| saw(mode)).collect();
    if keys.is_empty() && (saw("forward") || saw("pose") || !unbounded.is_empty()) {
        notes.push("mode: where the arm is sent is not bounded until the rule has an `envelope`.".into());
    } else if !unbounded.is_empty() {
        notes.push(format!("envelope: {} stays outside until it has keys that speak of it.", unbounded.join(", ")));
    }
    (!keys.is_empty()).then(|| keys.join(", "))
}

fn ends(row: &Row) -> Option<(f64, f64)> {
    let said = row.values.say();
    Some((said.parts.first()?.low, said.parts.last()?.high))
}
